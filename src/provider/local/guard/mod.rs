//! The guard: one process a machine that makes it, watches its lease and ends it.
//!
//! It is our own executable, re-executed, without threads and without an async runtime, so that it can fork. It outlives
//! its driver; the machine does not outlive it, for the machine's first process dies with its parent. Its own parent, the
//! [`keeper`], sees to it that nothing of the machine stays when both driver and guard are gone.

mod handover;
mod ids;
mod keeper;
mod watch;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use crate::model::machine::Network;
use crate::model::resource::ResourceKind;
use crate::provider::local::cgroup::{self, CgroupPlan};
use crate::provider::local::folders::MachineFolder;
use crate::provider::local::lease::{LeaseClock, Now};
use crate::provider::local::loops::{self, LoopDevice};
use crate::provider::local::spec::{Facts, Kind, ProcessId, Report, Spec, read_json, write_json};
use crate::provider::local::trouble::{Doing, Trouble};
use crate::provider::local::{channel, init, proc, sys};

pub use ids::{SUBIDS_HINT, UIDMAP_HINT, enter as enter_user_namespace};

/// Runs a guard to its end; the body of the hidden subcommand `internal-guard SPEC`. Gives the exit code.
///
/// Must be called before the process starts a thread.
pub fn main(spec_path: &Path) -> i32 {
    let mut reports = match Reports::take_standard_output() {
        Ok(reports) => reports,
        Err(_) => return 1,
    };
    let (spec, keeper) = match begin(spec_path) {
        Ok((spec, keeper::Side::Guard(keeper))) => (spec, keeper),
        Ok((spec, keeper::Side::Keeper(keeper))) => {
            // The driver hears of the guard's end by the end of its pipe.
            drop(reports);
            keeper.keep(&spec);
            return 0;
        }
        Err(trouble) => return reports.fail(trouble),
    };
    let code = match Guard::new(spec.clone()) {
        Ok(mut guard) => guard.run(reports),
        Err(trouble) => reports.fail(trouble),
    };
    keeper::stand_in(&spec, keeper);
    code
}

/// Reads what is to be made, takes the rights to make it, and parts into guard and keeper.
fn begin(spec_path: &Path) -> Result<(Spec, keeper::Side), Trouble> {
    let spec = prepare(spec_path)?;
    if let Some(map) = &spec.ids {
        ids::enter(map)?;
    }
    Ok((spec, keeper::split()?))
}

/// The way to the driver. A driver that is gone is no error: the lease takes care of it.
pub struct Reports {
    pipe: File,
}

impl Reports {
    /// Keeps standard output for reports and points descriptors 1 and 2 elsewhere, see [`prepare`].
    fn take_standard_output() -> Result<Self, rustix::io::Errno> {
        let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        Ok(Self { pipe: File::from(pipe) })
    }

    fn send(&mut self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            let _ = self.pipe.write_all(&line);
        }
    }

    fn fail(&mut self, trouble: Trouble) -> i32 {
        self.send(&Report::Failed(trouble));
        1
    }

    fn present(&mut self, kind: ResourceKind, locator: impl ToString) {
        self.send(&Report::Present { kind, locator: locator.to_string() });
    }
}

/// Leaves the driver's terminal and reads what is to be made.
fn prepare(spec_path: &Path) -> Result<Spec, Trouble> {
    sys::default_signals();
    // Fails where the process leads a group already, as from a shell with job control; it is apart then too.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let spec: Spec = read_json(spec_path)?;
    let console = spec.folder().console();
    let log = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&console)
        .doing(|| format!("write `{}`", console.display()))?;
    rustix::stdio::dup2_stdout(&log).doing(|| "redirect standard output")?;
    rustix::stdio::dup2_stderr(&log).doing(|| "redirect standard error")?;
    rustix::process::chdir("/").doing(|| "change to `/`")?;
    Ok(spec)
}

/// What a guard holds while its machine lives.
pub struct Guard {
    spec: Spec,
    folder: MachineFolder,
    clock: LeaseClock,
    signals: OwnedFd,
    /// To the machine's first process; closed when it has ended.
    channel: Option<OwnedFd>,
    control: Option<OwnedFd>,
    init: Option<Pid>,
    /// Keeps the loop device attached until the machine has mounted it, and detached is all that is left after.
    volume: Option<LoopDevice>,
    cgroup: Option<CgroupPlan>,
}

/// How long a machine's first process may take to make its root.
const BOOT_LIMIT_MS: u32 = 30_000;

