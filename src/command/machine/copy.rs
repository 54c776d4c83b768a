//! `automation machine cp`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::text;
use crate::command::context::Context;
use crate::command::signals;
use crate::flow::collect::{SMALL, collect};
use crate::model::connection::{Connection, Totals};
use crate::model::event::{Event, Sink};
use crate::model::fault::Fault;
use crate::model::task::Command;

/// Copy files and folders to or from a machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to copy: a path here, or `ID:PATH`
    from: OsString,
    /// Where to: `ID:PATH`, or a path here
    to: OsString,
    /// Print what was moved as JSON
    #[arg(long)]
    json: bool,
}

/// One side of a copy.
pub(super) enum Side {
    /// A path here.
    Here(PathBuf),
    /// A path on a machine.
    There {
        /// The machine, as it was given.
        machine: String,
        /// The path there.
        path: String,
    },
}

/// `ID:PATH` is on a machine; a colon after a slash belongs to a path here.
pub(super) fn side(text: &OsStr) -> Result<Side, Fault> {
    let bytes = text.as_bytes();
    let machine = bytes.iter().position(|byte| *byte == b':').map(|at| &bytes[..at]);
    if machine.is_none_or(|machine| machine.is_empty() || machine.contains(&b'/')) {
        return Ok(Side::Here(PathBuf::from(text)));
    }
    let Some((machine, path)) = text.to_str().and_then(|text| text.split_once(':')) else {
        let shown = text.to_string_lossy();
        return Err(Fault::usage(format!("`{shown}` is on a machine, and not UTF-8"))
            .hint("Name the folder that it is in; what is in a folder may have any name."));
    };
    let path = if path.is_empty() { "." } else { path };
    Ok(Side::There { machine: machine.to_owned(), path: path.to_owned() })
}

/// The connection of a copy, once there is one.
type Held = std::sync::OnceLock<Box<dyn Connection>>;

/// Copies.
pub async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let began = std::time::Instant::now();
    let shown = |path: &OsStr| path.to_string_lossy().into_owned();
    context.screen.event(Event::Step(format!("Copying {} to {}", shown(&args.from), shown(&args.to))));
    // Outlives a copy that is given up, whose half file on the machine is removed over it.
    let held = Held::new();
    let copying = async {
        match (side(&args.from)?, side(&args.to)?) {
            (Side::Here(from), Side::There { machine, path }) => upload(context, &held, &from, &machine, &path).await,
            (Side::There { machine, path }, Side::Here(to)) => download(context, &held, &machine, &path, to).await,
            _ => Err(Fault::usage("one side must be a path here, the other `ID:PATH` on a machine")),
        }
    };
    let totals =
        signals::until_signal(copying, "Make the same copy again: a large file goes on where it was cut.").await?;
    tell(context, args, totals, began.elapsed());
    Ok(0)
}

/// Shows what moves.
fn told<'a>(context: &'a Context, moved: &'a AtomicU64, total: Option<u64>) -> impl Fn(u64) + Send + Sync + 'a {
    move |bytes| {
        let done = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        context.screen.event(Event::Bytes { done, total });
    }
}

async fn download(context: &Context, held: &Held, machine: &str, from: &str, to: PathBuf) -> Result<Totals, Fault> {
    let connection = super::connect(context, &super::find(context, machine)?).await?;
    let connection = held.get_or_init(|| connection);
    let moved = AtomicU64::new(0);
    let totals = connection.download(from, &into_local(from, to)?, &told(context, &moved, None)).await?;
    connection.close().await;
    Ok(totals)
}

async fn upload(context: &Context, held: &Held, from: &Path, machine: &str, to: &str) -> Result<Totals, Fault> {
    if !from.exists() && !from.is_symlink() {
        return Err(Fault::usage(format!("there is no `{}`", from.display())));
    }
    let machine = super::find(context, machine)?;
    let sized = from.to_owned();
    let (connection, total) =
        tokio::join!(super::connect(context, &machine), tokio::task::spawn_blocking(move || size(&sized)));
    let connection = connection?;
    let connection = held.get_or_init(|| connection);
    let moved = AtomicU64::new(0);
    let progress = told(context, &moved, total.ok());
    let totals = match into_remote(connection.as_ref(), from, to).await? {
        Target::Name(target) => connection.upload(from, &target, &progress).await?,
        Target::Same => {
            let above = from.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let paths: Vec<PathBuf> =
                all(from).iter().filter_map(|path| path.strip_prefix(above).ok()).map(Path::to_owned).collect();
            connection.upload_some(above, &paths, to, &progress).await?
        }
    };
    connection.close().await;
    Ok(totals)
}

/// A path and all below it, from the top; what cannot be looked at is told of by the copy itself.
fn all(from: &Path) -> Vec<PathBuf> {
    let mut paths = vec![from.to_owned()];
    let mut at = 0;
    while let Some(path) = paths.get(at) {
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            let below: Vec<PathBuf> =
                std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            paths.extend(below);
        }
        at += 1;
    }
    paths
}

/// The bytes of all files.
fn size(from: &Path) -> u64 {
    if let Ok(found) = std::fs::metadata(from).map(|found| found.is_file().then_some(found.len()))
        && let Some(size) = found
    {
        return size;
    }
    let sizes = all(from).into_iter().filter_map(|path| std::fs::symlink_metadata(path).ok());
    sizes.filter(std::fs::Metadata::is_file).map(|found| found.len()).sum()
}

fn tell(context: &Context, args: &Args, totals: Totals, took: std::time::Duration) {
    if args.json {
        context.screen.json(&totals);
        return;
    }
    let rate = text::bytes((totals.bytes as f64 / took.as_secs_f64().max(0.001)) as u64);
    let files = text::counted(totals.files, "file");
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

/// What something is to be called on a machine.
enum Target {
    /// This path.
    Name(String),
    /// What it is called here, which no text can hold, in the folder that was given.
    Same,
}

async fn into_remote(connection: &dyn Connection, from: &Path, to: &str) -> Result<Target, Fault> {
    let test = Command::new("test").arg("-d").arg(to);
    if !collect(connection, &test, SMALL).await?.exit.success() {
        return Ok(Target::Name(to.to_owned()));
    }
    let real = from.canonicalize().unwrap_or_else(|_| from.to_owned());
    let nameless = || Fault::usage(format!("`{}` has no name to keep: name the target in full", from.display()));
    match (from.file_name(), real.file_name().and_then(OsStr::to_str)) {
        (Some(name), _) => Ok(match name.to_str() {
            Some(name) => Target::Name(below(to, name)),
            None => Target::Same,
        }),
        (None, Some(name)) => Ok(Target::Name(below(to, name))),
        (None, None) => Err(nameless()),
    }
}

fn below(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_after_a_slash_is_no_machine() {
        let side = |text: &[u8]| side(OsStr::from_bytes(text));
        assert!(matches!(side(b"hg-1:/tmp/x"), Ok(Side::There { .. })));
        assert!(matches!(side(b"./a:b"), Ok(Side::Here(_))));
        assert!(matches!(side(b"/tmp/a:b"), Ok(Side::Here(_))));
        assert!(matches!(side(b"hg-1:"), Ok(Side::There { path, .. }) if path == "."));
        assert!(matches!(side(b"bad\xff"), Ok(Side::Here(_))));
        assert!(side(b"hg-1:bad\xff").is_err());
        assert_eq!(last_name("/a/b/"), Some("b"));
        assert_eq!(last_name("/a/.."), None);
    }
}
