//! The option for what a run waits for at its end.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::compose::WaitGone;

/// What a run waits for at its end.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct PartingArgs {
    /// Whether to wait until the machines are seen gone where that takes longer than a second, as on EC2: `always`, `never` (a process of
    /// its own sees to it, and `audit --run` waits for that), or `auto`, which waits where the variable `CI` is set
    /// [default: auto, or the settings' `defaults.wait-gone`]
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "always",
          value_parser = PossibleValuesParser::new(WaitGone::NAMES).map(|name| WaitGone::named(&name)))]
    pub wait_gone: Option<WaitGone>,
}
