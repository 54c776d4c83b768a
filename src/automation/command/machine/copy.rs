//! `automation machine cp`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::base::{quote, text};
use model::connection::{Connection, Totals};
use model::event::{FilesEvent, StepEvent};
use model::fault::Fault;
use model::machine::Machine;
use model::output::{OutputLimits, run_command};
use model::work::Work;

use crate::command::error::exit;
use crate::command::machine::side::{Side, parse_side};
use crate::command::signals;
use crate::compose::Context;

/// Copy files and folders to or from a machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to copy: a path here, or `ID:PATH`; a path here with a colon is `./NAME`. `:PATH` is on the machine that is there
    /// alone
    from: OsString,
    /// Where to: `ID:PATH`, or a path here; `ID:` and `ID:~/` are the home of the machine's user
    to: OsString,
    /// Print what was moved as JSON
    #[arg(long)]
    json: bool,
}

/// The connection of a copy, once there is one.
type HeldConnection = std::sync::OnceLock<Box<dyn Connection>>;

/// The two ways of a copy.
enum Transfer {
    /// From a path here to one on a machine.
    Up { from: PathBuf, machine: Box<Machine>, path: String },
    /// From a path on a machine to one here.
    Down { machine: Box<Machine>, path: String, to: PathBuf },
}

/// Copies.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let began = std::time::Instant::now();
    let transfer = match (parse_side(context, &args.from)?, parse_side(context, &args.to)?) {
        (Side::Local(from), Side::Remote { machine, path }) => Transfer::Up { from, machine, path },
        (Side::Remote { machine, path }, Side::Local(to)) => Transfer::Down { machine, path, to },
        _ => {
            return Err(Fault::usage("one side must be a path here, the other `ID:PATH` on a machine").hint(
                "`automation machine list` shows the machines; a path here with a colon in its name is `./NAME`.",
            ));
        }
    };
    let shown = |path: &OsStr| path.to_string_lossy().into_owned();
    let work = Work::Copying { from: shown(&args.from), to: shown(&args.to) };
    let step = context.teller().begin(work);
    // The connection outlives a copy that is given up: the half file on the machine is removed over it.
    let held = HeldConnection::new();
    let copying = async {
        match transfer {
            Transfer::Up { from, machine, path } => upload(context, &held, &from, &machine, &path).await,
            Transfer::Down { machine, path, to } => download(context, &held, &machine, &path, to).await,
        }
    };
    let totals =
        signals::until_signal(copying, "Make the same copy again: a large file goes on where it was cut.").await?;
    step.finish();
    show_totals(context, args, &totals, began.elapsed());
    Ok(exit::OK)
}

/// A callback that shows how much has moved.
fn report_progress<'a>(
    context: &Context,
    moved: &'a AtomicU64,
    total: Option<u64>,
) -> impl Fn(u64) + Send + Sync + use<'a> {
    let teller = context.teller();
    move |bytes| {
        let done = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        teller.tell(StepEvent::Moved { done, total });
    }
}

async fn download(
    context: &Context,
    held: &HeldConnection,
    machine: &Machine,
    from: &str,
    to: PathBuf,
) -> Result<Totals, Fault> {
    let connection = super::connect(context, machine).await?;
    let connection = held.get_or_init(|| connection);
    let moved = AtomicU64::new(0);
    let to = into_local(from, to)?;
    let totals = connection.download(from, &to, &report_progress(context, &moved, None)).await.map_err(|error| {
        let fault = Fault::from(error);
        let file = to.as_os_str().as_bytes().ends_with(b"/") && fault.hint.is_none();
        if file { fault.hint("Make the folder first, or leave out the slash at the end.") } else { fault }
    })?;
    connection.close().await;
    Ok(totals)
}

async fn upload(
    context: &Context,
    held: &HeldConnection,
    from: &Path,
    machine: &Machine,
    to: &str,
) -> Result<Totals, Fault> {
    if !from.exists() && !from.is_symlink() {
        // The slash alone makes the system deny a file that is there.
        let file = from.components().as_path();
        return Err(match from.as_os_str().as_bytes().ends_with(b"/") && file.is_file() {
            true => Fault::usage(format!("`{}` is a file, not a folder", file.display()))
                .hint("Leave out the slash at the end."),
            false => Fault::usage(format!("there is no `{}`", from.display())),
        });
    }
    let sized = from.to_owned();
    let (connection, total) =
        tokio::join!(super::connect(context, machine), tokio::task::spawn_blocking(move || total_size(&sized)));
    let connection = connection?;
    let connection = held.get_or_init(|| connection);
    let moved = AtomicU64::new(0);
    let progress = report_progress(context, &moved, total.ok());
    let totals = match into_remote(connection.as_ref(), from, to).await? {
        RemoteName::Name(target) if target.ends_with('/') && from.is_file() => {
            let folder = quote::word(&target).unwrap_or_default();
            let make = context.to_type(&format!("machine exec {} -- mkdir -p {folder}", machine.id));
            return Err(Fault::outside(format!("there is no folder `{target}` on the machine"))
                .hint(format!("Make it with `{make}`, or leave out the slash at the end.")));
        }
        RemoteName::Name(target) => connection.upload(from, &target, &progress).await?,
        RemoteName::Same => {
            let above = from.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let paths = list_paths(above, from.file_name().unwrap_or_default())?;
            connection.trees()?.upload_some(above, &paths, to, &progress).await?
        }
    };
    connection.close().await;
    Ok(totals)
}

