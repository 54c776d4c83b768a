//! Providers: where machines come from. This is the contract that every provider keeps; abilities of some providers are
//! in [`ability`].
//!
//! * Nothing is made before the journal holds its name: [`Provider::plan`] names it, the flow writes the row, then
//!   [`Provider::create`] makes it and calls `confirm` for each resource as soon as it exists.
//! * A machine ends by itself when its lease is over, whatever becomes of its driver: the keeper of the lease
//!   ([`Provider::lease_keeper`]) postpones the end, but never beyond the machine's expiry.
//! * [`Provider::release`] takes a resource, not a machine, so that the same path cleans up after a crash. It is
//!   idempotent and answers [`Fate::Gone`] only after it has checked.
//! * [`Provider::observe`] looks at the system, not at the journal.

pub mod ability;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::base::id::{MachineId, ResourceId, RunId};
use crate::connection::Connector;
use crate::event::Teller;
use crate::fault::Fault;
use crate::filesystem::Filesystem;
use crate::image::{CloudBase, Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecord, SnapshotOrder};
use crate::machine::{Caps, Hardware, Machine, Network, Platform, ProviderKind};
use crate::price::Budget;
use crate::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind};

pub use ability::{Abilities, LeaseKeeper};

/// A request for a machine.
#[derive(Debug, Clone)]
pub struct MachineRequest {
    /// Its id, chosen by the flow.
    pub id: MachineId,
    /// The run that requests it.
    pub run: RunId,
    /// The person it belongs to.
    pub owner: String,
    /// The operating system of its image.
    pub platform: Platform,
    /// The image's name, for people.
    pub image: String,
    /// The layers to boot from, lowest first. A single one is the base: the machine is to bake an image.
    pub layers: Vec<Fingerprint>,
    /// The cloud's base image, for providers whose machines start from one.
    pub cloud: Option<CloudBase>,
    /// Whether the layers are the state of a machine: then no base image of a cloud lies below them.
    pub snapshot: bool,
    /// The requested hardware.
    pub hardware: Hardware,
    /// The user to log in as.
    pub user: String,
    /// Its network.
    pub network: Network,
    /// Its limits.
    pub caps: Caps,
    /// Size in bytes of a second block device, where the task needs a file system of its own.
    pub volume: Option<u64>,
    /// The file system that the second block device is for: a provider whose machines may not mount it themselves makes it.
    pub filesystem: Filesystem,
    /// When it was requested.
    pub now: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// How long it lives without a sign of its driver.
    pub grace: Duration,
    /// The most that it may cost.
    pub max_cost: Option<Budget>,
    /// After how long without a login or a task it ends by itself; its expiry holds all the same.
    pub idle: Option<Duration>,
}

/// A callback for each planned resource as soon as it exists, with its kind, its planned name and its name in the
/// system. It fails for a resource that was never planned.
pub type Confirm<'a> = &'a (dyn Fn(ResourceKind, &str, &str) -> Result<(), Fault> + Send + Sync);

/// The journal as a provider sees it: it records resources that are made besides a machine, before they are made. They
/// cannot be planned with the machine, because only a look at the system shows which of them are missing.
pub trait Ledger: Send + Sync {
    /// Writes the row of a resource that is about to be made.
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault>;

    /// Records that the resource exists, is called `locator`, and is meant to outlive its run.
    fn mark_kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault>;
}

/// A provider: makes, keeps and removes machines.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its kind.
    fn kind(&self) -> ProviderKind;

    /// Its abilities beyond this trait.
    fn abilities(&self) -> Abilities<'_>;

    /// The keeper of its machines' leases.
    fn lease_keeper(&self) -> LeaseKeeper<'_>;

    /// Names everything that [`Provider::create`] may make for `request`, in the order of making.
    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource>;

    /// Makes the machine. After an error all resources that were begun are in the journal, and the flow releases them.
    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, teller: &Teller) -> Result<Machine, Fault>;

    /// How long a machine may take from its making to its first answer.
    fn boot_limit(&self, platform: Platform) -> Duration;

    /// How long one resource of the kind may take to go away.
    fn release_limit(&self, kind: ResourceKind) -> Duration;

    /// Removes one resource and checks that it is gone.
    async fn release(&self, resource: &Resource) -> Result<Fate, Fault>;

    /// Lists the resources that exist, by looking at the system.
    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault>;

    /// The last lines that the machine itself wrote about its start, for error messages.
    async fn console(&self, machine: &MachineId) -> Option<String>;
}

/// A layer that was made on a machine and is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct MadeLayer<'a> {
    /// The image that it belongs to.
    pub plan: &'a ImagePlan,
    /// The layer; the topmost where several were made on one machine.
    pub layer: &'a LayerPlan,
    /// Where it was made.
    pub machine: &'a MachineId,
    /// How long that took.
    pub took: Duration,
}

