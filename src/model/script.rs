//! Our scripts and files, as they are needed on a machine.

use std::borrow::Cow;
use std::time::Duration;

/// A file that is needed on a machine. Its text is a part of this tool, or comes from a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFile {
    /// Its name in the task's folder.
    pub name: Cow<'static, str>,
    /// Its text.
    pub text: Cow<'static, str>,
}

impl ScriptFile {
    /// A file that is a part of this tool.
    pub const fn built_in(name: &'static str, text: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), text: Cow::Borrowed(text) }
    }
}

/// One of our scripts, to run on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its name, for messages, for example `venv-bootstrap.sh`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The files that lie beside it.
    pub files: Vec<ScriptFile>,
    /// Arguments.
    pub args: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// How long it may take.
    pub limit: Duration,
}
