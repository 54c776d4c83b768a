//! Who works on a machine's folder: a lock on the folder itself, which the kernel lets go of when its holder dies.
//!
//! A driver that keeps or removes a machine's files shares it; whoever clears away what dead drivers left takes it alone,
//! and leaves the folder be while a driver is at work in it.

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// Shares the folder with other drivers; none where it is not there, or is being cleared away at this moment.
pub(crate) fn shared(folder: &Path) -> Option<OwnedFd> {
    hold(folder, FlockOperation::NonBlockingLockShared)
}

/// Takes the folder alone; none where it is not there, or somebody works on it.
pub(crate) fn alone(folder: &Path) -> Option<OwnedFd> {
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
        let (first, second) = (shared(folder.path()), shared(folder.path()));
        assert!(first.is_some() && second.is_some() && alone(folder.path()).is_none());
        drop((first, second));
        let held = alone(folder.path());
        assert!(held.is_some() && shared(folder.path()).is_none());
        assert!(alone(&folder.path().join("nothing")).is_none());
    }
}