/// The paths, relative to the folder `above`, of `name` in it and of all below that, parents first.
fn list_paths(above: &Path, name: &OsStr) -> Result<Vec<PathBuf>, Fault> {
    let mut paths = vec![PathBuf::from(name)];
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        let place = above.join(&path);
        let failed = |error| {
            Fault::outside(format!("cannot read `{}`", place.display().to_string().escape_debug())).because(error)
        };
        if std::fs::symlink_metadata(&place).map_err(failed)?.is_dir() {
            for entry in std::fs::read_dir(&place).map_err(failed)? {
                paths.push(path.join(entry.map_err(failed)?.file_name()));
            }
        }
        at += 1;
    }
    Ok(paths)
}

/// The bytes of all files, for the bar: the copy itself reports what cannot be read.
fn total_size(from: &Path) -> u64 {
    match std::fs::metadata(from) {
        Ok(found) if found.is_file() => found.len(),
        Ok(found) if found.is_dir() => {
            let paths = list_paths(from, OsStr::new(".")).unwrap_or_default();
            let sizes = paths.iter().filter_map(|path| std::fs::symlink_metadata(from.join(path)).ok());
            sizes.filter(std::fs::Metadata::is_file).map(|found| found.len()).sum()
        }
        _ => 0,
    }
}

fn show_totals(context: &Context, args: &Args, totals: &Totals, took: std::time::Duration) {
    if !totals.replaced_links.is_empty() {
        context.teller().tell(FilesEvent::LinksReplaced(totals.replaced_links.as_slice().into()));
    }
    if args.json {
        context.screen.json(totals);
        return;
    }
    let rate = text::bytes((totals.bytes as f64 / took.as_secs_f64().max(0.001)) as u64);
    let files = text::pluralize(totals.files, "file");
    context.screen.message(&format!("Copied {files}, {} ({rate}/s)", text::bytes(totals.bytes)));
}

fn last_name(path: &str) -> Option<&str> {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."))
}

fn into_local(from: &str, to: PathBuf) -> Result<PathBuf, Fault> {
    if !to.is_dir() {
        return Ok(to);
    }
    let name = last_name(from)
        .ok_or_else(|| Fault::usage(format!("`{from}` has no name to keep: name the target in full")))?;
    Ok(to.join(name))
}

/// The name that a copy gets on the machine.
enum RemoteName {
    /// This path.
    Name(String),
    /// Its name here, which is not UTF-8, in the folder that was given.
    Same,
}

async fn into_remote(connection: &dyn Connection, from: &Path, to: &str) -> Result<RemoteName, Fault> {
    let test = guest::of(connection.platform()).is_folder(to);
    if !run_command(connection, &test, OutputLimits::SMALL).await?.exit.is_success() {
        return Ok(RemoteName::Name(to.to_owned()));
    }
    let real = from.canonicalize().unwrap_or_else(|_| from.to_owned());
    let nameless = || Fault::usage(format!("`{}` has no name to keep: name the target in full", from.display()));
    match (from.file_name(), real.file_name().and_then(OsStr::to_str)) {
        (Some(name), _) => Ok(match name.to_str() {
            Some(name) => RemoteName::Name(join_path(to, name)),
            // The copy by names would send the link itself, and not the file behind it.
            None if from.is_symlink() => {
                return Err(Fault::usage(format!("`{}` is a link whose name is not UTF-8", from.display()))
                    .hint("Name what it leads to, or the target in full."));
            }
            None => RemoteName::Same,
        }),
        (None, Some(name)) => Ok(RemoteName::Name(join_path(to, name))),
        (None, None) => Err(nameless()),
    }
}

fn join_path(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_of_a_path_is_kept() {
        assert_eq!(last_name("/a/b/"), Some("b"));
        assert_eq!(last_name("/a/.."), None);
    }
}
