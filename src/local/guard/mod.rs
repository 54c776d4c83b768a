//! The guard is a process for each machine that makes the machine, watches its lease and ends it.
//!
//! It is our own executable, re-executed, without threads and without an async runtime, so that it can fork. It
//! outlives its driver; the machine does not outlive it, because the machine's first process dies with its parent. Its
//! own parent, the [`keeper`], ensures that nothing of the machine stays when both driver and guard are gone.

mod fresh;
mod handover;
mod idle;
mod keeper;
mod pause;
pub(crate) mod volume;
mod watch;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use model::machine::Network;
use model::resource::ResourceKind;
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::aside::ForkedWork;
use crate::cgroup::{self, CgroupPlan};
use crate::folders::{CONTROL, MachineFolder, PAUSE};
use crate::lease::{Clocks, LeaseClock};
use crate::loops::{self, LoopDevice};
use crate::spec::{GuardFacts, GuardReport, ProcessId, Spec, SpecKind, read_json, write_json};
use crate::trees;
use crate::trouble::{Doing, Trouble};
use crate::{channel, computer, ids, init, proc, sys};

/// Runs a guard to its end; the body of the hidden subcommand `internal-guard SPEC`. Returns the exit code.
///
/// Must be called before the process starts a thread.
pub(crate) fn main(spec_path: &Path) -> i32 {
    let begun = fresh::begin();
    let mut reports = match ReportPipe::take_standard_output() {
        Ok(reports) => reports,
        Err(_) => return 1,
    };
    let (spec, gives_ids, keeper) = match begun.and_then(|()| begin(spec_path)) {
        Ok(GuardStart { spec, gives_ids, side: keeper::ProcessRole::Guard(keeper) }) => (spec, gives_ids, keeper),
        Ok(GuardStart { spec, side: keeper::ProcessRole::Keeper(keeper), .. }) => {
            // The driver learns of the guard's end by the end of this pipe, so the keeper must not hold it.
            drop(reports);
            keeper.keep(&spec);
            return 0;
        }
        Err(trouble) => return reports.fail(trouble),
    };
    let code = match Guard::new(spec.clone(), gives_ids) {
        Ok(mut guard) => guard.run(reports),
        Err(trouble) => reports.fail(trouble),
    };
    keeper::stand_in(&spec, keeper);
    code
}

/// The state in which a guard or its keeper begins.
struct GuardStart {
    spec: Spec,
    gives_ids: bool,
    side: keeper::ProcessRole,
}

/// Reads the specification, gets the rights to make the machine, and splits into guard and keeper. Root's guard enters
/// no user namespace, since it has all rights, and gives the machine its ids from outside.
fn begin(spec_path: &Path) -> Result<GuardStart, Trouble> {
    let spec = prepare(spec_path)?;
    let gives_ids = spec.ids.is_some() && computer::is_root();
    if let Some(map) = spec.ids.as_ref().filter(|_| !gives_ids) {
        ids::enter(map)?;
    }
    Ok(GuardStart { spec, gives_ids, side: keeper::split()? })
}

/// The pipe for reports to the driver. It is not an error that the driver is gone: the lease takes care of that.
pub(crate) struct ReportPipe {
    pipe: File,
}

impl ReportPipe {
    /// Keeps a duplicate of standard output for reports; [`prepare`] points descriptors 1 and 2 elsewhere.
    fn take_standard_output() -> Result<Self, rustix::io::Errno> {
        let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        Ok(Self { pipe: File::from(pipe) })
    }

    fn send(&mut self, report: &GuardReport) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            drop(self.pipe.write_all(&line));
        }
    }

    fn fail(&mut self, trouble: Trouble) -> i32 {
        self.send(&GuardReport::Failed(trouble));
        1
    }

    fn present(&mut self, kind: ResourceKind, locator: impl ToString) {
        self.send(&GuardReport::Present { kind, locator: locator.to_string() });
    }
}

