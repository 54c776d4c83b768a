//! An order: a wanted machine, with every flag and setting resolved once. It becomes a request when its run and the
//! time are known, once for each such machine.

use std::time::Duration;

use jiff::Timestamp;
use model::base::id::MachineId;
use model::filesystem::Filesystem;
use model::image::{CloudBase, Fingerprint, ImagePlan, LayerRecipe};
use model::machine::{Caps, Hardware, Network, Platform};
use model::price::Budget;
use model::provider::MachineRequest;

use crate::run::{Run, saturating_add};

/// A wanted machine. The field of the same name in [`MachineRequest`] says what each field means.
#[derive(Debug, Clone)]
pub struct Order {
    /// The operating system of the image.
    pub platform: Platform,
    /// The image's name, for people.
    pub image: String,
    /// The layers to boot from, lowest first.
    pub layers: Vec<Fingerprint>,
    /// The cloud's base image, for providers whose machines start from one.
    pub cloud: Option<CloudBase>,
    /// Whether the layers are the state of a machine.
    pub snapshot: bool,
    /// The kind of computer.
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
    /// How long it lives without a sign from its driver.
    pub grace: Duration,
    /// The most that it may cost.
    pub max_cost: Option<Budget>,
    /// After how long without use it ends.
    pub idle: Option<Duration>,
}

impl Order {
    /// An order for a machine without layers, with a network of its own, without limits and without a second device.
    pub fn new(image: impl Into<String>, user: impl Into<String>, ttl: Duration, grace: Duration) -> Self {
        Self {
            platform: Platform::default(),
            image: image.into(),
            layers: Vec::new(),
            cloud: None,
            snapshot: false,
            hardware: Hardware::default(),
            user: user.into(),
            network: Network::Loopback,
            caps: Caps::default(),
            volume: None,
            filesystem: Filesystem::Default,
            ttl,
            grace,
            max_cost: None,
            idle: None,
        }
    }

    /// The same order, for a machine that boots from the lowest `layers` of `plan`.
    #[must_use]
    pub fn boot_from(self, plan: &ImagePlan, layers: usize) -> Self {
        Self {
            platform: plan.platform,
            image: plan.name.clone(),
            layers: plan.chain(layers),
            cloud: plan.cloud().cloned(),
            snapshot: plan.layers.first().is_some_and(|layer| layer.recipe == LayerRecipe::Taken),
            ..self
        }
    }

    /// The image in words: with its fingerprint, where it is made by `plan`.
    pub fn image_words(&self, plan: Option<&ImagePlan>) -> String {
        plan.map_or_else(|| self.image.clone(), |plan| format!("{} {}", plan.name, plan.fingerprint()))
    }

    /// Makes a request for one such machine for `run`, a new one with every call. Its life counts from `now`.
    pub fn request(&self, run: &Run, now: Timestamp) -> MachineRequest {
        let order = self.clone();
        MachineRequest {
            id: MachineId::random(),
            run: run.id.clone(),
            owner: run.owner.clone(),
            platform: order.platform,
            image: order.image,
            layers: order.layers,
            cloud: order.cloud,
            snapshot: order.snapshot,
            hardware: order.hardware,
            user: order.user,
            network: order.network,
            caps: order.caps,
            volume: order.volume,
            filesystem: order.filesystem,
            now,
            expires_at: saturating_add(now, order.ttl),
            grace: order.grace,
            max_cost: order.max_cost,
            idle: order.idle,
        }
    }
}
