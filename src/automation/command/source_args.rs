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
const NAMED: usize = 100;

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

    /// The files that look like credentials and were not allowed.
    pub fn refused<'a>(&self, source: &'a Source) -> Result<Vec<&'a Path>, Fault> {
        let found = source.credentials();
        // A leading `./` means nothing.
        let allowed: Vec<&Path> = self.allow_file.iter().map(|name| name.strip_prefix(".").unwrap_or(name)).collect();
        if let Some(odd) = allowed.iter().find(|name| !found.contains(name)) {
            return Err(Fault::usage(format!("`--allow-file {}` allows nothing", odd.display()))
                .hint("It names a file that would be refused otherwise, by its path below the folder that is sent; `--plan` lists those."));
        }
        Ok(found.into_iter().filter(|path| !allowed.contains(path)).collect())
    }

    /// Refuses files that look like credentials, and asks where there is very much to send.
    pub fn check(&self, source: &Source, screen: &Screen) -> Result<(), Fault> {
        let refused = self.refused(source)?;
        if !refused.is_empty() {
            let named = refused.len().min(NAMED);
            let names: Vec<String> = refused.iter().take(named).map(|path| path.display().to_string()).collect();
            let more = refused.len() - named;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let (what, them) = match refused.len() {
                1 => ("a file that looks like a credential", "it"),
                _ => ("files that look like credentials", "them"),
            };
            return Err(Fault::usage(format!("{what} would be sent: {}{more}", names.join(", "))).hint(format!(
                "Have {them} ignored by your version control system, move {them} away, or send {them} all the same with `--allow-file FILE`."
            )));
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
