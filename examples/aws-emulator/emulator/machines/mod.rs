//! Real machines behind instances: each is a local machine with an address of its own, on whose port 22 the emulator
//! listens.
//!
//! A connection to that port is bridged to `sshd -i` in the machine, started afresh for each connection with the machine's
//! own configuration and host key, as the user data left them. The server that the emulator itself uses has its own
//! configuration and key, so the two do not interfere.

mod bases;
mod bridge;
mod life;
mod standin;
mod windows;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connection::keys;
use local::LocalConfig;
use local::images::mirrors::Mirrors;
use model::fault::Fault;
use model::key_pair::KeyPair;
use model::machine::Platform;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::task::TaskTracker;

use self::bases::Bases;
use self::life::{Instance, TargetState};
use super::control::Control;
use super::{Options, metadata};

/// How long all machines together may take to end.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The parameters with which an instance was launched.
#[derive(Debug, Clone, Default)]
pub(crate) struct MachineParameters {
    /// Its id.
    pub id: String,
    /// The image's id.
    pub image: String,
    /// User data, decoded.
    pub user_data: Vec<u8>,
    /// The public key that the launch named, one line; empty without one.
    pub public_key: String,
    /// The size of a second volume in bytes.
    pub volume: Option<u64>,
    /// Whether it has a profile, so that Systems Manager reaches it.
    pub managed: bool,
}

/// The notice that an instance has ended without a request over the interface.
#[derive(Debug, Clone)]
pub(crate) struct InstanceEnd {
    /// Its id.
    pub id: String,
    /// AWS's code for the reason.
    pub code: &'static str,
    /// The reason.
    pub reason: String,
}

/// Real machines by instance.
pub(crate) struct Machines {
    own: LocalConfig,
    bases: Arc<Bases>,
    instances: Mutex<BTreeMap<String, Arc<Instance>>>,
    tasks: TaskTracker,
    control: Arc<Control>,
    ended: UnboundedSender<InstanceEnd>,
    /// Where the emulator answers.
    address: SocketAddr,
}

/// The outcome of a command on a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandOutcome {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Exit code; `None` if the machine was lost.
    pub code: Option<i32>,
}

/// Checks that instances can have port 22 of addresses of their own.
fn check_port() -> Result<(), Fault> {
    let address = (Ipv4Addr::new(127, 77, 255, 254), 22);
    let remedy = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "Run it as root, or allow it once: `sysctl net.ipv4.ip_unprivileged_port_start=22`."
        }
        std::io::ErrorKind::AddrInUse => {
            "A server listens on port 22 of all addresses: let it listen on its own ones (`ListenAddress` of sshd)."
        }
        _ => "Instances need the addresses 127.77.0.0/16 of loopback.",
    };
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        // Another emulator is making this check at the same moment.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && !is_taken_everywhere() => Ok(()),
        Err(error) => {
            let hint = remedy(&error);
            Err(Fault::outside("instances cannot have port 22 of addresses of their own").because(error).hint(hint))
        }
    }
}

/// Whether port 22 of another such address is taken too.
fn is_taken_everywhere() -> bool {
    std::net::TcpListener::bind((Ipv4Addr::new(127, 77, 255, 253), 22)).is_err()
}

fn config(state: &Path, executable: &Path, folder: &Path) -> Result<LocalConfig, Fault> {
    let pair = keys::generate("aws-emulator")?;
    let identity = folder.join("identity");
    write_private(&identity, pair.private_openssh.as_bytes())
        .map_err(|error| Fault::outside(format!("cannot write `{}`", identity.display())).because(error))?;
    Ok(LocalConfig {
        state: state.to_owned(),
        executable: executable.to_owned(),
        identity,
        public_key: pair.public_openssh,
        host_keys: Arc::new(|| {
            let pair = keys::generate("aws-emulator-host")?;
            Ok(KeyPair { private: pair.private_openssh, public: pair.public_openssh })
        }),
        mirrors: Mirrors::default(),
        keyring: None,
        environment: std::env::vars_os().collect(),
        privileged: false,
    })
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

fn private_folder(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Fault::outside(format!("cannot make the folder `{}`", path.display())).because(error))
}

impl Machines {
    /// Machines of an emulator that answers at `address`. Booted machines are reported to `control`, machines that end by themselves
    /// to `ended`.
    pub(crate) fn new(
        options: &Options,
        address: SocketAddr,
        control: Arc<Control>,
        ended: UnboundedSender<InstanceEnd>,
    ) -> Result<Self, Fault> {
        check_port()?;
        let Options { folder, bases, executable, .. } = options;
        let state: PathBuf = folder.join("machines-of-instances");
        private_folder(&state)?;
        private_folder(bases)?;
        let own = config(&state, executable, folder)?;
        let shared = LocalConfig { state: bases.to_owned(), ..own.clone() };
        Ok(Self {
            bases: Arc::new(Bases::new(shared, own.clone())),
            own,
            instances: Mutex::default(),
            tasks: TaskTracker::new(),
            address,
            control,
            ended,
        })
    }

