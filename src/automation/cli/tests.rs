//! What every command's help must have, over the whole tree.

use std::collections::BTreeMap;

use model::base::quote;

use super::*;

/// The lines that a command's page may have beside its own options.
const LONGEST: usize = 40;

/// The lines of the page with all commands.
const OVERVIEW: usize = 60;

/// Every command of the tree that a user may see, with its whole name; the parser's own `help` below groups is left out.
fn visible(tree: &clap::Command) -> Vec<(String, clap::Command)> {
    let mut open: Vec<(Vec<String>, clap::Command)> = vec![(Vec::new(), tree.clone())];
    let mut found = Vec::new();
    while let Some((path, command)) = open.pop() {
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            if inner.get_name() != "help" || path.is_empty() {
                open.push(([&path[..], &[inner.get_name().to_owned()]].concat(), inner.clone()));
            }
        }
        found.push((path.join(" "), command));
    }
    found
}

/// Those that do something by themselves.
fn leaves(tree: &clap::Command) -> Vec<(String, clap::Command)> {
    visible(tree).into_iter().filter(|(_, command)| !command.has_subcommands()).collect()
}

/// The lines of a page that begin an example.
fn examples(page: &str) -> Vec<String> {
    let (_, below) = page.split_once("\nExamples:\n").unwrap_or_default();
    below.lines().filter(|line| line.starts_with("  automation ")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn every_command_has_examples_and_the_parser_takes_each() {
    let tree = command::help::lay_out(declared());
    let leaves = leaves(&tree);
    assert!(leaves.len() > 40, "{}", leaves.len());
    for (name, mut command) in leaves {
        let page = command.render_help().to_string();
        let examples = examples(&page);
        assert!(examples.len() >= 2, "`{name}` has {} examples: {page}", examples.len());
        for line in examples {
            let words = quote::split(&line).unwrap();
            let mut matches = declared().try_get_matches_from(&words).unwrap_or_else(|why| panic!("`{line}`: {why}"));
            let mut path = Vec::new();
            let mut at = Some(&matches);
            while let Some((inner, below)) = at.and_then(clap::ArgMatches::subcommand) {
                path.push(inner.to_owned());
                at = Some(below);
            }
            assert_eq!(path.join(" "), name, "`{line}` is an example of another command");
            let cli = <Cli as clap::FromArgMatches>::from_arg_matches_mut(&mut matches).unwrap();
            // The environment of this test has no part in it.
            let typed = Globals { provider: None, ..cli.globals };
            cli.command.unwrap().refuse_host(&typed).unwrap_or_else(|why| panic!("`{line}`: {}", why.message));
        }
    }
}

#[test]
fn no_page_is_longer_than_a_screen_beside_its_own_options() {
    let tree = command::help::lay_out(declared());
    for (name, command) in visible(&tree).into_iter().filter(|(name, _)| !name.is_empty()) {
        let long = command.clone().render_long_help().to_string();
        let mut bare = command.mut_args(|arg| arg.hide(true));
        let rest = bare.render_long_help().to_string().lines().count();
        assert!(rest <= LONGEST, "`{name}` has {rest} lines: {long}");
        // What is not its own is folded into a line that says where it stands.
        assert!(!long.contains("--state-path <") && long.contains("`automation help options`"), "{long}");
    }
}

#[test]
fn the_overview_has_each_command_once_in_one_of_three_groups() {
    let tree = command::help::lay_out(declared());
    for page in [tree.clone().render_help(), tree.clone().render_long_help()] {
        let page = page.to_string();
        assert!(page.lines().count() < OVERVIEW, "{page}");
        let headings = page.lines().filter(|line| !line.starts_with(' ') && line.ends_with(':'));
        assert_eq!(headings.collect::<Vec<_>>(), ["Work:", "Machines:", "Upkeep:", "Options:"]);
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        let (_, groups) = page.split_once("Work:").unwrap();
        let (groups, options) = groups.split_once("Options:").unwrap();
        for line in groups.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            *shown.entry(line.split_whitespace().next().unwrap()).or_default() += 1;
        }
        let expected = tree.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
        let expected: BTreeMap<&str, usize> = expected.map(|name| (name, 1)).collect();
        assert_eq!(shown, expected);
        let options = options.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(options.contains("--help") && options.contains("--version"), "{options}");
        assert!(options.contains("`automation help options`") && !options.contains("--events"), "{options}");
    }
}

/// The page of `automation help WORDS`.
fn page(words: &[&str]) -> String {
    let line = ["automation", "help"].iter().chain(words);
    let mut matches = declared().get_matches_from(line);
    let cli = <Cli as clap::FromArgMatches>::from_arg_matches_mut(&mut matches).unwrap();
    let Some(Command::Help(args)) = cli.command else { panic!("{words:?} is no call for help") };
    command::help::answer(&args, declared(), clap::ColorChoice::Never).unwrap().render().to_string()
}

#[test]
fn the_options_that_are_folded_away_are_all_in_their_topic_with_their_whole_texts() {
    let tree = declared();
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let all = flat(&page(&["options"]));
    let mut folded: BTreeMap<String, String> = BTreeMap::new();
    for (name, command) in visible(&tree) {
        for arg in command.get_arguments() {
            let of_ec2 = arg.get_help_heading() == Some("Amazon EC2");
            let Some(long) = arg.get_long().filter(|_| arg.is_global_set() || of_ec2) else { continue };
            let help = flat(&arg.get_help().unwrap().to_string());
            assert!(all.contains(&format!("--{long}")) && all.contains(&help), "--{long}: {help}");
            // One text stands for the option of every command.
            let known = folded.entry(long.to_owned()).or_insert_with(|| help.clone());
            assert_eq!(*known, help, "--{long} of `{name}`");
        }
    }
    assert!(folded.len() >= 12, "{folded:?}");
    let ec2 = command::help::topic_names(&tree).contains(&"ec2");
    assert_eq!(ec2, cfg!(feature = "ec2"));
    if ec2 {
        let about = page(&["ec2"]);
        for word in ["--aws-region", "--instance-type", "--base-image-name", "purge-ec2-resources", "docs/aws.md"] {
            assert!(about.contains(word), "{word}: {about}");
        }
        assert!(!about.contains("--state-path"), "{about}");
    }
}

#[test]
fn options_of_ec2_are_shown_where_nothing_else_is_meant_and_folded_elsewhere() {
    if !cfg!(feature = "ec2") {
        return;
    }
    let tests = page(&["run-tests-linux"]);
    assert!(!tests.contains("--instance-type <"), "{tests}");
    let line = "On Amazon EC2 it takes --spot, --instance-type, --max-cost, --unknown-cost-ok: `automation help ec2`";
    let flat = tests.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(line), "{tests}");
    let purge = page(&["purge-ec2-resources"]);
    assert!(purge.contains("--aws-region <REGION>") && !purge.contains("help ec2"), "{purge}");
    // Where it is not shown it is taken all the same.
    for line in ["automation runs list --aws-region eu-central-1", "automation --connect ssm machine up --spot"] {
        assert!(declared().try_get_matches_from(line.split(' ')).is_ok(), "{line}");
        let laid_out = command::help::lay_out(declared());
        assert!(laid_out.try_get_matches_from(line.split(' ')).is_ok(), "{line}");
    }
    assert!(page(&["image", "gc"]).contains("--any-owner: `automation help ec2`"));
}

#[test]
fn what_is_no_command_is_refused_with_the_nearest() {
    let refused = page(&["machine", "upp"]);
    assert!(refused.contains("unrecognized subcommand 'upp'") && refused.contains("'up'"), "{refused}");
}

#[test]
fn help_behind_a_group_is_the_help_of_what_is_named() {
    let said = |line: &str| {
        let words: Vec<std::ffi::OsString> = line.split(' ').map(Into::into).collect();
        let message = parse(&words).unwrap_err();
        (message.kind(), message.render().to_string())
    };
    for line in ["automation machine help up", "automation --quiet machine help up"] {
        let (kind, page) = said(line);
        assert!(kind == clap::error::ErrorKind::DisplayHelp && page.contains("Usage: automation machine up"), "{page}");
    }
    assert!(said("automation runs help").1.contains("Usage: automation runs <COMMAND>"));
    assert_eq!(said("automation machine hulp").0, clap::error::ErrorKind::InvalidSubcommand);
}
