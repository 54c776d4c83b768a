//! Mercurial: its source, its test runner.

mod checkout;
mod facts;
mod hg;
mod names;
mod needs;
mod report;
mod suite;

pub use checkout::{Checkout, Wish, find, named};
pub use needs::Needs;
pub use suite::{LinuxTests, PATIENCE, Ssh, builds};

use crate::model::setting::{Key, Kind, Section};

/// The settings that belong to Mercurial.
pub const SETTINGS: Section = Section {
    name: "mercurial",
    keys: &[
        Key { name: "source", kind: Kind::OneOf(&["distribution", "upstream"]) },
        Key { name: "upstream-url", kind: Kind::url("a URL such as `https://repo.mercurial-scm.org/hg-stable`") },
        Key { name: "upstream-revision", kind: Kind::Text { allowed: "a revision", check: is_revision } },
    ],
};

/// Where Mercurial's own source is published.
pub const UPSTREAM_URL: &str = "https://repo.mercurial-scm.org/hg-stable";

fn is_revision(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && text.chars().all(|c| !c.is_control())
}
