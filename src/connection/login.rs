//! The keys to log in to a machine with: the key that is named for it, and on somebody else's machine also the user's
//! other keys, those of an agent, and one whose passphrase is typed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::connection::ConnectionError;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use tokio::net::UnixStream;

use crate::keys;

/// How long an agent may take to list its keys. Signing, for which an agent may ask its user, has the login's limit.
const AGENT_LIMIT: Duration = Duration::from_secs(5);

/// The largest number of keys that one connection offers: OpenSSH hangs up after six refusals.
const MAX_OFFERED: usize = 6;

/// How many times a passphrase may be typed.
const TRIES: usize = 3;

/// Shows a prompt and returns the passphrase; `None` where nobody is there to type it, or the user declines.
pub type Ask = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The sources of keys beside the one that is named for a machine; resolved by the caller.
#[derive(Clone, Default)]
pub struct Login {
    /// The socket of the user's agent.
    pub agent: Option<PathBuf>,
    /// Further private keys; empty where the user named a key, which is then the only one.
    pub others: Vec<PathBuf>,
    /// Asks for a passphrase, and blocks its thread meanwhile.
    pub ask: Option<Ask>,
}

/// A [`Login`], and the keys whose passphrases were typed already.
#[derive(Clone, Default)]
pub(super) struct Keyring {
    login: Login,
    unlocked: Arc<Mutex<BTreeMap<PathBuf, Arc<PrivateKey>>>>,
}

/// A key that may be offered.
#[derive(Clone)]
pub(super) enum Candidate {
    /// A key from a file.
    File(PathBuf, Arc<PrivateKey>),
    /// A key that an agent holds.
    Agent {
        /// The agent's socket.
        socket: PathBuf,
        /// The public half.
        key: PublicKey,
        /// The agent's name for the key.
        comment: String,
    },
}

impl Candidate {
    pub(super) fn public(&self) -> &PublicKey {
        match self {
            Self::File(_, key) => key.public_key(),
            Self::Agent { key, .. } => key,
        }
    }

    /// The key's name for a message.
    fn name(&self) -> String {
        match self {
            Self::File(path, key) => format!("`{}` ({})", path.display(), keys::key_fingerprint(key.public_key())),
            Self::Agent { key, comment, .. } => format!("`{comment}` of the agent ({})", keys::key_fingerprint(key)),
        }
    }
}

/// The keys that can be offered, and those that could be if somebody typed a passphrase.
#[derive(Default)]
pub(super) struct Candidates {
    pub(super) offered: Vec<Candidate>,
    /// Keys that nobody has unlocked.
    pub(super) locked: Vec<PathBuf>,
}

impl Candidates {
    /// The keys that were offered and those that were not, for a message.
    pub(super) fn describe(&self) -> String {
        let mut text = self.offered.iter().map(Candidate::name).collect::<Vec<_>>().join(" or ");
        for path in &self.locked {
            text.push_str(&format!(", and `{}` is protected by a passphrase that nobody typed", path.display()));
        }
        text
    }
}

/// The content of a key file.
enum KeyFile {
    Key(Arc<PrivateKey>),
    /// A key behind a passphrase, with its public half where that can be read.
    Locked(Option<PublicKey>),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("agent", &self.agent).field("others", &self.others).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.login.fmt(f)
    }
}

impl Keyring {
    pub(super) fn new(login: Login) -> Self {
        Self { login, unlocked: Arc::default() }
    }

