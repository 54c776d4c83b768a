//! One ephemeral computer, as plain data.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::{MachineId, RunId};
use crate::base::name::MachineName;
use crate::base::text;

/// The kind of a provider: where machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Namespaces on this computer.
    Local,
    /// Instances of Amazon EC2.
    Ec2,
    /// A machine that somebody else made.
    Host,
    /// In memory, for tests and dry runs.
    Dummy,
}

impl ProviderKind {
    /// The name used on the command line, in settings and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ec2 => "ec2",
            Self::Host => "host",
            Self::Dummy => "dummy",
        }
    }

    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Local, Self::Ec2, Self::Host, Self::Dummy];

    /// The kinds that a user can choose.
    pub const CHOICES: [Self; 3] = [Self::Local, Self::Ec2, Self::Host];

    /// The names of [`ProviderKind::CHOICES`].
    pub const CHOICE_NAMES: [&str; 3] = [Self::CHOICES[0].name(), Self::CHOICES[1].name(), Self::CHOICES[2].name()];

    /// The kind among [`ProviderKind::CHOICES`] that has this name.
    pub fn chosen(name: &str) -> Option<Self> {
        Self::CHOICES.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether its machines cost money.
    pub fn costs(self) -> bool {
        self == Self::Ec2
    }

    /// Whether its machines only stand in for those that have this system: on this computer every machine has Linux below.
    pub fn stands_in_for(self, platform: Platform) -> bool {
        self == Self::Local && platform != Platform::default()
    }

    /// Whether its machines stay when they are released, so that our files on them must be removed over a connection.
    pub fn machines_stay(self) -> bool {
        self == Self::Host
    }
}

/// The operating system of a machine. The crate `guest` knows how to speak to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Linux, of any distribution.
    #[default]
    Linux,
    /// Windows, with OpenSSH's server and `cmd.exe` as the login shell.
    Windows,
}

impl Platform {
    /// The name used on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }

    /// Every platform.
    pub const ALL: [Self; 2] = [Self::Linux, Self::Windows];

    /// The names of [`Platform::ALL`].
    pub const NAMES: [&str; 2] = [Self::ALL[0].name(), Self::ALL[1].name()];

    /// The platform of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.name() == name)
    }
}

/// How a connection reaches a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Address {
    /// A host and a port of the ordinary network.
    Tcp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix socket on this computer whose other side hands over a connected socket to the machine's port 22.
    ///
    /// On every accepted connection the machine's guard sends one byte: `+` with exactly one file descriptor as
    /// `SCM_RIGHTS` ancillary data; `-` followed by the reason why there is none now, as UTF-8 text up to end of file;
    /// or [`HANDOVER_ENDED`] when the machine has ended for good. A socket at which nobody listens means the same,
    /// because the guard listens before its machine is made known.
    Handover {
        /// The Unix socket.
        socket: PathBuf,
    },
    /// An instance on Amazon EC2 whose SSM agent runs commands; no network way to the machine is needed.
    Ssm {
        /// The instance's id (`i-…`).
        instance: String,
        /// The region that it is in, for example `us-west-2`.
        region: String,
    },
}

/// The answer of a guard at [`Address::Handover`] when its machine has ended.
pub const HANDOVER_ENDED: u8 = b'.';

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port: 22 } => f.write_str(host),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Handover { socket } => write!(f, "{}", socket.display()),
            Self::Ssm { instance, .. } => f.write_str(instance),
        }
    }
}

/// How a machine proves its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum HostKey {
    /// By exactly this public key in OpenSSH form (`ssh-ed25519 AAAA…`), made for the machine.
    Exact {
        /// The public key.
        public: String,
    },
    /// By no key of its own: it is reached through its provider, which tells one machine from another.
    None,
    /// By the key that a `known_hosts` file names for the address; the file is read, never written.
    KnownHosts {
        /// The file.
        file: PathBuf,
    },
}

