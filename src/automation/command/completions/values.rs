//! Which argument takes which kind of value.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};

use crate::command::help;
use crate::compose::offers::{Offer, Offers};

/// The kind of values that an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Provider,
    Distro,
    Run,
    Machine,
    /// A machine as the first of several words, whose others are a command's.
    MachineFirst,
    /// A path here, or `ID:PATH`.
    Side,
    Definition,
    /// A definition, or the state of a machine.
    BootImage,
    /// The state of a machine.
    Snapshot,
    Image,
    ProjectCommand,
    Test,
    Setting,
    SettingValue,
    Command,
    Topic,
}

/// `(command, argument, kind)`: the argument by its id, the command by its name from the top; `*` is any command.
const VALUES: &[(&str, &str, Kind)] = &[
    ("", "provider", Kind::Provider),
    ("*", "distro", Kind::Distro),
    ("*", "distros", Kind::Distro),
    ("*", "failed_of", Kind::Run),
    ("*", "lost_of", Kind::Run),
    ("*", "run", Kind::Run),
    ("runs accept", "from", Kind::Run),
    ("runs report", "against", Kind::Run),
    ("run", "names", Kind::ProjectCommand),
    ("run", "image", Kind::BootImage),
    ("run-tests", "image", Kind::BootImage),
    ("run-tests-linux", "image", Kind::Snapshot),
    ("run-tests-windows", "image", Kind::BootImage),
    ("machine up", "image", Kind::BootImage),
    ("machine snapshot", "machine", Kind::Machine),
    ("image build", "name", Kind::Definition),
    ("image show", "image", Kind::Image),
    ("image rm", "named", Kind::Image),
    ("*", "taken", Kind::Machine),
    ("machine ssh", "words", Kind::MachineFirst),
    ("machine tunnel", "words", Kind::MachineFirst),
    ("machine down", "machines", Kind::Machine),
    ("machine exec", "machines", Kind::Machine),
    ("machine exec", "words", Kind::MachineFirst),
    ("machine cp", "from", Kind::Side),
    ("machine cp", "to", Kind::Side),
    ("machine sync", "to", Kind::Side),
    ("run-tests-linux", "tests", Kind::Test),
    ("run-tests-windows", "tests", Kind::Test),
    ("runs show", "tests", Kind::Test),
    ("runs accept", "tests", Kind::Test),
    ("tests show", "name", Kind::Test),
    ("config get", "key", Kind::Setting),
    ("config set", "key", Kind::Setting),
    ("config set", "value", Kind::SettingValue),
    ("config unset", "key", Kind::Setting),
    ("iam-policy", "commands", Kind::Command),
    ("help", "words", Kind::Topic),
];

/// What an argument's values come from.
struct Values {
    kind: Kind,
    offers: Offers,
    /// The words that were typed, the program's name first.
    typed: Vec<String>,
    commands: Vec<Offer>,
    topics: Vec<Offer>,
}

/// `tree` with what it needs to offer values for what was `typed`. Options are held back unless one is being typed: they would hide the
/// values, and the engine shows what is held back where there is nothing else.
pub(super) fn attached(tree: Command, offers: &Offers, typed: &[OsString], is_option: bool) -> Command {
    let offer = |name: &str, words: Option<String>| Offer { value: name.to_owned(), words };
    let about = |command: &Command| command.get_about().map(ToString::to_string);
    let commands: Vec<Offer> =
        tree.get_subcommands().map(|command| offer(command.get_name(), about(command))).collect();
    let topics = help::topic_names(&tree).into_iter().map(|topic| offer(topic, None));
    let topics = topics.chain(commands.iter().cloned()).collect::<Vec<_>>();
    let typed: Vec<String> = typed.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let values = |kind: Kind| Values {
        kind,
        offers: offers.clone(),
        typed: typed.clone(),
        commands: commands.clone(),
        topics: topics.clone(),
    };
    attach(tree, "", is_option, &values)
}

fn attach(command: Command, path: &str, is_option: bool, values: &impl Fn(Kind) -> Values) -> Command {
    let give = |arg: Arg| {
        let is_held = !is_option && !arg.is_positional();
        let arg = arg.hide(is_held);
        match kind_of(path, arg.get_id().as_str()) {
            Some(kind) => arg.add(ArgValueCompleter::new(values(kind))),
            None => arg,
        }
    };
    // The parser's own options would be the only ones that are not held back.
    command.disable_help_flag(!is_option).disable_version_flag(!is_option).mut_args(give).mut_subcommands(|inner| {
        let below = format!("{path} {}", inner.get_name());
        attach(inner, below.trim_start(), is_option, values)
    })
}

fn kind_of(path: &str, id: &str) -> Option<Kind> {
    let fits = |command: &str| command == path || command == "*" && !path.is_empty();
    VALUES.iter().find(|(command, known, _)| *known == id && fits(command)).map(|(_, _, kind)| *kind)
}

impl Values {
    fn all(&self) -> Vec<Offer> {
        match self.kind {
            Kind::Provider => self.offers.providers(),
            Kind::Distro => self.offers.distros(),
            Kind::Run => self.offers.runs(),
            Kind::Machine | Kind::MachineFirst | Kind::Side => self.offers.machines(),
            Kind::Definition => self.offers.definitions(),
            Kind::BootImage => self.offers.boot_images(),
            Kind::Snapshot => self.offers.snapshots(),
            Kind::Image => self.offers.images(),
            Kind::ProjectCommand => self.offers.project_commands(),
            Kind::Test => self.offers.tests(),
            Kind::Setting => self.offers.settings(),
            Kind::SettingValue => {
                let key = self.typed.iter().skip_while(|word| *word != "set").nth(1);
                key.map(|key| self.offers.setting_values(key)).unwrap_or_default()
            }
            Kind::Command => self.commands.clone(),
            Kind::Topic => self.topics.clone(),
        }
    }
}

impl ValueCompleter for Values {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let begun = current.to_string_lossy();
        // A path on a machine begins behind its id.
        let end = if self.kind == Kind::Side { ":" } else { "" };
        let fitting = self.all().into_iter().filter(|offer| offer.value.starts_with(&*begun));
        let given = fitting.map(|offer| CompletionCandidate::new(offer.value + end).help(offer.words.map(Into::into)));
        let paths = if self.kind == Kind::Side { PathCompleter::any().complete(current) } else { Vec::new() };
        given.chain(paths).collect()
    }

    fn complete_at(&self, arg_index: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        match self.kind {
            Kind::MachineFirst if arg_index > 0 => Vec::new(),
            _ => self.complete(current),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all commands of the tree, and the ids of their own arguments.
    fn arguments(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
        found.extend(command.get_arguments().map(|arg| (path.to_owned(), arg.get_id().to_string())));
        for inner in command.get_subcommands() {
            arguments(inner, format!("{path} {}", inner.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_row_is_about_an_argument_that_is_there() {
        let mut found = Vec::new();
        arguments(&crate::cli::tree(), "", &mut found);
        for (command, id, kind) in VALUES {
            // Nobody has a policy who has no account.
            if *kind == Kind::Command && !cfg!(feature = "ec2") {
                continue;
            }
            let is_there = |(path, known): &(String, String)| {
                known == id && (path == command || *command == "*" && !path.is_empty())
            };
            assert!(found.iter().any(is_there), "`{command}` has no `{id}`");
        }
    }
}
