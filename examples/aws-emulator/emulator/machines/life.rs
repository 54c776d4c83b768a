//! The machine of one instance from its launch to its end.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connection::ssh::SshConnector;
use jiff::Timestamp;
use local::{LocalConfig, LocalProvider};
use model::base::id::{MachineId, RunId};
use model::connection::{Connection, Connector};
use model::event::Teller;
use model::exit::Exit;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::image::Fingerprint;
use model::machine::{Caps, Hardware, Machine, Network, Platform};
use model::provider::ability::Renew;
use model::provider::{MachineRequest, Provider};
use model::resource::ResourceKind;
use model::task::{Chunk, Command};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::super::control::Control;
use super::super::seeds;
use super::bases::{self, Bases};
use super::{CommandOutcome, InstanceEnd, MachineParameters, bridge, windows};

const PREPARE: &str = include_str!("prepare.sh");
const USER_DATA: &str = include_str!("user-data.sh");

/// The words of the SSH server on Linux, whose configuration is the distribution's.
const SSHD: [&str; 2] = ["-i", "-e"];

/// Runs a script on Linux.
const RUN: &str = "f=$(mktemp) && cat >\"$f\" && sh \"$f\" </dev/null; code=$?; rm -f \"$f\"; exit $code";

/// How long a machine lives without the emulator, and the pause between two renewals of its lease.
pub(super) const GRACE: Duration = Duration::from_secs(20);
const RENEWAL: Duration = Duration::from_secs(4);

/// The longest life of a machine; no emulator is needed longer.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// How long the machine's own server may take to answer on a busy computer.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// How many bytes of the console are kept: as many as AWS keeps.
const CONSOLE_CAP: usize = 64 << 10;

/// How many addresses are tried to find a free one.
const ADDRESS_TRIES: usize = 64;

/// The state that an instance is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetState {
    /// It runs.
    Run,
    /// Its processes end, and its files stay.
    Stop,
    /// Everything of it is removed.
    End,
}

/// The state that an instance has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum ReachedState {
    Launched,
    Started,
    Stopped,
    Gone,
}

/// An instance's machine.
pub(crate) struct Instance {
    launched: MachineParameters,
    /// Where its metadata service is.
    metadata: String,
    /// The address at which port 22 answers once it has booted.
    pub address: Ipv4Addr,
    /// The local machine's id.
    pub machine: MachineId,
    config: LocalConfig,
    bases: Arc<Bases>,
    control: Arc<Control>,
    ended: UnboundedSender<InstanceEnd>,
    wish: watch::Sender<TargetState>,
    stage: watch::Sender<ReachedState>,
    booted: AtomicBool,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    console: Vec<u8>,
    layers: Vec<Fingerprint>,
    machine: Option<Machine>,
}

/// A port 22 that is bound, but not listened on yet.
pub(crate) struct Port(TcpSocket);

fn reserve_port() -> Result<(Ipv4Addr, Port), Fault> {
    let cannot = |error: std::io::Error| Fault::outside("cannot reserve an address for an instance").because(error);
    let mut last = std::io::Error::other("none was tried");
    for _ in 0..ADDRESS_TRIES {
        let bits = random_bytes();
        let address = Ipv4Addr::new(127, 77, bits.0, bits.1.clamp(1, 250));
        let socket = TcpSocket::new_v4().map_err(cannot)?;
        match socket.bind(SocketAddrV4::new(address, 22).into()) {
            Ok(()) => return Ok((address, Port(socket))),
            Err(error) => last = error,
        }
    }
    Err(cannot(last))
}

/// Two random bytes.
fn random_bytes() -> (u8, u8) {
    let mut bytes = [0; 2];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    (bytes[0], bytes[1])
}

