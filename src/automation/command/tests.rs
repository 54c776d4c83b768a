//! `automation tests flaky|slow|show`: what the kept runs together say of tests.

mod flaky;
mod kept;
mod show;
mod slow;

use std::time::Duration;

use model::base::text;
use model::fault::Fault;

use crate::compose::Context;

/// Subcommands of `tests`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List tests that passed and failed on the same source, those that fail most often first
    ///
    /// Within one run, where a test was tried again, or between runs of the same revision without uncommitted changes, with the
    /// same flags, distribution, Python and file system.
    Flaky(RangeArgs),
    /// List the slowest tests by the median of their durations, with their spread and their share of all
    Slow(RangeArgs),
    /// Show what one test came to in each run, newest first
    Show(show::Args),
}

/// The runs that are looked at, and how much is said of them.
#[derive(Debug, clap::Args)]
pub struct RangeArgs {
    /// Only runs that began within this span
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = text::parse_duration)]
    since: Duration,
    /// How many lines at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<i32, Fault> {
        match self {
            Self::Flaky(args) => flaky::run(context, args),
            Self::Slow(args) => slow::run(context, args),
            Self::Show(args) => show::run(context, args),
        }
    }
}

/// A share for people: `25 %`, and `0.4 %` where whole numbers would say nothing.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// Says how many lines a listing left out.
fn tell_left_out(context: &Context, all: usize, args: &RangeArgs) {
    if let Some(more) = all.checked_sub(args.limit).filter(|more| *more > 0) {
        context.screen.message(&format!("… and {more} more (`--limit`)"));
    }
}
