//! Removing a machine's resources, in whatever phase its driver left them.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::model::fault::Fault;
use crate::model::resource::{Fate, Resource, ResourceKind};
use crate::provider::local::files::{Action, Files};
use crate::provider::local::folders::{Folders, MachineFolder};
use crate::provider::local::spec::ProcessId;
use crate::provider::local::trouble::Trouble;
use crate::provider::local::{cgroup, loops, proc};

/// How long a guard may take to end its machine when asked.
const ASKED_LIMIT: Duration = Duration::from_secs(10);

/// How long killed processes may take to be gone.
const KILLED_LIMIT: Duration = Duration::from_secs(10);

/// How long the kernel may take to let go of a loop device or a control group whose users are gone.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Releases resources of one state directory.
#[derive(Debug, Clone)]
pub struct Releaser {
    /// The state directory's folders.
    pub folders: Folders,
    /// Removes files.
    pub files: Files,
}

impl Releaser {
    /// Removes a resource and looks whether it is gone. Blocks.
    ///
    /// Whatever the kind, the machine is ended first: its namespaces and mounts go with its processes, and nothing of
    /// it can be removed under its feet.
    pub fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        let folder = self.folders.machine(&resource.machine);
        if let Some(reason) = end_machine(&folder) {
            return Ok(Fate::Stays(reason));
        }
        Ok(match resource.kind {
            ResourceKind::Process | ResourceKind::Namespace | ResourceKind::Mount => Fate::Gone,
            ResourceKind::Cgroup => self.release_cgroup(resource),
            ResourceKind::LoopDevice => settle(|| release_loops(&folder)),
            ResourceKind::Rootfs => self.release_rootfs(resource, &folder),
            kind => return Err(Fault::infrastructure(format!("a local machine has no {}", kind.name()))),
        })
    }

    fn release_cgroup(&self, resource: &Resource) -> Fate {
        settle(|| {
            let groups = match cgroup::groups_of(self.folders.state(), &resource.machine) {
                Ok(groups) => groups,
                Err(trouble) => return Some(trouble.message),
            };
            let mut reason = None;
            for group in groups {
                if let Err(error) = cgroup::remove(&group) {
                    reason = Some(format!("cannot remove `{}`: {error}", group.display()));
                }
            }
            reason
        })
    }

    fn release_rootfs(&self, resource: &Resource, folder: &MachineFolder) -> Fate {
        if Path::new(&resource.name) != folder.path() {
            let reason = format!("`{}` is not in this state directory's `machines`", resource.name);
            return Fate::Stays(reason);
        }
        if let Some(reason) = release_loops(folder) {
            return Fate::Stays(reason);
        }
        // A driver that died while it committed a layer has left its files on the way.
        let passage = self.folders.passage().join(resource.machine.as_str());
        for path in [passage.as_path(), folder.path()] {
            if !path.exists() {
                continue;
            }
            if let Err(error) = self.files.apply(Action::Remove, path) {
                return Fate::Stays(format!("cannot remove `{}`: {error}", path.display()));
            }
        }
        Fate::Gone
    }
}

/// Ends a machine's processes; the files stay. Gives the reason why one still lives.
pub fn end_machine(folder: &MachineFolder) -> Option<String> {
    let spec = folder.spec();
    for (signal, limit) in [(Signal::TERM, ASKED_LIMIT), (Signal::KILL, KILLED_LIMIT)] {
        let handles = match living(&spec) {
            Ok(handles) if handles.is_empty() => return None,
            Ok(handles) => handles,
            Err(trouble) => return Some(trouble.message),
        };
        for (_, handle) in &handles {
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
        let deadline = Instant::now() + limit;
        for (_, handle) in &handles {
            wait_for_end(handle, deadline);
        }
    }
    let left = match living(&spec) {
        Ok(handles) => handles.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
        Err(trouble) => return Some(trouble.message),
    };
    (!left.is_empty()).then(|| format!("{} did not end when killed", left.join(" and ")))
}

/// The machine's guard and first process, held so that no other process can take their numbers.
fn living(spec: &Path) -> Result<Vec<(ProcessId, OwnedFd)>, Trouble> {
    let living = proc::guards_of(spec)?
        .into_iter()
        .filter_map(|found| {
            let handle = rustix::process::pidfd_open(Pid::from_raw(found.id.pid)?, PidfdFlags::empty()).ok()?;
            // Looked at again: the number may have passed on between the two looks.
            proc::alive(found.id).then_some((found.id, handle))
        })
        .collect();
    Ok(living)
}

fn wait_for_end(handle: &OwnedFd, deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match rustix::event::poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// Detaches what is still attached to a file in the machine's folder; gives the reason why one is left.
fn release_loops(folder: &MachineFolder) -> Option<String> {
    let detached = loops::attached_below(folder.path()).and_then(|found| {
        for attached in found {
            let _ = loops::detach(&attached.device);
        }
        loops::attached_below(folder.path())
    });
    match detached {
        Ok(left) => left.first().map(|attached| format!("`{}` is still in use", attached.device.display())),
        Err(trouble) => Some(trouble.message),
    }
}

/// Tries until no reason is left, or gives up with the last one.
fn settle(mut attempt: impl FnMut() -> Option<String>) -> Fate {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        match attempt() {
            None => return Fate::Gone,
            Some(reason) if Instant::now() > deadline => return Fate::Stays(reason),
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
