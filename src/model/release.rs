//! Releases: files that were built, and the places where they are published.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::connection::Progress;
use crate::fault::Fault;
use crate::sum::Sha256Sum;

/// The name of the file in which a build lists what it made, in the folder of what it made.
pub const MANIFEST: &str = "manifest.json";

/// The list of the files that a build made (`docs/json.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildManifest {
    /// The version that was built last; a file of another one says so itself.
    pub version: String,
    /// The files, which lie beside the list.
    pub artifacts: Vec<BuiltArtifact>,
}

/// A file that a build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltArtifact {
    /// Its name, without a folder.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Their sum.
    pub sha256: Sha256Sum,
    /// The point of the build's matrix that it was built for, where there is a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The log of its build, as a path from the list's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The version that it is of, where that is not the list's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it was built on a machine that only stands in for one of its system: such a file is never published.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rehearsal: bool,
}

impl BuiltArtifact {
    /// Whether a file beside a manifest can be called so.
    pub fn is_name(name: &str) -> bool {
        !(name.is_empty()
            || name.starts_with('.')
            || name.contains(['/', '\\', ':'])
            || name.contains(char::is_control))
    }
}

impl BuildManifest {
    /// A list of nothing yet.
    pub fn of(version: &str) -> Self {
        Self { version: version.to_owned(), artifacts: Vec::new() }
    }

    /// Makes it a list of `version`, in which every file is of the version that it was.
    pub fn turn_to(&mut self, version: &str) {
        let before = std::mem::replace(&mut self.version, version.to_owned());
        for artifact in &mut self.artifacts {
            let own = artifact.version.take().unwrap_or_else(|| before.clone());
            artifact.version = Some(own).filter(|own| own != version);
        }
    }

    /// The files of a version.
    pub fn of_version(&self, version: &str) -> impl Iterator<Item = &BuiltArtifact> {
        self.artifacts.iter().filter(move |artifact| artifact.version.as_ref().unwrap_or(&self.version) == version)
    }

    /// Adds a file, in place of an earlier one of its name; the order is that of names.
    pub fn add(&mut self, artifact: BuiltArtifact) {
        self.artifacts.retain(|other| other.name != artifact.name);
        let at = self.artifacts.partition_point(|other| other.name < artifact.name);
        self.artifacts.insert(at, artifact);
    }

    /// Reads the file's bytes; the error says what is wrong with them. Fields that are not known are left out.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut names = BTreeSet::new();
        for BuiltArtifact { name, .. } in &manifest.artifacts {
            let shown = name.escape_debug();
            if !BuiltArtifact::is_name(name) {
                return Err(format!("`{shown}` is not the name of an artifact"));
            }
            if !names.insert(name) {
                return Err(format!("it names `{shown}` twice"));
            }
        }
        Ok(manifest)
    }
}

/// A file that is to be published, as it was when it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name, the same wherever it is published.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// The sum of its bytes.
    pub sha256: Sha256Sum,
    /// What a package index is told about it; none for a file that goes to no index.
    pub package: Option<PackageDetails>,
}

/// The details of a package's file that an index is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageDetails {
    /// The interpreter that it is for, as the file's name has it: `cp313`.
    pub interpreter: String,
    /// The text of the metadata in it.
    pub metadata: String,
}

/// What becomes of the file that tells the world which release is the latest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatestChange {
    /// It says the same already.
    Same,
    /// It is to have this content.
    Write(String),
    /// It stays as it is, for this reason.
    Keep(String),
}

/// A file that an index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedFile {
    /// Its name.
    pub name: String,
    /// Where it can be fetched.
    pub url: String,
    /// The sum of its bytes, where the index tells one.
    pub sha256: Option<Sha256Sum>,
}

/// Why an upload was not seen to succeed.
#[derive(Debug)]
pub enum UploadError {
    /// The index does not take the file, and says so.
    Refused(Fault),
    /// The file may have arrived or not.
    Unsure(Fault),
}

/// An index of packages, to which files are added and never changed.
#[async_trait]
pub trait PackageIndex: Send + Sync {
    /// Where it takes files, for messages.
    fn place(&self) -> String;

    /// Refuses where nothing is known that would let a file in.
    fn check_credentials(&self) -> Result<(), Fault>;

    /// All files of a project; none where the index does not know it.
    async fn list(&self, project: &str) -> Result<Vec<IndexedFile>, Fault>;

    /// The sum of a file, which is fetched for it; the file is refused when it has more than `most` bytes.
    async fn sum_of(&self, file: &IndexedFile, most: u64) -> Result<Sha256Sum, Fault>;

    /// Adds a file, which must have the size and the sum that it had when it was checked.
    async fn upload(&self, file: &ReleaseFile, progress: Progress<'_>) -> Result<(), UploadError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "85839e0f39e6cb893a88932aa36ef661759f3c5c5de4551ad26bd9df53cb71a2";

    fn manifest(names: &[&str]) -> String {
        let artifacts: Vec<_> =
            names.iter().map(|name| serde_json::json!({"name": name, "size": 3, "sha256": SUM, "new": 1})).collect();
        serde_json::json!({"version": "1.2", "artifacts": artifacts}).to_string()
    }

    #[test]
    fn a_manifest_is_read_and_one_that_cannot_be_meant_is_refused() {
        let read = BuildManifest::read(manifest(&["a.whl", "b.exe"]).as_bytes()).unwrap();
        assert_eq!((read.version.as_str(), read.artifacts.len()), ("1.2", 2));
        assert_eq!((read.artifacts[1].name.as_str(), read.artifacts[1].cell.as_deref()), ("b.exe", None));
        let mut more = read.clone();
        let other = BuiltArtifact { size: 4, ..read.artifacts[1].clone() };
        more.add(other.clone());
        assert_eq!(more.artifacts, [read.artifacts[0].clone(), other]);
        let again = BuildManifest::read(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(again, read);
        for (text, told) in [
            (manifest(&["../a.whl"]), "is not the name of an artifact"),
            (manifest(&[""]), "is not the name of an artifact"),
            (manifest(&["a", "a"]), "it names `a` twice"),
            (manifest(&["a"]).replace(SUM, "abc"), "`abc` is not a SHA-256"),
            ("{}".to_owned(), "version"),
        ] {
            let error = BuildManifest::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
