//! Work that a process cannot do in its own namespaces: a process that it forks beforehand does it.

use std::io::{PipeReader, PipeWriter, Read, Write};

use rustix::process::{Pid, WaitOptions};

use crate::sys;
use crate::trouble::{Doing, Trouble};

/// A forked process that waits for a word, does its work, reports what went wrong, and ends.
pub(crate) struct ForkedWork {
    begin: Option<PipeWriter>,
    answer: PipeReader,
    child: Option<Pid>,
}

impl ForkedWork {
    /// Forks. `work` will be done in the namespaces and with the rights that this process has now.
    pub(crate) fn new(work: impl FnOnce() -> Result<(), Trouble>) -> Result<Self, Trouble> {
        let (mut wait, begin) = std::io::pipe().doing(|| "make a pipe")?;
        let (answer, mut reply) = std::io::pipe().doing(|| "make a pipe")?;
        match sys::fork().doing(|| "fork")? {
            sys::Fork::Child => {
                drop((begin, answer));
                // The pipe ends without a word where the work is no longer needed.
                if wait.read(&mut [0]).unwrap_or_default() == 1
                    && let Err(trouble) = work()
                {
                    drop(reply.write_all(&serde_json::to_vec(&trouble).unwrap_or_default()));
                    sys::exit_now(1);
                }
                sys::exit_now(0)
            }
            sys::Fork::Parent(child) => Ok(Self { begin: Some(begin), answer, child: Some(child) }),
        }
    }

    /// Gives the word and waits until the work is done.
    pub(crate) fn run(mut self) -> Result<(), Trouble> {
        if let Some(mut begin) = self.begin.take() {
            begin.write_all(b"g").doing(|| "reach the process beside this one")?;
        }
        let mut answer = Vec::new();
        self.answer.read_to_end(&mut answer).doing(|| "hear from the process beside this one")?;
        match (serde_json::from_slice::<Trouble>(&answer), self.end()) {
            (Ok(trouble), _) => Err(trouble),
            (Err(_), true) => Ok(()),
            (Err(_), false) => Err(Trouble::new("the process beside this one ended before its work was done")),
        }
    }

    /// Waits for the process to end; whether it succeeded.
    fn end(&mut self) -> bool {
        self.begin = None;
        let Some(child) = self.child.take() else { return false };
        let status = rustix::process::waitpid(Some(child), WaitOptions::empty());
        status.ok().flatten().is_some_and(|(_, status)| status.exit_status() == Some(0))
    }
}

impl Drop for ForkedWork {
    fn drop(&mut self) {
        self.end();
    }
}
