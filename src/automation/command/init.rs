//! `automation init`: a project's first `automation.toml`.

use std::io::Write;
use std::path::PathBuf;

use model::fault::Fault;
use project::file::NAME;
use project::starter::starter;

use crate::command::error::exit;
use crate::compose::current_folder;
use crate::ui;

/// The options of `automation init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project's folder [default: the current one]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Print the file, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Writes the file, unless there is one.
pub fn run(args: &Args) -> Result<i32, Fault> {
    let folder = args.source.clone().map_or_else(current_folder, Ok)?;
    if !folder.is_dir() {
        return Err(Fault::usage(format!("`{}` is not a folder", folder.display())));
    }
    let (starter, path) = (starter(&folder), folder.join(NAME));
    if args.dry_run {
        ui::print(&starter.text);
        return Ok(exit::OK);
    }
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Fault::usage(format!("`{}` is there already", path.display()))
                .hint("`automation init --dry-run` prints what would be written."));
        }
        made => made.map_err(|error| Fault::outside(format!("cannot make `{}`", path.display())).because(error))?,
    };
    file.write_all(starter.text.as_bytes())
        .map_err(|error| Fault::outside(format!("cannot write `{}`", path.display())).because(error))?;
    ui::complain(&format!(
        "This is {}. Wrote {}.\nLook at it, then: automation run check",
        starter.seen,
        path.display()
    ));
    Ok(exit::OK)
}
