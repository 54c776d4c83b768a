//! Publishing a release: its packages at an index, all its files in a folder of a host, and at last the file that says
//! which release is the latest.
//!
//! Nothing that was published is ever changed. So both places are looked at first, for every file, and one that is there
//! with other bytes ends the work before anything is sent. A file that is there with the same bytes is done, so that the
//! same command goes on with a publication that was cut off.

mod compare;
mod send;

use std::path::PathBuf;

use model::connection::Connection;
use model::release::{LatestChange, PackageIndex, ReleaseFile};
use serde::Serialize;

pub use compare::compare;
pub use send::publish;

/// Uploads to one place that are under way at the same time. More than four hide no more of an index's pauses, and one
/// connection to a host carries no more.
const UPLOADS: usize = 4;

/// A release whose files were checked.
#[derive(Debug)]
pub struct Release {
    /// The project's name at an index.
    pub project: String,
    /// The version.
    pub version: String,
    /// All files; those with details of a package go to an index as well.
    pub files: Vec<ReleaseFile>,
}

/// A folder of a host that serves it to the world.
pub struct HostFolder<'a> {
    /// The connection to the host.
    pub connection: &'a dyn Connection,
    /// The folder there, without a slash at its end.
    pub folder: String,
    /// The host and the folder, for messages.
    pub place: String,
    /// The name of the file there that says which release is the latest.
    pub latest: String,
    /// What becomes of that file, by its present content.
    pub change: &'a (dyn Fn(Option<&str>) -> LatestChange + Send + Sync),
}

impl HostFolder<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

/// Where a release is published.
#[derive(Default)]
pub struct Places<'a> {
    /// An index, for packages.
    pub index: Option<&'a dyn PackageIndex>,
    /// A host, for all files.
    pub host: Option<HostFolder<'a>>,
}

/// What is to be done for one file at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is there, with the same bytes.
    There,
    /// It is to be sent.
    Missing,
}

/// What was found at one place: a standing for each file that belongs there, by its position in the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacePlan {
    /// The place, for messages.
    pub place: String,
    /// The files, by their position in the release.
    pub files: Vec<(usize, Standing)>,
}

impl PlacePlan {
    /// The positions of files that are to be sent.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        self.files.iter().filter(|(_, standing)| *standing == Standing::Missing).map(|(at, _)| *at)
    }
}

/// What there is of the file that says which release is the latest, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestPlan {
    /// Its bytes now; none where it is not there.
    pub old: Option<Vec<u8>>,
    /// What becomes of it.
    pub change: LatestChange,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishPlan {
    /// At the index.
    pub index: Option<PlacePlan>,
    /// At the host.
    pub host: Option<PlacePlan>,
    /// With the host's file that says which release is the latest.
    pub latest: Option<LatestPlan>,
}

impl PublishPlan {
    /// How many uploads are to be made.
    pub fn uploads(&self) -> usize {
        self.index.iter().chain(&self.host).map(|place| place.missing().count()).sum()
    }

    /// Whether everything is published already.
    pub fn is_done(&self) -> bool {
        let writes = self.latest.as_ref().is_some_and(|latest| matches!(latest.change, LatestChange::Write(_)));
        self.uploads() == 0 && !writes
    }
}

/// Where the old content of the host's file is kept.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The file, on this computer, which must not exist.
    pub path: PathBuf,
}

#[cfg(test)]
mod tests;
