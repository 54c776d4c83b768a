//! Starts a guard and reads its reports, on the driver's side.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::text;
use model::fault::Fault;
use model::provider::Confirm;
use model::resource::ResourceKind;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::LocalConfig;
use crate::computer;
use crate::folders::MachineFolder;
use crate::proc::GUARD_COMMAND;
use crate::spec::{GuardReport, Spec, write_atomically, write_json};
use crate::trouble::{Doing, Trouble};

/// How long a guard may take until its machine is ready.
const READY_LIMIT: Duration = Duration::from_secs(40);

/// A started guard. Dropping the value closes the pipe; the guard goes on.
pub(crate) struct StartedGuard {
    lines: Lines<BufReader<ChildStdout>>,
    console: PathBuf,
}

/// Writes the specification and starts a guard for it.
pub(crate) fn launch(config: &LocalConfig, spec: &Spec) -> Result<StartedGuard, Trouble> {
    let executable = &config.executable;
    let folder = spec.folder();
    write_atomically(&folder.lease(), spec.lease.to_string().as_bytes()).doing(|| "write the lease")?;
    write_json(&folder.spec(), spec)?;
    let mut guard = Command::new(executable)
        .arg(GUARD_COMMAND)
        .arg(folder.spec())
        // The guard gets none of the driver's variables, because a machine's first process shows the guard's as its
        // own.
        .env_clear()
        .env("PATH", computer::SYSTEM_PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(false)
        .spawn()
        .doing(|| format!("start `{}`", executable.display()))?;
    let pipe = guard.stdout.take().ok_or_else(|| Trouble::new("the guard has no standard output"))?;
    // Tokio reaps a child that was dropped; a guard that ended would otherwise stay as a zombie of its driver.
    drop(guard);
    Ok(StartedGuard { lines: BufReader::new(pipe).lines(), console: folder.console() })
}

impl StartedGuard {
    /// Confirms the resources that the guard makes until its machine is ready; `name` returns the planned name of a
    /// kind.
    pub(crate) async fn wait_until_ready(
        &mut self,
        name: &(dyn Fn(ResourceKind) -> String + Sync),
        confirm: Confirm<'_>,
    ) -> Result<(), Fault> {
        let deadline = Deadline::after(READY_LIMIT, "the machine's guard to be ready");
        loop {
            match deadline.bound(self.next()).await?? {
                GuardReport::Present { kind, locator } => confirm(kind, &name(kind), &locator)?,
                GuardReport::Ready => return Ok(()),
                GuardReport::Failed(trouble) => return Err(trouble.into()),
                GuardReport::Finished { .. } | GuardReport::Formatted => {}
            }
        }
    }

    /// Waits for the end of a sandbox's program, and returns its exit status, or a signal's number with a minus before
    /// it.
    pub(crate) async fn wait_until_finished(&mut self) -> Result<i32, Fault> {
        loop {
            if let GuardReport::Finished { status } = self.next().await? {
                return Ok(status);
            }
        }
    }

    async fn next(&mut self) -> Result<GuardReport, Fault> {
        let line = self
            .lines
            .next_line()
            .await
            .map_err(|error| Fault::infrastructure("cannot hear from the machine's guard").because(error))?;
        let line = line.ok_or_else(|| {
            let last_lines = tail(&self.console, 5).unwrap_or_default();
            Fault::infrastructure("the machine's guard ended before the machine was ready").because(last_lines)
        })?;
        serde_json::from_str(&line)
            .map_err(|error| Fault::infrastructure(format!("the machine's guard said `{line}`")).because(error))
    }
}

/// The number of bytes that are read of the end of a console.
const TAIL_BYTES: u64 = 32 * 1024;

/// The last `count` lines of a file that are not empty.
pub(crate) fn tail(path: &Path, count: usize) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let last = text::last_lines(&String::from_utf8_lossy(&bytes), count);
    (!last.is_empty()).then_some(last)
}

/// Writes a lease. A machine whose folder is gone has ended.
pub(crate) fn write_lease(folder: &MachineFolder, until: i64) -> Result<(), Fault> {
    write_atomically(&folder.lease(), until.to_string().as_bytes()).map_err(|error| {
        let fault = Fault::infrastructure(format!("cannot renew the lease of `{}`", folder.path().display()));
        if error.kind() == std::io::ErrorKind::NotFound {
            fault.because("the machine has ended")
        } else {
            fault.because(error)
        }
    })
}
