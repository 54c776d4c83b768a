//! Resources: everything that is created outside this process, with a state between planned and gone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::{MachineId, ResourceId, RunId};
use crate::machine::ProviderKind;

/// The kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// A folder that holds a machine's files: overlay upper and work folders, or a layer being made.
    Rootfs,
    /// The overlay mount that is the machine's root. Lives in the machine's mount namespace and dies with it.
    Mount,
    /// The set of namespaces of a machine (PID, mount, UTS, IPC, network, and user where there is one).
    Namespace,
    /// A process on this computer.
    Process,
    /// A loop device behind a machine's second volume.
    LoopDevice,
    /// A control group that caps a machine.
    Cgroup,
    /// Files of ours on a machine that somebody else made.
    RemoteFiles,
    /// A request for an EC2 spot instance.
    SpotRequest,
    /// An EC2 instance.
    Instance,
    /// An EBS volume.
    Volume,
    /// An EC2 network interface.
    NetworkInterface,
    /// An EC2 key pair: the public half of ours.
    KeyPair,
    /// An EC2 security group.
    SecurityGroup,
    /// An IAM role.
    Role,
    /// An IAM instance profile.
    InstanceProfile,
    /// An Amazon machine image.
    MachineImage,
    /// An EBS snapshot.
    Snapshot,
}

impl ResourceKind {
    /// The name in JSON and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Mount => "mount",
            Self::Namespace => "namespace",
            Self::Process => "process",
            Self::LoopDevice => "loop_device",
            Self::Cgroup => "cgroup",
            Self::RemoteFiles => "remote_files",
            Self::SpotRequest => "spot_request",
            Self::Instance => "instance",
            Self::Volume => "volume",
            Self::NetworkInterface => "network_interface",
            Self::KeyPair => "key_pair",
            Self::SecurityGroup => "security_group",
            Self::Role => "role",
            Self::InstanceProfile => "instance_profile",
            Self::MachineImage => "machine_image",
            Self::Snapshot => "snapshot",
        }
    }

    /// The plural for people: `instances`, `security groups`.
    pub fn plural(self) -> String {
        format!("{}s", self.name().replace('_', " "))
    }

    /// A number with the noun, for people: `1 instance`, `2 security groups`.
    pub fn pluralize(self, count: usize) -> String {
        if count == 1 { format!("1 {}", self.name().replace('_', " ")) } else { format!("{count} {}", self.plural()) }
    }

    /// The provider whose machines have such resources; files on somebody else's machine belong to the host provider.
    pub fn provider(self) -> ProviderKind {
        match self {
            Self::Rootfs | Self::Mount | Self::Namespace | Self::Process | Self::LoopDevice | Self::Cgroup => {
                ProviderKind::Local
            }
            Self::RemoteFiles => ProviderKind::Host,
            _ => ProviderKind::Ec2,
        }
    }

    /// Whether it is the machine itself: while it exists, the machine lives.
    pub fn is_machine(self) -> bool {
        matches!(self, Self::Process | Self::Instance)
    }

    /// Every kind, in the order in which they are made.
    pub const ALL: [Self; 17] = [
        Self::Rootfs,
        Self::LoopDevice,
        Self::Cgroup,
        Self::Process,
        Self::Namespace,
        Self::Mount,
        Self::RemoteFiles,
        Self::KeyPair,
        Self::SecurityGroup,
        Self::Role,
        Self::InstanceProfile,
        Self::SpotRequest,
        Self::Volume,
        Self::NetworkInterface,
        Self::Instance,
        Self::MachineImage,
        Self::Snapshot,
    ];

    /// Every kind in the order of removal: what uses another thing goes before it, and those of one wave do not depend on each
    /// other. Whatever removes things of several kinds takes its order from here.
    ///
    /// Spot requests go first, for they could make new instances, and so do files on a machine, which must be there for that. A
    /// process holds all that a local machine has, and an instance its volumes, interfaces and security groups; an image holds
    /// its snapshots, an instance profile its role. A machine's files are free when nothing of it runs or is mounted.
    pub const REMOVAL: [&[Self]; 4] = [
        &[Self::SpotRequest, Self::RemoteFiles],
        &[Self::Instance, Self::Process],
        &[
            Self::Volume,
            Self::NetworkInterface,
            Self::MachineImage,
            Self::KeyPair,
            Self::InstanceProfile,
            Self::Mount,
            Self::Namespace,
            Self::Cgroup,
            Self::LoopDevice,
        ],
        &[Self::Snapshot, Self::SecurityGroup, Self::Role, Self::Rootfs],
    ];

    /// Every kind, in the order of [`ResourceKind::REMOVAL`].
    pub fn in_order_of_removal() -> impl Iterator<Item = Self> {
        Self::REMOVAL.into_iter().flatten().copied()
    }

    /// In which wave of [`ResourceKind::REMOVAL`] it goes.
    pub fn wave(self) -> usize {
        Self::REMOVAL.iter().take_while(|wave| !wave.contains(&self)).count()
    }
}

