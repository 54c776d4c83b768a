//! Images: the prepared states from which machines boot, as plans of layers with a fingerprint each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::id::MachineId;
use crate::base::name::ImageName;
use crate::machine::{Machine, Platform};
use crate::script::ScriptFile;

/// A SHA-256 over everything that shapes a layer and all below it: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// The first twelve digits, enough for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// A fingerprint that nothing else has: what a machine's state holds is not known by how it was made.
    pub fn random() -> Self {
        let mut digits = String::new();
        while digits.len() < DIGITS {
            // Eighty of its bits are random.
            digits.push_str(&format!("{:020x}", ulid::Ulid::generate().random()));
        }
        digits.truncate(DIGITS);
        Self(digits)
    }
}

/// The digits of a SHA-256.
const DIGITS: usize = 64;

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Part of every base's fingerprint: raise it when `local/images/bootstrap.rs`, or a script that it runs, changes
/// what a base holds.
pub const BASE_REVISION: u32 = 3;

/// The ingredients of the lowest layer: a distribution's userland.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSpec {
    /// `debian` or `ubuntu`.
    pub family: String,
    /// The release's code name, for example `bookworm`.
    pub suite: String,
    /// Suites to draw packages from, the release's own first.
    pub suites: Vec<String>,
    /// The security archive's suite, for example `bookworm-security`; none where it is one of `suites`.
    pub security_suite: Option<String>,
    /// Archive components, for example `main`.
    pub components: Vec<String>,
    /// Packages beyond the minimal system, sorted.
    pub packages: Vec<String>,
}

/// A cloud's base image, made by a distribution: the lowest layer on machines of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudBase {
    /// The account that publishes it, twelve digits.
    pub owner: String,
    /// The pattern of its name with `*`; the newest image that matches is used.
    pub name: String,
    /// The public parameter of AWS Systems Manager that names the newest image, where the distribution has one.
    pub parameter: Option<String>,
    /// The user that can log in to it.
    pub user: String,
}

/// The things that an image provides for a build, as names and versions, for example of packages of the Python index.
/// The code that knows the needs of a build knows the names.
pub type Provided = BTreeMap<String, String>;

/// How a layer is made from the layer below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerRecipe {
    /// By bootstrapping a userland.
    Base(BaseSpec),
    /// By the distribution itself, for a cloud: the layer exists already.
    Cloud(CloudBase),
    /// By running a script as root.
    Script {
        /// Its text.
        text: String,
        /// The files that lie beside it.
        files: Vec<ScriptFile>,
        /// Its environment.
        env: Vec<(String, String)>,
        /// How long it may take.
        limit: Duration,
    },
    /// Not again: it is the state of a machine, which is there or was removed.
    Taken,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlan {
    /// Its step's name, for example `packages`.
    pub name: String,
    /// A description of the step, for people.
    pub description: String,
    /// How it is made.
    pub recipe: LayerRecipe,
    /// Covers this step and all below it.
    pub fingerprint: Fingerprint,
}

/// An image to be, lowest layer first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePlan {
    /// Its name, for example `linux-dev-debian12` or `linux-dev-debian12-pypy3`.
    pub name: String,
    /// The system as which a machine that boots from it is spoken to.
    pub platform: Platform,
    /// The system that runs its steps: another one where the image only stands in for a system.
    pub baked_on: Platform,
    /// The distribution, for example `debian12`.
    pub distro: String,
    /// The values of all parameters of its definition, by name.
    pub values: BTreeMap<String, String>,
    /// The layers; never empty.
    pub layers: Vec<LayerPlan>,
}

impl ImagePlan {
    /// The image's fingerprint: that of its topmost layer.
    pub fn fingerprint(&self) -> Fingerprint {
        self.layers.last().map_or_else(|| Fingerprint(String::new()), |layer| layer.fingerprint.clone())
    }

    /// Whether it goes on from the state of a machine.
    pub fn is_of_snapshot(&self) -> bool {
        self.layers.iter().any(|layer| layer.recipe == LayerRecipe::Taken)
    }

    /// The cloud's base image, where the plan is for a cloud.
    pub fn cloud(&self) -> Option<&CloudBase> {
        match self.layers.first().map(|layer| &layer.recipe) {
            Some(LayerRecipe::Cloud(base)) => Some(base),
            _ => None,
        }
    }

