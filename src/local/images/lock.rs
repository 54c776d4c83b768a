//! Locks between processes: files that the kernel unlocks when their holder dies.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use model::event::{Awaited, ImageEvent, Teller};
use model::fault::Fault;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::computer;
use crate::trouble::{Doing, Trouble};

/// The interval in which a lock that another process holds is tried again.
const INTERVAL: Duration = Duration::from_millis(200);

/// Waits for the lock `name`; `awaited` is the work of the process that holds it. Dropping the future stops the wait,
/// and dropping the file unlocks.
pub(crate) async fn lock(folder: &Path, name: &str, awaited: &Awaited, teller: &Teller) -> Result<File, Fault> {
    let mut reported = false;
    loop {
        if let Some(file) = try_lock(folder, name)? {
            return Ok(file);
        }
        if !reported {
            teller.tell(ImageEvent::WaitingForProcess { awaited: awaited.clone() });
            reported = true;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Takes the lock `name`; `None` while another process, or another part of this one, holds it.
pub(crate) fn try_lock(folder: &Path, name: &str) -> Result<Option<File>, Trouble> {
    computer::make_private_folder(folder)?;
    let path = folder.join(name);
    let doing = || format!("lock `{}`", path.display());
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).doing(doing)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(None),
        Err(error) => Err(error).doing(doing),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_its_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let held = try_lock(folder.path(), "x").unwrap();
        assert!(held.is_some() && try_lock(folder.path(), "x").unwrap().is_none());
        assert!(try_lock(folder.path(), "y").unwrap().is_some());
        drop(held);
        assert!(try_lock(folder.path(), "x").unwrap().is_some());
        let mode = folder.path().join("x").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