/// What a store needs to make an image of a machine beside the machine.
#[derive(Clone, Copy)]
pub struct TakenSnapshot<'a> {
    /// The id under which the journal has what is made.
    pub id: &'a MachineId,
    /// The run that makes it.
    pub run: &'a RunId,
    /// Confirms what [`ImageStore::plan_snapshot`] names.
    pub confirm: Confirm<'a>,
    /// Writes down what has no name before.
    pub ledger: &'a dyn Ledger,
    /// Reaches the machine, where it has to make itself ready.
    pub connector: &'a dyn Connector,
}

/// Keeps layers and images for a provider. A store says of every method what it does, even where it does nothing: otherwise a
/// method that it forgot would pass for one that it does not need.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Whether one machine makes all missing layers of an image, which are stored as one; otherwise each layer has its
    /// own machine.
    fn keeps_whole(&self) -> bool;

    /// How many of the plan's lowest layers are stored and whole.
    async fn count_present(&self, plan: &ImagePlan) -> Result<usize, Fault>;

    /// Refuses, before anything is made, a bake that is known to fail, for example because there is no room for the
    /// `missing` layers.
    fn prepare(&self, missing: &[LayerPlan]) -> Result<(), Fault>;

    /// Waits until no other process makes this layer, then locks out others until the returned guard is dropped.
    async fn lock(&self, layer: &Fingerprint, teller: &Teller) -> Result<Box<dyn Send + Sync>, Fault>;

    /// Names the resources that [`ImageStore::make_base`] may make in the sandbox `machine`.
    fn plan_base(&self, machine: &MachineId) -> Vec<PlannedResource>;

    /// Bootstraps the lowest layer in a sandbox whose lease runs out after `grace` without a sign of its driver.
    ///
    /// The layer is not stored until [`ImageStore::commit`].
    async fn make_base(
        &self,
        layer: &LayerPlan,
        machine: &MachineId,
        grace: Duration,
        confirm: Confirm<'_>,
        teller: &Teller,
    ) -> Result<(), Fault>;

    /// Stores the changes that were made on the machine as this layer of the plan. A local machine must have ended, and
    /// its files must still exist.
    async fn commit(&self, made: &MadeLayer<'_>, ledger: &dyn Ledger, teller: &Teller) -> Result<LayerRecord, Fault>;

    /// Records the image as finished.
    async fn finish(&self, plan: &ImagePlan, now: Timestamp) -> Result<ImageRecord, Fault>;

    /// Refuses, before anything is made, a machine whose state cannot become an image here, with the reason.
    async fn vet_snapshot(&self, machine: &Machine) -> Result<(), Fault>;

    /// Names the resources that [`ImageStore::take_snapshot`] may make, under the id `taken`; what has no name before goes through its
    /// ledger.
    fn plan_snapshot(&self, taken: &MachineId) -> Vec<PlannedResource>;

    /// Makes an image of the file system of a machine that is up, as it is at one moment, and leaves the machine as it is. What belongs to
    /// that machine alone is on no machine of it: keys, the folders of runs and those in which they worked, what its own life is kept by. After an error all that was begun
    /// is in the journal, under the id `taken`.
    async fn take_snapshot(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault>;

    /// The record of the finished image with this fingerprint; none, too, where the query costs more than finishing the
    /// image again.
    async fn record(&self, fingerprint: &Fingerprint) -> Result<Option<ImageRecord>, Fault>;

    /// How many seconds each of the plan's layers took the last time, by name: for an image of that name if there was
    /// one, else for any. Empty where nothing is known, and where the query would cost more than the answer is worth.
    async fn expected_seconds(&self, plan: &ImagePlan) -> BTreeMap<String, u64>;

    /// The finished images, newest first.
    async fn list(&self) -> Result<Vec<ImageRecord>, Fault>;

    /// All stored layers, whether or not an image uses them.
    async fn layers(&self) -> Result<Vec<LayerRecord>, Fault>;

    /// The images among `images` that are in use, and their users, in one query for all of them. A store of separate layers refuses in
    /// [`ImageStore::remove_layer`] instead.
    async fn users(&self, images: &[ImageRecord]) -> Result<BTreeMap<Fingerprint, String>, Fault>;

    /// Removes an image's record; its layers stay until [`ImageStore::remove_layer`]. Refused where the image is in
    /// use, and where it belongs to somebody else unless `of_any_owner` is set.
    async fn remove_image(&self, fingerprint: &Fingerprint, of_any_owner: bool) -> Result<(), Fault>;

    /// Removes a layer, or with `dry_run` only finds out whether it would; refused while a machine boots from it or a
    /// process makes it.
    async fn remove_layer(&self, fingerprint: &Fingerprint, dry_run: bool) -> Result<(), Fault>;

    /// Removes the remains of interrupted removals, or only counts them with `dry_run`; gives the number of layers or
    /// snapshots.
    async fn sweep(&self, dry_run: bool) -> Result<usize, Fault>;
}
