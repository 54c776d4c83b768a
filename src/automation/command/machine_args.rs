//! The options for the machine that a command makes.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::order::Order;
use model::base::text;
use model::fault::{Fault, FaultKind};
use model::image::ImagePlan;
use model::machine::{Caps, Hardware, Network, ProviderKind};
use project::declared::NetworkWord;
use project::image::{Definition, GivenValue, ImageChoice};

use crate::command::ec2::args::{CloudArgs, SpotArg};
use crate::command::parameter_args::ParameterArgs;
use crate::command::unfit::refuse_options;
use crate::compose::Context;

/// The options of every command that makes a machine.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineArgs {
    /// The distribution [default: debian12, or the settings' `defaults.distro`; for tests of a checkout `auto`, the first that
    /// has what its build needs]
    #[arg(long, value_name = "NAME")]
    distro: Option<String>,
    /// The parameters of the image's definition.
    #[command(flatten)]
    pub parameters: ParameterArgs<true>,
    /// What the machine is made of.
    #[command(flatten)]
    pub hardware: HardwareArgs,
}

/// The options for what a machine is made of, whatever image it boots.
#[derive(Debug, Clone, clap::Args)]
pub struct HardwareArgs {
    /// The network that a local machine sees [default: loopback, or the settings' `defaults.network`]
    #[arg(long, value_enum)]
    network: Option<NetworkArg>,
    /// Make a local machine whose root is root of this computer: no user namespace, no filter of system calls. Root only;
    /// what runs there must be trusted like root's own shell
    #[arg(long)]
    pub privileged_machine: bool,
    /// How many processors' worth of time a local machine may use [default: no limit]
    #[arg(long, value_name = "N", value_parser = parse_cpus)]
    cpus: Option<f64>,
    /// How much memory a local machine may use [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
    #[command(flatten)]
    spot: SpotArg,
    #[command(flatten)]
    cloud: CloudArgs,
}

/// The word for a distribution that is chosen by what a checkout needs.
const AUTO: &str = "auto";

/// The machine's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkArg {
    /// Its own, with loopback only
    Loopback,
    /// That of this computer
    Host,
}

impl From<NetworkWord> for NetworkArg {
    fn from(word: NetworkWord) -> Self {
        match word {
            NetworkWord::Loopback => Self::Loopback,
            NetworkWord::Host => Self::Host,
        }
    }
}

/// The least memory with which a machine starts and a user can log in.
const LEAST_MEMORY: u64 = 64 << 20;

fn parse_cpus(text: &str) -> Result<f64, String> {
    let cpus = text.parse().ok().filter(|cpus| (0.05..=1024.0).contains(cpus));
    cpus.ok_or_else(|| format!("`{text}` is not a number between 0.05 and 1024"))
}

fn parse_memory(text: &str) -> Result<u64, String> {
    match text::parse_bytes(text)? {
        bytes if bytes < LEAST_MEMORY => Err(format!("a machine needs at least {}", text::bytes(LEAST_MEMORY))),
        bytes => Ok(bytes),
    }
}