/// One ephemeral computer. Holds no socket: it can be stored and opened again next week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its id and host name.
    pub id: MachineId,
    /// The provider that made it.
    pub provider: ProviderKind,
    /// Its operating system; older builds of the tool did not write it, and knew only Linux.
    #[serde(default)]
    pub platform: Platform,
    /// The run that made it.
    pub run: RunId,
    /// The person it belongs to (`user@host` of the driver).
    pub owner: String,
    /// The image it was booted from, for example `linux-dev-debian12`.
    pub image: String,
    /// How to reach it.
    pub address: Address,
    /// The login user.
    pub user: String,
    /// The private key to log in with.
    pub identity: PathBuf,
    /// How it proves its identity.
    pub host_key: HostKey,
    /// A block device inside the machine for a separate file system, where one was requested.
    pub volume: Option<String>,
    /// Its hardware, where its provider has a choice.
    #[serde(default)]
    pub hardware: Option<ActualHardware>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself at the latest, whatever its driver does.
    pub expires_at: Timestamp,
    /// Its name for people, where it was made to be used by hand; older builds of the tool did not write it.
    #[serde(default)]
    pub name: Option<MachineName>,
    /// Whether it was left on purpose to live on without its driver. Any other machine is released by its run.
    #[serde(default)]
    pub kept: bool,
    /// After how long without a login or a task it ends by itself, where that was asked for.
    #[serde(default, with = "clock::optional_seconds", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}

/// How much earlier than by our clock a machine may take its time for over, by its own.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);

impl Machine {
    /// What to call it on a command line: its name, or its id where it has none.
    pub fn called(&self) -> &str {
        self.name.as_ref().map_or(self.id.as_str(), MachineName::as_str)
    }

    /// The id, with the name where it has one: `hg-0123456789 (quiet-otter)`.
    pub fn words(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.id),
            None => self.id.to_string(),
        }
    }

    /// Why it does not answer at `now`, where that is because its time is over.
    pub fn time_over(&self, now: Timestamp) -> Option<String> {
        let is_over = self.expires_at.duration_since(now) <= CLOCKS;
        is_over.then(|| format!("the time of {} was over at {:.0} (`--ttl`)", self.words(), self.expires_at))
    }

    /// Whether it is no machine of its own, but what a run knows of `other`, which was up before that run and stays.
    pub fn is_record_of(&self, other: &Self) -> bool {
        self.provider.machines_stay() && !other.provider.machines_stay() && self.address == other.address
    }

    /// The machines among `stored`, each once: without what runs know of one that is among them.
    pub fn each_once(mut stored: Vec<Self>) -> Vec<Self> {
        let all = stored.clone();
        stored.retain(|machine| !all.iter().any(|other| machine.is_record_of(other)));
        stored
    }

    /// When it ends by itself, as a table shows it at `now`: its expiry, and how long it may be idle.
    pub fn ends(&self, now: Timestamp) -> String {
        self.ends_by(self.expires_at, now)
    }

    /// The same where it ends at the latest at `end`.
    pub fn ends_by(&self, end: Timestamp, now: Timestamp) -> String {
        let expiry = text::until(end, now);
        match self.idle.filter(|_| end > now) {
            Some(idle) => format!("{expiry}, or when idle for {}", text::seconds(idle)),
            None => expiry,
        }
    }
}

/// A live machine as its provider lists it, no matter who made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Its name, which is the machine's id where this tool made it.
    pub id: String,
    /// Its name in the system, for example `i-0123456789abcdef0`.
    pub locator: String,
    /// The image that it was booted from, if its provider says so.
    pub image: String,
    /// Its hardware, for example `c5.9xlarge`.
    pub hardware: String,
    /// The person it belongs to, as its tags say.
    pub owner: Option<String>,
    /// The run that made it, as its tags say.
    pub run: Option<RunId>,
    /// Its state in the provider's words, for example `running`.
    pub state: String,
    /// When it was launched.
    pub created_at: Option<Timestamp>,
    /// When it ends by itself, as its tags say.
    pub expires_at: Option<Timestamp>,
    /// Its cost so far in US dollars, where prices are known.
    pub cost: Option<f64>,
}

