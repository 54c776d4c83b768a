//! The options for the files that travel to a machine.

use std::path::{Path, PathBuf};

use model::base::text;
use model::fault::Fault;
use project::source::Source;

use crate::ui::{Screen, confirm};

/// The most files and bytes that travel without a word: more is most often a folder that was not meant.
const MOST_FILES: u64 = 100_000;
const MOST_BYTES: u64 = 1 << 30;

/// How many files a refusal names.
const NAMED: usize = 10;

/// The files that travel.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SourceArgs {
    /// The folder to send [default: the current one, or for a command of `automation.toml` the folder of that]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Send those of the ignored files too that match: a path below the folder; may be repeated
    #[arg(long, value_name = "GLOB")]
    include_ignored: Vec<String>,
    /// Send this file although it looks like a credential; may be repeated
    #[arg(long, value_name = "FILE")]
    allow_file: Vec<PathBuf>,
    /// Send more than 100,000 files or 1 GiB without asking
    #[arg(long)]
    yes: bool,
}

impl SourceArgs {
    /// The folder that was named.
    pub fn named(&self) -> Result<Option<&Path>, Fault> {
        match self.source.as_deref() {
            Some(named) if !named.is_dir() => {
                Err(Fault::usage(format!("`--source {}` is not a folder", named.display())))
            }
            named => Ok(named),
        }
    }

    /// The files of `folder`.
    pub async fn find(&self, folder: &Path) -> Result<Source, Fault> {
        Source::find_with(folder, &self.include_ignored).await
    }

    /// Refuses files that look like credentials, and asks where there is very much to send.
    pub fn check(&self, source: &Source, screen: &Screen) -> Result<(), Fault> {
        // A leading `./` means nothing.
        let allowed = |path: &Path| self.allow_file.iter().any(|name| name.strip_prefix(".").unwrap_or(name) == path);
        let refused: Vec<&Path> = source.credentials().into_iter().filter(|path| !allowed(path)).collect();
        if !refused.is_empty() {
            let mut names: Vec<String> = refused.iter().take(NAMED).map(|path| path.display().to_string()).collect();
            if refused.len() > NAMED {
                names.push(format!("and {} more", refused.len() - NAMED));
            }
            let what = if refused.len() == 1 {
                "a file that looks like a credential"
            } else {
                "files that look like credentials"
            };
            return Err(Fault::usage(format!("{what} would be sent: {}", names.join(", ")))
                .hint("Have it ignored by your version control system, move it away, or send it all the same with `--allow-file FILE`."));
        }
        let size = source.size();
        if self.yes || size.files <= MOST_FILES && size.bytes <= MOST_BYTES {
            return Ok(());
        }
        let what = format!(
            "{}, {}, of {}",
            text::pluralize(size.files, "file"),
            text::bytes(size.bytes),
            source.top.display()
        );
        if !confirm::can_ask() {
            return Err(Fault::usage(format!("{what} would be sent"))
                .hint("`--plan` lists them, `--source DIR` names another folder, `--yes` sends them without asking."));
        }
        screen.settle();
        match confirm::confirm(&format!("Send {what}?")) {
            true => Ok(()),
            false => Err(Fault::usage("nothing was sent")),
        }
    }
}