/// The state of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceState {
    /// Its row is written; the call that makes it may or may not have happened.
    Planned,
    /// It was seen to exist.
    Present,
    /// It was seen to exist, and is meant to outlive its run: an image, or something that all machines of an account
    /// share.
    Kept,
    /// It was seen gone, or seen never to have been made.
    Gone,
    /// A person gave it up, and it was not seen gone: the thing that held it, most often a machine, is out of reach for
    /// good.
    Forgotten,
}

/// The data of a row before the resource is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedResource {
    /// The machine that it belongs to.
    pub machine: MachineId,
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name, known before it is made: enough to find it again after a crash.
    pub name: String,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The row's id.
    pub id: ResourceId,
    /// The run that made it.
    pub run: RunId,
    /// The machine that it belongs to.
    pub machine: MachineId,
    /// The provider that made it.
    pub provider: ProviderKind,
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name, known before it was made.
    pub name: String,
    /// Its name in the system (`pid 4711 started 99`, `/dev/loop3`), known after it was made.
    pub locator: Option<String>,
    /// Its state.
    pub state: ResourceState,
    /// When the row was written.
    pub planned_at: Timestamp,
    /// When it was seen gone.
    pub gone_at: Option<Timestamp>,
    /// The last thing that went wrong with it.
    pub note: Option<String>,
}

impl Resource {
    /// Why it still exists, with advice where a person has to remove it; for people, never for the journal.
    pub fn explanation(&self) -> Option<String> {
        let note = self.note.as_ref()?;
        Some(match self.kind {
            ResourceKind::RemoteFiles => {
                format!("{note}; log in and remove `{}`, or run on the machine again", self.name)
            }
            _ => note.clone(),
        })
    }

    /// Whether the row is open, so that somebody still has to release the resource.
    pub fn is_open(&self) -> bool {
        matches!(self.state, ResourceState::Planned | ResourceState::Present)
    }
}

/// The result of an attempt to remove a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A check showed that it does not exist.
    Gone,
    /// It still exists, for this reason.
    Remains(String),
    /// It exists under this locator and is meant to outlive its run.
    Kept(String),
}

/// A resource that a provider found in the system, whatever the journal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedResource {
    /// Its kind.
    pub kind: ResourceKind,
    /// The machine that its name says it belongs to.
    pub machine: MachineId,
    /// Its name, comparable with [`Resource::name`].
    pub name: String,
    /// Its name in the system.
    pub locator: String,
    /// When it ends by itself, according to the system; none where the system does not say so, or where it ends with
    /// its driver anyway.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Until when it lives without a sign of its driver; none where only the machine itself knows.
    #[serde(default)]
    pub lease: Option<Timestamp>,
    /// Whether its marks say that another computer, with a copy of this state directory, made it.
    #[serde(default)]
    pub elsewhere: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_given_for_what_a_person_has_to_remove_and_never_stored() {
        let row = |kind, note: Option<&str>| Resource {
            id: "r-1".parse().unwrap(),
            run: RunId::new(Timestamp::UNIX_EPOCH),
            machine: "hg-1".parse().unwrap(),
            provider: ProviderKind::Host,
            kind,
            name: "hg@host:/tmp/x".to_owned(),
            locator: None,
            state: ResourceState::Present,
            planned_at: Timestamp::UNIX_EPOCH,
            gone_at: None,
            note: note.map(str::to_owned),
        };
        let files = row(ResourceKind::RemoteFiles, Some("busy")).explanation().unwrap();
        assert!(files.starts_with("busy; log in and remove `hg@host:/tmp/x`"), "{files}");
        assert_eq!(row(ResourceKind::Volume, Some("busy")).explanation().as_deref(), Some("busy"));
        assert_eq!(row(ResourceKind::RemoteFiles, None).explanation(), None, "its release was not tried");
    }

    #[test]
    fn every_kind_stands_once_in_the_order_of_removal() {
        for kind in ResourceKind::ALL {
            let places = ResourceKind::in_order_of_removal().filter(|other| *other == kind).count();
            assert_eq!(places, 1, "{}", kind.name());
        }
        assert_eq!(ResourceKind::in_order_of_removal().count(), ResourceKind::ALL.len());
    }

    #[test]
    fn what_uses_another_thing_goes_before_it() {
        use ResourceKind::{
            Cgroup, Instance, InstanceProfile, LoopDevice, MachineImage, NetworkInterface, Process, Role, Rootfs,
            SecurityGroup, Snapshot, SpotRequest, Volume,
        };
        let uses = [
            (SpotRequest, Instance),
            (Instance, Volume),
            (Instance, NetworkInterface),
            (NetworkInterface, SecurityGroup),
            (MachineImage, Snapshot),
            (InstanceProfile, Role),
            (Process, Cgroup),
            (Process, LoopDevice),
            (LoopDevice, Rootfs),
        ];
        for (user, used) in uses {
            assert!(user.wave() < used.wave(), "{} and {}", user.name(), used.name());
        }
    }
}
