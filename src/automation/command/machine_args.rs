//! The options for the machine that a command makes.

use std::collections::BTreeMap;
use std::time::Duration;

use flow::order::Order;
use model::base::text;
use model::fault::{Fault, FaultKind};
use model::image::ImagePlan;
use model::machine::{Caps, Hardware, Network, ProviderKind};
use model::matrix::Axis;
use project::declared::NetworkWord;
use project::image::{Definition, GivenValue, ImageChoice};

use crate::command::ec2::args::{CloudArgs, SpotArg};
use crate::command::matrix_args::KnownAxis;
use crate::command::parameter_args::ParameterArgs;
use crate::command::unfit::refuse_options;
use crate::compose::Context;

/// The options of every command that makes a machine.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineArgs {
    /// The distribution, or several with commas between them: all of it once on each [default: debian12, or the settings'
    /// `defaults.distro`; for tests of a checkout `auto`, the first that has what its build needs]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    distro: Vec<String>,
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

/// The axis of distributions.
pub const DISTRO: &str = "distro";

/// The axis of the distributions that were named, where there are several. Refuses what names nothing, one that stands twice, and
/// [`AUTO`] beside others.
pub fn distro_axis(named: &[String]) -> Result<Option<Axis>, Fault> {
    let axis = match named {
        // Whoever makes the image says what is wrong with the name of one.
        [] | [_] => return Ok(None),
        named if named.iter().any(|name| name.trim().is_empty()) => {
            return Err(Fault::usage("one of the names in `--distro` is empty").hint("Part them by one comma each."));
        }
        named => Axis::of(DISTRO, named.to_vec()).map_err(|why| Fault::usage(format!("`--distro`: {why}")))?,
    };
    match axis.values.iter().any(|name| name == AUTO) {
        true => Err(Fault::usage(format!(
            "`{AUTO}` chooses one distribution, and cannot stand beside others in `--distro`"
        ))
        .hint("Name each, or none.")),
        false => Ok(Some(axis)),
    }
}

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
    /// Each of several distributions that were named, as the axis of a matrix; none where one was named, or none. `auto` chooses one and
    /// stands for no other.
    pub fn distro_axis(&self) -> Result<Option<Axis>, Fault> {
        distro_axis(&self.distro)
    }

    /// The axis `distro` as commands know it.
    pub fn known_distro(&self) -> KnownAxis<'static> {
        (DISTRO, self.names_distro().then_some("--distro"))
    }

    /// The distribution of a machine that boots an image of `definition`.
    pub fn distro<'a>(&'a self, context: &'a Context, definition: &'a Definition) -> &'a str {
        definition.distro_for(self.typed_distro(), &context.settings.defaults.distro)
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

    /// Takes this distribution, unless one was named.
    pub fn prefer_distro(&mut self, distro: &str) {
        if self.distro.is_empty() {
            self.choose_distro(distro);
        }
    }

    /// Takes this distribution, whatever was named.
    pub fn choose_distro(&mut self, distro: &str) {
        self.distro = vec![distro.to_owned()];
    }

    /// What was typed as the distribution, where one is meant.
    fn typed_distro(&self) -> Option<&str> {
        match self.distro.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The distribution that was named, where one is meant; `auto` does not name one.
    pub fn named_distro(&self) -> Option<&str> {
        self.typed_distro().filter(|name| *name != AUTO)
    }

    /// Whether a distribution was named, or several.
    fn names_distro(&self) -> bool {
        self.distro.iter().any(|name| name != AUTO)
    }

    /// The options that choose something of a definition, in words, each with whether it was given.
    pub fn given_of_definition(&self) -> [(&'static str, bool); 2] {
        [("a distribution", self.named_distro().is_some()), ("a parameter of a definition", self.parameters.is_given())]
    }

    /// The fault about the image, with the line of the settings that asked for the distribution where no option did.
    pub fn name_setting(&self, context: &Context, mut fault: Fault) -> Fault {
        let named = format!("no distribution `{}`", context.settings.defaults.distro);
        let line = context.settings.origin("defaults.distro").filter(|_| self.distro.is_empty());
        if let Some(origin) = line.filter(|_| fault.message.contains(&named)) {
            fault.message = format!("{origin}: {}", fault.message);
            // What a file holds is not what was typed.
            fault.kind = FaultKind::Outside;
        }
        fault
    }

    /// Refuses options that have no meaning for machines of these providers.
    pub fn refuse_unfit(&self, kinds: &[ProviderKind]) -> Result<(), Fault> {
        let of_image =
            [("--distro", self.names_distro()), ("--parameter", self.parameters.first_without_option().is_some())];
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
    fn several_distributions_are_an_axis_and_one_is_none() {
        let axis = |names: &[&str]| distro_axis(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!((axis(&[]).unwrap(), axis(&["debian12"]).unwrap(), axis(&["auto"]).unwrap()), (None, None, None));
        let two = axis(&["debian12", "debian13"]).unwrap().unwrap();
        assert_eq!((two.name.as_str(), two.values.len()), ("distro", 2));
        for (wrong, why) in [
            (&["debian12", "debian12"][..], "`debian12` stands twice"),
            (&["debian12", ""], "one of the names in `--distro` is empty"),
            (&["auto", "debian12"], "cannot stand beside others"),
        ] {
            let told = axis(wrong).unwrap_err().message;
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn a_machine_is_not_asked_to_start_in_no_memory() {
        assert_eq!(parse_memory("64M"), Ok(64 << 20));
        assert_eq!(parse_memory("63M"), Err("a machine needs at least 64.0 MiB".to_owned()));
        assert!(parse_memory("1").is_err() && parse_memory("x").is_err());
    }
}
