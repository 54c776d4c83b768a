//! The data that driver and guard exchange: the specification, the lease, the facts, the reports.

use std::io::Write;
use std::path::{Path, PathBuf};

use model::base::id::MachineId;
use model::filesystem::Filesystem;
use model::image::Fingerprint;
use model::machine::Network;
use model::resource::ResourceKind;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupPlan;
use crate::folders::{Folders, MachineFolder};
use crate::trouble::{Doing, Trouble};

/// The specification of what a guard makes and watches: `machines/<id>/spec.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// The machine's id.
    pub id: MachineId,
    /// The state directory, an absolute path.
    pub state: PathBuf,
    /// A machine to log in to, or a sandbox for one program.
    pub kind: SpecKind,
    /// The ids to which the machine is confined; `None` for a privileged one, whose ids are the computer's.
    pub ids: Option<IdMap>,
    /// How long the machine lives without a sign of its driver, in seconds.
    pub grace: i64,
    /// The first lease, which holds until the file `lease` has another: seconds since 1970.
    pub lease: i64,
    /// The latest end: seconds since 1970.
    pub expires_at: i64,
    /// After how many seconds without a login or a task it ends.
    #[serde(default)]
    pub idle: Option<u64>,
}

impl Spec {
    /// The state directory's folders.
    pub(crate) fn folders(&self) -> Folders {
        Folders::new(&self.state)
    }

    /// The machine's folder.
    pub(crate) fn folder(&self) -> MachineFolder {
        self.folders().machine(&self.id)
    }
}

/// The thing that a guard guards.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SpecKind {
    /// A machine.
    Machine(MachineSpec),
    /// One program over the host's own files, which it cannot change.
    Sandbox(SandboxSpec),
}

/// A machine to log in to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineSpec {
    /// The layers of its root, lowest first.
    pub layers: Vec<Fingerprint>,
    /// Its network.
    pub network: Network,
    /// Its limits.
    pub cgroup: Option<CgroupPlan>,
    /// The size of its second volume in bytes.
    pub volume: Option<u64>,
    /// The volume's file system; unused where the machine is privileged.
    #[serde(default)]
    pub filesystem: Filesystem,
    /// The public key that may log in.
    pub authorized_key: String,
}

/// One program to run over the host's own files.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SandboxSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables to set for it.
    pub env: Vec<(String, String)>,
}

/// The ids of a machine: 0 is the user, 1 to 65535 are its subordinate ids. Where root makes the machine, all are of a
/// range that nobody on the computer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMap {
    /// The user, or the first id of a range that nobody has.
    pub uid: u32,
    /// The user's group, or the first id of a range that nobody has.
    pub gid: u32,
    /// The first subordinate user id.
    pub subuid: u32,
    /// The first subordinate group id.
    pub subgid: u32,
}

/// The number of ids that a machine has beside 0.
pub(crate) const MAPPED_IDS: u32 = 65535;

/// A process, identified by its number and its start time, because the number alone can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub started: u64,
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} started {}", self.pid, self.started)
    }
}

/// The facts that a guard records about itself and its machine: `machines/<id>/guard.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuardFacts {
    /// The guard.
    pub guard: ProcessId,
    /// The machine's first process, as the host sees it.
    pub init: ProcessId,
    /// The machine's PID namespace, as `/proc/PID/ns/pid` names it.
    pub namespace: String,
    /// The loop device behind its second volume.
    pub loop_device: Option<String>,
}

/// A report of a guard to its driver while it starts: a line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GuardReport {
    /// A resource exists now.
    Present {
        /// The kind of the resource.
        kind: ResourceKind,
        /// The system's name for the resource.
        locator: String,
    },
    /// The disk of the machine's second volume has a file system. This report of the first process is for the guard
    /// alone.
    Formatted,
    /// Users can log in to the machine, or the sandbox's program runs.
    Ready,
    /// The machine did not come up.
    Failed(Trouble),
    /// The sandbox's program ended.
    Finished {
        /// Its exit status, or the number of the signal that ended it with a minus before it.
        status: i32,
    },
}

/// Writes a file under its name only when it is whole. What a kill leaves is called `NAME.….new`, by which it is found beside records and
/// tools when all is removed. Its opening is our own, for `tempfile` puts the path into errors, and who calls says which file is meant.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut start = path.file_name().unwrap_or_default().to_owned();
    start.push(".");
    let open = |path: &Path| std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let folder = path.parent().unwrap_or(path);
    let fresh = tempfile::Builder::new().prefix(&start).suffix(".new").make_in(folder, open)?;
    fresh.as_file().write_all(bytes)?;
    fresh.persist(path).map(drop).map_err(|failed| failed.error)
}

/// Reads a file of JSON.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Trouble> {
    let text = std::fs::read(path).doing(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&text).doing(|| format!("read `{}`", path.display()))
}

/// Writes a file of JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Trouble> {
    let text = serde_json::to_vec_pretty(value).doing(|| format!("write `{}`", path.display()))?;
    write_atomically(path, &text).doing(|| format!("write `{}`", path.display()))
}
