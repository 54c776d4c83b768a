//! The needs of a build, as a source states them in its `pyproject.toml`, compared with what an image has.

use std::str::FromStr;

use model::image::Provided;
use pep440_rs::{Version, VersionSpecifiers};
use serde::Deserialize;

/// The name of the system's Python among the things that an image provides.
const PYTHON: &str = "python";

/// The needs of a build, as far as its source states them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildNeeds {
    /// Packages by their normalised names, with the versions that will do.
    packages: Vec<(String, VersionSpecifiers)>,
    /// The versions of Python that will do.
    python: Option<VersionSpecifiers>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct PyProject {
    build_system: BuildSystem,
    project: Project,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BuildSystem {
    requires: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Project {
    requires_python: Option<String>,
}

impl BuildNeeds {
    /// Reads the text of a `pyproject.toml`. Needs that cannot be read are left out: the build will report what it
    /// lacks.
    pub fn parse(text: &str) -> Self {
        let document: PyProject = toml::from_str(text).unwrap_or_default();
        Self {
            packages: document.build_system.requires.iter().filter_map(|line| requirement(line)).collect(),
            python: document.project.requires_python.and_then(|text| VersionSpecifiers::from_str(&text).ok()),
        }
    }

    /// The needs that an image does not meet, in words; empty if it meets all.
    pub fn lacking(&self, provided: &Provided) -> Vec<String> {
        let python = self.python.as_ref().zip(provided.get(PYTHON)).filter(|(wanted, found)| !fits(wanted, found));
        let python = python.map(|(wanted, found)| format!("Python {wanted} (it has {found})"));
        let lacks = |(name, wanted): &(String, VersionSpecifiers)| {
            let found = provided.iter().find(|(found, _)| normalise(found) == *name);
            match found {
                Some((_, version)) if fits(wanted, version) => None,
                Some((_, version)) => Some(format!("{name} {wanted} (it has {version})")),
                None => Some(format!("{name} {wanted}").trim_end().to_owned() + " (it has none)"),
            }
        };
        python.into_iter().chain(self.packages.iter().filter_map(lacks)).collect()
    }
}

fn fits(wanted: &VersionSpecifiers, version: &str) -> bool {
    // A text that is not a version cannot be compared: that is a mistake in the definition, which its own test finds.
    Version::from_str(version).map_or(true, |version| wanted.contains(&version))
}

/// A requirement's name and versions; none if it applies only under a condition, or names a place.
fn requirement(line: &str) -> Option<(String, VersionSpecifiers)> {
    if line.contains([';', '@']) {
        return None;
    }
    let line = line.trim();
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.split_once(']').map_or(rest, |(_, rest)| rest);
    let versions = rest.trim().trim_start_matches('(').trim_end_matches(')');
    Some((normalise(name), VersionSpecifiers::from_str(versions).ok()?)).filter(|(name, _)| !name.is_empty())
}

/// Names that differ in case and in `-`, `_` and `.` are the same name to the Python index.
fn normalise(name: &str) -> String {
    let words: Vec<&str> = name.split(['-', '_', '.']).filter(|word| !word.is_empty()).collect();
    words.join("-").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provided(python: &str, packages: &[(&str, &str)]) -> Provided {
        let all = [("python", python)].into_iter().chain(packages.iter().copied());
        all.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    const NEWEST: &str = r#"
        [build-system]
        requires = ["setuptools>=77", "setuptools_scm >= 8.1.0", "wheel", "tomli; python_version < '3.11'", "x @ file:///x"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "mercurial"
        requires-python = ">=3.9"
    "#;

    #[test]
    fn what_an_image_lacks_is_told_with_what_it_has() {
        let needs = BuildNeeds::parse(NEWEST);
        let old = provided("3.8", &[("setuptools", "66.1.1")]);
        let lacking = needs.lacking(&old);
        assert_eq!(
            lacking,
            [
                "Python >=3.9 (it has 3.8)",
                "setuptools >=77 (it has 66.1.1)",
                "setuptools-scm >=8.1.0 (it has none)",
                "wheel (it has none)",
            ]
        );
        let new = provided("3.13", &[("setuptools", "78.1.1"), ("Setuptools.SCM", "8.1"), ("wheel", "0.46.1")]);
        assert_eq!(needs.lacking(&new), [""; 0]);
    }

    #[test]
    fn a_source_that_says_nothing_needs_nothing() {
        for text in
            ["", "[tool.black]\nline-length = 80\n", "no toml", "[build-system]\nrequires = ['(', '!!', 'x ~ y']\n"]
        {
            assert_eq!(BuildNeeds::parse(text), BuildNeeds::default(), "{text}");
        }
        let needs = BuildNeeds::parse("[build-system]\nrequires = ['setuptools[core] (>=40,<60)']\n");
        assert_eq!(needs.lacking(&provided("3.10", &[("setuptools", "59.6.0")])), [""; 0]);
        assert_eq!(needs.lacking(&provided("3.10", &[("setuptools", "60")])), ["setuptools >=40, <60 (it has 60)"]);
    }
}
