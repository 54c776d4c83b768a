//! The child process that plays the services of AWS: moto's server, a Python package.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use model::base::leash::Leash;
use model::fault::Fault;
use rustix::fs::MemfdFlags;
use rustix::process::Signal;

/// How long the server may take to answer; importing it takes seconds on a busy computer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The path at which `tests/emulator-venv` installs the program, below the root of the source.
const INSTALLED: &str = "target/moto/bin/moto_server";

/// Starts one server for the whole process at the first call; later calls return the same. It ends with the process.
///
/// Its start takes two seconds of processor time, which a binary with dozens of tests should spend once.
pub fn shared() -> Result<SocketAddr, Fault> {
    static ADDRESS: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    let started = ADDRESS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        // The server ends with the thread that started it, so this thread stays.
        std::thread::spawn(move || {
            let moto = start_anywhere();
            drop(sender.send(moto.as_ref().map(|moto| moto.address).map_err(|fault| fault.chain().join(": "))));
            while moto.is_ok() {
                std::thread::park();
            }
        });
        receiver.recv().unwrap_or_else(|_| Err("the thread that starts moto ended".to_owned()))
    });
    started.clone().map_err(Fault::outside)
}

/// Starts a server whose files are in memory, because nobody could remove them when the process ends.
fn start_anywhere() -> Result<Moto, Fault> {
    let in_memory = |name: &str| {
        let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC);
        file.map(File::from).map_err(|error| Fault::outside("cannot create a file in memory").because(error))
    };
    let (mut amis, log) = (in_memory("amis.json")?, in_memory("moto.log")?);
    amis.write_all(super::seeds::amis().as_bytes())
        .map_err(|error| Fault::outside("cannot write a file in memory").because(error))?;
    let path = |file: &File| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    let mut moto = Moto::start(&path(&amis), &path(&log))?;
    // The files stay open, because moto reads the images when it is first asked for one.
    moto.files = vec![amis, log];
    Ok(moto)
}

/// A running server; ended when dropped.
pub struct Moto {
    child: Child,
    /// Files that the server uses and that are closed with it.
    files: Vec<File>,
    /// The address at which it answers.
    pub address: SocketAddr,
}

/// The program: the one that `AUTOMATION_MOTO` names, else the one that `tests/emulator-venv` installs.
pub fn program() -> PathBuf {
    std::env::var_os("AUTOMATION_MOTO").map_or_else(|| crate::project().join(INSTALLED), PathBuf::from)
}

impl Moto {
    /// Starts it on a free port of loopback with the images in the file `amis`; its messages go to the file `log`.
    pub fn start(amis: &Path, log: &Path) -> Result<Self, Fault> {
        let program = program();
        if !program.is_file() {
            return Err(Fault::outside(format!("there is no `{}`", program.display()))
                .hint("Install it with `tests/emulator-venv`, or name another with AUTOMATION_MOTO."));
        }
        // Another process may take the port before the server binds it; then the server ends at once and another port
        // is tried.
        let mut last = None;
        for _ in 0..3 {
            match Self::start_once(&program, amis, log) {
                Ok(moto) => return Ok(moto),
                Err(fault) => last = Some(fault),
            }
        }
        Err(last.unwrap_or_else(|| Fault::infrastructure("moto was not started")))
    }

    fn start_once(program: &Path, amis: &Path, log: &Path) -> Result<Self, Fault> {
        let failed = |what: &str, error: std::io::Error| Fault::outside(what.to_owned()).because(error);
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|error| failed("cannot find a free port", error))?;
        let output = std::fs::File::create(log).map_err(|error| failed("cannot write moto's log", error))?;
        let errors = output.try_clone().map_err(|error| failed("cannot write moto's log", error))?;
        let mut command = Command::new(program);
        command
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .env("MOTO_AMIS_PATH", amis)
            .env("MOTO_ENABLE_AMI_VALIDATION", "true")
            .env("MOTO_ENABLE_KEYPAIR_VALIDATION", "true")
            .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .leash(Signal::KILL);
        let child = command.spawn().map_err(|error| failed(&format!("cannot start `{}`", program.display()), error))?;
        let mut moto = Self { child, files: Vec::new(), address };
        moto.wait(log)?;
        Ok(moto)
    }

    fn wait(&mut self, log: &Path) -> Result<(), Fault> {
        let end = Instant::now() + START_LIMIT;
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        while TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Fault::outside(format!("moto ended with {status} before it answered")).because(said()));
            }
            if Instant::now() > end {
                return Err(Fault::outside("moto does not answer").because(said()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.files.clear();
    }
}