    /// The keys to offer to a machine for which `identity` is named: first those from files, then the agent's. The
    /// passphrase of a locked key is asked for only where no other key can be offered.
    pub(super) async fn candidates(&self, identity: &Path) -> Result<Candidates, ConnectionError> {
        let mut found = Candidates::default();
        let mut wanted = Vec::new();
        let (mut unusable, mut answered) = (None, false);
        let others = self.login.others.iter().map(PathBuf::as_path).filter(|other| *other != identity);
        for path in std::iter::once(identity).chain(others) {
            match self.read(path) {
                Ok(KeyFile::Key(key)) => found.offered.push(Candidate::File(path.to_owned(), key)),
                Ok(KeyFile::Locked(public)) => {
                    wanted.extend(public);
                    found.locked.push(path.to_owned());
                }
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        // A key that the user named is the only one to offer; the agent may hold it where its file is locked.
        let named = self.login.others.is_empty();
        if !named || found.offered.is_empty() {
            let fits = |key: &PublicKey| !named || wanted.iter().any(|wanted| wanted.key_data() == key.key_data());
            answered = self.ask_agent(&mut found, fits).await;
        }
        found.locked.retain(|path| !self.is_offered(path, &found.offered));
        if found.offered.is_empty() {
            match self.unlock(&found.locked).await {
                Some(candidate) => found.offered.push(candidate),
                None => return Err(self.no_key_error(&found.locked, unusable, identity, answered)),
            }
        }
        found.offered.truncate(MAX_OFFERED);
        Ok(found)
    }

    /// Asks for the passphrases of locked keys, and returns the first key that opens.
    pub(super) async fn unlock(&self, locked: &[PathBuf]) -> Option<Candidate> {
        let ask = self.login.ask.clone()?;
        let (paths, unlocked) = (locked.to_vec(), Arc::clone(&self.unlocked));
        let asking = tokio::task::spawn_blocking(move || {
            paths.into_iter().find_map(|path| {
                let key = Arc::new(unlock_by_prompt(&ask, &path)?);
                unlocked.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), Arc::clone(&key));
                Some(Candidate::File(path, key))
            })
        });
        asking.await.ok().flatten()
    }

    /// Whether the agent holds the locked key in `path`.
    fn is_offered(&self, path: &Path, offered: &[Candidate]) -> bool {
        let Ok(KeyFile::Locked(Some(public))) = self.read(path) else { return false };
        offered.iter().any(|candidate| candidate.public().key_data() == public.key_data())
    }

    fn read(&self, path: &Path) -> Result<KeyFile, ConnectionError> {
        if let Some(key) = self.unlocked.lock().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Ok(KeyFile::Key(Arc::clone(key)));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(path, &error.to_string()))?;
        let half = |key: Option<&PrivateKey>| key.map(|key| key.public_key().clone()).or_else(|| public_beside(path));
        match decode_secret_key(&text, None) {
            Ok(key) if key.is_encrypted() => Ok(KeyFile::Locked(half(Some(&key)))),
            Ok(key) => Ok(KeyFile::Key(Arc::new(key))),
            Err(russh::keys::Error::KeyIsEncrypted) => {
                Ok(KeyFile::Locked(half(PrivateKey::from_openssh(&text).ok().as_ref())))
            }
            Err(_) if text.contains("ENCRYPTED") => Ok(KeyFile::Locked(half(None))),
            Err(error) => Err(unusable(path, &format!("it is not a private key that OpenSSH accepts ({error})"))),
        }
    }

    /// Adds the agent's keys that fit and were not found yet; false where no agent answers.
    async fn ask_agent(&self, found: &mut Candidates, fits: impl Fn(&PublicKey) -> bool) -> bool {
        let Some(socket) = &self.login.agent else { return false };
        let asking = async { AgentClient::connect_uds(socket).await?.request_identities().await };
        let Ok(Ok(held)) = tokio::time::timeout(AGENT_LIMIT, asking).await else { return false };
        for identity in held {
            // Certificates are skipped: only a machine that trusts their authority accepts them, and an agent holds the
            // plain key beside its certificate.
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            let new = !found.offered.iter().any(|known| known.public().key_data() == key.key_data());
            if new && fits(&key) {
                found.offered.push(Candidate::Agent { socket: socket.clone(), key, comment });
            }
        }
        true
    }

    /// The error that says why there is no key to offer.
    fn no_key_error(
        &self,
        locked: &[PathBuf],
        unusable: Option<ConnectionError>,
        identity: &Path,
        answered: bool,
    ) -> ConnectionError {
        let Some(path) = locked.first() else {
            return unusable.unwrap_or_else(|| self::unusable(identity, "it is not a key"));
        };
        let agent = match &self.login.agent {
            Some(_) if answered => "the agent does not hold it".to_owned(),
            Some(socket) => format!("no agent answers at `{}` (`SSH_AUTH_SOCK`)", socket.display()),
            None => "there is no agent (`SSH_AUTH_SOCK`)".to_owned(),
        };
        self::unusable(path, &format!("it is protected by a passphrase, which nobody typed, and {agent}"))
    }
}

