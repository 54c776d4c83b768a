//! An order: a machine that is wanted, every flag and setting resolved once. It becomes a request when its run and the time are
//! known, as often as such a machine is wanted.

use std::time::Duration;

use jiff::Timestamp;
use model::base::id::MachineId;
use model::filesystem::Filesystem;
use model::image::{CloudBase, Fingerprint, ImagePlan};
use model::machine::{Caps, Hardware, Network};
use model::price::Budget;
use model::provider::MachineRequest;

use crate::run::{Run, later};

/// A machine that is wanted; what each field means stands at the same one of [`MachineRequest`].
#[derive(Debug, Clone)]
pub struct Order {
    /// The image's name, for people.
    pub image: String,
    /// The layers to boot from, lowest first.
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
    /// Size in bytes of a second block device.
    pub volume: Option<u64>,
    /// The file system that the second block device is for.
    pub filesystem: Filesystem,
    /// How long it lives at most, from the request on.
    pub ttl: Duration,
    /// How long it lives without a sign of its driver.
    pub grace: Duration,
    /// The most that it may cost.
    pub max_cost: Option<Budget>,
}

impl Order {
    /// A machine of no image of ours, with a network of its own, without limits and with nothing beside its root.
    pub fn new(image: impl Into<String>, user: impl Into<String>, ttl: Duration, grace: Duration) -> Self {
        Self {
            image: image.into(),
            layers: Vec::new(),
            cloud: None,
            hardware: Hardware::default(),
            user: user.into(),
            network: Network::Loopback,
            caps: Caps::default(),
            volume: None,
            filesystem: Filesystem::Default,
            ttl,
            grace,
            max_cost: None,
        }
    }

    /// The same, booting from the lowest `layers` of `plan`.
    #[must_use]
    pub fn booting(self, plan: &ImagePlan, layers: usize) -> Self {
        Self { image: plan.name.clone(), layers: plan.chain(layers), cloud: plan.cloud().cloned(), ..self }
    }

    /// Asks for one such machine, new with every call, for `run`; its life is counted from `now`.
    pub fn request(&self, run: &Run, now: Timestamp) -> MachineRequest {
        let order = self.clone();
        MachineRequest {
            id: MachineId::random(),
            run: run.id.clone(),
            owner: run.owner.clone(),
            image: order.image,
            layers: order.layers,
            cloud: order.cloud,
            hardware: order.hardware,
            user: order.user,
            network: order.network,
            caps: order.caps,
            volume: order.volume,
            filesystem: order.filesystem,
            now,
            expires_at: later(now, order.ttl),
            grace: order.grace,
            max_cost: order.max_cost,
        }
    }
}
