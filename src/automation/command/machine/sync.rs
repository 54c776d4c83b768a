//! `automation machine sync`.

use std::ffi::OsString;

use flow::transfer::sync::{SyncRequest, SyncSummary, sync};
use model::base::text;
use model::fault::Fault;
use model::work::Work;

use crate::command::error::exit;
use crate::command::machine::side::{Side, parse_side};
use crate::command::signals;
use crate::command::source_args::TravelArgs;
use crate::compose::Context;

/// Bring a folder on a machine up to date with one here, sending only what differs.
#[derive(Debug, clap::Args)]
#[command(mut_arg("include_ignored", |arg| arg.requires("ignore_files")), mut_arg("allow_file", |arg| arg.requires("ignore_files")))]
#[command(mut_arg("yes", |arg| arg.requires("ignore_files")))]
pub struct Args {
    /// The folder here
    #[arg(value_name = "FROM")]
    from: OsString,
    /// The folder on the machine, as `ID:PATH`, or `:PATH` where one is there alone; made where it is missing
    #[arg(value_name = "TO")]
    to: OsString,
    /// Leave behind what the folder's version control system ignores, and its history: what `run` sends is sent
    #[arg(long)]
    ignore_files: bool,
    #[command(flatten)]
    travel: TravelArgs,
    /// Remove at most so many entries; where there are more, nothing is sent
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_delete: usize,
    /// Only say what would be sent and removed
    #[arg(long)]
    dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Synchronises.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let began = std::time::Instant::now();
    let (from, machine, to) = match (parse_side(context, &args.from)?, parse_side(context, &args.to)?) {
        (Side::Local(from), Side::Remote { machine, path }) => (from, machine, path),
        _ => return Err(Fault::usage("FROM must be a folder here, and TO `ID:PATH` on a machine")),
    };
    if !from.is_dir() {
        return Err(Fault::usage(format!("there is no folder `{}`", from.display())));
    }
    let (from, paths) = match args.ignore_files {
        true => {
            let source = args.travel.find(&from).await?;
            args.travel.check(&source, 0, &context.screen)?;
            (source.top, Some(source.paths))
        }
        false => (from, None),
    };
    let wanted = SyncRequest { from, paths, to, memory: None, max_delete: args.max_delete, dry_run: args.dry_run };
    let teller = context.teller();
    let (shown, to) = (wanted.from.display().to_string(), wanted.to.clone());
    let step = teller.begin(Work::Synchronising { from: shown, to });
    let syncing = sync(super::connect(context, &machine), &teller, &wanted);
    let done = signals::until_signal(syncing, "Run it again: what was not done yet is done then.").await?;
    step.finish();
    if args.json {
        context.screen.json(&done);
    } else {
        for (verb, paths) in [("send", &done.to_send), ("remove", &done.to_delete)] {
            for path in paths {
                context.screen.data(&format!("{verb} {}\n", path.escape_debug()));
            }
        }
        context.screen.message(&summary(&done, began.elapsed()));
    }
    Ok(exit::OK)
}

fn summary(done: &SyncSummary, took: std::time::Duration) -> String {
    let would = if done.dry_run { "Would send" } else { "Sent" };
    let kept = match done.kept {
        0 => String::new(),
        kept => format!(", {kept} kept that no sync put there"),
    };
    format!(
        "{would} {} ({}), removed {}, {} unchanged{kept} ({})",
        done.sent,
        text::bytes(done.bytes),
        done.deleted,
        done.unchanged,
        text::seconds(took)
    )
}
