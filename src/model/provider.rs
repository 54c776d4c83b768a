//! Where machines come from: the contract that every provider keeps.
//!
//! * Nothing is made before the journal holds its name: [`Provider::plan`] names it, the flow writes it down, then
//!   [`Provider::create`] makes it and calls `confirm` for each resource as soon as it exists.
//! * A machine ends by itself when its lease is over, whatever becomes of its driver: [`Provider::renew`] pushes the end
//!   out, and never beyond the machine's expiry.
//! * [`Provider::release`] takes a resource, not a machine, so that the same path cleans up after a crash. It is
//!   idempotent and answers [`Fate::Gone`] only after it looked.
//! * [`Provider::observe`] looks at the system, not at the journal.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::base::id::{MachineId, RunId};
use crate::model::event::Sink;
use crate::model::fault::Fault;
use crate::model::image::{Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecord};
use crate::model::machine::{Caps, Machine, Network, ProviderKind};
use crate::model::resource::{Fate, Observed, PlannedResource, Resource, ResourceKind};

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
    /// The layers to boot from, lowest first.
    pub layers: Vec<Fingerprint>,
    /// The user to log in as.
    pub user: String,
    /// Its network.
    pub network: Network,
    /// Its limits.
    pub caps: Caps,
    /// Size in bytes of a second block device, where the task needs a file system of its own.
    pub volume: Option<u64>,
    /// When it was asked for.
    pub now: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// How long it lives without a sign of its driver.
    pub grace: Duration,
}

/// Told as soon as a planned resource exists: its kind and what the system calls it.
pub type Confirm<'a> = &'a (dyn Fn(ResourceKind, &str) -> Result<(), Fault> + Send + Sync);

/// Makes, keeps and removes machines.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which one this is.
    fn kind(&self) -> ProviderKind;

    /// Whether its machines stay when they are released, so that our files on them must be removed over a connection.
    fn machines_stay(&self) -> bool {
        false
    }

    /// Names everything that [`Provider::create`] may make for `request`, in the order of making.
    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource>;

    /// Makes the machine. On an error everything that was begun is still in the journal, to be released by the flow.
    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>) -> Result<Machine, Fault>;

    /// Lets the machine live until `until`, or its expiry if that is sooner.
    async fn renew(&self, machine: &Machine, until: Timestamp) -> Result<(), Fault>;

    /// Removes one resource and looks whether it is gone.
    async fn release(&self, resource: &Resource) -> Result<Fate, Fault>;

    /// Lists what is there, by looking at the system.
    async fn observe(&self) -> Result<Vec<Observed>, Fault>;

    /// The last lines that the machine itself wrote about its start, for error messages.
    async fn console(&self, machine: &MachineId) -> Option<String>;
}

/// Keeps layers and images for a provider.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// How many of the plan's lowest layers are there and whole.
    async fn present(&self, plan: &ImagePlan) -> Result<usize, Fault>;

    /// Waits until no other process makes this layer, then keeps others from making it until the guard is dropped.
    async fn lock(&self, layer: &Fingerprint, sink: &dyn Sink) -> Result<Box<dyn Send + Sync>, Fault>;

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
        sink: &dyn Sink,
    ) -> Result<(), Fault>;

    /// Keeps what was changed on the machine as this layer; the machine must have ended, its files must still be there.
    async fn commit(&self, layer: &LayerPlan, machine: &MachineId, took: Duration) -> Result<LayerRecord, Fault>;

    /// Records the image as finished.
    async fn finish(&self, plan: &ImagePlan, now: Timestamp) -> Result<ImageRecord, Fault>;

    /// The finished images, newest first.
    async fn list(&self) -> Result<Vec<ImageRecord>, Fault>;

    /// Every layer that is kept, whether or not an image uses it.
    async fn layers(&self) -> Result<Vec<LayerRecord>, Fault>;

    /// Removes an image's record; its layers stay until [`ImageStore::remove_layer`].
    async fn remove_image(&self, fingerprint: &Fingerprint) -> Result<(), Fault>;

    /// Removes a layer; refused while a machine boots from it or a process makes it.
    async fn remove_layer(&self, fingerprint: &Fingerprint) -> Result<(), Fault>;

    /// Removes what removals that were cut off have left, or with `dry_run` only looks; gives the number of layers.
    async fn sweep(&self, dry_run: bool) -> Result<usize, Fault>;
}
