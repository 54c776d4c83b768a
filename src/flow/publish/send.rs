//! Sending what is missing.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use model::base::deadline::Pace;
use model::connection::Progress;
use model::event::{FilesEvent, StepEvent, Teller};
use model::fault::Fault;
use model::release::{LatestChange, PackageIndex, ReleaseFile, UploadError};
use model::work::Work;

use super::compare::{Found, found_at_index, read_latest};
use super::{Backup, HostFolder, LatestPlan, PlacePlan, Places, PublishPlan, Release, UPLOADS};

/// The mode of a published file: its group may replace it, everybody may read it.
const MODE: u32 = 0o664;

/// How often an upload is tried whose end is not known.
const TRIES: usize = 3;

/// The pause before it is looked whether such an upload arrived: the first, doubled after each up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What all uploads share.
struct Sending<'a> {
    release: &'a Release,
    teller: &'a Teller,
    /// Bytes that have gone, and all that are to go.
    gone: AtomicU64,
    total: u64,
    /// Uploads that have succeeded.
    done: AtomicUsize,
    /// Set by the first failure: nothing new is begun.
    failed: AtomicBool,
}

impl Sending<'_> {
    fn moved(&self, bytes: u64) {
        let done = self.gone.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.teller.tell(StepEvent::Moved { done, total: Some(self.total) });
    }
}

/// Sends what is missing, several files at once, and at last writes the file that says which release is the latest. After
/// a failure nothing new is begun, and what is under way goes on to its end. Gives whether that file was written.
pub async fn publish(
    places: &Places<'_>,
    release: &Release,
    plan: &PublishPlan,
    backup: &Backup,
    teller: &Teller,
) -> Result<bool, Fault> {
    let uploads = plan.uploads();
    let missing = plan.index.iter().chain(&plan.host).flat_map(PlacePlan::missing);
    let sending = Sending {
        release,
        teller,
        gone: AtomicU64::new(0),
        total: missing.map(|at| release.files[at].size).sum(),
        done: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    };
    let step = teller.begin(Work::Publishing { version: release.version.clone(), files: uploads });
    let sent = send_all(&sending, places, plan).await;
    let (done, latest) = (sending.done.into_inner(), places.host.as_ref().zip(plan.latest.as_ref()));
    let written = match (sent, latest) {
        (Err(fault), _) => Err(fault),
        (Ok(()), Some((host, latest))) => write_latest(host, latest, &backup.path).await,
        (Ok(()), None) => Ok(false),
    };
    match written {
        Ok(written) => {
            step.finish();
            Ok(written)
        }
        Err(fault) => Err(in_part(fault, &release.version, done, uploads)),
    }
}

/// The fault of a publication that came to a stop.
fn in_part(fault: Fault, version: &str, done: usize, uploads: usize) -> Fault {
    let message = match done {
        done if done == uploads => format!("all files of {version} are published, but it is not the latest yet"),
        0 => format!("nothing of {version} was published"),
        done => format!("{version} is published in part: {done} of {uploads} uploads were made"),
    };
    let hint = fault.hint.clone().map(|hint| format!("{hint} ")).unwrap_or_default();
    let hint = format!("{hint}The same command again sends only what is missing; nothing is there half-way.");
    Fault::new(fault.kind, message).because(fault).hint(hint)
}

async fn send_all(sending: &Sending<'_>, places: &Places<'_>, plan: &PublishPlan) -> Result<(), Fault> {
    if let Some(host) = &places.host {
        remove_parts(sending, host).await?;
    }
    let to_index = async {
        match (places.index, &plan.index) {
            (Some(index), Some(plan)) => each(sending, plan, |file| to_index(sending, index, file)).await,
            _ => None,
        }
    };
    let to_host = async {
        match (&places.host, &plan.host) {
            (Some(host), Some(plan)) => each(sending, plan, |file| to_host(sending, host, file)).await,
            _ => None,
        }
    };
    let (index, host) = tokio::join!(to_index, to_host);
    index.or(host).map_or(Ok(()), Err)
}

/// Removes what a publication that was killed left half-way under the names of the release.
async fn remove_parts(sending: &Sending<'_>, host: &HostFolder<'_>) -> Result<(), Fault> {
    let names = sending.release.files.iter().map(|file| file.name.as_str());
    let names: Vec<&str> = names.chain([host.latest.as_str()]).collect();
    let count = host.connection.plain_files()?.remove_parts(&host.folder, &names).await?;
    if count > 0 {
        sending.teller.tell(FilesEvent::PartsRemoved { count, place: host.place.clone() });
    }
    Ok(())
}

