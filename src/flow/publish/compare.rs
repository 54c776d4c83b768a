//! What is published already.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use model::connection::{FileLook, PlainFiles};
use model::fault::Fault;
use model::output::{OutputLimits, run_command};
use model::release::{IndexedFile, PackageIndex, ReleaseFile};
use model::sum::Sha256Sum;

use super::{HostFolder, LatestPlan, PlacePlan, Places, PublishPlan, Release, Standing, UPLOADS};

/// The longest content of the host's file. One of four lines has less than a KiB.
const LATEST_CAP: u64 = 1 << 20;

/// The longest answer about sums, and how long a host may read its files for it.
const SUMS: OutputLimits = OutputLimits { bytes: 1 << 20, time: std::time::Duration::from_secs(600) };

/// Questions about files that are under way at the same time.
const LOOKS: usize = 16;

/// Most differing files that an error names.
const NAMED: usize = 20;

/// What is known of a file at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Same,
    /// Something else, in words.
    Other(String),
}

/// Looks at all places at once. Refuses where anything is there with other bytes.
pub async fn compare(places: &Places<'_>, release: &Release) -> Result<PublishPlan, Fault> {
    let index = async {
        match places.index {
            Some(index) => at_index(index, release).await.map(Some),
            None => Ok(None),
        }
    };
    let host = async {
        match &places.host {
            Some(host) => at_host(host, release).await.map(Some),
            None => Ok(None),
        }
    };
    let (index, host) = tokio::try_join!(index, host)?;
    let latest = match &places.host {
        Some(host) => Some(latest_plan(host).await?),
        None => None,
    };
    let mut differing = Vec::new();
    let mut plan = |place: String, found: Vec<(usize, Found)>| {
        let files = found.into_iter().filter_map(|(at, found)| match found {
            Found::Nothing => Some((at, Standing::Missing)),
            Found::Same => Some((at, Standing::There)),
            Found::Other(how) => {
                differing.push(format!("`{}` at {place}: {how}", release.files[at].name));
                None
            }
        });
        let files = files.collect();
        PlacePlan { place, files }
    };
    let index = places.index.zip(index).map(|(index, found)| plan(index.place(), found));
    let host = places.host.as_ref().zip(host).map(|(host, found)| plan(host.place.clone(), found));
    if differing.is_empty() {
        return Ok(PublishPlan { index, host, latest });
    }
    Err(different(&differing, &release.version))
}

fn different(differing: &[String], version: &str) -> Fault {
    let more = differing.len().saturating_sub(NAMED);
    let mut lines = differing.iter().take(NAMED).cloned().collect::<Vec<_>>().join("\n");
    if more > 0 {
        lines.push_str(&format!("\nand {more} more"));
    }
    let files = match differing.len() {
        1 => "a file".to_owned(),
        count => format!("{count} files"),
    };
    Fault::outside(format!("{files} of {version} with other bytes are published already")).because(lines).hint(
        "Nothing was sent. What was published is never changed: publish the files that were built then, or give a new build a new version.",
    )
}

async fn at_index(index: &dyn PackageIndex, release: &Release) -> Result<Vec<(usize, Found)>, Fault> {
    let listed = index.list(&release.project).await?;
    let packages = release.files.iter().enumerate().filter(|(_, file)| file.package.is_some());
    let looks = packages.map(|(at, file)| {
        let known = listed.iter().find(|known| known.name == file.name);
        async move { Ok::<_, Fault>((at, found_at_index(index, file, known).await?)) }
    });
    let looks: Vec<_> = looks.collect();
    stream::iter(looks).buffered(UPLOADS).try_collect().await
}

/// What an index has of `file`, by its entry in the list.
pub(super) async fn found_at_index(
    index: &dyn PackageIndex,
    file: &ReleaseFile,
    known: Option<&IndexedFile>,
) -> Result<Found, Fault> {
    let Some(known) = known else { return Ok(Found::Nothing) };
    let sum = match &known.sha256 {
        Some(sum) => sum.clone(),
        None => index.sum_of(known, file.size).await?,
    };
    Ok(by_sum(file, &sum))
}

