//! Builds of the software under test: how a build is made on a machine, and how it is kept for the next machine.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::image::Fingerprint;
use crate::task::StepCommand;

/// The steps that build the software under test on a machine, as data; the flow runs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The name of the built software, for people.
    pub what: String,
    /// The key of the result in the [`BuildStore`]: it covers everything that shapes the result. None where the result
    /// is not to be kept.
    pub key: Option<String>,
    /// Why a kept result fits although the tested source differs from the source that was built; for people.
    pub despite: Option<String>,
    /// Builds, and packs the result into [`Build::packed`]. Exit status 3 says that the software cannot be built in
    /// this way.
    pub make: StepCommand,
    /// Unpacks a packed result in place of a build. Where that fails, it leaves nothing behind.
    pub restore: StepCommand,
    /// The packed result, a file on the machine.
    pub packed: String,
}

/// Where the build of the software under test came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOrigin {
    /// It was made for this run.
    Made,
    /// It was made for an earlier run and kept on this computer.
    Kept,
    /// It came with the image.
    Image,
    /// The test runner makes it in its own way, before its first test.
    Runner,
    /// The runner's flags name an existing one.
    Given,
}

/// One build that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBuild {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

impl KeptBuild {
    /// Whether it was made on a machine of one of these images: keys begin with the image's fingerprint.
    pub fn is_of<'a>(&self, images: impl IntoIterator<Item = &'a Fingerprint>) -> bool {
        let image = self.key.split('-').next().unwrap_or_default();
        images.into_iter().any(|fingerprint| fingerprint.short() == image)
    }
}

/// The builds that are kept on this computer.
pub trait BuildStore: Send + Sync {
    /// The packed result with this key; none where none is kept, or where it cannot be read.
    fn find(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps a packed result; the least recently used results are removed where there is no room for it.
    fn keep(&self, key: &str, packed: &[u8]) -> Result<(), Fault>;

    /// All that are kept, the one used last first.
    fn list(&self) -> Result<Vec<KeptBuild>, Fault>;

    /// Removes one that is of no use.
    fn remove(&self, key: &str) -> Result<(), Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_belongs_to_the_image_that_its_key_begins_with() {
        let key = format!("{}-system3-x", "a".repeat(12));
        let build = KeptBuild { key, bytes: 1, used: SystemTime::UNIX_EPOCH };
        let of = |digit: &str| Fingerprint(digit.repeat(64));
        assert!(build.is_of(&[of("b"), of("a")]) && !build.is_of(&[of("b")]));
    }
}
