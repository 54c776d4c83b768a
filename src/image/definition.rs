//! `image.toml`: what an image is made of, and the plan that follows for a distribution and a Python.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::base::text;
use crate::image::{fingerprint, source::Files};
use crate::model::fault::Fault;
use crate::model::image::{BaseSpec, ImagePlan, LayerPlan, LayerRecipe};

/// The Python that every image has without a variant.
const SYSTEM_PYTHON: &str = "system3";

/// What the user chooses of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The distribution.
    pub distro: String,
    /// `system3`, `pypy3` or `3.N`.
    pub python_version: String,
    /// `distribution` or `upstream`: where the source to test comes from.
    pub source: String,
    /// Where upstream's source is.
    pub source_url: String,
    /// Which of upstream's changesets; empty for the newest.
    pub source_revision: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    login_user: String,
    base: Base,
    packages: Vec<String>,
    distros: BTreeMap<String, Distro>,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Base {
    description: String,
    packages: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Distro {
    family: String,
    suite: String,
    suites: Vec<String>,
    security_suite: Option<String>,
    components: Vec<String>,
    /// The version of the distribution's own Python, `3.N`.
    system_python: String,
    /// Packages beyond the common ones.
    #[serde(default)]
    packages: Vec<String>,
    /// Common packages that this distribution lacks.
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    pythons: BTreeMap<String, Python>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Python {
    packages: Vec<String>,
    executable: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Step {
    name: String,
    description: String,
    script: String,
    #[serde(default)]
    env: Vec<String>,
    timeout: String,
    when: Option<When>,
}

/// When a step takes part.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum When {
    /// Only for a Python beyond the system's.
    ExtraPython,
}

/// A definition that was read and found sound.
#[derive(Debug)]
pub struct Definition {
    document: Document,
    scripts: BTreeMap<String, String>,
}

/// Reads a definition with all its scripts.
pub fn parse(files: Files) -> Result<Definition, Fault> {
    let place = files.place("image.toml");
    let document: Document = toml::from_str(&files.definition()?)
        .map_err(|error| Fault::outside(format!("cannot read `{place}`")).because(error.to_string()))?;
    let mut scripts = BTreeMap::new();
    for step in &document.steps {
        scripts.insert(step.script.clone(), files.read(&step.script)?);
        text::parse_duration(&step.timeout)
            .map_err(|why| Fault::outside(format!("`{place}`: step `{}`: {why}", step.name)))?;
        let known = variables(&document, None);
        if let Some(unknown) = step.env.iter().find(|name| !known.contains_key(name.as_str())) {
            let names: Vec<&str> = known.keys().copied().collect();
            return Err(Fault::outside(format!(
                "`{place}`: step `{}` asks for the unknown variable `{unknown}` (there are: {})",
                step.name,
                names.join(", ")
            )));
        }
    }
    let unique: BTreeSet<&str> = document.steps.iter().map(|step| step.name.as_str()).collect();
    if unique.len() != document.steps.len() {
        return Err(Fault::outside(format!("`{place}`: two steps have the same name")));
    }
    Ok(Definition { document, scripts })
}

/// The variables that a step may ask for, with their values for a choice.
fn variables(document: &Document, choice: Option<(&Distro, &Choice)>) -> BTreeMap<&'static str, String> {
    let python = choice.and_then(|(distro, choice)| distro.pythons.get(&choice.python_version));
    let of = |value: &dyn Fn(&Distro, &Choice) -> String| choice.map(|(d, c)| value(d, c)).unwrap_or_default();
    BTreeMap::from([
        ("HG_DISTRO", of(&|_, choice| choice.distro.clone())),
        ("HG_PACKAGES", of(&|distro, _| packages(document, distro).join(" "))),
        ("HG_PYTHON_VERSION", of(&|_, choice| choice.python_version.clone())),
        ("HG_PYTHON_PACKAGES", python.map(|python| python.packages.join(" ")).unwrap_or_default()),
        ("HG_PYTHON_EXECUTABLE", python.map(|python| python.executable.clone()).unwrap_or_default()),
        ("HG_SOURCE", of(&|_, choice| choice.source.clone())),
        ("HG_SOURCE_URL", of(&|_, choice| upstream(choice, &choice.source_url))),
        ("HG_SOURCE_REVISION", of(&|_, choice| upstream(choice, &choice.source_revision))),
    ])
}

/// Where upstream is does not shape an image that is not made from it.
fn upstream(choice: &Choice, value: &str) -> String {
    if choice.source == "upstream" { value.to_owned() } else { String::new() }
}

fn packages<'a>(document: &'a Document, distro: &'a Distro) -> Vec<&'a str> {
    let mut names: Vec<&str> = document
        .packages
        .iter()
        .filter(|name| !distro.without.contains(name))
        .chain(&distro.packages)
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Definition {
    /// The user to log in as on a finished machine.
    pub fn login_user(&self) -> &str {
        &self.document.login_user
    }

    /// The distributions, sorted.
    pub fn distros(&self) -> Vec<String> {
        self.document.distros.keys().cloned().collect()
    }

    /// The Pythons that a distribution can carry; empty for an unknown one.
    pub fn pythons(&self, distro: &str) -> Vec<String> {
        let Some(distro) = self.document.distros.get(distro) else { return Vec::new() };
        std::iter::once(SYSTEM_PYTHON.to_owned()).chain(distro.pythons.keys().cloned()).collect()
    }

    /// The plan for a choice; an unknown distribution or Python is refused with what there is.
    pub fn plan(&self, choice: &Choice) -> Result<ImagePlan, Fault> {
        let (choice, distro) = self.resolve(choice)?;
        let base = BaseSpec {
            family: distro.family.clone(),
            suite: distro.suite.clone(),
            suites: distro.suites.clone(),
            security_suite: distro.security_suite.clone(),
            components: distro.components.clone(),
            packages: self.document.base.packages.clone(),
        };
        let mut layers = vec![LayerPlan {
            name: "base".to_owned(),
            description: self.document.base.description.clone(),
            fingerprint: fingerprint::base(&base, std::env::consts::ARCH),
            recipe: LayerRecipe::Base(base),
        }];
        for step in &self.document.steps {
            if step.when == Some(When::ExtraPython) && choice.python_version == SYSTEM_PYTHON {
                continue;
            }
            let below = layers[layers.len() - 1].fingerprint.clone();
            layers.push(self.layer(step, &below, distro, &choice));
        }
        let variant = match choice.python_version.as_str() {
            SYSTEM_PYTHON => String::new(),
            python => format!("-{python}"),
        };
        Ok(ImagePlan {
            name: format!("{}-{}{variant}", self.document.name, choice.distro),
            distro: choice.distro.clone(),
            python: choice.python_version.clone(),
            layers,
        })
    }

    fn layer(
        &self,
        step: &Step,
        below: &crate::model::image::Fingerprint,
        distro: &Distro,
        choice: &Choice,
    ) -> LayerPlan {
        let values = variables(&self.document, Some((distro, choice)));
        let env: Vec<(String, String)> = step
            .env
            .iter()
            .filter_map(|name| values.get(name.as_str()).map(|value| (name.clone(), value.clone())))
            .collect();
        let text = self.scripts.get(&step.script).cloned().unwrap_or_default();
        LayerPlan {
            name: step.name.clone(),
            description: step.description.clone(),
            fingerprint: fingerprint::script(below, &text, &env),
            recipe: LayerRecipe::Script {
                text,
                env,
                limit: text::parse_duration(&step.timeout).unwrap_or(Duration::from_secs(3600)),
            },
        }
    }

    /// The choice with a Python that is the system's own called so, and its distribution.
    fn resolve(&self, choice: &Choice) -> Result<(Choice, &Distro), Fault> {
        let Some(distro) = self.document.distros.get(&choice.distro) else {
            let known = self.distros();
            let message = format!("there is no distribution `{}` (there are: {})", choice.distro, known.join(", "));
            let fault = Fault::usage(message);
            return Err(match text::nearest(&choice.distro, known.iter().map(String::as_str)) {
                Some(near) => fault.hint(format!("Did you mean `{near}`?")),
                None => fault,
            });
        };
        let mut choice = choice.clone();
        if choice.python_version == distro.system_python {
            SYSTEM_PYTHON.clone_into(&mut choice.python_version);
        }
        if choice.python_version != SYSTEM_PYTHON && !distro.pythons.contains_key(&choice.python_version) {
            let known: Vec<String> = self
                .pythons(&choice.distro)
                .into_iter()
                .map(|name| if name == SYSTEM_PYTHON { format!("{name} ({})", distro.system_python) } else { name })
                .collect();
            return Err(Fault::usage(format!(
                "`{}` carries no Python `{}` (there are: {})",
                choice.distro,
                choice.python_version,
                known.join(", ")
            )));
        }
        Ok((choice, distro))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn choice(distro: &str, python: &str) -> Choice {
        Choice {
            distro: distro.into(),
            python_version: python.into(),
            source: "distribution".into(),
            source_url: "https://example.org/hg".into(),
            source_revision: String::new(),
        }
    }

    fn write(folder: &Path, file: &str, text: &str) {
        std::fs::create_dir_all(folder.join("x")).unwrap();
        std::fs::write(folder.join("x").join(file), text).unwrap();
    }

    const TEXT: &str = r#"
name = "x"
description = "d"
login-user = "hg"
packages = ["b", "a"]
[base]
description = "base"
packages = ["openssh-server"]
[distros.one]
family = "debian"
suite = "s"
suites = ["s"]
components = ["main"]
system-python = "3.11"
without = ["b"]
[distros.one.pythons.pypy3]
packages = ["pypy3"]
executable = "/usr/bin/pypy3"
[[steps]]
name = "one"
description = "step one"
script = "1.sh"
env = ["HG_PACKAGES"]
timeout = "5m"
[[steps]]
name = "python"
description = "step python"
script = "2.sh"
env = ["HG_PYTHON_VERSION"]
timeout = "5m"
when = "extra-python"
[[steps]]
name = "two"
description = "step two"
script = "2.sh"
env = ["HG_SOURCE", "HG_SOURCE_URL"]
timeout = "5m"
"#;

    fn loaded(text: &str, one: &str, two: &str) -> Result<Definition, Fault> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "image.toml", text);
        write(folder.path(), "1.sh", one);
        write(folder.path(), "2.sh", two);
        crate::image::load(Some(folder.path()), "x")
    }

    #[test]
    fn a_changed_step_changes_itself_and_what_is_above_and_nothing_below() {
        let before = loaded(TEXT, "1", "2").unwrap().plan(&choice("one", "system3")).unwrap();
        let after = loaded(TEXT, "1", "2 changed").unwrap().plan(&choice("one", "system3")).unwrap();
        let same: Vec<bool> =
            before.layers.iter().zip(&after.layers).map(|(a, b)| a.fingerprint == b.fingerprint).collect();
        assert_eq!(same, [true, true, false]);
        assert_eq!(before.name, "x-one");
    }

    #[test]
    fn a_variant_shares_the_layers_below_its_python() {
        let definition = loaded(TEXT, "1", "2").unwrap();
        let plain = definition.plan(&choice("one", "3.11")).unwrap();
        let variant = definition.plan(&choice("one", "pypy3")).unwrap();
        assert_eq!((plain.name.as_str(), plain.python.as_str()), ("x-one", "system3"), "its own version is no variant");
        assert_eq!(variant.name, "x-one-pypy3");
        assert_eq!(plain.chain(2), variant.chain(2));
        assert_eq!((plain.layers.len(), variant.layers.len()), (3, 4));
        let LayerRecipe::Script { env, .. } = &plain.layers[1].recipe else { panic!("no script") };
        assert_eq!(env, &[("HG_PACKAGES".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn where_upstream_is_counts_only_when_the_source_comes_from_there() {
        let definition = loaded(TEXT, "1", "2").unwrap();
        let moved = |source: &str, url: &str| {
            let choice = Choice { source: source.into(), source_url: url.into(), ..choice("one", "system3") };
            definition.plan(&choice).unwrap().fingerprint()
        };
        assert_eq!(moved("distribution", "a"), moved("distribution", "b"));
        assert_ne!(moved("upstream", "a"), moved("upstream", "b"));
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        let definition = loaded(TEXT, "1", "2").unwrap();
        let fault = definition.plan(&choice("one", "3.99")).unwrap_err();
        assert_eq!(fault.message, "`one` carries no Python `3.99` (there are: system3 (3.11), pypy3)");
        let fault = definition.plan(&choice("onne", "system3")).unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("Did you mean `one`?"));
    }

    #[test]
    fn an_unknown_key_or_variable_is_an_error_that_names_it() {
        let fault = loaded(&format!("colour = 1\n{TEXT}"), "1", "2").unwrap_err();
        assert!(fault.chain().join("\n").contains("colour"), "{fault:?}");
        let fault = loaded(&TEXT.replace("\"HG_SOURCE\"", "\"HG_SAUCE\""), "1", "2").unwrap_err();
        assert!(fault.message.contains("HG_SAUCE") && fault.message.contains("HG_SOURCE"), "{fault:?}");
    }

    #[test]
    fn the_built_in_definitions_are_sound() {
        let definition = crate::image::load(None, "linux-dev").unwrap();
        assert!(definition.distros().contains(&"debian12".to_owned()));
        for distro in definition.distros() {
            for python in definition.pythons(&distro) {
                let plan = definition.plan(&choice(&distro, &python)).unwrap();
                assert!(plan.layers.len() >= 6, "{}", plan.name);
            }
        }
    }
}