fn by_sum(file: &ReleaseFile, sum: &Sha256Sum) -> Found {
    match *sum == file.sha256 {
        true => Found::Same,
        false => Found::Other(format!("its SHA-256 is {sum}, that of the file here {}", file.sha256)),
    }
}

async fn at_host(host: &HostFolder<'_>, release: &Release) -> Result<Vec<(usize, Found)>, Fault> {
    let files = host.connection.plain_files()?;
    match files.look(&host.folder).await? {
        Some(FileLook { is_file: false, .. }) => {}
        Some(_) => return Err(Fault::outside(format!("`{}` is a file, not a folder", host.place))),
        None => {
            return Err(Fault::outside(format!("there is no folder `{}`", host.place))
                .hint("Name the folder with `--folder DIR`, or have it made: the tool makes none."));
        }
    }
    let looks: Vec<_> = release.files.iter().map(|file| async { files.look(&host.path(&file.name)).await }).collect();
    let looks: Vec<Option<FileLook>> = stream::iter(looks).buffered(LOOKS).try_collect().await?;
    let alike = |(at, look): (usize, &Option<FileLook>)| {
        let file = &release.files[at];
        look.is_some_and(|look| look.is_file && look.size == file.size).then_some(file.name.as_str())
    };
    let names: Vec<&str> = looks.iter().enumerate().filter_map(alike).collect();
    let sums = sums(host, files, &names).await?;
    let found = |(at, look): (usize, Option<FileLook>)| {
        let file = &release.files[at];
        let found = match look {
            None => Found::Nothing,
            Some(look) if !look.is_file => Found::Other("it is no plain file".to_owned()),
            Some(look) => match sums.get(&file.name) {
                Some(sum) => by_sum(file, sum),
                None => Found::Other(format!("it has {} bytes, the file here {}", look.size, file.size)),
            },
        };
        (at, found)
    };
    Ok(looks.into_iter().enumerate().map(found).collect())
}

/// The sums of files of the folder: the host reads them itself where it runs commands, and otherwise they are fetched.
async fn sums(
    host: &HostFolder<'_>,
    files: &dyn PlainFiles,
    names: &[&str],
) -> Result<BTreeMap<String, Sha256Sum>, Fault> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked: Vec<u8> = names.iter().flat_map(|name| format!("./{name}\0").into_bytes()).collect();
    let command = guest::of(host.connection.platform()).sync_hash(&host.folder).stdin(asked);
    let mut sums = match run_command(host.connection, &command, SUMS).await {
        Ok(said) if said.exit.is_success() => read_sums(&said.stdout),
        // A host for files alone does something else with the command, or ends it.
        _ => BTreeMap::new(),
    };
    for name in names {
        if !sums.contains_key(*name) {
            sums.insert((*name).to_owned(), files.read_sum(&host.path(name)).await?);
        }
    }
    Ok(sums)
}

/// The sums that `sha256sum -z` prints.
fn read_sums(said: &[u8]) -> BTreeMap<String, Sha256Sum> {
    let read = |line: &[u8]| {
        let (sum, name) = std::str::from_utf8(line).ok()?.split_once("  ")?;
        Some((name.strip_prefix("./")?.to_owned(), Sha256Sum::parse(sum)?))
    };
    said.split(|byte| *byte == 0).filter_map(read).collect()
}

async fn latest_plan(host: &HostFolder<'_>) -> Result<LatestPlan, Fault> {
    let old = read_latest(host).await?;
    let text = old.as_ref().map(|old| String::from_utf8_lossy(old));
    let change = (host.change)(text.as_deref());
    Ok(LatestPlan { old, change })
}

/// The bytes of the host's file; none where it is not there.
pub(super) async fn read_latest(host: &HostFolder<'_>) -> Result<Option<Vec<u8>>, Fault> {
    let path = host.path(&host.latest);
    match host.connection.plain_files()?.look(&path).await? {
        Some(_) => Ok(Some(host.connection.read_file(&path, LATEST_CAP).await?)),
        None => Ok(None),
    }
}
