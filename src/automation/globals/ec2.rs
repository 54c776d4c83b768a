//! Options of Amazon EC2 that every subcommand takes.

use aws::ec2;
use ipnet::IpNet;

/// The connections that a machine of EC2 can be reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ConnectArg {
    /// SSH and SFTP
    #[default]
    Ssh,
    /// AWS Systems Manager Run Command, where SSH is not there; for commands and small files
    Ssm,
}

/// Options of EC2 that every subcommand takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Ec2Globals {
    /// The region of machines on EC2 [default: the settings' `ec2.region`, else us-west-2]
    #[arg(long, global = true, value_name = "REGION", env = "AUTOMATION_AWS_REGION", value_parser = parse_region,
          help_heading = "Amazon EC2")]
    pub aws_region: Option<String>,
    /// From where port 22 of machines on EC2 can be reached [default: this computer's public address]
    #[arg(long, global = true, value_name = "CIDR,…", value_delimiter = ',', value_parser = parse_cidr,
          help_heading = "Amazon EC2")]
    pub ingress_cidr: Vec<IpNet>,
    /// Whose images on EC2 machines may boot from beside yours: owners as `image list` shows them, or `all` [default:
    /// the settings' `ec2.trust-images-of`, else nobody's]
    #[arg(long, global = true, value_name = "OWNER,…", value_delimiter = ',', value_parser = model::base::text::parse_owner,
          help_heading = "Amazon EC2")]
    pub trust_images_of: Vec<String>,
    /// How machines on EC2 are reached
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Amazon EC2")]
    pub connect: ConnectArg,
}

/// Checks the shape of a region's name; whether the region exists is asked when it is used.
fn parse_region(text: &str) -> Result<String, String> {
    match ec2::settings::is_region(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a region such as `us-west-2`")),
    }
}

fn parse_cidr(text: &str) -> Result<IpNet, String> {
    ec2::address::parse(text).ok_or_else(|| format!("`{text}` is not an address block such as `192.0.2.7/32`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_addresses_reads_as_people_write_it() {
        assert_eq!(parse_cidr("192.0.2.7/32").map(|range| range.to_string()), Ok("192.0.2.7/32".to_owned()));
        assert_eq!(parse_cidr("2001:db8::/56").map(|range| range.to_string()), Ok("2001:db8::/56".to_owned()));
        for bad in ["192.0.2.7", "192.0.2.7/33", "x/8", "2001:db8::/129", "192.0.2/24", "/8", ""] {
            assert!(parse_cidr(bad).is_err(), "{bad}");
        }
    }
}
