//! With which keys a machine of somebody else's is logged in to, against a real server and a real agent.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use connection::SshConnector;
use connection::login::Login;
use model::connection::{ConnectionError, Connector};
use model::machine::{HostKey, Machine};
use support::sshd::Sshd;

use super::LIMIT;

/// Makes a key, with a passphrase where that is not empty.
fn key(folder: &Path, name: &str, passphrase: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// An agent that holds `keys`; ended when dropped.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(folder: &Path, keys: &[&Path]) -> Self {
        let socket = folder.join("agent");
        let child = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            assert!(Instant::now() < end, "the agent does not start");
            std::thread::sleep(Duration::from_millis(3));
        }
        for key in keys {
            let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &socket).status();
            assert!(added.unwrap().success());
        }
        Self { child, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server that takes `key` alone.
fn taking(key: &Path) -> Sshd {
    let sshd = Sshd::start();
    std::fs::copy(key.with_extension("pub"), sshd.dir.path().join("authorized_keys")).unwrap();
    sshd
}

async fn login(machine: &Machine, identity: &Path, login: Login) -> Result<(), ConnectionError> {
    let machine = Machine { identity: identity.to_owned(), ..machine.clone() };
    let connector = SshConnector::default().with_login(login);
    connector.connect(&machine, &machine.user, LIMIT, false).await.map(drop)
}

#[tokio::test]
async fn a_locked_key_does_not_stand_in_the_way_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (locked, plain, stranger) =
        (key(dir.path(), "locked", "secret"), key(dir.path(), "plain", ""), key(dir.path(), "stranger", ""));
    let sshd = taking(&plain);
    let others = vec![locked.clone(), stranger.clone(), plain.clone()];
    login(&sshd.machine(), &locked, Login { others, ..Login::default() }).await.unwrap();
    // The one that the user named is the only one.
    let refused = login(&sshd.machine(), &stranger, Login::default()).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::AuthenticationRefused { .. }), "{refused}");
    let refused = login(&sshd.machine(), &locked, Login::default()).await.unwrap_err();
    assert!(refused.to_string().contains("passphrase") && refused.to_string().contains("no agent"), "{refused}");
}

#[tokio::test]
async fn the_agent_logs_in_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (first, stranger) = (key(dir.path(), "first", ""), key(dir.path(), "stranger", ""));
    let locked = dir.path().join("locked");
    std::fs::copy(&first, &locked).unwrap();
    std::fs::copy(first.with_extension("pub"), locked.with_extension("pub")).unwrap();
    let lock = Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "secret", "-f"]).arg(&locked).status();
    assert!(lock.unwrap().success());
    let agent = Agent::start(dir.path(), &[&stranger, &first]);
    let sshd = taking(&first);
    let held = |others: Vec<PathBuf>| Login { agent: Some(agent.socket.clone()), others, ask: None };
    // By name, though the file itself is locked; and where there is no file at all.
    login(&sshd.machine(), &locked, held(vec![])).await.unwrap();
    let missing = dir.path().join("id_ed25519");
    login(&sshd.machine(), &missing, held(vec![missing.clone()])).await.unwrap();
    // A key that was named is not replaced by one of the agent's.
    let refused = login(&sshd.machine(), &stranger, held(vec![])).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::AuthenticationRefused { .. }), "{refused}");
    // An agent that has gone holds nothing.
    let gone = Login { agent: Some(dir.path().join("gone")), others: vec![], ask: None };
    let refused = login(&sshd.machine(), &locked, gone).await.unwrap_err().to_string();
    assert!(refused.contains("passphrase") && refused.contains("no agent answers at"), "{refused}");
}

#[tokio::test]
async fn a_host_key_that_was_withdrawn_is_said_to_be() {
    let sshd = Sshd::start();
    let file = sshd.dir.path().join("known_hosts");
    let public = sshd.host.public_openssh.split(' ').take(2).collect::<Vec<_>>().join(" ");
    std::fs::write(&file, format!("[127.0.0.1]:{} {public}\n@revoked * {public}\n", sshd.port)).unwrap();
    let machine = Machine { host_key: HostKey::KnownHosts { file: file.clone() }, ..sshd.machine() };
    let refused = login(&machine, &machine.identity, Login::default()).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::HostKeyRevoked { .. }), "{refused}");
    let told = refused.to_string();
    assert!(told.starts_with("host key revoked: ") && told.contains(file.to_str().unwrap()), "{told}");
}