impl Guard {
    fn new(spec: Spec) -> Result<Self, Trouble> {
        let wanted = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD];
        let signals = sys::signal_fd(&wanted).doing(|| "receive signals")?;
        Ok(Self {
            folder: spec.folder(),
            clock: LeaseClock::new(now(), spec.lease, spec.expires_at, spec.grace),
            spec,
            signals,
            channel: None,
            control: None,
            init: None,
            volume: None,
            cgroup: None,
        })
    }

    /// Makes the machine and watches it to its end; gives the exit code.
    fn run(&mut self, mut reports: Reports) -> i32 {
        if let Err(trouble) = self.bring_up(&mut reports) {
            self.end_machine();
            return reports.fail(trouble);
        }
        self.watch(reports);
        0
    }

    /// Makes everything, in the order in which it was planned.
    fn bring_up(&mut self, reports: &mut Reports) -> Result<(), Trouble> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let guard = proc::identify(own).ok_or_else(|| Trouble::new("cannot read `/proc/self/stat`"))?;
        reports.present(ResourceKind::Process, guard);
        self.make_surroundings(reports)?;
        let (channel, inner_end) = channel::pair().doing(|| "make a socket pair")?;
        sys::unshare(UnshareFlags::NEWPID).map_err(|error| refused("a PID namespace", &error))?;
        let init = match sys::fork().doing(|| "fork")? {
            sys::Fork::Child => {
                drop(channel);
                init::main(&self.spec, inner_end, self.volume.as_ref().map(|device| device.path.as_path()))
            }
            sys::Fork::Parent(pid) => pid,
        };
        drop(inner_end);
        self.init = Some(init);
        let init = init.as_raw_nonzero().get();
        if let Some(plan) = &self.cgroup {
            cgroup::enter(plan, init)?;
        }
        let facts = self.facts(guard, init)?;
        write_json(&self.folder.facts(), &facts)?;
        reports.present(ResourceKind::Namespace, &facts.namespace);
        self.control = Some(handover::listen(&self.folder)?);
        channel::send(&channel, b"go", None).doing(|| "start the machine's first process")?;
        self.await_ready(channel, reports)
    }

    /// What the machine's first process is born into.
    fn make_surroundings(&mut self, reports: &mut Reports) -> Result<(), Trouble> {
        let Kind::Machine(machine) = &self.spec.kind else { return Ok(()) };
        if machine.network == Network::Loopback {
            sys::unshare(UnshareFlags::NEWNET).map_err(|error| refused("a network namespace", &error))?;
            sys::loopback_up().doing(|| "bring the machine's network interface `lo` up")?;
        }
        if let Some(bytes) = machine.volume {
            let device = loops::attach(&self.folder.volume(), bytes)?;
            reports.present(ResourceKind::LoopDevice, device.path.display());
            self.volume = Some(device);
        }
        if let Some(plan) = &machine.cgroup {
            self.cgroup = Some(plan.clone());
            cgroup::make(plan)?;
            // One resource, though version 1 of control groups takes one folder a controller.
            let paths: Vec<String> = plan.groups.iter().map(|group| group.path.display().to_string()).collect();
            reports.present(ResourceKind::Cgroup, paths.join(" "));
        }
        Ok(())
    }

    fn facts(&self, guard: ProcessId, init: i32) -> Result<Facts, Trouble> {
        Ok(Facts {
            guard,
            init: proc::identify(init).ok_or_else(|| Trouble::new("the machine's first process ended at once"))?,
            namespace: proc::pid_namespace(init).ok_or_else(|| Trouble::new("cannot read the machine's namespace"))?,
            loop_device: self.volume.as_ref().map(|device| device.path.display().to_string()),
        })
    }

    /// Passes on what the machine's first process tells, until it is ready.
    fn await_ready(&mut self, channel: OwnedFd, reports: &mut Reports) -> Result<(), Trouble> {
        loop {
            if channel::wait(&[channel.as_fd()], BOOT_LIMIT_MS) != [true] {
                return Err(Trouble::new("the machine's first process gave no sign for 30 seconds"));
            }
            let message = channel::receive(&channel).doing(|| "hear from the machine's first process")?;
            if message.bytes.is_empty() {
                return Err(Trouble::new("the machine's first process ended while it started"));
            }
            let report = serde_json::from_slice(&message.bytes).doing(|| "understand the first process")?;
            match report {
                Report::Failed(trouble) => return Err(trouble),
                other => {
                    let ready = matches!(other, Report::Ready);
                    reports.send(&other);
                    if ready {
                        self.channel = Some(channel);
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Writes to the console, which standard error is.
fn log(line: &str) {
    let _ = writeln!(std::io::stderr(), "guard: {line}");
}

/// The clocks now.
fn now() -> Now {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now { wall: wall.as_secs_f64(), boot: sys::boot_clock(), awake: sys::awake_clock() }
}

/// The kernel refused a namespace.
pub fn refused(what: &str, error: &std::io::Error) -> Trouble {
    Trouble::new(format!("cannot make {what}: {error}")).hint(
        "Run `automation doctor`. Root in a container needs the capability `SYS_ADMIN` (for example `docker run \
         --privileged`); an ordinary user needs user namespaces.",
    )
}