    /// How many seconds each layer took the last time, by name, according to `records` (newest first): for an image of
    /// this name if there was one, else for any image.
    pub fn expected_seconds(&self, mut records: Vec<ImageRecord>) -> BTreeMap<String, u64> {
        records.sort_by_key(|record| record.name != self.name);
        let mut seconds = BTreeMap::new();
        for layer in records.into_iter().flat_map(|record| record.layers) {
            seconds.entry(layer.name).or_insert(layer.seconds);
        }
        seconds
    }

    /// The fingerprints of the lowest `count` layers, lowest first.
    pub fn chain(&self, count: usize) -> Vec<Fingerprint> {
        self.layers.iter().take(count).map(|layer| layer.fingerprint.clone()).collect()
    }
}

/// The record of a finished image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The image's name; several records of one name differ in fingerprint.
    pub name: String,
    /// The distribution.
    pub distro: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its layers, lowest first; a single one where they are stored as one.
    pub layers: Vec<LayerRecord>,
    /// When it was finished.
    pub created_at: Timestamp,
    /// Who made it (`user@host`), where several people share the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its name in the system (`ami-0123456789abcdef0`), where it is stored outside this computer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locator: Option<String>,
    /// What it is the state of, where a person made it of a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

/// The machine whose state an image is, and what machines are like that boot from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The machine.
    pub machine: MachineId,
    /// The image that it was booted from.
    pub image: String,
    /// The system as which it is spoken to.
    #[serde(default)]
    pub platform: Platform,
    /// The user who logs in.
    pub user: String,
    /// The values of the parameters of its image's definition, by name, as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// A machine whose state is to become an image.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotOrder<'a> {
    /// The machine, which is up.
    pub machine: &'a Machine,
    /// What the image is called.
    pub name: &'a ImageName,
    /// The distribution that the machine has, as far as it is known.
    pub distro: &'a str,
    /// The values of the parameters of its image's definition.
    pub values: &'a BTreeMap<String, String>,
}

impl SnapshotOrder<'_> {
    /// What is written down of the machine.
    pub fn of(&self) -> Snapshot {
        let Machine { id, image, platform, user, .. } = self.machine.clone();
        Snapshot { machine: id, image, platform, user, values: self.values.clone() }
    }
}

impl ImageRecord {
    /// The plan of an image that is the state of a machine: all of its layers are there, or it cannot be had. None for one that a
    /// definition describes.
    pub fn snapshot_plan(&self) -> Option<ImagePlan> {
        let snapshot = self.snapshot.as_ref()?;
        let layer = |layer: &LayerRecord| LayerPlan {
            name: layer.name.clone(),
            description: format!("Starting from the state of {}", snapshot.machine),
            recipe: LayerRecipe::Taken,
            fingerprint: layer.fingerprint.clone(),
        };
        Some(ImagePlan {
            name: self.name.clone(),
            platform: snapshot.platform,
            // A machine of a cloud is baked as what it is, and one of this computer has Linux below.
            baked_on: Platform::default(),
            distro: self.distro.clone(),
            values: snapshot.values.clone(),
            layers: self.layers.iter().map(layer).collect(),
        })
    }
}

/// The record of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Its step's name.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When it was made.
    pub created_at: Timestamp,
    /// How long the making took, in seconds by the wall clock.
    pub seconds: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_of_the_same_image_counts_then_that_of_any() {
        let layer = |name: &str, seconds| LayerRecord {
            name: name.to_owned(),
            fingerprint: Fingerprint("a".repeat(64)),
            created_at: Timestamp::UNIX_EPOCH,
            seconds,
            bytes: 0,
        };
        let image = |name: &str, layers: Vec<LayerRecord>| ImageRecord {
            name: name.to_owned(),
            distro: name.to_owned(),
            fingerprint: Fingerprint("b".repeat(64)),
            layers,
            created_at: Timestamp::UNIX_EPOCH,
            owner: None,
            locator: None,
            snapshot: None,
        };
        let plan = ImagePlan {
            name: "mine".into(),
            platform: Platform::Linux,
            baked_on: Platform::Linux,
            distro: String::new(),
            values: BTreeMap::new(),
            layers: Vec::new(),
        };
        let records = vec![
            image("other", vec![layer("base", 1), layer("python", 2)]),
            image("mine", vec![layer("base", 3), layer("build", 4)]),
            image("mine", vec![layer("base", 5)]),
        ];
        let expected = |name: &str, seconds: u64| (name.to_owned(), seconds);
        let all = [expected("base", 3), expected("build", 4), expected("python", 2)];
        assert_eq!(plan.expected_seconds(records), BTreeMap::from(all));
        assert!(plan.expected_seconds(Vec::new()).is_empty());
    }
}
