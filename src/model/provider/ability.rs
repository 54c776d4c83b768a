//! Abilities of some providers: each is a separate trait, and a provider hands out those that it has ([`Abilities`]).
//! An absent ability is one that its machines do not need, or do not have.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::base::id::{MachineId, ResourceId};
use crate::connection::Connection;
use crate::event::Teller;
use crate::fault::Fault;
use crate::filesystem::Filesystem;
use crate::machine::{Hardware, Machine, Sighting};
use crate::price::Quote;
use crate::provider::{Ledger, MachineRequest};
use crate::resource::{ObservedResource, Resource};
use crate::task::Command;

/// The abilities of one provider; by default it has none.
#[derive(Clone, Copy, Default)]
pub struct Abilities<'a> {
    /// Its machines cost something, or may.
    pub pricing: Option<&'a dyn Pricing>,
    /// Its machines share things that are made ready before the first of them.
    pub sharing: Option<&'a dyn Sharing>,
    /// It has several types of hardware to choose from.
    pub hardware: Option<&'a dyn HardwareRange>,
    /// Not every file system that can be asked for can be on a second volume of its machines.
    pub volumes: Option<&'a dyn VolumeRange>,
    /// What its machines may use of memory can be limited, and it knows where that limit was reached.
    pub memory: Option<&'a dyn MemoryLimit>,
    /// Its machines may end while they boot, and are finished over the first connection.
    pub boot: Option<&'a dyn Boot>,
    /// It may take machines back that are in use, and gives notice before.
    pub notices: Option<&'a dyn Notices>,
    /// It can list everybody's machines.
    pub survey: Option<&'a dyn Survey>,
    /// It can end many machines at the same time.
    pub ending: Option<&'a dyn EndTogether>,
    /// It has resources that it looks for only where a row names them.
    pub naming: Option<&'a dyn ObserveOpen>,
    /// It may not see every resource that rows of its kind name. Without this ability it sees all of them.
    pub horizon: Option<&'a dyn Horizon>,
}

