//! `automation machine cp`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::text;
use crate::command::context::Context;
use crate::model::connection::Totals;
use crate::model::event::{Event, Sink};
use crate::model::fault::Fault;

/// Copy files and folders to or from a machine.
///
/// One side is a path here, the other `ID:PATH` on a machine. Like `cp -r`: into TO where TO is a folder, to the name TO
/// otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to copy
    from: String,
    /// Where to
    to: String,
    /// Print what was moved as JSON
    #[arg(long)]
    json: bool,
}

enum Side {
    Here(PathBuf),
    There { machine: String, path: String },
}

/// `ID:PATH` is on a machine; a colon after a slash belongs to a path here.
fn side(text: &str) -> Side {
    match text.split_once(':') {
        Some((machine, path)) if !machine.is_empty() && !machine.contains('/') => {
            let path = if path.is_empty() { "." } else { path };
            Side::There { machine: machine.to_owned(), path: path.to_owned() }
        }
        _ => Side::Here(PathBuf::from(text)),
    }
}

/// Copies.
pub async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let began = std::time::Instant::now();
    context.screen.event(Event::Step(format!("Copying {} to {}", args.from, args.to)));
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        let done = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        context.screen.event(Event::Bytes { done, total: None });
    };
    let totals = match (side(&args.from), side(&args.to)) {
        (Side::Here(from), Side::There { machine, path }) => {
            if !from.exists() && !from.is_symlink() {
                return Err(Fault::usage(format!("there is no `{}`", from.display())));
            }
            let connection = super::connect(context, &super::find(context, &machine)?).await?;
            let target = into_remote(connection.as_ref(), &from, &path).await?;
            let totals = connection.upload(&from, &target, &progress).await?;
            connection.close().await;
            totals
        }
        (Side::There { machine, path }, Side::Here(to)) => {
            let connection = super::connect(context, &super::find(context, &machine)?).await?;
            let totals = connection.download(&path, &into_local(&path, to)?, &progress).await?;
            connection.close().await;
            totals
        }
        _ => return Err(Fault::usage("one side must be a path here, the other `ID:PATH` on a machine")),
    };
    tell(context, args, totals, began.elapsed());
    Ok(0)
}

fn tell(context: &Context, args: &Args, totals: Totals, took: std::time::Duration) {
    if args.json {
        context.screen.json(&totals);
        return;
    }
    let rate = text::bytes((totals.bytes as f64 / took.as_secs_f64().max(0.001)) as u64);
    let files = if totals.files == 1 { "1 file".to_owned() } else { format!("{} files", totals.files) };
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

async fn into_remote(
    connection: &dyn crate::model::connection::Connection,
    from: &Path,
    to: &str,
) -> Result<String, Fault> {
    use crate::flow::collect::{SMALL, collect};
    let test = crate::model::task::Command::new("test").arg("-d").arg(to);
    if !collect(connection, &test, SMALL).await?.exit.success() {
        return Ok(to.to_owned());
    }
    let real = from.canonicalize().unwrap_or_else(|_| from.to_owned());
    let name =
        from.file_name().or_else(|| real.file_name()).and_then(|name| name.to_str()).ok_or_else(|| {
            Fault::usage(format!("`{}` has no name to keep: name the target in full", from.display()))
        })?;
    Ok(format!("{}/{name}", to.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_after_a_slash_is_no_machine() {
        assert!(matches!(side("hg-1:/tmp/x"), Side::There { .. }));
        assert!(matches!(side("./a:b"), Side::Here(_)));
        assert!(matches!(side("/tmp/a:b"), Side::Here(_)));
        assert!(matches!(side("hg-1:"), Side::There { path, .. } if path == "."));
        assert_eq!(last_name("/a/b/"), Some("b"));
        assert_eq!(last_name("/a/.."), None);
    }
}
