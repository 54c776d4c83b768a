//! The check of one thing, and what to do when that thing is not as it should be.

use serde::{Deserialize, Serialize};

/// A check of a computer or a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The name of the checked thing; unique in its listing.
    #[serde(rename = "id")]
    pub name: String,
    /// Whether the thing is as it should be.
    pub ok: bool,
    /// Whether the main task needs the thing; otherwise only some option does.
    pub required: bool,
    /// The finding, for people.
    pub found: String,
    /// A remedy, where something is wrong.
    pub remedy: Option<String>,
}

impl Check {
    /// A check that found the thing as it should be.
    pub fn good(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: true, required: true, found: found.into(), remedy: None }
    }

    /// A check that found the thing not as it should be; nothing works without that thing.
    pub fn bad(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: false, required: true, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// The same check of a thing without which the main task works.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}
