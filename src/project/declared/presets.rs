//! Presets: what is known of test runners, as data. Each is a TOML file of the folder `presets`, which is a part of the tool, with the
//! writers of reports that it needs from `remote/runners`.

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use model::base::text;
use model::fault::Fault;
use model::script::ScriptFile;
use serde::{Deserialize, Serialize};

use crate::declared::document::Document;

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../presets");

/// The files of `remote/runners` that presets need on a machine, by their names there.
const FILES: [ScriptFile; 7] = [
    ScriptFile::built_in("pytest_events.py", include_str!("../../../remote/runners/pytest_events.py")),
    ScriptFile::built_in("ProveEvents.pm", include_str!("../../../remote/runners/ProveEvents.pm")),
    ScriptFile::built_in("bats-events", include_str!("../../../remote/runners/bats-events.sh")),
    ScriptFile::built_in("bats-tests", include_str!("../../../remote/runners/bats-tests.sh")),
    ScriptFile::built_in("node-tests.mjs", include_str!("../../../remote/runners/node-tests.mjs")),
    ScriptFile::built_in("nextest-tests", include_str!("../../../remote/runners/nextest-tests.sh")),
    ScriptFile::built_in("go-tests", include_str!("../../../remote/runners/go-tests.sh")),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetDocument {
    description: String,
    /// The Debian packages that bring the runner.
    packages: Vec<String>,
    /// The names of its files in [`FILES`].
    #[serde(default)]
    files: Vec<String>,
    tests: Document,
}

/// A preset.
#[derive(Debug)]
pub(super) struct Preset {
    name: String,
    document: PresetDocument,
}

/// What people are told of a preset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PresetWords {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub description: String,
    /// The Debian packages that bring the runner.
    pub packages: Vec<String>,
    /// The command that lists the tests.
    pub list: String,
    /// The command that runs them.
    pub run: String,
}

impl Preset {
    /// The preset called `name`.
    pub(super) fn find(name: &str) -> Result<&'static Self, String> {
        if let Some(found) = all()?.iter().find(|preset| preset.name == name) {
            return Ok(found);
        }
        let names: Vec<&str> = all()?.iter().map(|preset| preset.name.as_str()).collect();
        let near = text::nearest(name, names.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        Err(format!("there is no preset `{name}` (there are: {}){}", names.join(", "), near.unwrap_or_default()))
    }

    /// What it says.
    pub(super) fn tests(&self) -> &Document {
        &self.document.tests
    }

    /// The files that it needs on a machine.
    pub(super) fn files(&self) -> impl Iterator<Item = ScriptFile> {
        FILES.into_iter().filter(|file| self.document.files.iter().any(|name| *name == file.name))
    }
}

/// All presets, by name.
fn all() -> Result<&'static [Preset], String> {
    static ALL: LazyLock<Result<Vec<Preset>, String>> = LazyLock::new(|| {
        let mut all = BUILT_IN.files().map(read).collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    });
    ALL.as_deref().map_err(Clone::clone)
}

fn read(file: &include_dir::File<'_>) -> Result<Preset, String> {
    let name = file.path().file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let text = file.contents_utf8().unwrap_or_default();
    let document = toml::from_str(text).map_err(|error| format!("the built-in preset `{name}`: {error}"))?;
    Ok(Preset { name, document })
}

/// What people are told of all presets, by name.
pub fn presets() -> Result<Vec<PresetWords>, Fault> {
    let command = |text: &Option<toml::Spanned<String>>| {
        text.as_ref().map(|text| text.get_ref().trim().to_owned()).unwrap_or_default()
    };
    let words = |Preset { name, document }: &Preset| PresetWords {
        name: name.clone(),
        description: document.description.clone(),
        packages: document.packages.clone(),
        list: command(&document.tests.list),
        run: command(&document.tests.run),
    };
    all().map(|all| all.iter().map(words).collect()).map_err(Fault::outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read_and_has_its_files() {
        let all = all().unwrap();
        assert!(!all.is_empty());
        for preset in all {
            assert_eq!(preset.files().count(), preset.document.files.len(), "{}", preset.name);
            assert!(preset.tests().list.is_some() && preset.tests().run.is_some(), "{}", preset.name);
            assert!(preset.tests().report.is_some() && preset.tests().preset.is_none(), "{}", preset.name);
        }
        let used: Vec<&String> = all.iter().flat_map(|preset| &preset.document.files).collect();
        for file in FILES {
            assert!(used.iter().any(|name| **name == file.name), "nobody needs {}", file.name);
        }
    }

    #[test]
    fn a_preset_that_is_meant_is_named() {
        let error = Preset::find("pytst").unwrap_err();
        assert!(error.contains("`pytst`") && error.contains("did you mean `pytest`?"), "{error}");
    }
}
