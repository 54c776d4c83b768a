//! The file as it is written down; `docs/runners.md` describes the keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

/// A text with its place in the file.
pub(super) type Text = Spanned<String>;

/// The tests of a project. What is missing comes from the preset, where one is named.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Document {
    pub preset: Option<Text>,
    pub name: Option<Text>,
    pub image: Option<Text>,
    pub distro: Option<Text>,
    #[serde(default)]
    pub parameters: BTreeMap<String, Text>,
    pub network: Option<NetworkWord>,
    pub source: Option<Text>,
    pub workdir: Option<Text>,
    pub setup: Option<Text>,
    pub setup_file: Option<Text>,
    pub setup_timeout: Option<Text>,
    pub build: Option<Text>,
    pub build_timeout: Option<Text>,
    pub list: Option<Text>,
    pub run: Option<Text>,
    pub flags: Option<Vec<String>>,
    pub names: Option<Spanned<Names>>,
    pub report: Option<Spanned<Report>>,
    pub timeout: Option<Text>,
    pub test_timeout: Option<Text>,
    #[serde(default)]
    pub env: BTreeMap<Text, String>,
    #[serde(default)]
    pub artifacts: Vec<String>,
    #[serde(default)]
    pub optional_artifacts: Vec<String>,
}

/// The network of a local machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkWord {
    /// Its own, with loopback only.
    Loopback,
    /// That of this computer.
    Host,
}

/// How the chosen tests are handed to the command that runs them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Names {
    /// The manner.
    #[serde(rename = "as", default)]
    pub manner: Manner,
    /// What stands between names, before the first and behind the last, where they are one text.
    #[serde(default)]
    pub with: Option<String>,
    /// What stands before the first.
    #[serde(default)]
    pub before: Option<String>,
    /// What stands behind the last.
    #[serde(default)]
    pub after: Option<String>,
    /// How a name is written so that it means nothing but itself.
    #[serde(default)]
    pub escape: Option<Escape>,
    /// What follows the name of a group of tests, such as that of a file, in the names of its tests: the runner takes such a name as well.
    #[serde(default)]
    pub within: Vec<String>,
}

/// The manner in which names are handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Manner {
    /// Each is an argument: `"$@"`.
    #[default]
    Arguments,
    /// Each is a line of the file `$AUTOMATION_TESTS`.
    File,
    /// All are one text, `$AUTOMATION_TESTS`.
    Text,
}

/// How a name is written so that it means nothing but itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Escape {
    /// Within a regular expression.
    Regex,
}

/// How the report is written, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Report {
    /// Its format.
    pub format: Format,
    /// Whether it is what the command prints.
    #[serde(default)]
    pub output: bool,
    /// The file to which the runner writes it, below the work folder; none where it writes to `$AUTOMATION_REPORT`.
    #[serde(default)]
    pub file: Option<String>,
    /// What a test is called by, in JUnit's XML.
    #[serde(default)]
    pub test: Option<String>,
    /// Whether a runner that is given names runs others with them that those need.
    #[serde(default)]
    pub extras: bool,
}

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// JUnit's XML.
    Junit,
    /// TAP 12, 13 or 14.
    Tap,
    /// The JSON of Rust's test harness.
    LibtestJson,
    /// What `go test -json` prints.
    GoJson,
    /// The tool's own: a JSON object a line.
    Events,
}
