//! Builds of what is tested: how one is made on a machine, and how it is kept for the next machine.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::image::Fingerprint;
use crate::task::Stepped;

/// How what is tested is built on a machine, as data; the flow does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// What is built, for people.
    pub what: String,
    /// Names the result among all that are ever kept: whatever shapes it is in it. None where it is not to be kept.
    pub key: Option<String>,
    /// Why a kept result fits although what is tested is not quite what was built; for people.
    pub despite: Option<String>,
    /// Builds, and packs the result into [`Build::packed`]. Its exit status 3 says that it cannot be built like this.
    pub make: Stepped,
    /// Puts a packed result in the place of a build. Where it fails nothing of it stays.
    pub restore: Stepped,
    /// The packed result, a file on the machine.
    pub packed: String,
}

/// Where a build of what is tested came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Built {
    /// It was made for this run.
    Made,
    /// It was made for an earlier run and kept on this side.
    Kept,
    /// It came with the image.
    Image,
    /// The test runner makes it in its own way, before its first test.
    Runner,
    /// The runner's flags name one that is there.
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

/// What is kept of builds on this side.
pub trait BuildStore: Send + Sync {
    /// The packed result of that name; none where none is kept, or where it cannot be read.
    fn find(&self, key: &str) -> Option<Vec<u8>>;

    /// Keeps a packed result; what was used least lately goes where there is no room for it.
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
