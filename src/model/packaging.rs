//! Building packages of a source on machines: the interface between flows and a project's packaging, and what comes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::{MachineId, RunId};
use crate::fault::Fault;
use crate::preparation::Preparation;
use crate::release::BuiltArtifact;
use crate::sum::Sha256Sum;
use crate::task::StepCommand;

/// One package of a build's matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageCell {
    /// Its name, by which results, logs and the manifest call it, for example `wheel-3.13-x64`; a file can be called so.
    pub name: String,
    /// The package in words, for example `the wheel for Python 3.13 on x64`.
    pub what: String,
}

/// The adapter to a project's packaging, for one source, beyond its [`Preparation`].
pub trait Packager: Preparation {
    /// The packages to build, in this order; no two have the same name.
    fn cells(&self) -> Vec<PackageCell>;

    /// The version of the release, where it is known before anything was built.
    fn version(&self) -> Option<String>;

    /// The steps that remove from the source whatever an earlier build left there; before the first build on a machine they take its
    /// folders as well.
    fn clear(&self, folder: &str, is_first: bool) -> Vec<StepCommand>;

    /// The step that builds the package of `cell` into the folder `output` on the machine, which need not exist. The last
    /// line that its command prints to standard output is a [`BuiltFile`] as JSON.
    fn build(&self, folder: &str, cell: &PackageCell, output: &str) -> StepCommand;
}

/// What a build says of the file that it made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BuiltFile {
    /// The file on the machine; an absolute path with slashes.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// Their sum.
    pub sha256: Sha256Sum,
    /// The version that it is of.
    pub version: String,
}

/// Signs what was built, on this computer: keys never travel to a machine.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Whether files of this name are signed.
    fn signs(&self, name: &str) -> bool;

    /// Signs the file, and checks that it bears a signature of its bytes then. It belongs to us, and nobody else knows it yet.
    async fn sign(&self, path: &Path) -> Result<(), Fault>;
}

/// How the build of a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellOutcome {
    /// The package is here, whole.
    Built,
    /// It could not be built, or what came of it is not what was asked for.
    Failed,
    /// Its machine was lost while it was built.
    Lost,
    /// Nobody began to build it.
    NotBuilt,
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CellResult {
    /// The cell's name.
    pub cell: String,
    /// How it ended.
    pub outcome: CellOutcome,
    /// The package; none unless it was built.
    pub artifact: Option<BuiltArtifact>,
    /// The version that its build said it is of.
    pub version: Option<String>,
    /// Why there is none.
    pub reason: Option<String>,
    /// What its build said, a file on this computer; none where no build began.
    pub log: Option<PathBuf>,
    /// The machine that it was built on.
    pub machine: Option<MachineId>,
    /// How long it took on the machine, with its way here.
    #[serde(with = "clock::seconds")]
    pub seconds: Duration,
}

/// What came of a build, as `--json` prints it (`docs/json.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackagingResults {
    /// The run.
    pub id: RunId,
    /// The version, where one is known.
    pub version: Option<String>,
    /// The folder with the packages, on this computer.
    pub dist: PathBuf,
    /// Every cell, once, in the matrix's order.
    pub cells: Vec<CellResult>,
}

impl PackagingResults {
    /// How many cells ended so.
    pub fn count(&self, outcome: CellOutcome) -> usize {
        self.cells.iter().filter(|cell| cell.outcome == outcome).count()
    }

    /// The exit code: [`exit_code::OK`](crate::exit_code::OK) only where every package is here. A package that was lost, or that
    /// nobody began, is the worse news: another try may have it.
    pub fn exit_code(&self) -> i32 {
        use crate::exit_code::{FAILED, INFRASTRUCTURE, OK};
        match self.count(CellOutcome::Built) {
            built if built == self.cells.len() && built > 0 => OK,
            built if built + self.count(CellOutcome::Failed) < self.cells.len() => INFRASTRUCTURE,
            _ => FAILED,
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let words =
            [(CellOutcome::Failed, "failed"), (CellOutcome::Lost, "lost"), (CellOutcome::NotBuilt, "not built")];
        let mut text = format!("{} of {} packages built", self.count(CellOutcome::Built), self.cells.len());
        for (outcome, word) in words {
            let count = self.count(outcome);
            if count > 0 {
                text.push_str(&format!(", {count} {word}"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(outcomes: &[CellOutcome]) -> PackagingResults {
        let cell = |outcome: &CellOutcome| CellResult {
            cell: "c".to_owned(),
            outcome: *outcome,
            artifact: None,
            version: None,
            reason: None,
            log: None,
            machine: None,
            seconds: Duration::ZERO,
        };
        PackagingResults {
            id: RunId::new("2026-11-20T10:53:01Z".parse().unwrap()),
            version: None,
            dist: PathBuf::from("dist"),
            cells: outcomes.iter().map(cell).collect(),
        }
    }

    #[test]
    fn only_a_whole_matrix_is_green() {
        use CellOutcome::{Built, Failed, Lost, NotBuilt};
        for (outcomes, code) in
            [(&[Built, Built][..], 0), (&[], 1), (&[Built, Failed], 1), (&[Failed, Lost], 4), (&[Built, NotBuilt], 4)]
        {
            assert_eq!(results(outcomes).exit_code(), code, "{outcomes:?}");
        }
        assert_eq!(
            results(&[Built, Failed, Lost, NotBuilt]).summary(),
            "1 of 4 packages built, 1 failed, 1 lost, 1 not built"
        );
    }
}
