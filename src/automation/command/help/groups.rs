//! The commands in groups.

use clap::Command;

use crate::command::help::heading;

/// The widest line of the help, columns.
const WIDEST: usize = 100;

/// Each group with its commands, in the order in which they are shown. Those of EC2 are left out where the tool was built without it.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "Work",
        &[
            "run",
            "demo",
            "init",
            "run-tests",
            "run-tests-linux",
            "run-tests-windows",
            "runs",
            "tests",
            "try",
            "build-windows-wheel",
            "build-windows-installer",
            "build-inno",
            "build-wix",
            "build-all-windows-packages",
            "publish-windows-artifacts",
        ],
    ),
    ("Machines", &["machine", "image", "bootstrap-linux-dev", "bootstrap-windows-dev"]),
    (
        "Upkeep",
        &[
            "status",
            "doctor",
            "audit",
            "config",
            "completions",
            "upgrade",
            "terminate-ec2-instances",
            "purge-ec2-resources",
            "iam-policy",
            "uninstall",
            "help",
        ],
    ),
];

/// The commands of `tree` under their headings, each with its first line.
pub(super) fn text(tree: &Command) -> String {
    let style = *tree.get_styles().get_header();
    let group = |(name, commands): &(&str, &[&'static str])| {
        let known = commands.iter().filter_map(|name| Some((*name, tree.find_subcommand(name)?)));
        let shown = known.enumerate().map(|(at, (name, command))| {
            Command::new(name).display_order(at).about(command.get_about().cloned().unwrap_or_default())
        });
        // The parser breaks the lines, for it knows how wide the terminal is.
        let list = Command::new("group").disable_help_subcommand(true).max_term_width(WIDEST).subcommands(shown);
        let list = list.help_template("{subcommands}").render_help();
        format!("{}\n{}", heading(name, style), list.ansi().to_string().trim_end())
    };
    GROUPS.iter().map(group).collect::<Vec<_>>().join("\n\n")
}
