//! A real OpenSSH server on loopback, as an ordinary process with everything in a folder of its own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use connection::{OpenSshKeyPair, generate};
use model::base::id::{MachineId, RunId};
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};

use crate::processes::descendants;

/// Where the server looks for its empty folder as root; compiled into it.
const PRIVILEGE_FOLDER: &str = "/run/sshd";

/// How many servers run, and whether the first had to make the folder.
static USERS: Mutex<(usize, bool)> = Mutex::new((0, false));

/// A running server; killed with all its sessions when dropped.
pub struct Sshd {
    /// Its folder, which is also the home of who logs in.
    pub dir: tempfile::TempDir,
    /// Where it listens, on loopback.
    pub port: u16,
    /// Its own key.
    pub host: OpenSshKeyPair,
    child: Option<Child>,
    config: PathBuf,
}

/// A port on loopback where nothing listened a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The user that runs the tests, who is the only one that can log in.
pub fn user() -> String {
    let out = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Sshd {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        let mut sshd = Self::prepare("");
        sshd.launch();
        sshd
    }

    /// Starts one with further lines in its configuration.
    pub fn with(config: &str) -> Self {
        let mut sshd = Self::prepare(config);
        sshd.launch();
        sshd
    }

    /// Starts one whose login finds this computer's Python 3 as `python`. The programs for Windows run there as well, as
    /// far as they do nothing that only Windows has; [`Sshd::machine`] is to be told that it is one.
    pub fn with_python() -> Self {
        let path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
        let mut sshd = Self::prepare(&format!("SetEnv HOME={{at}} PATH={{at}}/bin:{path}"));
        let out = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
        let python = String::from_utf8(out.stdout).unwrap();
        std::os::unix::fs::symlink(python.trim(), sshd.folder("bin").join("python")).unwrap();
        sshd.launch();
        sshd
    }

    /// Makes all that one needs without starting it. `{at}` in `further` is its folder.
    pub fn prepare(further: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (host, user) = (generate("host").unwrap(), generate("user").unwrap());
        let port = free_port();
        write(&dir.path().join("host_key"), &host.private_openssh, 0o600);
        write(&dir.path().join("identity"), &user.private_openssh, 0o600);
        write(&dir.path().join("authorized_keys"), &user.public_openssh, 0o600);
        let at = dir.path().display();
        let sftp = if further.contains("Subsystem") { "" } else { "Subsystem sftp internal-sftp" };
        let further = further.replace("{at}", &at.to_string());
        // The first value of a keyword counts, so what the test wants comes first.
        // An empty home keeps the login shell from reading the profile of whoever runs the tests.
        let config = format!(
            "{further}\nSetEnv HOME={at}\nListenAddress 127.0.0.1:{port}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nMaxStartups 100\nLogLevel ERROR\nPrintMotd no\nPrintLastLog no\n\
             {sftp}\n"
        );
        let path = dir.path().join("sshd_config");
        write(&path, &config, 0o600);
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        users.0 += 1;
        if users.0 == 1 && rustix::process::geteuid().is_root() {
            users.1 = std::fs::create_dir(PRIVILEGE_FOLDER).is_ok();
        }
        Self { dir, port, host, child: None, config: path }
    }

    /// Starts what was prepared and waits until it answers.
    pub fn launch(&mut self) {
        self.launch_silently();
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "sshd does not answer");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Starts what was prepared.
    pub fn launch_silently(&mut self) {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.expect("openssh-server must be installed"));
        command.arg("-D").arg("-e").arg("-f").arg(&self.config).stdin(Stdio::null());
        // Its complaints would only blur a test's own output; a test that fails is debugged with the file at hand.
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// The processes of its sessions: everything below it.
    pub fn sessions(&self) -> Vec<u32> {
        self.child.as_ref().map_or_else(Vec::new, |child| descendants(child.id()))
    }

    /// Kills every session, leaving the server.
    pub fn kill_sessions(&self) {
        kill(&self.sessions());
    }

    /// The machine that it plays.
    pub fn machine(&self) -> Machine {
        let now = jiff::Timestamp::now();
        Machine {
            id: MachineId::random(),
            provider: ProviderKind::Host,
            platform: Platform::Linux,
            run: RunId::new(now),
            owner: "tests".to_owned(),
            image: "host".to_owned(),
            address: Address::Tcp { host: "127.0.0.1".to_owned(), port: self.port },
            user: user(),
            identity: self.dir.path().join("identity"),
            host_key: HostKey::Exact { public: self.host.public_openssh.clone() },
            volume: None,
            hardware: None,
            created_at: now,
            expires_at: now,
            name: None,
            kept: false,
            idle: None,
        }
    }

    /// A fresh folder that both sides can see.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let below = descendants(child.id());
            drop(child.kill());
            drop(child.wait());
            kill(&below);
        }
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        users.0 -= 1;
        if users.0 == 0 && std::mem::take(&mut users.1) {
            drop(std::fs::remove_dir(PRIVILEGE_FOLDER));
        }
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn kill(pids: &[u32]) {
    for pid in pids {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
