//! The options for the files that travel to a machine.

use std::path::{Path, PathBuf};

use model::base::text;
use model::fault::Fault;
use project::source::{Source, SourceSize};

use crate::ui::{Screen, confirm};

/// The most files and bytes that travel without a word: more is most often a folder that was not meant.
const MOST_FILES: u64 = 100_000;
const MOST_BYTES: u64 = 1 << 30;

/// How many files a refusal names.
const NAMED: usize = 100;

fn allows_nothing(name: &Path) -> Fault {
    Fault::usage(format!("`--allow-file {}` allows nothing", name.display()))
        .hint("It names a file that would be refused otherwise, by its path below the folder that is sent; `run --plan` lists those.")
}

/// The folder whose files travel, and which of them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SourceArgs {
    /// The folder to send [default: the current one, or for a command of `automation.toml` the folder of that]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Which of its files travel.
    #[command(flatten)]
    pub travel: TravelArgs,
}

/// Which files of a folder travel.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TravelArgs {
    /// Send those of the ignored files too that match: a path below the folder; may be repeated
    #[arg(long, value_name = "GLOB")]
    include_ignored: Vec<String>,
    #[command(flatten)]
    unseen: UnseenArgs,
}

/// What is done about files that nobody may have meant to send.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UnseenArgs {
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
}

impl TravelArgs {
    /// The files of `folder`.
    pub async fn find(&self, folder: &Path) -> Result<Source, Fault> {
        Source::find_with(folder, &self.include_ignored).await
    }

    /// The files that look like credentials and were not allowed.
    pub fn refused<'a>(&self, source: &'a Source) -> Result<Vec<&'a Path>, Fault> {
        self.unseen.refused(source)
    }

    /// Refuses files that look like credentials, and asks where there is very much to send: the source, and `further` bytes with it.
    pub fn check(&self, source: &Source, further: u64, screen: &Screen) -> Result<(), Fault> {
        let size = source.size();
        self.unseen.check(source, SourceSize { bytes: size.bytes + further, ..size }, screen)
    }
}

impl UnseenArgs {
    /// Refuses to allow a file where none travels that nobody has seen.
    pub fn require_unused(&self) -> Result<(), Fault> {
        self.allow_file.first().map_or(Ok(()), |name| Err(allows_nothing(name)))
    }

    /// The files that look like credentials and were not allowed.
    pub fn refused<'a>(&self, source: &'a Source) -> Result<Vec<&'a Path>, Fault> {
        let found = source.credentials();
        // A leading `./` means nothing.
        let allowed: Vec<&Path> = self.allow_file.iter().map(|name| name.strip_prefix(".").unwrap_or(name)).collect();
        if let Some(odd) = allowed.iter().find(|name| !found.contains(name)) {
            return Err(allows_nothing(odd));
        }
        Ok(found.into_iter().filter(|path| !allowed.contains(path)).collect())
    }

    /// Refuses files that look like credentials, and asks where `size`, which would be sent of the source, is very much.
    pub fn check(&self, source: &Source, size: SourceSize, screen: &Screen) -> Result<(), Fault> {
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