/// Sends the missing files of one place; gives the first failure.
async fn each<'a, F: Future<Output = Result<(), Fault>>>(
    sending: &Sending<'a>,
    plan: &PlacePlan,
    send: impl Fn(&'a ReleaseFile) -> F,
) -> Option<Fault> {
    let one = |at: usize| {
        let file = &sending.release.files[at];
        let sent = send(file);
        async move {
            if sending.failed.load(Ordering::Relaxed) {
                return None;
            }
            let sent = sent.await;
            match sent {
                Ok(()) => {
                    sending.done.fetch_add(1, Ordering::Relaxed);
                    let (name, place) = (file.name.clone(), plan.place.clone());
                    sending.teller.tell(FilesEvent::Published { name, place });
                    None
                }
                Err(fault) => {
                    sending.failed.store(true, Ordering::Relaxed);
                    Some(fault)
                }
            }
        }
    };
    let uploads: Vec<_> = plan.missing().map(one).collect();
    let failures: Vec<Option<Fault>> = stream::iter(uploads).buffer_unordered(UPLOADS).collect().await;
    failures.into_iter().flatten().next()
}

async fn to_host(sending: &Sending<'_>, host: &HostFolder<'_>, file: &ReleaseFile) -> Result<(), Fault> {
    let now = std::fs::metadata(&file.path).and_then(|found| Ok((found.len(), found.modified()?)));
    let now = now.map_err(|error| Fault::outside(format!("cannot read `{}`", file.path.display())).because(error))?;
    if now != (file.size, file.modified) {
        return Err(Fault::outside(format!("`{}` changed since it was checked", file.path.display()))
            .hint("Run it again when nobody writes there."));
    }
    let progress = |bytes| sending.moved(bytes);
    host.connection.plain_files()?.put(&file.path, &host.path(&file.name), MODE, &progress).await?;
    Ok(())
}

/// Uploads to an index. Whatever an index answers, what it lists afterwards decides: an answer may be lost.
async fn to_index(sending: &Sending<'_>, index: &dyn PackageIndex, file: &ReleaseFile) -> Result<(), Fault> {
    let (mut pace, mut tries) = (Pace::new(PAUSES), 0);
    loop {
        tries += 1;
        let counted = AtomicU64::new(0);
        let progress: Progress<'_> = &|bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
            sending.moved(bytes);
        };
        let (is_final, fault) = match index.upload(file, progress).await {
            Ok(()) => return Ok(()),
            Err(UploadError::Refused(fault)) => (true, fault),
            Err(UploadError::Unsure(fault)) => (tries == TRIES, fault),
        };
        if !is_final {
            pace.pause().await;
        }
        match look_again(sending.release, index, file).await {
            Ok(Found::Same) => return Ok(()),
            Ok(Found::Nothing) if !is_final => {
                sending.gone.fetch_sub(counted.into_inner(), Ordering::Relaxed);
            }
            Ok(Found::Other(how)) => {
                let message = format!("`{}` was published with other bytes meanwhile: {how}", file.name);
                return Err(Fault::outside(message).because(fault));
            }
            Ok(Found::Nothing) | Err(_) => return Err(fault),
        }
    }
}

async fn look_again(release: &Release, index: &dyn PackageIndex, file: &ReleaseFile) -> Result<Found, Fault> {
    let listed = index.list(&release.project).await?;
    found_at_index(index, file, listed.iter().find(|known| known.name == file.name)).await
}

/// Writes the file that says which release is the latest, after its old content was kept here.
async fn write_latest(host: &HostFolder<'_>, plan: &LatestPlan, backup: &Path) -> Result<bool, Fault> {
    let LatestChange::Write(content) = &plan.change else { return Ok(false) };
    let path = host.path(&host.latest);
    let old = read_latest(host).await?;
    if old != plan.old {
        return Err(Fault::outside(format!("`{path}` was changed by somebody meanwhile, and was left as it is"))
            .hint("Look at it."));
    }
    if let Some(old) = &old {
        keep(backup, old).map_err(|error| {
            Fault::outside(format!("cannot keep the old `{}` as `{}`", host.latest, backup.display()))
                .because(error)
                .hint(format!("All files are there, and `{}` is as it was.", host.latest))
        })?;
    }
    host.connection.write_file(&path, content.as_bytes(), MODE).await?;
    Ok(true)
}

/// Writes a file that must not exist; nothing stays of one that cannot be written whole.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        drop(std::fs::remove_file(path));
    }
    written
}
