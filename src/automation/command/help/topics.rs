//! `automation help`: the help of a command, or a topic, a page of options that other pages fold into a line.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command, Subcommand};

use crate::command::ec2;
use crate::command::help::{EC2, is_of_ec2, lay_out, long};

/// The topic of options that every command takes, with those of EC2.
const OPTIONS: &str = "options";

/// The topic of what has to do with EC2.
const ABOUT_EC2: &str = "ec2";

/// The heading of options of EC2 that not every command takes.
const SOME: &str = "Amazon EC2, where a command makes machines or looks at their images";

/// The options of `automation help`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A command, or a topic: `options` for those that every command takes, `ec2` for Amazon EC2 where it is built in
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

/// The page that was asked for, or why there is none; `tree` is as it was declared. None would be a page that the parser does not tell
/// from a command to run.
pub fn answer(args: &Args, tree: Command, color: clap::ColorChoice) -> Option<clap::Error> {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let page = match words.as_slice() {
        [OPTIONS] => Some(options(&tree)),
        [ABOUT_EC2] => about_ec2(&tree),
        _ => None,
    };
    let (asked, words) = match page {
        Some(page) => (page, Vec::new()),
        None => (lay_out(tree), words),
    };
    let line = std::iter::once("automation").chain(words).chain(std::iter::once("--help"));
    asked.color(color).try_get_matches_from(line).err()
}

/// The call for help that stands behind a group of commands, as in `automation machine help up`.
pub fn behind_group(arguments: &[OsString], tree: &Command) -> Option<Args> {
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let is_group = |name: &str| tree.find_subcommand(name).is_some_and(Command::has_subcommands);
    let calls = |pair: &[String]| matches!(pair, [group, word] if word == "help" && is_group(group));
    let at = words.windows(2).position(calls)?;
    let named = words.iter().skip(at).take(1).chain(words.iter().skip(at + 2));
    Some(Args { words: named.cloned().collect() })
}

/// The words that `automation help` takes beside commands.
pub fn topic_names(tree: &Command) -> Vec<&'static str> {
    let mut topics = vec![OPTIONS];
    topics.extend(tree.get_arguments().any(is_of_ec2).then_some(ABOUT_EC2));
    topics
}

/// Whether the command is one of EC2's own, whose page shows the options of EC2.
pub(super) fn is_ec2_command(name: &str) -> bool {
    ec2::Command::augment_subcommands(Command::new("ec2")).find_subcommand(name).is_some()
}

/// The line that stands for the options of every command.
pub(super) fn line(tree: &Command) -> String {
    let named = tree.get_arguments().filter(|arg| arg.is_global_set()).filter_map(long).take(3);
    format!("Every command also takes {} and more: `automation help {OPTIONS}`", named.collect::<Vec<_>>().join(", "))
}

/// The line that stands for a command's options of EC2, which are `names`.
pub(super) fn ec2_line(names: &[String]) -> String {
    format!("On {EC2} it takes {}: `automation help {ABOUT_EC2}`", names.join(", "))
}

/// The options that every command takes, and all of EC2.
fn options(tree: &Command) -> Command {
    let global = tree.get_arguments().filter(|arg| arg.is_global_set()).cloned();
    page("Options that every command takes, before its name or behind it", "[OPTIONS] COMMAND")
        .args(global.chain(some_of_ec2(tree)))
        .help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}\n")
}

/// The options and commands of EC2; none where it is not built in.
fn about_ec2(tree: &Command) -> Option<Command> {
    let global: Vec<Arg> = tree.get_arguments().filter(|arg| is_of_ec2(arg)).cloned().collect();
    if global.is_empty() {
        return None;
    }
    let own = tree.get_subcommands().filter(|command| is_ec2_command(command.get_name())).cloned();
    let about = "Machines on Amazon EC2: the options of every command, of some, and the commands that are about nothing else. \
                 `docs/aws.md` says the rest.";
    Some(page(about, "--provider ec2 [OPTIONS] COMMAND").args(global).args(some_of_ec2(tree)).subcommands(own))
}

/// The options of EC2 that some commands take, each once.
fn some_of_ec2(tree: &Command) -> Vec<Arg> {
    let mut found: Vec<Arg> = Vec::new();
    let mut open: Vec<&Command> = tree.get_subcommands().collect();
    open.reverse();
    while let Some(command) = open.pop() {
        for arg in command.get_arguments().filter(|arg| is_of_ec2(arg)) {
            if found.iter().all(|known| known.get_long() != arg.get_long()) {
                found.push(arg.clone().help_heading(SOME).hide(false));
            }
        }
        open.extend(command.get_subcommands());
    }
    found
}

/// An empty page whose only answer is its help.
fn page(about: &'static str, usage: &str) -> Command {
    let help = Arg::new("help").long("help").action(ArgAction::Help).hide(true);
    Command::new("automation")
        .about(StyledStr::from(about))
        .override_usage(format!("automation {usage}"))
        .max_term_width(100)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .arg(help)
}
