//! Images: the prepared states from which machines boot, as plans of layers with a fingerprint each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::machine::Platform;
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
}

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