/// The network that a machine sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A network of its own, with loopback only.
    #[default]
    Loopback,
    /// The network of the computer that runs the tool.
    Host,
}

/// The requested hardware of a machine, where the provider has a choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hardware {
    /// Instance types in order of preference; empty for the provider's own choice. A single type is never replaced by
    /// another.
    pub instance_types: Vec<String>,
    /// Whether spare capacity at a lower price is wanted, which may be taken away; ordinary capacity is the fallback.
    pub spot: bool,
    /// Whether commands must be able to reach it without SSH (AWS Systems Manager).
    pub managed: bool,
}

/// The actual hardware of a machine that was requested with [`Hardware`].
///
/// In JSON it is a text, `c5.9xlarge` or `c5.9xlarge spot`, in the journal as well as for users, because older builds
/// of the tool read and write this form only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ActualHardware {
    /// The provider's name of the type.
    pub instance_type: String,
    /// Whether it is spare capacity at a lower price, which may be taken away.
    pub spot: bool,
}

/// The suffix of the text of [`ActualHardware`] for spare capacity. No type has a space in its name.
const SPOT: &str = " spot";

impl std::fmt::Display for ActualHardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.instance_type, if self.spot { SPOT } else { "" })
    }
}

impl From<ActualHardware> for String {
    fn from(hardware: ActualHardware) -> Self {
        hardware.to_string()
    }
}

impl From<String> for ActualHardware {
    fn from(text: String) -> Self {
        match text.strip_suffix(SPOT) {
            Some(instance_type) => Self { instance_type: instance_type.to_owned(), spot: true },
            None => Self { instance_type: text, spot: false },
        }
    }
}

/// Limits on what a machine may use.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Caps {
    /// Processor time as a number of processors, for example 1.5.
    pub cpus: Option<f64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine as older builds wrote it, when its hardware was only a text.
    fn written(hardware: &str) -> String {
        format!(
            r#"{{"id":"hg-0123456789","provider":"ec2","platform":"linux","run":"r-1","owner":"me@here","image":"linux-dev-debian12",
            "address":{{"kind":"tcp","host":"192.0.2.1","port":22}},"user":"hg","identity":"/k","host_key":{{"kind":"none"}},
            "volume":null{hardware},"created_at":"2026-11-20T10:00:00Z","expires_at":"2026-11-20T12:00:00Z","kept":false}}"#
        )
    }

    #[test]
    fn hardware_that_older_builds_wrote_is_read_and_stays_the_same_text() {
        for (text, spot) in [("c5.9xlarge", false), ("c5.9xlarge spot", true)] {
            let machine: Machine = serde_json::from_str(&written(&format!(r#","hardware":"{text}""#))).unwrap();
            assert_eq!(machine.hardware, Some(ActualHardware { instance_type: "c5.9xlarge".into(), spot }));
            assert_eq!(serde_json::to_value(&machine).unwrap()["hardware"], text);
        }
    }

    #[test]
    fn a_provider_has_one_name_everywhere_and_tests_alone_have_the_one_in_memory() {
        for kind in ProviderKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(ProviderKind::chosen(kind.name()), Some(kind).filter(|kind| *kind != ProviderKind::Dummy));
        }
        assert_eq!(ProviderKind::CHOICE_NAMES, ProviderKind::CHOICES.map(ProviderKind::name));
    }

    #[test]
    fn a_machine_of_a_provider_without_a_choice_has_no_hardware() {
        for hardware in ["", r#","hardware":null"#] {
            let machine: Machine = serde_json::from_str(&written(hardware)).unwrap();
            assert_eq!(machine.hardware, None);
            assert_eq!(machine.name, None, "older builds gave none");
            assert!(serde_json::to_value(&machine).unwrap()["hardware"].is_null());
        }
    }
}
