//! Where machines come from: the contract that every provider keeps. What only some can do stands in [`ability`].
//!
//! * Nothing is made before the journal holds its name: [`Provider::plan`] names it, the flow writes it down, then
//!   [`Provider::create`] makes it and calls `confirm` for each resource as soon as it exists.
//! * A machine ends by itself when its lease is over, whatever becomes of its driver: whoever keeps the lease
//!   ([`Provider::lease_keeper`]) pushes the end out, and never beyond the machine's expiry.
//! * [`Provider::release`] takes a resource, not a machine, so that the same path cleans up after a crash. It is
//!   idempotent and answers [`Fate::Gone`] only after it looked.
//! * [`Provider::observe`] looks at the system, not at the journal.

pub mod ability;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::base::id::{MachineId, ResourceId, RunId};
use crate::event::Teller;
use crate::fault::Fault;
use crate::filesystem::Filesystem;
use crate::image::{CloudBase, Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecord};
use crate::machine::{Caps, Hardware, Machine, Network, ProviderKind};
use crate::price::Budget;
use crate::resource::{Fate, Observed, PlannedResource, Resource, ResourceKind};

pub use ability::{Abilities, LeaseKeeper};

/// A machine to be.
#[derive(Debug, Clone)]
pub struct MachineRequest {
    /// Its id, chosen by the flow.
    pub id: MachineId,
    /// The run that asks.
    pub run: RunId,
    /// The person it belongs to.
    pub owner: String,
    /// The image's name, for people.
    pub image: String,
    /// The layers to boot from, lowest first. One alone is the base: the machine is to bake an image.
    pub layers: Vec<Fingerprint>,
    /// The cloud's base image, for providers whose machines start from one.
    pub cloud: Option<CloudBase>,
    /// What kind of computer it is to be.
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
    /// When it was asked for.
    pub now: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// How long it lives without a sign of its driver.
    pub grace: Duration,
    /// The most that it may cost.
    pub max_cost: Option<Budget>,
}

/// Told as soon as a planned resource exists: its kind and the name that it was planned under, then what the system calls it.
/// To be told of one that was never planned is an error.
pub type Confirm<'a> = &'a (dyn Fn(ResourceKind, &str, &str) -> Result<(), Fault> + Send + Sync);

/// Where a provider writes down what it makes beside a machine, before it makes it: what was missing is known only after
/// it was looked for.
pub trait Ledger: Send + Sync {
    /// Writes it down.
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault>;

    /// It exists, is called `locator`, and is meant to outlive its run.
    fn kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault>;
}

/// The life of machines: makes, keeps and removes them.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> ProviderKind;

    /// What else it can do.
    fn abilities(&self) -> Abilities<'_>;

    /// Who keeps its machines' leases.
    fn lease_keeper(&self) -> LeaseKeeper<'_>;

    /// Names everything that [`Provider::create`] may make for `request`, in the order of making.
    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource>;

    /// Makes the machine. On an error everything that was begun is still in the journal, to be released by the flow.
    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, teller: &Teller) -> Result<Machine, Fault>;

    /// How long a machine may take from its making to its first answer.
    fn boot_limit(&self) -> Duration;

    /// How long one resource of the kind may take to go away.
    fn release_limit(&self, kind: ResourceKind) -> Duration;

    /// Removes one resource and looks whether it is gone.
    async fn release(&self, resource: &Resource) -> Result<Fate, Fault>;

    /// Lists what is there, by looking at the system.
    async fn observe(&self) -> Result<Vec<Observed>, Fault>;

    /// The last lines that the machine itself wrote about its start, for error messages.
    async fn console(&self, machine: &MachineId) -> Option<String>;
}

/// A layer that was made on a machine and is to be kept.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The image that it is of.
    pub plan: &'a ImagePlan,
    /// The layer; the topmost where several were made at once.
    pub layer: &'a LayerPlan,
    /// Where it was made.
    pub machine: &'a MachineId,
    /// How long that took.
    pub took: Duration,
}

/// Keeps layers and images for a provider. A store says of everything here what it does, also where that is nothing: what it
/// forgot would else pass for what it does not need.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Whether one machine makes all missing layers of an image, which are kept as one; otherwise each has its own.
    fn keeps_whole(&self) -> bool;

    /// How many of the plan's lowest layers are there and whole.
    async fn present(&self, plan: &ImagePlan) -> Result<usize, Fault>;

    /// Refuses, before anything is made, what is known to fail: no room for `missing` layers of an image, say.
    fn prepare(&self, missing: &[LayerPlan]) -> Result<(), Fault>;

    /// Waits until no other process makes this layer, then keeps others from making it until the guard is dropped.
    async fn lock(&self, layer: &Fingerprint, teller: &Teller) -> Result<Box<dyn Send + Sync>, Fault>;

    /// Names what [`ImageStore::make_base`] may make in the sandbox `machine`.
    fn plan_base(&self, machine: &MachineId) -> Vec<PlannedResource>;

    /// Bootstraps the lowest layer in a sandbox whose lease runs out after `grace` without a sign of its driver.
    ///
    /// The layer is not kept until [`ImageStore::commit`].
    async fn make_base(
        &self,
        layer: &LayerPlan,
        machine: &MachineId,
        grace: Duration,
        confirm: Confirm<'_>,
        teller: &Teller,
    ) -> Result<(), Fault>;

    /// Keeps what was changed on the machine as this layer of `plan`; where machines are local, this one must have ended
    /// and its files must still be there.
    async fn commit(&self, made: &Made<'_>, ledger: &dyn Ledger, teller: &Teller) -> Result<LayerRecord, Fault>;

    /// Records the image as finished.
    async fn finish(&self, plan: &ImagePlan, now: Timestamp) -> Result<ImageRecord, Fault>;

    /// What is recorded of the finished image with this fingerprint; none, too, where asking costs more than finishing again.
    async fn record(&self, fingerprint: &Fingerprint) -> Result<Option<ImageRecord>, Fault>;

    /// How many seconds each of the plan's layers took the last time, by name: of the image of that name, else of any.
    /// Empty where nothing is known, and where looking would cost more than it tells.
    async fn expected(&self, plan: &ImagePlan) -> BTreeMap<String, u64>;

    /// The finished images, newest first.
    async fn list(&self) -> Result<Vec<ImageRecord>, Fault>;

    /// Every layer that is kept, whether or not an image uses it.
    async fn layers(&self) -> Result<Vec<LayerRecord>, Fault>;

    /// Which of `images` are in use, and by what; asked at once for all of them. A store that keeps layers tells by
    /// [`ImageStore::remove_layer`].
    async fn users(&self, images: &[ImageRecord]) -> Result<BTreeMap<Fingerprint, String>, Fault>;

    /// Removes an image's record; its layers stay until [`ImageStore::remove_layer`]. Refused where the image is in use, and
    /// where it is somebody else's, unless those of any owner are meant.
    async fn remove_image(&self, fingerprint: &Fingerprint, of_any_owner: bool) -> Result<(), Fault>;

    /// Removes a layer; refused while a machine boots from it or a process makes it.
    async fn remove_layer(&self, fingerprint: &Fingerprint) -> Result<(), Fault>;

    /// Removes what removals that were cut off have left, or with `dry_run` only looks; gives the number of layers or snapshots.
    async fn sweep(&self, dry_run: bool) -> Result<usize, Fault>;
}