impl Instance {
    /// Reserves an address for an instance; nothing runs yet.
    pub(crate) fn reserve(
        launched: MachineParameters,
        metadata: String,
        config: LocalConfig,
        bases: Arc<Bases>,
        control: Arc<Control>,
        ended: UnboundedSender<InstanceEnd>,
    ) -> Result<(Self, Port), Fault> {
        let (address, port) = reserve_port()?;
        let instance = Self {
            launched,
            metadata,
            address,
            machine: MachineId::random(),
            config,
            bases,
            control,
            ended,
            wish: watch::Sender::new(TargetState::Run),
            stage: watch::Sender::new(ReachedState::Launched),
            booted: AtomicBool::new(false),
            shared: Mutex::default(),
        };
        Ok((instance, port))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the machine has started.
    pub(crate) fn is_started(&self) -> bool {
        *self.stage.borrow() >= ReachedState::Started
    }

    /// Whether nothing of it is left.
    pub(crate) fn is_gone(&self) -> bool {
        *self.stage.borrow() == ReachedState::Gone
    }

    /// Whether Systems Manager reaches it.
    pub(crate) fn is_managed(&self) -> bool {
        self.control.conditions().agents
            && self.launched.managed
            && self.booted.load(Ordering::Acquire)
            && *self.stage.borrow() == ReachedState::Started
    }

    /// The system that it is spoken to as. Its machine has Linux in any case.
    pub(crate) fn platform(&self) -> Platform {
        self.bases.platform(&self.launched.image)
    }

    /// Its console.
    pub(crate) fn console(&self) -> Vec<u8> {
        self.shared().console.clone()
    }

    /// The local machine that it is, once that has started.
    pub(crate) fn local_machine(&self) -> Option<Machine> {
        self.shared().machine.clone()
    }

    /// The layers that it has booted from.
    pub(crate) fn layers(&self) -> Vec<Fingerprint> {
        self.shared().layers.clone()
    }

    /// Changes the wished state; an end is final.
    pub(crate) fn wish(&self, wish: TargetState) {
        self.wish.send_if_modified(|now| {
            let change = *now != TargetState::End && *now != wish;
            if change {
                *now = wish;
            }
            change
        });
    }

    /// Ends its processes and waits until they have ended.
    pub(crate) async fn stop(&self) -> Result<(), Fault> {
        self.wish(TargetState::Stop);
        let mut stage = self.stage.subscribe();
        let stopped = stage.wait_for(|stage| *stage >= ReachedState::Stopped);
        match tokio::time::timeout(CONNECT_LIMIT, stopped).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Fault::infrastructure(format!("the machine of {} does not stop", self.launched.id))),
        }
    }

    fn append_console(&self, bytes: &[u8]) {
        let mut shared = self.shared();
        shared.console.extend_from_slice(bytes);
        let excess = shared.console.len().saturating_sub(CONSOLE_CAP);
        shared.console.drain(..excess);
    }

    /// Runs the machine through its life, until its end.
    pub(crate) async fn live(self: Arc<Self>, port: Port) {
        // A volume of EC2 is a block device, which a confined machine cannot have.
        let privileged = self.launched.volume.is_some();
        let provider = LocalProvider::new(LocalConfig { privileged, ..self.config.clone() });
        let request = self.request();
        let mut wish = self.wish.subscribe();
        let fault = tokio::select! {
            fault = self.work(&provider, request.clone(), port) => Some(fault),
            _ = wish.wait_for(|wish| *wish != TargetState::Run) => None,
        };
        if let Some((code, reason)) = fault {
            self.append_console(format!("emulator: {reason}\n").as_bytes());
            drop(self.ended.send(InstanceEnd { id: self.launched.id.clone(), code, reason }));
            // The receiver decides whether it stops or ends.
            drop(tokio::time::timeout(CONNECT_LIMIT, wish.wait_for(|wish| *wish != TargetState::Run)).await);
        }
        let planned = provider.plan(&request);
        let processes = planned.iter().find(|planned| planned.kind == ResourceKind::Process).cloned();
        if let Err(fault) = bases::release(&provider, processes.into_iter().collect()).await {
            self.append_console(format!("emulator: {}\n", fault.chain().join(": ")).as_bytes());
        }
        self.stage.send_replace(ReachedState::Stopped);
        drop(wish.wait_for(|wish| *wish == TargetState::End).await);
        if let Err(fault) = bases::release(&provider, planned).await {
            self.append_console(format!("emulator: {}\n", fault.chain().join(": ")).as_bytes());
        }
        self.stage.send_replace(ReachedState::Gone);
    }

    fn request(&self) -> MachineRequest {
        let now = Timestamp::now();
        MachineRequest {
            platform: Platform::Linux,
            id: self.machine.clone(),
            run: RunId::new(now),
            owner: "aws-emulator".to_owned(),
            image: self.launched.image.clone(),
            layers: Vec::new(),
            cloud: None,
            snapshot: false,
            hardware: Hardware::default(),
            user: "root".to_owned(),
            network: Network::Host,
            caps: Caps::default(),
            volume: self.launched.volume,
            filesystem: Filesystem::Default,
            now,
            expires_at: now + LIFE,
            grace: GRACE,
            max_cost: None,
            idle: None,
        }
    }

    /// Boots and serves; returns only with a reason why it must end.
    async fn work(
        self: &Arc<Self>,
        provider: &LocalProvider,
        request: MachineRequest,
        port: Port,
    ) -> (&'static str, String) {
        let broken = |fault: Fault| ("Server.InternalError", fault.chain().join(": "));
        let layers = match self.bases.layers(&self.launched.image).await {
            Ok(layers) => layers,
            Err(fault) => return broken(fault),
        };
        self.shared().layers.clone_from(&layers);
        let now = Timestamp::now();
        let request = MachineRequest { layers, now, ..request };
        let machine = match provider.create(&request, &|_, _, _| Ok(()), &Teller::silent()).await {
            Ok(machine) => machine,
            Err(fault) => return broken(fault),
        };
        self.shared().machine = Some(machine.clone());
        self.stage.send_replace(ReachedState::Started);
        tokio::select! {
            reason = self.boot_and_serve(&machine, port) => reason,
            fault = renew_lease(provider, &machine) => broken(fault),
        }
    }

    async fn boot_and_serve(self: &Arc<Self>, machine: &Machine, port: Port) -> (&'static str, String) {
        let broken = |fault: Fault| ("Server.InternalError", fault.chain().join(": "));
        let connection = match SshConnector::default().connect(machine, "root", CONNECT_LIMIT, true).await {
            Ok(connection) => connection,
            Err(error) => return broken(error.into()),
        };
        if let Err(fault) = self.prepare(connection.as_ref()).await {
            return broken(fault);
        }
        let watched = Command::new("sh").args(["-c", "exec cat /run/emulator/power"]);
        let console = Command::new("sh").args(["-c", "exec cat <>/dev/console"]);
        tokio::select! {
            // Both followed commands run for as long as the machine.
            fault = self.follow(connection.as_ref(), &console) => broken(fault),
            fault = self.follow(connection.as_ref(), &watched) => {
                drop(fault);
                ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown".to_owned())
            }
            fault = self.user_data_and_serve(connection.as_ref(), machine, port) => broken(fault),
            () = self.control.until_interrupted(&self.launched.id) => {
                ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination".to_owned())
            }
        }
    }

    async fn prepare(&self, connection: &dyn Connection) -> Result<(), Fault> {
        if self.platform() == Platform::Windows {
            windows::install(connection).await?;
            return self.script(connection, &windows::prepare(&self.address.to_string())).await;
        }
        let user = login_user(&self.launched.image);
        let command = Command::new("sh").args(["-c", PREPARE, "prepare.sh", user, &self.metadata]);
        self.script(connection, &command.stdin(self.launched.public_key.clone())).await
    }

    /// Runs a command to its end; its output goes to the console, and it must succeed.
    async fn script(&self, connection: &dyn Connection, command: &Command) -> Result<(), Fault> {
        let mut process = connection.start(command).await?;
        while let Some(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = process.next().await {
            self.append_console(&bytes);
        }
        match process.exit() {
            Exit::Code(0) => Ok(()),
            exit => Err(Fault::infrastructure(format!("the start of {} ended with {exit}", self.launched.id))),
        }
    }

    /// The same for a command that must not end before the machine does.
    async fn follow(&self, connection: &dyn Connection, command: &Command) -> Fault {
        match self.script(connection, command).await {
            Ok(()) => Fault::infrastructure(format!("`{}` ended", command.program)),
            Err(fault) => fault,
        }
    }

    async fn user_data_and_serve(
        self: &Arc<Self>,
        connection: &dyn Connection,
        machine: &Machine,
        port: Port,
    ) -> Fault {
        let (id, data) = (&*self.launched.id, self.launched.user_data.clone());
        let command = match self.platform() {
            Platform::Windows => windows::user_data(id, data),
            Platform::Linux => Command::new("sh").args(["-c", USER_DATA, "user-data.sh", id]).stdin(data),
        };
        if let Err(fault) = self.script(connection, &command).await {
            return fault;
        }
        let listener = match port.0.listen(128) {
            Ok(listener) => listener,
            Err(error) => return Fault::infrastructure("cannot listen on an instance's port 22").because(error),
        };
        self.booted.store(true, Ordering::Release);
        self.control.log_boot(&self.launched.id);
        self.accept(&listener, machine).await
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, machine: &Machine) -> Fault {
        let mut callers = tokio::task::JoinSet::new();
        let words = if self.platform() == Platform::Windows { &windows::SSHD[..] } else { &SSHD };
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (instance, machine) = (Arc::clone(self), machine.clone());
                        callers.spawn(async move {
                            let lines = &instance.control.lines;
                            bridge::serve(stream, &machine, words, lines, |bytes| instance.append_console(bytes)).await;
                        });
                    }
                    Err(error) => return Fault::infrastructure("cannot accept a connection").because(error),
                },
                Some(_) = callers.join_next() => {}
            }
        }
    }

    /// Runs a script as root, as the agent of Systems Manager does: by a shell, on Windows by what stands for PowerShell.
    pub(crate) async fn run(&self, script: &str) -> CommandOutcome {
        let machine = self.shared().machine.clone();
        let Some(machine) = machine else { return CommandOutcome::default() };
        let lost = |why: String| CommandOutcome { stderr: why.into_bytes(), ..CommandOutcome::default() };
        let connection = match SshConnector::default().connect(&machine, "root", CONNECT_LIMIT, true).await {
            Ok(connection) => connection,
            Err(error) => return lost(error.to_string()),
        };
        // The script is read from a file, so that its commands have their own standard input.
        let wrapper = match self.platform() {
            Platform::Linux => RUN,
            Platform::Windows => windows::RUN,
        };
        let command = Command::new("sh").args(["-c", wrapper]).stdin(script.as_bytes().to_vec());
        let mut process = match connection.start(&command).await {
            Ok(process) => process,
            Err(error) => return lost(error.to_string()),
        };
        let mut outcome = CommandOutcome::default();
        while let Some(chunk) = process.next().await {
            match chunk {
                Chunk::Stdout(bytes) => outcome.stdout.extend(bytes),
                Chunk::Stderr(bytes) => outcome.stderr.extend(bytes),
            }
        }
        outcome.code = match process.exit() {
            Exit::Code(code) => i32::try_from(code).ok(),
            _ => None,
        };
        connection.close().await;
        outcome
    }
}

/// The login user of an image: that of a base image, and `admin` for a baked one.
fn login_user(image: &str) -> &'static str {
    seeds::base(image).map_or("admin", |base| base.user)
}

/// Keeps renewing the machine's lease; returns only if that fails.
pub(super) async fn renew_lease(provider: &LocalProvider, machine: &Machine) -> Fault {
    loop {
        tokio::time::sleep(RENEWAL).await;
        if let Err(fault) = provider.renew(machine, Timestamp::now() + GRACE).await {
            return fault;
        }
    }
}