impl MachineArgs {
    /// The distribution of a machine that boots an image of `definition`.
    pub fn distro<'a>(&'a self, context: &'a Context, definition: &'a Definition) -> &'a str {
        definition.distro_for(self.distro.as_deref(), &context.settings.defaults.distro)
    }

    /// An image of `definition`, with the distribution and the values of parameters that a file declares where no option names others.
    pub fn declared_choice(
        &self,
        context: &Context,
        definition: &Definition,
        distro: Option<&str>,
        values: &BTreeMap<String, GivenValue>,
    ) -> Result<ImageChoice, Fault> {
        let distro = definition.distro_for(self.named_distro().or(distro), &context.settings.defaults.distro);
        self.parameters.choice_over(context, definition, distro, values)
    }

    /// Takes this distribution, unless another was named.
    pub fn prefer_distro(&mut self, distro: &str) {
        self.distro.get_or_insert_with(|| distro.to_owned());
    }

    /// The distribution that was named; `auto` does not name one.
    pub fn named_distro(&self) -> Option<&str> {
        self.distro.as_deref().filter(|name| *name != AUTO)
    }

    /// The options that choose something of a definition, in words, each with whether it was given.
    pub fn given_of_definition(&self) -> [(&'static str, bool); 2] {
        [("a distribution", self.named_distro().is_some()), ("a parameter of a definition", self.parameters.is_given())]
    }

    /// The fault about the image, with the line of the settings that asked for the distribution where no option did.
    pub fn name_setting(&self, context: &Context, mut fault: Fault) -> Fault {
        let named = format!("no distribution `{}`", context.settings.defaults.distro);
        let line = context.settings.origin("defaults.distro").filter(|_| self.distro.is_none());
        if let Some(origin) = line.filter(|_| fault.message.contains(&named)) {
            fault.message = format!("{origin}: {}", fault.message);
            // What a file holds is not what was typed.
            fault.kind = FaultKind::Outside;
        }
        fault
    }

    /// Refuses options that have no meaning for machines of these providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        let of_image = [
            ("--distro", self.named_distro().is_some()),
            ("--parameter", self.parameters.first_without_option().is_some()),
        ];
        refuse_options(&of_image, kinds, |kind| kind != ProviderKind::Host)?;
        self.hardware.refuse_unfit(kinds)
    }

    /// The order of a machine that boots the image of `plan`, or of one without an image; it lives for `ttl` at most.
    pub fn order(&self, context: &Context, plan: Option<&ImagePlan>, user: &str, ttl: Duration) -> Order {
        self.hardware.order(context, plan, user, ttl)
    }
}

impl HardwareArgs {
    /// Chooses the network where no option does.
    pub fn or_network(&mut self, network: NetworkArg) {
        self.network.get_or_insert(network);
    }

    /// The network.
    fn network(&self, context: &Context) -> Network {
        match self.network {
            Some(NetworkArg::Host) => Network::Host,
            Some(NetworkArg::Loopback) => Network::Loopback,
            None => context.settings.defaults.network,
        }
    }

    /// Refuses options that have no meaning for machines of these providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        let of_local = [
            ("--network", self.network.is_some()),
            ("--cpus", self.cpus.is_some()),
            ("--memory", self.memory.is_some()),
            ("--privileged-machine", self.privileged_machine),
        ];
        refuse_options(&of_local, kinds, |kind| matches!(kind, ProviderKind::Local | ProviderKind::Dummy))?;
        self.spot.refuse_unfit(kinds)?;
        self.cloud.refuse_unfit(kinds)
    }

    /// The order of a machine of the context's provider that boots the image of `plan`, or of one without an image; it lives for `ttl` at
    /// most. What only machines of others have is left out: the options may be for those of another provider beside it.
    pub fn order(&self, context: &Context, plan: Option<&ImagePlan>, user: &str, ttl: Duration) -> Order {
        let order = Order::new(context.sites.there(), user, ttl, context.grace());
        let order = match context.provider() {
            ProviderKind::Ec2 => Order {
                hardware: Hardware { spot: self.spot.is_given(), ..self.cloud.hardware(context) },
                max_cost: self.cloud.max_cost(),
                ..order
            },
            ProviderKind::Local | ProviderKind::Host | ProviderKind::Dummy => {
                Order { network: self.network(context), caps: Caps { cpus: self.cpus, memory: self.memory }, ..order }
            }
        };
        match plan {
            Some(plan) => order.boot_from(plan, plan.layers.len()),
            None => order,
        }
    }
}

/// How long a machine for tests or for use by hand may live by default: long enough for the whole suite on this
/// computer (8 hours on 2 processors); two hours where it costs money.
pub fn default_ttl(kind: ProviderKind) -> Duration {
    match kind {
        ProviderKind::Ec2 => Duration::from_secs(2 * 3600),
        _ => Duration::from_secs(13 * 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_not_asked_to_start_in_no_memory() {
        assert_eq!(parse_memory("64M"), Ok(64 << 20));
        assert_eq!(parse_memory("63M"), Err("a machine needs at least 64.0 MiB".to_owned()));
        assert!(parse_memory("1").is_err() && parse_memory("x").is_err());
    }
}
