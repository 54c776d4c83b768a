//! Errors, in the words of the layer in which they occurred.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit_code;

/// The party that must act; decides the exit code (`docs/errors.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The command line or a value in it is wrong.
    Usage,
    /// A cause outside the tool: settings, credentials, the host, a machine's contract.
    Outside,
    /// A machine or connection was lost or never came up; the verdict is incomplete.
    Infrastructure,
    /// Something was, or may have been, left behind.
    LeftBehind,
    /// The user or the system asked to stop.
    Interrupted,
}

impl FaultKind {
    /// The exit code of a command that ends with such a fault (`docs/errors.md`).
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Usage => exit_code::USAGE,
            Self::Outside => exit_code::OUTSIDE,
            Self::Infrastructure => exit_code::INFRASTRUCTURE,
            Self::LeftBehind => exit_code::LEFT_BEHIND,
            Self::Interrupted => exit_code::INTERRUPTED,
        }
    }
}

/// The things that a failed step left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// Nothing: the step undid itself or never began.
    #[default]
    Nothing,
    /// The resources with these names; the journal holds them too.
    #[serde(rename = "these")]
    Named(Vec<String>),
    /// Unknown: the call may or may not have created something.
    Unknown(String),
}

impl Leftovers {
    /// Whether nothing is left.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

/// An error: what was being done and why it failed, what is left behind, what to do next.
///
/// The message is a lowercase fragment without a final period, with literals in backticks. Causes hang below it by
/// [`Error::source`]. The hint is a whole sentence, most often the next command to type.
pub struct Fault {
    /// Decides the exit code.
    pub kind: FaultKind,
    /// The action, its object, and how it failed.
    pub message: String,
    /// The cause below, if any.
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// The things that are left behind.
    pub left: Leftovers,
    /// The next step for the user.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault of `kind` that leaves nothing behind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, left: Leftovers::Nothing, hint: None }
    }

    /// A [`FaultKind::Usage`] fault.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Usage, message)
    }

    /// A [`FaultKind::Outside`] fault.
    pub fn outside(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Outside, message)
    }

    /// A [`FaultKind::Infrastructure`] fault.
    pub fn infrastructure(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Infrastructure, message)
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the next step, a whole sentence.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what is left behind.
    #[must_use]
    pub fn with_leftovers(mut self, left: Leftovers) -> Self {
        self.left = left;
        self
    }

    /// The message and every cause below it, outermost first.
    pub fn chain(&self) -> Vec<String> {
        let mut lines = vec![self.message.clone()];
        let mut next = self.source.as_deref().map(|e| e as &dyn Error);
        while let Some(error) = next {
            lines.push(error.to_string());
            next = error.source();
        }
        lines
    }

    /// The message and its causes in one line.
    pub fn line(&self) -> String {
        self.chain().join(": ")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.line())
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl From<crate::base::deadline::Expired> for Fault {
    fn from(expired: crate::base::deadline::Expired) -> Self {
        Self::infrastructure(expired.to_string())
    }
}