/// The keeper of the leases of a provider's machines, who must be told when a lease is renewed.
#[derive(Clone, Copy)]
pub enum LeaseKeeper<'a> {
    /// The provider itself.
    Provider(&'a dyn Renew),
    /// Each machine keeps its own lease: it is told by a command that runs on it.
    Machine(&'a dyn RenewOnMachine),
    /// Nobody: the machines do not end by themselves, so there is no lease to renew.
    Nobody,
}

/// Renews the leases of machines from the outside.
#[async_trait]
pub trait Renew: Send + Sync {
    /// Lets the machine live until `until`, or its expiry if that is sooner. Fails where the machine has ended.
    async fn renew(&self, machine: &Machine, until: Timestamp) -> Result<(), Fault>;
}

/// Renews the leases of machines that keep their own leases.
pub trait RenewOnMachine: Send + Sync {
    /// The command that, run as the machine's user, lets it live until `until`, or its expiry if that is sooner. Fails where the
    /// machine's system keeps no lease.
    fn lease_command(&self, machine: &Machine, until: Timestamp) -> Result<Command, Fault>;
}

/// Knows what machines cost.
#[async_trait]
pub trait Pricing: Send + Sync {
    /// The price of the requested machine, or of the most expensive one where it may become one of several; none where
    /// it costs nothing, and where the price is not known, in which case the reason is reported to `teller`.
    async fn quote(&self, request: &MachineRequest, teller: &Teller) -> Option<Quote>;

    /// The price of a machine that was made.
    async fn price(&self, machine: &Machine, teller: &Teller) -> Option<Quote>;
}

/// Reconciles the resources that all machines of an account share: key pair, security groups, role.
#[async_trait]
pub trait Sharing: Send + Sync {
    /// Brings the shared resources to the state that `request` needs, by their content and not only by their existence.
    /// Called before [`Provider::plan`]; a missing resource goes through the ledger before it is made.
    ///
    /// [`Provider::plan`]: crate::provider::Provider::plan
    async fn provision(&self, request: &MachineRequest, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault>;

    /// Lets this computer reach a machine that it cannot reach any more: this computer's address may have changed. To
    /// be called now and then while the machine is out of reach; cheap where nothing has changed.
    async fn let_in(&self, machine: &Machine, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault>;
}

/// Knows the available hardware.
#[async_trait]
pub trait HardwareRange: Send + Sync {
    /// Refuses hardware that does not exist or cannot run our images; called before anything is made or baked for it.
    async fn vet(&self, hardware: &Hardware) -> Result<(), Fault>;
}

/// The file systems that a second volume can have.
pub trait VolumeRange: Send + Sync {
    /// Refuses a file system that no second volume can have here; called before anything is made or baked for it.
    fn vet(&self, filesystem: Filesystem) -> Result<(), Fault>;
}

/// The limit of a machine's memory.
pub trait MemoryLimit: Send + Sync {
    /// How many processes of the machine the system has ended because the limit was reached; none where there is no limit, or that is not counted.
    fn kills(&self, machine: &MachineId) -> Option<u64>;
}

/// Follows a machine from its making to its first connection.
#[async_trait]
pub trait Boot: Send + Sync {
    /// Returns when the machine is seen to have ended by itself, with the reason.
    async fn wait_until_ended(&self, machine: &Machine) -> Fault;

    /// Finishes the machine over the first proved connection, as the machine's user or as root: a host key that was
    /// handed over is replaced by one that the machine made itself. Gives the machine as it is then.
    async fn settle(&self, machine: &Machine, connection: &dyn Connection) -> Result<Machine, Fault>;
}

/// The notice that a machine is about to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Who takes it back and what it was, in words: `Amazon takes the spot instance back`.
    pub why: String,
    /// When it ends; none where that is not said.
    pub ends_at: Option<Timestamp>,
}

/// Sees notices on machines that may be taken back while they are in use.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Whether the machine may be taken back, and notice of that can be seen on it.
    fn may_give(&self, machine: &Machine) -> bool;

    /// Returns when notice is given, as the machine sees it over `connection`; none where the connection has ended before. Fails where
    /// the machine cannot see notices.
    async fn wait_for_notice(&self, machine: &Machine, connection: &dyn Connection) -> Result<Option<Notice>, Fault>;
}

/// Looks at machines no matter who made them.
#[async_trait]
pub trait Survey: Send + Sync {
    /// Lists the live machines; the list is for people, and not for decisions.
    async fn survey(&self) -> Result<Vec<Sighting>, Fault>;

    /// Tells machines to end that still exist although their expiry has passed by the provider's own clock; gives each
    /// of them, with the reason where that was refused. It is for machines that end themselves, which something on them
    /// may prevent.
    async fn end_expired(&self) -> Result<Vec<(Sighting, Option<String>)>, Fault>;
}

/// Begins to end many machines at the same time.
#[async_trait]
pub trait EndTogether: Send + Sync {
    /// Tells all machines among `resources` to end, and waits for none: they end in parallel while
    /// [`Provider::release`] handles one at a time. Gives the rows of those that are sure to end from here on. A refusal is not
    /// reported, because the release meets it again.
    ///
    /// [`Provider::release`]: crate::provider::Provider::release
    async fn end_all(&self, resources: &[Resource]) -> Vec<ResourceId>;
}

/// Looks for resources that [`Provider::observe`] does not look for, because only a row names them.
///
/// [`Provider::observe`]: crate::provider::Provider::observe
#[async_trait]
pub trait ObserveOpen: Send + Sync {
    /// Lists those of the resources of the `open` rows that exist.
    async fn observe_open(&self, open: &[Resource]) -> Result<Vec<ObservedResource>, Fault>;
}

/// Knows which resources a provider can see.
pub trait Horizon: Send + Sync {
    /// Whether [`Provider::observe`] would have found the resource if it existed. A resource that it cannot see, for
    /// example in another account or region, is not gone only because it was not found.
    ///
    /// [`Provider::observe`]: crate::provider::Provider::observe
    fn can_see(&self, resource: &Resource) -> bool;

    /// Whether a resource of a machine is in reach at all: a resource in another account or region is not.
    fn is_here(&self, resource: &Resource) -> bool;
}
