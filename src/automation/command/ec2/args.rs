//! Options of Amazon EC2 for commands that make machines or collect images.

use model::fault::Fault;
use model::machine::{Hardware, ProviderKind};
use model::price::Budget;

use crate::command::unfit::refuse_options;
use crate::compose::Context;

/// The capacity that a machine takes.
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

    /// Refuses options that have no meaning for machines of these providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        refuse_options(&[("--spot", self.spot)], kinds, |kind| kind == ProviderKind::Ec2)
    }
}

/// The options that only machines of a cloud have.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CloudArgs {
    /// Instance types, the most wanted first; the next is taken where capacity lacks, a single one is never replaced
    /// [default: the settings' `ec2.instance-type`, else c5.9xlarge, t3.2xlarge for baking, m6i.large for Windows]
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

/// Checks the shape of an instance type; whether it exists is asked when a machine is wanted.
fn parse_instance_type(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an instance type is blank: name them as in `c5.9xlarge,c5a.8xlarge`".to_owned()),
        name => Ok(name.to_owned()),
    }
}

impl CloudArgs {
    /// Refuses options that have no meaning for machines of these providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        let given = [("--instance-type", !self.instance_type.is_empty()), ("--max-cost", self.max_cost.is_some())];
        refuse_options(&given, kinds, |kind| kind == ProviderKind::Ec2)
    }

    /// The hardware that was asked for.
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
        // A bake never uses spot capacity: it would lose all its work with its machine.
        Hardware { instance_types: self.instance_type.clone(), spot: false, managed: false }
    }

    /// The most that it may cost, in US dollars.
    pub fn max_cost(&self) -> Option<Budget> {
        self.max_cost.map(|most| Budget { most, unknown_ok: self.unknown_cost_ok })
    }
}

/// The base image of machines that have Windows.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BaseImageArg {
    /// The name of the base image, with `*` for any text; the newest that matches is taken
    /// [default: Windows_Server-2022-English-Full-Base-*]
    #[arg(long, value_name = "NAME", value_parser = parse_image_name, help_heading = "Amazon EC2")]
    base_image_name: Option<String>,
}

/// Checks the characters of an image's name, which the API reference of `CreateImage` lists, and wildcards.
fn parse_image_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_*?".contains(c);
    match text.len() {
        3..=128 if text.chars().all(fits) => Ok(text.to_owned()),
        _ => Err("not the name of an image, such as `Windows_Server-2025-English-Full-Base-*`".to_owned()),
    }
}

impl BaseImageArg {
    /// The name that was given.
    pub fn name(&self) -> Option<&str> {
        self.base_image_name.as_deref()
    }

    /// Refuses options that have no meaning for machines of these providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        let given = self.base_image_name.is_some();
        refuse_options(&[("--base-image-name", given)], kinds, |kind| kind == ProviderKind::Ec2)
    }
}

/// The choice of owners whose images are collected.
#[derive(Debug, Default, clap::Args)]
pub struct AnyOwnerArg {
    /// Remove images of other people of the account too
    #[arg(long, help_heading = "Amazon EC2")]
    any_owner: bool,
}

impl AnyOwnerArg {
    /// Whether everybody's images are meant.
    pub fn is_given(&self) -> bool {
        self.any_owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_base_image_has_the_characters_of_one() {
        let usual = "Windows_Server-2022-English-Full-Base-*";
        assert_eq!(parse_image_name(usual), Ok(usual.to_owned()));
        for bad in ["", "ab", "a\nb c", "täst", &"x".repeat(129)] {
            assert!(parse_image_name(bad).is_err(), "{bad}");
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
