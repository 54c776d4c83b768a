//! The versions of releases.

use std::str::FromStr;

use model::fault::Fault;
use pep440_rs::Version;

/// The version of a release, as its tag and its files' names have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReleaseVersion {
    // It comes first, for it is what orders releases.
    pub(super) version: Version,
    text: String,
}

impl ReleaseVersion {
    /// Reads what a user typed. Only the form that stands in the names of wheels is taken.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |why: String| {
            Fault::usage(format!("`{text}` is not the version of a release: {why}"))
                .hint("Write it as its tag is called: `7.2.4`, `7.3rc0`.")
        };
        let version = Version::from_str(text).map_err(|error| fault(error.to_string()))?;
        if version.is_local() || version.is_dev() {
            return Err(fault("it belongs to no tag".to_owned()));
        }
        match version.to_string() {
            normal if normal == text => Ok(Self { text: normal, version }),
            normal => Err(fault(format!("files are named `{normal}`"))),
        }
    }

    /// The version.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it comes before a release that is for everybody.
    pub(super) fn is_early(&self) -> bool {
        self.version.any_prerelease()
    }
}
