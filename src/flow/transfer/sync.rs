//! Making a folder on a machine equal to one here, by sending only what differs.
//!
//! A sync takes three round trips, however large the tree is: it looks at both sides at once, has the machine hash the
//! files that cannot be judged otherwise (most often none), and sends one archive with everything that is to change.
//! Size and SHA-256 decide whether a file differs. A file whose times, size and inode are those that it had when its
//! content was last known is not read again, on the machine or here; [`remote`] and [`local`] say why that is safe.

pub mod local;
pub mod plan;
pub mod remote;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::connection::{Connection, Parcel, Progress};
use model::event::{FilesEvent, StepEvent, Teller};
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::output::{OutputLimits, run_command};
use model::preparation::FilesToSend;
use model::task::Command;
use serde::Serialize;

use crate::transfer::sync::plan::SyncPlan;

/// The longest answer of a machine about a tree: some 200 bytes for each entry are enough for more than a million
/// entries.
const LISTING: OutputLimits = OutputLimits { bytes: 512 << 20, time: Duration::from_secs(600) };

/// How many files are read here again by each sync before the machine is told of them for nothing else: reading so many takes as long as
/// telling it, some ten milliseconds.
const MANY: usize = 500;

/// What to do where the tool's own folder cannot be put right.
const ANOTHER: &str =
    "End that machine (`automation machine down`) and take another, or run the command without `--machine`.";

/// Where a sync goes, and what it may do.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The folder here.
    pub from: PathBuf,
    /// The paths below it that are meant, a folder before its entries; none for all that is in it.
    pub paths: Option<Vec<PathBuf>>,
    /// The folder on the machine; it is made if it is missing, in a folder that exists.
    pub to: String,
    /// Where the machine remembers what was sent, beside a folder that is the tool's own, in which all gives way to what is sent; none for a
    /// folder that others use too, which holds that itself.
    pub memory: Option<String>,
    /// The most entries that may be removed; a dry run shows them all.
    pub max_delete: usize,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl SyncRequest {
    /// The fault with what to do about it, where that is known.
    fn hinted(&self, fault: Fault) -> Fault {
        match fault.kind {
            FaultKind::Outside if self.memory.is_some() => fault.hint(ANOTHER),
            _ => fault,
        }
    }
}

/// The changes that a sync made, or would make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncSummary {
    /// Files, links and folders that were sent.
    pub sent: usize,
    /// The bytes of those files.
    pub bytes: u64,
    /// How many of those are files and links.
    #[serde(skip)]
    pub files: usize,
    /// Entries that were removed.
    pub deleted: usize,
    /// Entries that exist only on the machine and stay: no sync put them there, or they were changed since.
    pub kept: usize,
    /// Entries that were the same on both sides.
    pub unchanged: usize,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The paths that would be sent, in a dry run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_send: Vec<String>,
    /// The paths that would be removed, in a dry run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to_delete: Vec<String>,
}

/// Makes the folder on the machine equal to the one here, over a connection that `connect` opens while this side is looked at.
pub async fn sync(
    connect: impl Future<Output = Result<Box<dyn Connection>, Fault>>,
    teller: &Teller,
    wanted: &SyncRequest,
) -> Result<SyncSummary, Fault> {
    let looking = async {
        let connection = connect.await?;
        let there = look(connection.as_ref(), wanted).await?;
        Ok((connection, there))
    };
    let (connection, here, there) = survey(wanted, teller, looking).await?;
    let done = bring(connection.as_ref(), teller, wanted, &here, there).await?;
    connection.close().await;
    Ok(done)
}

/// Brings these files, over a connection that is there, into a folder on the machine that is the tool's own: it remembers them at `memory`,
/// beside that folder, and what a command put in the place of one gives way.
pub async fn sync_own(
    connection: &dyn Connection,
    teller: &Teller,
    files: &FilesToSend,
    memory: &str,
) -> Result<SyncSummary, Fault> {
    let wanted = SyncRequest {
        from: files.from.clone(),
        paths: Some(files.paths.clone()),
        to: files.to.clone(),
        memory: Some(memory.to_owned()),
        max_delete: usize::MAX,
        dry_run: false,
    };
    let looking = async { Ok((connection, look(connection, &wanted).await?)) };
    let (_, here, there) = survey(&wanted, teller, looking).await?;
    bring(connection, teller, &wanted, &here, there).await
}

