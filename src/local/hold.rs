//! Locks on a machine's folder, which the kernel releases when their holder dies.
//!
//! A driver that keeps or removes a machine's files takes the lock shared. A process that clears away the folders of
//! dead drivers takes it exclusively, and so leaves a folder alone while a driver works on it.

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// Takes the lock shared with other drivers; `None` where there is no folder or it is being cleared away.
pub(crate) fn lock_shared(folder: &Path) -> Option<OwnedFd> {
    hold(folder, FlockOperation::NonBlockingLockShared)
}

/// Takes the lock exclusively; `None` where there is no folder or another process works on it.
pub(crate) fn lock_exclusive(folder: &Path) -> Option<OwnedFd> {
    hold(folder, FlockOperation::NonBlockingLockExclusive)
}

fn hold(folder: &Path, operation: FlockOperation) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = open(folder, flags, Mode::empty()).ok()?;
    flock(&held, operation).ok()?;
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_share_a_folder_and_nobody_clears_it_away_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (lock_shared(folder.path()), lock_shared(folder.path()));
        assert!(first.is_some() && second.is_some() && lock_exclusive(folder.path()).is_none());
        drop((first, second));
        let held = lock_exclusive(folder.path());
        assert!(held.is_some() && lock_shared(folder.path()).is_none());
        assert!(lock_exclusive(&folder.path().join("nothing")).is_none());
    }
}
