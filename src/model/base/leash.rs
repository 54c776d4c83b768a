//! Programs that end with the program that started them, however that ends.

#![expect(unsafe_code, reason = "what runs between fork and exec calls nothing that allocates or locks")]

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// A command whose program can be started on a leash.
pub trait Leash {
    /// Lets the kernel send `signal` to the program when the thread that started it ends, even by SIGKILL. So that
    /// thread must live for as long as the program is needed; threads of an async runtime and threads that wait for the
    /// program do.
    ///
    /// The kernel takes programs that change their user (set-user-id) off the leash.
    fn leash(&mut self, signal: Signal) -> &mut Self;

    /// Lets the program hold this process's lock on `file` as well: the lock is free only when both have ended.
    fn hold_lock(&mut self, file: &File) -> io::Result<&mut Self>;
}

impl Leash for std::process::Command {
    fn leash(&mut self, signal: Signal) -> &mut Self {
        let parent = getpid();
        let leash = move || {
            set_parent_process_death_signal(Some(signal))?;
            // The parent may have ended before the line above took effect.
            if getppid() == Some(parent) { Ok(()) } else { Err(Errno::OWNERDEAD.into()) }
        };
        // SAFETY: between fork and exec the closure makes two system calls, and neither allocates nor locks.
        unsafe { self.pre_exec(leash) }
    }

    fn hold_lock(&mut self, file: &File) -> io::Result<&mut Self> {
        let held = file.try_clone()?;
        let inherit = move || Ok(fcntl_setfd(&held, FdFlags::empty())?);
        // SAFETY: as above; the descriptor is open for as long as the command can be started.
        Ok(unsafe { self.pre_exec(inherit) })
    }
}

impl Leash for tokio::process::Command {
    fn leash(&mut self, signal: Signal) -> &mut Self {
        self.as_std_mut().leash(signal);
        self
    }

    fn hold_lock(&mut self, file: &File) -> io::Result<&mut Self> {
        self.as_std_mut().hold_lock(file)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        let start = || Command::new("sleep").arg("60").leash(Signal::KILL).spawn().unwrap();
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_lock_is_held_for_as_long_as_the_program_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = || File::options().create(true).truncate(false).write(true).open(&path).unwrap();
        let held = open();
        held.lock().unwrap();
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).hold_lock(&held).unwrap().spawn().unwrap();
        drop((held, command));
        assert!(open().try_lock().is_err(), "the program holds it still");
        drop(child.stdin.take());
        child.wait().unwrap();
        open().try_lock().unwrap();
    }
}
