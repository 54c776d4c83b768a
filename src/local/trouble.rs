//! The errors of the guard and of a machine's first process, as text that is sent to the driver.

use std::fmt;

use model::fault::Fault;
use serde::{Deserialize, Serialize};

/// An error with a hint on what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The message: a lowercase fragment with its causes.
    pub message: String,
    /// The hint: a whole sentence.
    pub hint: Option<String>,
}

impl Trouble {
    /// Trouble without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        let mut fault = Self::outside(trouble.message);
        fault.hint = trouble.hint;
        fault
    }
}

/// Adds to an error what was being done.
pub(crate) trait Doing<T> {
    /// `what` completes "cannot".
    fn doing<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T, Trouble>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T, Trouble> {
        self.map_err(|error| Trouble::new(format!("cannot {}: {error}", what())))
    }
}
