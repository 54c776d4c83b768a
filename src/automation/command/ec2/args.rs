//! Options of Amazon EC2.

use aws::ec2;
use model::fault::Fault;
use model::machine::{Hardware, ProviderKind};
use model::price::Budget;

use crate::command::machine_args::refuse;
use crate::compose::Context;

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
    pub ingress_cidr: Vec<String>,
    /// Whose images on EC2 machines may boot from beside yours: owners as `image list` tells them, or `all` [default: the
    /// settings' `ec2.trust-images-of`, else nobody's]
    #[arg(long, global = true, value_name = "OWNER,…", value_delimiter = ',', value_parser = model::base::text::parse_owner,
          help_heading = "Amazon EC2")]
    pub trust_images_of: Vec<String>,
    /// How machines on EC2 are reached
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Amazon EC2")]
    pub connect: ConnectArg,
}

/// The shape of a region's name; whether there is one is asked when it is used.
fn parse_region(text: &str) -> Result<String, String> {
    match ec2::settings::is_region(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a region such as `us-west-2`")),
    }
}

fn parse_cidr(text: &str) -> Result<String, String> {
    let error = || format!("`{text}` is not an address block such as `192.0.2.7/32`");
    let (address, bits) = text.trim().split_once('/').ok_or_else(error)?;
    let address: std::net::IpAddr = address.parse().map_err(|_| error())?;
    let bits: u8 = bits.parse().map_err(|_| error())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits > most { Err(error()) } else { Ok(format!("{address}/{bits}")) }
}

/// Which capacity a machine takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SpotArg {
    /// Take spare capacity, which is cheaper and can be taken away; ordinary capacity where there is none
    #[arg(long, help_heading = "Amazon EC2")]
    spot: bool,
}

impl SpotArg {
    /// Whether spare capacity is wanted.
    pub fn is_given(&self) -> bool {
        self.spot
    }

    /// Refuses what a machine of this provider cannot be told.
    pub fn refuse_unfit(&self, kind: ProviderKind) -> Result<(), Fault> {
        if kind == ProviderKind::Ec2 { Ok(()) } else { refuse(&[("--spot", self.spot)], kind) }
    }
}

/// What only machines of a cloud can be told.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CloudArgs {
    /// Instance types, the most wanted first; the next is taken where capacity lacks, a single one is never replaced
    /// [default: the settings' `ec2.instance-type`, else c5.9xlarge, and t3.2xlarge for baking]
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = parse_instance_type, help_heading = "Amazon EC2")]
    instance_type: Vec<String>,
    /// Refuse to launch a machine that could cost more than this many US dollars until its expiry; each machine counts for
    /// itself
    #[arg(long, value_name = "USD", value_parser = parse_cost, help_heading = "Amazon EC2")]
    max_cost: Option<f64>,
    /// With `--max-cost`: launch also where no price can be had
    #[arg(long, requires = "max_cost", help_heading = "Amazon EC2")]
    unknown_cost_ok: bool,
}

fn parse_cost(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(cost) if cost.is_finite() && cost > 0.0 => Ok(cost),
        _ => Err(format!("`{text}` is not an amount of US dollars such as `2.50`")),
    }
}

/// An instance type by the look of it; whether there is such a one is asked when a machine is wanted.
fn parse_instance_type(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an instance type is blank: name them as in `c5.9xlarge,c5a.8xlarge`".to_owned()),
        name => Ok(name.to_owned()),
    }
}

impl CloudArgs {
    /// Refuses what a machine of this provider cannot be told.
    pub fn refuse_unfit(&self, kind: ProviderKind) -> Result<(), Fault> {
        if kind == ProviderKind::Ec2 {
            return Ok(());
        }
        refuse(&[("--instance-type", !self.instance_type.is_empty()), ("--max-cost", self.max_cost.is_some())], kind)
    }

    /// What kind of computer.
    pub fn hardware(&self, context: &Context) -> Hardware {
        let mut hardware = self.bake_hardware();
        hardware.managed = context.sites.by_systems_manager();
        if hardware.instance_types.is_empty() {
            hardware.instance_types = context.sites.instance_types();
        }
        hardware
    }

    /// The same for a machine that bakes: the settings' instance types are for other work.
    pub fn bake_hardware(&self) -> Hardware {
        // A bake that loses its machine loses all its work.
        Hardware { instance_types: self.instance_type.clone(), spot: false, managed: false }
    }

    /// The most that it may cost, in US dollars.
    pub fn max_cost(&self) -> Option<Budget> {
        self.max_cost.map(|most| Budget { most, unknown_ok: self.unknown_cost_ok })
    }
}

/// Whose images are collected.
#[derive(Debug, Default, clap::Args)]
pub struct AnyOwnerArg {
    /// Remove images of other people of the account too
    #[arg(long, help_heading = "Amazon EC2")]
    any_owner: bool,
}

impl AnyOwnerArg {
    /// Whether everybody's are meant.
    pub fn is_given(&self) -> bool {
        self.any_owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_addresses_reads_as_people_write_it() {
        assert_eq!(parse_cidr("192.0.2.7/32"), Ok("192.0.2.7/32".to_owned()));
        assert_eq!(parse_cidr("2001:db8::/56"), Ok("2001:db8::/56".to_owned()));
        for bad in ["192.0.2.7", "192.0.2.7/33", "x/8", "2001:db8::/129", "192.0.2/24", "/8", ""] {
            assert!(parse_cidr(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cost_is_an_amount_of_money() {
        assert_eq!(parse_cost("2.50"), Ok(2.5));
        assert_eq!(parse_cost("$3"), Ok(3.0));
        for bad in ["0", "-1", "inf", "NaN", "two", ""] {
            assert!(parse_cost(bad).is_err(), "{bad}");
        }
    }
}