    fn instances(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Instance>>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(&self, id: &str) -> Option<Arc<Instance>> {
        self.instances().get(id).cloned()
    }

    /// Checks that machines can be made on this computer.
    pub(crate) async fn check(&self) -> Result<(), Fault> {
        let checks = local::doctor::checks(&self.own).await;
        match checks.into_iter().find(|check| check.required && !check.ok) {
            Some(bad) => Err(Fault::outside(format!("machines cannot be made here: {}", bad.name))
                .because(bad.found)
                .hint(bad.remedy.unwrap_or_else(|| "`automation doctor` shows more.".to_owned()))),
            None => Ok(()),
        }
    }

    /// Starts the machine of a launched instance in the background.
    pub(crate) fn start(&self, launched: MachineParameters) {
        let id = launched.id.clone();
        let control = Arc::clone(&self.control);
        let (own, bases, ended) = (self.own.clone(), Arc::clone(&self.bases), self.ended.clone());
        let metadata = metadata::endpoint(self.address, &id);
        match Instance::reserve(launched, metadata, own, bases, control, ended) {
            Ok((instance, port)) => {
                let instance = Arc::new(instance);
                self.instances().insert(id, Arc::clone(&instance));
                self.tasks.spawn(async move { instance.live(port).await });
            }
            Err(fault) => {
                let reason = fault.chain().join(": ");
                drop(self.ended.send(InstanceEnd { id, code: "Server.InternalError", reason }));
            }
        }
    }

    /// Whether the machine has begun to boot.
    pub(crate) fn is_started(&self, id: &str) -> bool {
        self.instance(id).is_none_or(|instance| instance.is_started())
    }

    /// Whether anything of the machine exists.
    pub(crate) fn exists(&self, id: &str) -> bool {
        self.instance(id).is_some_and(|instance| !instance.is_gone())
    }

    /// The machine's address.
    pub(crate) fn address(&self, id: &str) -> Option<String> {
        self.instance(id).map(|instance| instance.address.to_string())
    }

    /// Ends the machine and removes its files, in the background.
    pub(crate) fn end(&self, id: &str) {
        if let Some(instance) = self.instance(id) {
            instance.wish(TargetState::End);
        }
    }

    /// Ends the machine's processes, and keeps its files.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), String> {
        match self.instance(id) {
            Some(instance) => instance.stop().await.map_err(|fault| fault.chain().join(": ")),
            None => Ok(()),
        }
    }

    /// Keeps the machine's files as an image, for which the machine is stopped, unless it is to go on.
    pub(crate) async fn commit(&self, id: &str, image: &str, goes_on: bool) -> Result<(), String> {
        let instance = self.instance(id).ok_or_else(|| format!("{id} has no machine"))?;
        let said = |fault: Fault| fault.chain().join(": ");
        let platform = instance.platform();
        if let Some(machine) = instance.local_machine().filter(|_| goes_on) {
            return self.bases.take(&instance.layers(), platform, &machine, image).await.map_err(said);
        }
        instance.stop().await.map_err(said)?;
        self.bases.commit(&instance.layers(), platform, &instance.machine, image).await.map_err(said)
    }

    /// The machine's console.
    pub(crate) fn console(&self, id: &str) -> Option<Vec<u8>> {
        self.instance(id).map(|instance| instance.console())
    }

    /// Whether Systems Manager reaches the instance.
    pub(crate) fn is_managed(&self, id: &str) -> bool {
        self.instance(id).is_some_and(|instance| instance.is_managed())
    }

    /// The instances that Systems Manager reaches, and their systems.
    pub(crate) fn all_managed(&self) -> Vec<(String, Platform)> {
        let instances = self.instances();
        let managed = instances.iter().filter(|(_, instance)| instance.is_managed());
        managed.map(|(id, instance)| (id.clone(), instance.platform())).collect()
    }

    /// The system of an instance.
    pub(crate) fn platform(&self, id: &str) -> Option<Platform> {
        self.instance(id).map(|instance| instance.platform())
    }

    /// Runs a script as root on the machine: one for a shell, on Windows one for PowerShell.
    pub(crate) async fn run(&self, id: &str, script: &str) -> CommandOutcome {
        match self.instance(id) {
            Some(instance) => instance.run(script).await,
            None => CommandOutcome::default(),
        }
    }

    /// Ends everything; a machine that does not end in time soon ends by itself, because its lease is not renewed.
    pub(crate) async fn shut_down(&self) {
        for instance in self.instances().values() {
            instance.wish(TargetState::End);
        }
        self.tasks.close();
        let _ = tokio::time::timeout(END_LIMIT, self.tasks.wait()).await;
        self.bases.clear().await;
    }
}
