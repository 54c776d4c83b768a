//! What only some providers can do: each ability is a trait of its own, and a provider hands out those that it has
//! ([`Abilities`]). What is absent there is something that its machines do not need, or do not have.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::connection::Connection;
use crate::event::Teller;
use crate::fault::Fault;
use crate::machine::{Hardware, Machine, Sighting};
use crate::price::Quote;
use crate::provider::{Ledger, MachineRequest};
use crate::resource::{Observed, Resource};
use crate::task::Command;

/// The abilities of one provider; none of them unless it says so.
#[derive(Clone, Copy, Default)]
pub struct Abilities<'a> {
    /// Its machines cost something, or may.
    pub pricing: Option<&'a dyn Pricing>,
    /// Its machines share things that are made ready before the first of them.
    pub sharing: Option<&'a dyn Sharing>,
    /// It has several kinds of computers to choose from.
    pub hardware: Option<&'a dyn HardwareRange>,
    /// Its machines may end while they boot, and are finished over the first connection.
    pub boot: Option<&'a dyn Boot>,
    /// It tells of machines of everybody's.
    pub survey: Option<&'a dyn Survey>,
    /// It ends many machines side by side.
    pub ending: Option<&'a dyn EndTogether>,
    /// It has things that are looked for only where a row names them.
    pub naming: Option<&'a dyn ObserveOpen>,
    /// It does not see everything that rows of its kind may name. Without this it sees all of it.
    pub horizon: Option<&'a dyn Horizon>,
}

/// Who keeps the leases of a provider's machines, and so who is told when one is pushed out.
#[derive(Clone, Copy)]
pub enum LeaseKeeper<'a> {
    /// The provider itself.
    Provider(&'a dyn Renew),
    /// Each machine its own: it is told by a command that runs on it.
    Machine(&'a dyn RenewOnMachine),
    /// Nobody: the machines do not end, so there is no end to push out.
    Nobody,
}

/// Pushes out the ends of machines from outside of them.
#[async_trait]
pub trait Renew: Send + Sync {
    /// Lets the machine live until `until`, or its expiry if that is sooner. Fails where the machine has ended.
    async fn renew(&self, machine: &Machine, until: Timestamp) -> Result<(), Fault>;
}

/// Says how machines are told that keep their own leases.
pub trait RenewOnMachine: Send + Sync {
    /// The command that, run as the machine's user, lets it live until `until`, or its expiry if that is sooner.
    fn lease_command(&self, machine: &Machine, until: Timestamp) -> Command;
}

/// Knows what machines cost.
#[async_trait]
pub trait Pricing: Send + Sync {
    /// The price of the machine that `request` means, of the dearest where it may become one of several; none where it costs
    /// nothing, or, with the reason told, where no price can be had.
    async fn quote(&self, request: &MachineRequest, teller: &Teller) -> Option<Quote>;

    /// The price of a machine that was made.
    async fn price(&self, machine: &Machine, teller: &Teller) -> Option<Quote>;
}

/// Reconciles what all machines of an account share: key pair, security groups, role.
#[async_trait]
pub trait Sharing: Send + Sync {
    /// Brings it to what `request` needs: by content, not by existence. Called before [`Provider::plan`]; what is missing goes
    /// through the ledger before it is made.
    ///
    /// [`Provider::plan`]: crate::provider::Provider::plan
    async fn provision(&self, request: &MachineRequest, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault>;

    /// Lets this computer reach a machine that it does not reach any more: its own address may be another one by now. To be
    /// called now and then while it is not reached; cheap where nothing has changed.
    async fn let_in(&self, machine: &Machine, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault>;
}

/// Knows the kinds of computers that there are.
#[async_trait]
pub trait HardwareRange: Send + Sync {
    /// Refuses hardware that there is not, or that cannot run our images; asked before anything is made or baked for it.
    async fn vet(&self, hardware: &Hardware) -> Result<(), Fault>;
}

/// Follows a machine from its making to its first connection.
#[async_trait]
pub trait Boot: Send + Sync {
    /// Ends when the machine is seen to have ended by itself, with why.
    async fn until_ended(&self, machine: &Machine) -> Fault;

    /// Does what can only be done over the first proved connection, as the machine's user or as root (a host key that was
    /// handed over is replaced by one that the machine made itself); gives the machine as it is then.
    async fn settle(&self, machine: &Machine, connection: &dyn Connection) -> Result<Machine, Fault>;
}

/// Looks at machines whoever made them.
#[async_trait]
pub trait Survey: Send + Sync {
    /// Machines that are live; for people, and for no decision.
    async fn survey(&self) -> Result<Vec<Sighting>, Fault>;

    /// Tells machines to end whose expiry has passed by the provider's own clock and that are there all the same; gives each,
    /// with why where it was refused. For machines that keep their own time, and may be kept from it.
    async fn end_expired(&self) -> Result<Vec<(Sighting, Option<String>)>, Fault>;
}

/// Begins the ends of many machines at once.
#[async_trait]
pub trait EndTogether: Send + Sync {
    /// Tells the machines among `resources` to end, all at once, and waits for none: their ends then run side by side while
    /// [`Provider::release`] looks after one at a time. What is refused here is for that to tell.
    ///
    /// [`Provider::release`]: crate::provider::Provider::release
    async fn end_all(&self, resources: &[Resource]);
}

/// Looks for what [`Provider::observe`] does not look for unless a row names it.
///
/// [`Provider::observe`]: crate::provider::Provider::observe
#[async_trait]
pub trait ObserveOpen: Send + Sync {
    /// Lists what is there of such resources among the `open` rows.
    async fn observe_open(&self, open: &[Resource]) -> Result<Vec<Observed>, Fault>;
}

/// Knows how far a provider sees.
pub trait Horizon: Send + Sync {
    /// Whether a look would have met the resource if it were there. One that it cannot see (in another account or region,
    /// say) is not gone because it was not met.
    fn sees(&self, resource: &Resource) -> bool;

    /// Whether a resource of a machine is in reach at all: one in another account or region is not.
    fn is_here(&self, resource: &Resource) -> bool;
}