/// Looks at the folder here, while `looking` looks at the one on the machine and gives the connection to it.
async fn survey<C>(
    wanted: &SyncRequest,
    teller: &Teller,
    looking: impl Future<Output = Result<(C, remote::RemoteTree), Fault>>,
) -> Result<(C, local::LocalTree, remote::RemoteTree), Fault> {
    let (from, paths, now) = (wanted.from.clone(), wanted.paths.clone(), teller.now());
    let survey = tokio::task::spawn_blocking(move || match paths {
        Some(paths) => local::survey_some(&from, &paths, now),
        None => local::survey(&from, now),
    });
    let (here, there) = tokio::join!(survey, looking);
    let here = here.map_err(|error| unread(&wanted.from).because(error))??;
    let (connection, there) = there?;
    let (here, there) = finish(&wanted.from, here, there).await?;
    Ok((connection, here, there))
}

/// Reads the files here of which the machine does not remember what they hold.
async fn finish(
    from: &Path,
    here: local::Survey,
    there: remote::RemoteTree,
) -> Result<(local::LocalTree, remote::RemoteTree), Fault> {
    let top = from.to_owned();
    let reading = move || {
        let here = here.finish(&top, |path| there.known_here(path));
        here.map(|here| (here, there))
    };
    tokio::task::spawn_blocking(reading).await.map_err(|error| unread(from).because(error))?
}

fn unread(from: &Path) -> Fault {
    Fault::outside(format!("cannot read `{}`", from.display()))
}

/// Looks at the folder on the machine.
async fn look(connection: &dyn Connection, wanted: &SyncRequest) -> Result<remote::RemoteTree, Fault> {
    let command = guest::of(connection.platform()).sync_look(&wanted.to, wanted.memory.as_deref());
    let printed = ask(connection, command).await.map_err(|fault| wanted.hinted(fault))?;
    remote::read(&printed)
}

/// What is in a folder on the machine. Of a folder there that its user may not enter nothing is known.
pub(super) async fn entries(
    connection: &dyn Connection,
    folder: &str,
) -> Result<BTreeMap<PathBuf, remote::RemoteEntry>, Fault> {
    let printed = ask(connection, guest::of(connection.platform()).sync_list(folder)).await?;
    remote::read(&printed).map(|tree| tree.entries)
}

/// Makes the folder on the machine, which is as `there` says, equal to the one here.
async fn bring(
    connection: &dyn Connection,
    teller: &Teller,
    wanted: &SyncRequest,
    here: &local::LocalTree,
    mut there: remote::RemoteTree,
) -> Result<SyncSummary, Fault> {
    if there.is_damaged() {
        teller.tell(FilesEvent::MemoryDamaged { folder: wanted.to.clone() });
    }
    let unknown = there.files_to_hash(here);
    if !unknown.is_empty() {
        let hash = guest::of(connection.platform()).sync_hash(&wanted.to).stdin(names(&unknown));
        there.learn(&ask(connection, hash).await?);
    }
    let mut plan = plan::make(here, &there, wanted.memory.is_some())?;
    // What is older here comes first, and so is older there: some builds go by that.
    plan.send.sort_by_key(|path| here.age(path));
    let mut done = summarise(&plan, here, wanted);
    if plan.delete_count() > wanted.max_delete && !wanted.dry_run {
        let message = format!(
            "this would remove {} entries from `{}`, more than {}; nothing was sent",
            plan.delete_count(),
            wanted.to,
            wanted.max_delete
        );
        return Err(Fault::usage(message).hint("Look with `--dry-run`; allow it with `--max-delete N`."));
    }
    // Also without a change where the machine had to hash files or remembers nothing, or many were read here: it then remembers this
    // sync, so that the next one need not read them.
    let is_news = !unknown.is_empty() || !there.remembers() || here.learnt >= MANY;
    if !wanted.dry_run && (plan.has_changes() || is_news) {
        let notes = notes(wanted, &plan, here, &there);
        done.bytes = apply(connection, teller, wanted, &plan, here, notes).await?;
    }
    if !plan.clear.is_empty() {
        let names: Vec<String> = plan.clear.iter().map(|path| path.display().to_string()).collect();
        teller.tell(FilesEvent::PutRight(names.as_slice().into()));
    }
    Ok(done)
}

