//! Removes a machine's resources, in whatever phase its driver left them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::base::id::MachineId;
use model::fault::Fault;
use model::image::Fingerprint;
use model::resource::{Fate, Resource, ResourceKind};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::files::{Action, FileWorker};
use crate::folders::{Folders, MachineFolder};
use crate::images::layers;
use crate::proc::MachineProcess;
use crate::spec::ProcessId;
use crate::trouble::Trouble;
use crate::{cgroup, hold, loops, proc};

/// How long a guard may take to end its machine when asked.
const TERM_LIMIT: Duration = Duration::from_secs(10);

/// How long killed processes may take to end.
const KILLED_LIMIT: Duration = Duration::from_secs(10);

/// The interval in which processes that are to end are looked for anew.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long the kernel may take to let go of a loop device or a control group whose users are gone.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Releases resources of one state directory.
#[derive(Debug, Clone)]
pub(crate) struct Releaser {
    /// The state directory's folders.
    pub folders: Folders,
    /// Removes files.
    pub files: FileWorker,
}

impl Releaser {
    /// Removes a resource and checks that it is gone. Blocks.
    ///
    /// Whatever the kind, the machine is ended first: its namespaces and mounts go with its processes, and no resource
    /// may be removed while processes use it.
    pub(crate) fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        let folder = self.folders.machine(&resource.machine);
        if let Some(reason) = end_machine(&folder) {
            return Ok(Fate::Remains(reason));
        }
        Ok(match resource.kind {
            ResourceKind::Process | ResourceKind::Namespace | ResourceKind::Mount => Fate::Gone,
            ResourceKind::Cgroup => retry_until_gone(|| remove_groups(&self.folders, &resource.machine)),
            ResourceKind::LoopDevice => retry_until_gone(|| release_loops(&folder)),
            ResourceKind::Rootfs => self.release_rootfs(resource, &folder),
            kind => return Err(Fault::infrastructure(format!("a local machine has no {}", kind.name()))),
        })
    }

    fn release_rootfs(&self, resource: &Resource, folder: &MachineFolder) -> Fate {
        if Path::new(&resource.name) != folder.path() {
            let reason = format!("`{}` is not in this state directory's `machines`", resource.name);
            return Fate::Remains(reason);
        }
        if let Some(reason) = release_loops(folder) {
            return Fate::Remains(reason);
        }
        // The lock keeps the keeper from the files, in case this takes longer than the lease.
        let held = hold::lock_shared(folder.path());
        let removed = remove_files(&self.folders, &resource.machine, &|path| self.files.apply(&Action::Remove, path));
        drop(held);
        // The keeper would end by itself, but only when it looks at the folder again.
        let reason = removed.or_else(|| end_all(&|| proc::keepers_of(&folder.spec())));
        reason.map_or(Fate::Gone, Fate::Remains)
    }
}

/// Removes the files of a machine, including those that a driver left on their way into a layer; returns the reason
/// where some stay. The machine's own folder goes last, because the rest is found by it.
fn remove_files<T>(
    folders: &Folders,
    machine: &MachineId,
    remove: &dyn Fn(&Path) -> std::io::Result<T>,
) -> Option<String> {
    let (passage, folder) = (folders.staging().join(machine.as_str()), folders.machine(machine));
    let unfinished = unfinished_layer(folders, &folder);
    let paths = unfinished.iter().map(PathBuf::as_path).chain([passage.as_path(), folder.path()]);
    paths.filter(|path| path.exists()).find_map(|path| {
        let error = remove(path).err()?;
        Some(format!("cannot remove `{}`: {error}", path.display()))
    })
}

/// The layer that a machine's files have become, where its image was not written down before its maker died: nobody else would miss it.
fn unfinished_layer(folders: &Folders, folder: &MachineFolder) -> Option<PathBuf> {
    let fingerprint = Fingerprint(std::fs::read_to_string(folder.layer()).ok()?.trim().to_owned());
    layers::check(&fingerprint).ok()?;
    let is_written = folders.records().join(format!("{fingerprint}.json")).exists();
    (!is_written).then(|| folders.layer(&fingerprint))
}