fn unusable(path: &Path, reason: &str) -> ConnectionError {
    ConnectionError::NoKey { identity: path.display().to_string(), reason: reason.to_owned() }
}

/// The public half that lies beside a private key.
fn public_beside(path: &Path) -> Option<PublicKey> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PublicKey::from_openssh(std::fs::read_to_string(name).ok()?.trim()).ok()
}

/// The key in `path`, opened with a typed passphrase; `None` where nobody types the right one.
fn unlock_by_prompt(ask: &Ask, path: &Path) -> Option<PrivateKey> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut again = "";
    for _ in 0..TRIES {
        let passphrase = ask(&format!("{again}Passphrase for the key `{}`: ", path.display()))?;
        if let Ok(key) = decode_secret_key(&text, Some(&passphrase))
            && !key.is_encrypted()
        {
            return Some(key);
        }
        again = "That does not open it. ";
    }
    None
}

/// Connects to the agent at `socket`, to sign with its keys.
pub(super) async fn connect_agent(socket: &Path) -> Result<AgentClient<UnixStream>, russh::keys::Error> {
    AgentClient::connect_uds(socket).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the keys `plain` and `locked`, whose passphrase is `secret`.
    fn keys() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let plain = keys::generate("plain").unwrap().private_openssh;
        std::fs::write(dir.path().join("plain"), plain).unwrap();
        let mut make = std::process::Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "secret", "-f"]).arg(dir.path().join("locked"));
        assert!(make.status().unwrap().success());
        dir
    }

    fn answering(answers: &'static [&'static str]) -> Ask {
        let given = Mutex::new(answers.iter());
        Arc::new(move |_| given.lock().unwrap().next().map(|answer| (*answer).to_owned()))
    }

    #[tokio::test]
    async fn a_locked_key_is_passed_over_where_another_can_be_offered() {
        let dir = keys();
        let (locked, plain) = (dir.path().join("locked"), dir.path().join("plain"));
        let ask: Ask = Arc::new(|_| panic!("nobody is to be asked yet"));
        let keyring = Keyring::new(Login { agent: None, others: vec![plain], ask: Some(ask) });
        let found = keyring.candidates(&locked).await.unwrap();
        assert_eq!((found.offered.len(), found.locked.as_slice()), (1, &[locked][..]));
        assert!(found.describe().contains("is protected by a passphrase that nobody typed"));
    }

    #[tokio::test]
    async fn a_passphrase_is_asked_for_a_few_times_and_the_key_is_kept() {
        let dir = keys();
        let locked = dir.path().join("locked");
        let of = |ask: Option<Ask>| Keyring::new(Login { ask, ..Login::default() });
        let keyring = of(Some(answering(&["wrong", "secret"])));
        assert_eq!(keyring.candidates(&locked).await.unwrap().offered.len(), 1);
        assert_eq!(keyring.candidates(&locked).await.unwrap().offered.len(), 1, "typed once");
        for ask in [None, Some(answering(&[])), Some(answering(&["a", "b", "c", "secret"]))] {
            let Err(error) = of(ask).candidates(&locked).await else { panic!("it was opened") };
            assert!(error.to_string().contains("passphrase") && error.to_string().contains("agent"), "{error}");
        }
    }
}