fn summarise(plan: &SyncPlan, here: &local::LocalTree, wanted: &SyncRequest) -> SyncSummary {
    let shown = |paths: Vec<&PathBuf>| match wanted.dry_run {
        true => paths.into_iter().map(|path| path.display().to_string()).collect(),
        false => Vec::new(),
    };
    SyncSummary {
        sent: plan.send.len(),
        files: plan.send.iter().filter(|path| here.age(path).is_some()).count(),
        bytes: plan.bytes(here),
        deleted: plan.delete_count(),
        kept: plan.kept,
        unchanged: plan.unchanged,
        dry_run: wanted.dry_run,
        to_send: shown(plan.send.iter().collect()),
        to_delete: shown(plan.delete.iter().chain(&plan.folders).chain(&plan.clear).collect()),
    }
}

/// What the machine is told beside the files, by its name.
fn notes(
    wanted: &SyncRequest,
    plan: &SyncPlan,
    here: &local::LocalTree,
    there: &remote::RemoteTree,
) -> Vec<(String, Vec<u8>)> {
    let mut notes = vec![
        ("delete".to_owned(), names(&plan.delete)),
        ("folders".to_owned(), names(&plan.folders)),
        ("open".to_owned(), names(&plan.open)),
        ("pending".to_owned(), here.records(plan.send.iter())),
        ("sent".to_owned(), here.records(here.entries.keys())),
        ("stamp".to_owned(), [there.began(), b"\0"].concat()),
    ];
    let mut modes: BTreeMap<u32, Vec<PathBuf>> = BTreeMap::new();
    for (path, mode) in &plan.modes {
        modes.entry(*mode).or_default().push(path.clone());
    }
    notes.extend(modes.into_iter().map(|(mode, paths)| (format!("modes.{mode:o}"), names(&paths))));
    if wanted.memory.is_some() {
        notes.extend(
            [("clear", &plan.clear), ("touched", &plan.touched)].map(|(name, list)| (name.to_owned(), names(list))),
        );
    }
    notes
}

/// Sends everything that is to change, and returns the bytes of the files that went. The machine changes nothing before
/// all of it has come.
async fn apply(
    connection: &dyn Connection,
    teller: &Teller,
    wanted: &SyncRequest,
    plan: &SyncPlan,
    here: &local::LocalTree,
    notes: Vec<(String, Vec<u8>)>,
) -> Result<u64, Fault> {
    let total = plan.bytes(here);
    let moved = std::sync::atomic::AtomicU64::new(0);
    let progress: Progress<'_> = &|bytes| {
        let done = moved.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
        teller.tell(StepEvent::Moved { done, total: Some(total) });
    };
    let parcel = Parcel { top: &wanted.from, paths: &plan.send, notes };
    let command = guest::of(connection.platform()).sync_apply(&wanted.to, wanted.memory.as_deref());
    let sent = connection.trees()?.send_parcel(&command, parcel, progress).await;
    let totals = sent.map_err(|error| wanted.hinted(error.into()))?;
    match here.find_changed(&wanted.from, &plan.send) {
        None => Ok(totals.bytes),
        Some(path) => Err(Fault::outside(format!("`{}` changed while it was copied", path.display()))
            .hint("Everything else arrived. Run it again.")),
    }
}

/// Runs a request whose answer is data.
pub(super) async fn ask(connection: &dyn Connection, command: Command) -> Result<Vec<u8>, Fault> {
    let done = run_command(connection, &command, LISTING).await?;
    match &done.exit {
        Exit::Code(0) if !done.capped => Ok(done.stdout),
        Exit::Code(0) => Err(Fault::outside("the folder on the machine has too many entries")),
        Exit::Lost(reason) => {
            Err(Fault::infrastructure("the machine was lost while it was looked at").because(reason.clone()))
        }
        _ => Err(Fault::outside("the folder on the machine cannot be looked at").because(done.stderr_text())),
    }
}

/// The paths, each with `./` in front and a NUL behind.
pub(super) fn names(paths: &[PathBuf]) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for path in paths {
        names.extend_from_slice(b"./");
        names.extend_from_slice(path.as_os_str().as_bytes());
        names.push(0);
    }
    names
}

/// Whether a path is the folder in which the machine remembers syncs; every synchronised folder holds one.
pub(super) fn is_ours(path: &Path) -> bool {
    path == Path::new(".hg-automation-sync")
}