/// Leaves the driver's terminal, reads the specification and redirects output to the console.
fn prepare(spec_path: &Path) -> Result<Spec, Trouble> {
    // Fails where the process leads a group already, as one from a shell with job control does; that is separate
    // enough.
    let _ = rustix::process::setsid();
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

/// The state of a guard while its machine lives.
pub(crate) struct Guard {
    spec: Spec,
    /// Whether this guard is root and gives its machine ids that nobody has. An ordinary user's guard is itself in the
    /// machine's user namespace, as its root.
    gives_ids: bool,
    folder: MachineFolder,
    clock: LeaseClock,
    /// How long nobody has used the machine, where that matters.
    idle: Option<idle::IdleClock>,
    signals: OwnedFd,
    /// The channel to the machine's first process; closed when that has ended.
    channel: Option<OwnedFd>,
    control: Option<OwnedFd>,
    /// Where somebody asks for the machine to be paused.
    pause: Option<OwnedFd>,
    paused: Option<pause::Paused>,
    init: Option<Pid>,
    /// Keeps the loop device attached at least until the machine has mounted it; the kernel detaches it after its last
    /// user.
    volume: Option<LoopDevice>,
    cgroup: Option<CgroupPlan>,
}

/// How long a machine's first process may take to make its root.
const BOOT_LIMIT_MS: u32 = 30_000;

impl Guard {
    fn new(spec: Spec, gives_ids: bool) -> Result<Self, Trouble> {
        let wanted = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD];
        let signals = sys::signal_fd(&wanted).doing(|| "receive signals")?;
        Ok(Self {
            folder: spec.folder(),
            clock: LeaseClock::new(read_clocks(), spec.lease, spec.expires_at, spec.grace),
            idle: spec.idle.map(|most| idle::IdleClock::new(most, sys::awake_clock())),
            gives_ids,
            spec,
            signals,
            channel: None,
            control: None,
            pause: None,
            paused: None,
            init: None,
            volume: None,
            cgroup: None,
        })
    }

    /// Makes the machine and watches it to its end; returns the exit code.
    fn run(&mut self, mut reports: ReportPipe) -> i32 {
        if let Err(trouble) = self.bring_up(&mut reports) {
            self.end_machine();
            return reports.fail(trouble);
        }
        self.watch(reports);
        0
    }

    /// Makes all resources, in the order in which they were planned.
    fn bring_up(&mut self, reports: &mut ReportPipe) -> Result<(), Trouble> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let guard = proc::identify(own).ok_or_else(|| Trouble::new("cannot read `/proc/self/stat`"))?;
        reports.present(ResourceKind::Process, guard);
        self.make_surroundings(reports)?;
        let (channel, inner_end) = channel::pair().doing(|| "make a socket pair")?;
        let secrets = match &self.spec.kind {
            SpecKind::Machine(machine) => Some(init::Secrets::read(&self.spec, machine)?),
            SpecKind::Sandbox(_) => None,
        };
        let forked =
            sys::fork_into(self.namespaces()).map_err(|error| ids::no_namespace("the machine's namespaces", &error))?;
        let init = match forked {
            sys::Fork::Child => {
                drop(channel);
                let device = self.volume.as_ref().map(|device| device.path.as_path());
                init::main(init::InitStart { spec: &self.spec, channel: inner_end, secrets, device })
            }
            sys::Fork::Parent(pid) => pid,
        };
        drop(inner_end);
        self.init = Some(init);
        if let Some(map) = self.spec.ids.as_ref().filter(|_| self.gives_ids) {
            ids::give(init, map)?;
        }
        let number = init.as_raw_nonzero().get();
        if let Some(plan) = &self.cgroup {
            cgroup::enter(plan, number)?;
        }
        if self.has_own_network() {
            enter_network(number)?;
        }
        let facts = self.facts(guard, number)?;
        write_json(&self.folder.facts(), &facts)?;
        reports.present(ResourceKind::Namespace, &facts.namespace);
        self.control = Some(handover::listen(&self.folder, CONTROL)?);
        self.pause = Some(handover::listen(&self.folder, PAUSE)?);
        self.hand_in_trees(&channel, number)?;
        channel::send(&channel, b"go", None).doing(|| "start the machine's first process")?;
        self.await_ready(channel, reports)
    }

    /// Whether the machine has a network of its own.
    fn has_own_network(&self) -> bool {
        matches!(&self.spec.kind, SpecKind::Machine(machine) if machine.network == Network::Loopback)
    }

    /// The namespaces that are made with the machine's first process. All belong to its user namespace, where it has
    /// one.
    fn namespaces(&self) -> UnshareFlags {
        let mut all = UnshareFlags::NEWPID | UnshareFlags::NEWNS;
        if self.gives_ids {
            all |= UnshareFlags::NEWUSER;
        }
        if self.has_own_network() {
            all |= UnshareFlags::NEWNET;
        }
        all
    }

    /// Makes what must exist before the machine's first process.
    fn make_surroundings(&mut self, reports: &mut ReportPipe) -> Result<(), Trouble> {
        let machine = match &self.spec.kind {
            SpecKind::Sandbox(_) if self.gives_ids => return protect_host(&self.spec),
            SpecKind::Sandbox(_) => return Ok(()),
            SpecKind::Machine(machine) => machine,
        };
        match (machine.volume, &self.spec.ids) {
            (Some(bytes), Some(_)) => {
                volume::require(machine.filesystem)?;
                loops::make_backing(&self.folder.volume(), bytes)?;
            }
            (Some(bytes), None) => {
                loops::make_backing(&self.folder.volume(), bytes)?;
                let device = loops::attach(&self.folder.volume())?;
                reports.present(ResourceKind::LoopDevice, device.path.display());
                self.volume = Some(device);
            }
            (None, _) => {}
        }
        if let Some(plan) = &machine.cgroup {
            self.cgroup = Some(plan.clone());
            cgroup::make(plan)?;
            // The groups are one resource, though version 1 has a folder for each controller.
            let paths: Vec<String> = plan.groups.iter().map(|group| group.path.display().to_string()).collect();
            reports.present(ResourceKind::Cgroup, paths.join(" "));
        }
        Ok(())
    }

    /// Makes the trees of a machine that may not make them itself, in a separate mount namespace.
    fn hand_in_trees(&self, channel: &OwnedFd, init: i32) -> Result<(), Trouble> {
        if !self.gives_ids {
            return Ok(());
        }
        let namespace = open_namespace(init, "user")?;
        let make = || trees::make(&self.spec, Some(namespace.as_fd()))?.send(channel);
        ForkedWork::new(make)?.run()
    }

    fn facts(&self, guard: ProcessId, init: i32) -> Result<GuardFacts, Trouble> {
        Ok(GuardFacts {
            guard,
            init: proc::identify(init).ok_or_else(|| Trouble::new("the machine's first process ended at once"))?,
            namespace: proc::pid_namespace(init).ok_or_else(|| Trouble::new("cannot read the machine's namespace"))?,
            loop_device: self.volume.as_ref().map(|device| device.path.display().to_string()),
        })
    }

    /// Passes on the reports of the machine's first process until it is ready.
    fn await_ready(&mut self, channel: OwnedFd, reports: &mut ReportPipe) -> Result<(), Trouble> {
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
                GuardReport::Failed(trouble) => return Err(trouble),
                GuardReport::Formatted => self.hand_in_volume(&channel, reports)?,
                other => {
                    let ready = matches!(other, GuardReport::Ready);
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

/// Writes a line to the console, to which standard error is redirected.
fn log(line: &str) {
    drop(writeln!(std::io::stderr(), "guard: {line}"));
}

/// Enters the network of the machine whose first process is `init`, where connections to its port 22 begin.
fn enter_network(init: i32) -> Result<(), Trouble> {
    let network = open_namespace(init, "net")?;
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).doing(|| "enter the machine's network")
}

fn open_namespace(process: i32, name: &str) -> Result<OwnedFd, Trouble> {
    let path = format!("/proc/{process}/ns/{name}");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(|| format!("open `{path}`"))
}

/// Makes everything but the state directory read-only for this guard: its sandbox inherits the mounts and cannot undo
/// that, since it has a user namespace of its own.
fn protect_host(spec: &Spec) -> Result<(), Trouble> {
    sys::unshare(UnshareFlags::NEWNS).map_err(|error| ids::no_namespace("a mount namespace", &error))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "make the mounts private")?;
    mount_bind(&spec.state, &spec.state).doing(|| format!("bind `{}`", spec.state.display()))?;
    trees::protect_everything()?;
    trees::make_writable(&spec.state)?;
    // The ids of a user namespace are written there.
    trees::make_writable(Path::new("/proc"))
}

/// Reads the clocks.
fn read_clocks() -> Clocks {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Clocks { wall: wall.as_secs_f64(), boot: sys::boot_clock(), awake: sys::awake_clock() }
}
