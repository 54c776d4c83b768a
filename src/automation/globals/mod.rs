//! Options that every subcommand takes, and which of them were typed.

#[cfg_attr(not(feature = "ec2"), path = "without_ec2.rs")]
pub mod ec2;

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use model::base::text;
use model::machine::Platform;

use crate::globals::ec2::Ec2Globals;

/// Options that every subcommand takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The folder for everything the tool keeps: keys, settings, journal, images, machines, runs
    #[arg(long, global = true, value_name = "DIR", env = "AUTOMATION_STATE_PATH", help_heading = "Global options")]
    pub state_path: Option<PathBuf>,
    /// Where machines come from [default: local, or the settings' `provider`]
    #[arg(long, global = true, value_name = "NAME", env = "AUTOMATION_PROVIDER", help_heading = "Global options")]
    pub provider: Option<String>,
    /// The machine of provider `host`; commands that split tests take several
    #[arg(long, global = true, value_name = "USER@HOST[:PORT]", help_heading = "Global options")]
    pub host: Vec<String>,
    /// The private key to log in with on the machine of provider `host`
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub identity: Option<PathBuf>,
    /// The system of the machine of provider `host`, and of one that `machine check` names
    #[arg(long, global = true, value_name = "SYSTEM", default_value = Platform::default().name(),
          value_parser = PossibleValuesParser::new(Platform::NAMES).map(|name| Platform::named(&name).unwrap_or_default()),
          help_heading = "Global options")]
    pub platform: Platform,
    /// A folder of image definitions to use instead of the built-in ones
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub images: Option<PathBuf>,
    /// How long a machine lives without a sign of its driver [default: the settings' `grace`, else 60s; 9m on EC2]
    #[arg(long, global = true, value_name = "SPAN", value_parser = text::parse_grace,
          help_heading = "Global options")]
    pub grace: Option<std::time::Duration>,
    /// On a terminal, let the output of tasks set titles, reach the clipboard and the like, which is filtered out otherwise
    #[arg(long, global = true, help_heading = "Global options")]
    pub raw: bool,
    /// When colours are used [default: auto, where a person reads them; NO_COLOR and CLICOLOR_FORCE are heeded]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_default_value = true,
        help_heading = "Global options"
    )]
    pub color: ColorArg,
    /// Say nothing but warnings and results
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// Say everything: what a test runner prints as well, and each line of a step
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub verbose: bool,
    /// Also write every event as it happens to this file, a JSON object a line; `-` is standard output, which then has nothing else
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub events: Option<PathBuf>,
    /// The options of EC2.
    #[command(flatten)]
    pub ec2: Ec2Globals,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorArg {
    /// Where a person reads them
    #[default]
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

impl From<ColorArg> for clap::ColorChoice {
    fn from(color: ColorArg) -> Self {
        match color {
            ColorArg::Auto => Self::Auto,
            ColorArg::Always => Self::Always,
            ColorArg::Never => Self::Never,
        }
    }
}

impl Globals {
    /// The name of the option or variable that chose the provider.
    pub fn provider_source(&self) -> &'static str {
        if self.was_typed("--provider") { "--provider" } else { "AUTOMATION_PROVIDER" }
    }

    /// Whether the option is on the command line; otherwise its value comes from the environment.
    pub fn was_typed(&self, option: &str) -> bool {
        is_typed(option)
    }
}

/// What `--color` is on a command line that was not read yet.
pub fn color_typed(arguments: &[std::ffi::OsString]) -> ColorArg {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--").collect();
    let values = words.iter().enumerate().filter_map(|(at, word)| match word.strip_prefix("--color") {
        Some("") => words.get(at + 1).map(std::ops::Deref::deref),
        Some(rest) => rest.strip_prefix('='),
        None => None,
    });
    let mut known = values.filter_map(|value| <ColorArg as clap::ValueEnum>::from_str(value, false).ok());
    known.next_back().unwrap_or_default()
}

/// Whether the option is on this process's command line.
pub fn is_typed(option: &str) -> bool {
    contains_option(std::env::args_os().skip(1), option)
}

/// Whether `option` is among `arguments` before `--`.
fn contains_option(arguments: impl Iterator<Item = std::ffi::OsString>, option: &str) -> bool {
    let mut words = arguments.map(|word| word.to_string_lossy().into_owned()).take_while(|word| word != "--");
    words.any(|word| word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_known_before_the_command_line_is_read() {
        let typed = |line: &str| color_typed(&line.split(' ').map(Into::into).collect::<Vec<_>>());
        assert_eq!(typed("automation --color never runs --color=always list"), ColorArg::Always);
        assert_eq!(typed("automation --color never --nonsense"), ColorArg::Never);
        for line in ["automation", "automation --color", "automation --color=odd", "automation run -- --color=never"] {
            assert_eq!(typed(line), ColorArg::Auto, "{line}");
        }
    }
}
