//! One thing that was looked at, and what to do when it is not as it should be.

use serde::{Deserialize, Serialize};

/// A check of a computer or a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at; unique in its listing.
    #[serde(rename = "id")]
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether the main job needs it; otherwise only some option does.
    pub required: bool,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Check {
    /// It is as it should be.
    pub fn good(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: true, required: true, found: found.into(), remedy: None }
    }

    /// It is not as it should be, and nothing works without it.
    pub fn bad(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: false, required: true, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// The main job works without it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}