/// Clears away a machine whose driver has not done so: processes, control groups, loop devices, files. Returns the
/// reason where something stays; a folder on which a driver works is left to the driver.
pub(crate) fn clear<T>(
    folders: &Folders,
    machine: &MachineId,
    remove: &dyn Fn(&Path) -> std::io::Result<T>,
) -> Option<String> {
    let folder = folders.machine(machine);
    let Some(_held) = hold::lock_exclusive(folder.path()) else {
        return folder.path().exists().then(|| format!("`{}` is being worked on", folder.path().display()));
    };
    end_machine(&folder)
        .or_else(|| remove_groups(folders, machine))
        .or_else(|| release_loops(&folder))
        .or_else(|| remove_files(folders, machine, remove))
}

/// Removes the control groups of a machine that has ended; returns the reason where one stays.
fn remove_groups(folders: &Folders, machine: &MachineId) -> Option<String> {
    match cgroup::groups_of(folders.state(), machine) {
        Ok(groups) => groups.iter().find_map(|group| {
            let error = cgroup::remove_patiently(group).err()?;
            Some(format!("cannot remove `{}`: {error}", group.display()))
        }),
        Err(trouble) => Some(trouble.message),
    }
}

/// Ends a machine's processes; the files stay. Returns the reason where a process still lives.
pub(crate) fn end_machine(folder: &MachineFolder) -> Option<String> {
    let spec = folder.spec();
    end_all(&|| proc::guards_of(&spec))
}

/// Ends the processes that `find` finds, first by SIGTERM; returns the reason where one still lives.
fn end_all(find: &dyn Fn() -> Result<Vec<MachineProcess>, Trouble>) -> Option<String> {
    for (signal, limit) in [(Signal::TERM, TERM_LIMIT), (Signal::KILL, KILLED_LIMIT)] {
        let mut living = match open_handles(find) {
            Ok(living) => living,
            Err(trouble) => return Some(trouble.message),
        };
        for (_, handle) in &living {
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
        let deadline = Instant::now() + limit;
        while let Some((_, handle)) = living.first() {
            if Instant::now() > deadline {
                break;
            }
            wait_for_end(handle, deadline.min(Instant::now() + POLL_INTERVAL));
            // The processes are looked for anew, because a guard without a keeper goes on as one and is then not found.
            living = match open_handles(find) {
                Ok(living) => living,
                Err(trouble) => return Some(trouble.message),
            };
        }
        if living.is_empty() {
            return None;
        }
    }
    let left = match open_handles(find) {
        Ok(handles) => handles.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
        Err(trouble) => return Some(trouble.message),
    };
    (!left.is_empty()).then(|| format!("{} did not end when killed", left.join(" and ")))
}

/// The processes that `find` finds, with descriptors that stay theirs even if their numbers are used again.
fn open_handles(find: &dyn Fn() -> Result<Vec<MachineProcess>, Trouble>) -> Result<Vec<(ProcessId, OwnedFd)>, Trouble> {
    let living = find()?
        .into_iter()
        .filter_map(|found| {
            let handle = rustix::process::pidfd_open(Pid::from_raw(found.id.pid)?, PidfdFlags::empty()).ok()?;
            // Checked again, because another process may have got the number before the descriptor was opened.
            proc::is_alive(found.id).then_some((found.id, handle))
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

/// Detaches the loop devices of files in the machine's folder; returns the reason where one is left.
fn release_loops(folder: &MachineFolder) -> Option<String> {
    let detached = loops::attached_below(folder.path()).and_then(|found| {
        for attached in found {
            drop(loops::detach(&attached.device));
        }
        loops::attached_below(folder.path())
    });
    match detached {
        Ok(left) => left.first().map(|attached| format!("`{}` is still in use", attached.device.display())),
        Err(trouble) => Some(trouble.message),
    }
}

/// Repeats `attempt` until it returns no reason; after a limit, its last reason counts.
fn retry_until_gone(mut attempt: impl FnMut() -> Option<String>) -> Fate {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        match attempt() {
            None => return Fate::Gone,
            Some(reason) if Instant::now() > deadline => return Fate::Remains(reason),
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
