//! `image.toml`: what an image is made of, and the plan that follows for a distribution and a Python.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::base::text;
use crate::image::{fingerprint, source::Files};
use crate::model::fault::Fault;
use crate::model::image::{BaseSpec, CloudBase, Fingerprint, ImagePlan, LayerPlan, LayerRecipe, Provided};

/// The Python that every image has without a variant.
const SYSTEM_PYTHON: &str = "system3";

/// What an image's lowest layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BaseChoice {
    /// A userland that is bootstrapped here.
    #[default]
    Userland,
    /// The distribution's own image for a cloud.
    Cloud,
}

/// What the user chooses of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the lowest layer is.
    pub base: BaseChoice,
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
    /// What its packages give a build of something written in Python: names of distributions of Python, and their versions.
    #[serde(default)]
    provides: BTreeMap<String, String>,
    /// Packages in the versions of a later release, where its own are too old.
    later: Option<Later>,
    #[serde(default)]
    pythons: BTreeMap<String, Python>,
    /// Its image on Amazon EC2, where it has one.
    ec2: Option<Ec2>,
}

/// What is taken from a later release of a distribution.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Later {
    /// The release's code name.
    suite: String,
    packages: Vec<String>,
}

/// Where a distribution's own image on Amazon EC2 is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Ec2 {
    /// The account that publishes it: twelve digits.
    owner: String,
    /// The pattern of its name.
    name: String,
    /// The public parameter of AWS Systems Manager that names the newest.
    parameter: Option<String>,
    /// The user that it lets in.
    user: String,
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
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum When {
    /// Only for a Python beyond the system's.
    ExtraPython,
    /// Only on a cloud's base image.
    Cloud,
    /// Only where packages of a later release are wanted.
    LaterPackages,
}

impl When {
    fn holds(self, distro: &Distro, choice: &Choice) -> bool {
        match self {
            Self::ExtraPython => choice.python_version != SYSTEM_PYTHON,
            Self::Cloud => choice.base == BaseChoice::Cloud,
            Self::LaterPackages => distro.later.is_some(),
        }
    }
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
    for (name, ec2) in document.distros.iter().filter_map(|(name, distro)| Some((name, distro.ec2.as_ref()?))) {
        ec2.check().map_err(|why| Fault::outside(format!("`{place}`: `distros.{name}.ec2`: {why}")))?;
    }
    Ok(Definition { document, scripts })
}

impl Ec2 {
    /// Why it cannot be meant. Anybody may publish an image under any name, so an owner that is not one account is refused.
    fn check(&self) -> Result<(), String> {
        if self.owner.len() != 12 || !self.owner.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("the owner `{}` is not the twelve digits of an account", self.owner));
        }
        if self.name.is_empty() || self.user.is_empty() {
            return Err("`name` and `user` must not be empty".to_owned());
        }
        match &self.parameter {
            Some(parameter) if !parameter.starts_with("/aws/service/") => {
                Err(format!("the parameter `{parameter}` is not public: it does not begin with `/aws/service/`"))
            }
            _ => Ok(()),
        }
    }

    fn base(&self) -> CloudBase {
        let Self { owner, name, parameter, user } = self;
        CloudBase { owner: owner.clone(), name: name.clone(), parameter: parameter.clone(), user: user.clone() }
    }
}

/// The variables that a step may ask for, with their values for a choice.
fn variables(document: &Document, choice: Option<(&Distro, &Choice)>) -> BTreeMap<&'static str, String> {
    let python = choice.and_then(|(distro, choice)| distro.pythons.get(&choice.python_version));
    let of = |value: &dyn Fn(&Distro, &Choice) -> String| choice.map(|(d, c)| value(d, c)).unwrap_or_default();
    let later =
        |value: &dyn Fn(&Later) -> String| of(&|distro, _| distro.later.as_ref().map(value).unwrap_or_default());
    BTreeMap::from([
        ("HG_DISTRO", of(&|_, choice| choice.distro.clone())),
        ("HG_LATER_PACKAGES", later(&|later| later.packages.join(" "))),
        ("HG_LATER_SUITE", later(&|later| later.suite.clone())),
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

/// All packages of an image, sorted.
fn packages<'a>(document: &'a Document, distro: &'a Distro) -> Vec<&'a str> {
    let mut names: Vec<&str> = document
        .packages
        .iter()
        .filter(|name| !distro.without.contains(name))
        .chain(&distro.packages)
        .chain(&document.base.packages)
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

    /// The distributions that an image with this base can be made of, sorted.
    pub fn distros_of(&self, base: BaseChoice) -> Vec<String> {
        let has = |distro: &Distro| base == BaseChoice::Userland || distro.ec2.is_some();
        self.document.distros.iter().filter(|(_, distro)| has(distro)).map(|(name, _)| name.clone()).collect()
    }

    /// The Pythons that a distribution can carry; empty for an unknown one.
    pub fn pythons(&self, distro: &str) -> Vec<String> {
        let Some(distro) = self.document.distros.get(distro) else { return Vec::new() };
        std::iter::once(SYSTEM_PYTHON.to_owned()).chain(distro.pythons.keys().cloned()).collect()
    }

    /// What a distribution gives a build of something written in Python; none for an unknown one.
    pub fn provided(&self, distro: &str) -> Option<Provided> {
        let distro = self.document.distros.get(distro)?;
        Some(Provided { python: distro.system_python.clone(), packages: distro.provides.clone() })
    }

    /// The plan for a choice; an unknown distribution or Python is refused with what there is.
    pub fn plan(&self, choice: &Choice) -> Result<ImagePlan, Fault> {
        let (choice, distro) = self.resolve(choice)?;
        let mut layers = vec![self.base(distro, &choice)?];
        for step in &self.document.steps {
            if step.when.is_some_and(|when| !when.holds(distro, &choice)) {
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

    /// The lowest layer.
    fn base(&self, distro: &Distro, choice: &Choice) -> Result<LayerPlan, Fault> {
        let name = "base".to_owned();
        if choice.base == BaseChoice::Cloud {
            let base = distro.ec2.as_ref().map(Ec2::base).ok_or_else(|| self.no_cloud(&choice.distro))?;
            return Ok(LayerPlan {
                name,
                description: format!("Starting from the distribution's image `{}`", base.name),
                fingerprint: fingerprint::cloud(&base),
                recipe: LayerRecipe::Cloud(base),
            });
        }
        let base = BaseSpec {
            family: distro.family.clone(),
            suite: distro.suite.clone(),
            suites: distro.suites.clone(),
            security_suite: distro.security_suite.clone(),
            components: distro.components.clone(),
            packages: packages(&self.document, distro).into_iter().map(str::to_owned).collect(),
        };
        Ok(LayerPlan {
            name,
            description: self.document.base.description.clone(),
            fingerprint: fingerprint::base(&base, std::env::consts::ARCH),
            recipe: LayerRecipe::Base(base),
        })
    }

    fn no_cloud(&self, distro: &str) -> Fault {
        let known = self.distros_of(BaseChoice::Cloud);
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Fault::usage(format!("the definition names no image on Amazon EC2 for `{distro}` (it does for: {known})"))
            .hint(format!("Add a table `[distros.\"{distro}\".ec2]` to its `image.toml`."))
    }

    fn layer(&self, step: &Step, below: &Fingerprint, distro: &Distro, choice: &Choice) -> LayerPlan {
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
                None => fault.hint("Choose one of these."),
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
            ))
            .hint("Choose one of these, or another distribution (`--distro`), whose own Python may be newer."));
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
            base: BaseChoice::Userland,
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
[distros.one.ec2]
owner = "012345678901"
name = "one-amd64-*"
parameter = "/aws/service/one/latest"
user = "admin"
[distros.two]
family = "debian"
suite = "t"
suites = ["t"]
components = ["main"]
system-python = "3.13"
provides = { setuptools = "78.1.1" }
[distros.two.later]
suite = "u"
packages = ["d", "c"]
[[steps]]
name = "cloud"
description = "step cloud"
script = "2.sh"
env = ["HG_PACKAGES"]
timeout = "5m"
when = "cloud"
[[steps]]
name = "one"
description = "step one"
script = "1.sh"
env = ["HG_DISTRO"]
timeout = "5m"
[[steps]]
name = "later"
description = "step later"
script = "2.sh"
env = ["HG_LATER_SUITE", "HG_LATER_PACKAGES"]
timeout = "5m"
when = "later-packages"
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
        assert_eq!(env, &[("HG_DISTRO".to_owned(), "one".to_owned())]);
        let LayerRecipe::Base(base) = &plain.layers[0].recipe else { panic!("no base") };
        assert_eq!(base.packages, ["a", "openssh-server"], "one transaction installs all");
    }

    fn cloud(distro: &str) -> Choice {
        Choice { base: BaseChoice::Cloud, ..choice(distro, "system3") }
    }

    /// Whoever has baked these must not bake them again because the tool learned of clouds.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_local_image_keeps_its_fingerprint() {
        let definition = loaded(TEXT, "1", "2").unwrap();
        let of = |python: &str| definition.plan(&choice("one", python)).unwrap().fingerprint().0;
        assert_eq!(of("system3"), "d6c6d367e04ac2c0ff37279ac908e04c9d7d17f45a60db2f61d48681bf4c15ad");
        assert_eq!(of("pypy3"), "dfcfbe2fca961863e3c76572f33440438b8f185562c7c8ba04d7482116174d36");
    }

    #[test]
    fn on_a_cloud_the_base_is_the_distributions_image_and_its_steps_are_added() {
        let definition = loaded(TEXT, "1", "2").unwrap();
        let plan = definition.plan(&cloud("one")).unwrap();
        let names: Vec<&str> = plan.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["base", "cloud", "one", "two"]);
        assert_eq!(plan.cloud().map(|base| base.owner.as_str()), Some("012345678901"));
        let LayerRecipe::Script { env, .. } = &plan.layers[1].recipe else { panic!("no script") };
        assert_eq!(env, &[("HG_PACKAGES".to_owned(), "a openssh-server".to_owned())]);
        let local = definition.plan(&choice("one", "system3")).unwrap();
        assert!(local.cloud().is_none());
        assert_ne!(local.fingerprint(), plan.fingerprint());
        assert_eq!(definition.distros_of(BaseChoice::Cloud), ["one"]);
        let fault = definition.plan(&cloud("two")).unwrap_err();
        assert!(fault.message.contains("for `two` (it does for: one)"), "{fault:?}");
    }

    #[test]
    fn all_that_says_which_cloud_image_is_meant_counts_and_is_checked() {
        let of = |text: &str| loaded(text, "1", "2").and_then(|definition| definition.plan(&cloud("one")));
        let before = of(TEXT).unwrap().fingerprint();
        for (from, to) in [
            ("owner = \"012345678901\"", "owner = \"012345678902\""),
            ("one-amd64-*", "one-amd64-2*"),
            ("parameter = \"/aws/service/one/latest\"\n", ""),
            ("user = \"admin\"", "user = \"root\""),
            ("packages = [\"openssh-server\"]", "packages = [\"sudo\"]"),
        ] {
            assert_ne!(of(&TEXT.replace(from, to)).unwrap().fingerprint(), before, "{to}");
        }
        for (from, to, word) in [
            ("owner = \"012345678901\"", "owner = \"amazon\"", "twelve digits"),
            ("one-amd64-*", "", "must not be empty"),
            ("/aws/service/one/latest", "/mine/latest", "not public"),
            ("user = \"admin\"", "user = \"admin\"\nzone = \"a\"", "zone"),
        ] {
            let fault = of(&TEXT.replace(from, to)).unwrap_err();
            assert!(fault.chain().join("\n").contains(word), "{fault:?}");
        }
    }

    #[test]
    fn packages_of_a_later_release_are_a_step_of_their_own_where_they_are_wanted() {
        let definition = loaded(TEXT, "1", "2").unwrap();
        let plan = definition.plan(&choice("two", "system3")).unwrap();
        let later = plan.layers.iter().find(|layer| layer.name == "later").unwrap();
        let LayerRecipe::Script { env, .. } = &later.recipe else { panic!("no script") };
        let expected = [("HG_LATER_SUITE", "u"), ("HG_LATER_PACKAGES", "d c")];
        assert_eq!(env, &expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let one = definition.plan(&choice("one", "system3")).unwrap();
        assert!(one.layers.iter().all(|layer| layer.name != "later"));
        let provided = definition.provided("two").unwrap();
        assert_eq!((provided.python.as_str(), provided.packages["setuptools"].as_str()), ("3.13", "78.1.1"));
        assert!(definition.provided("one").unwrap().packages.is_empty() && definition.provided("none").is_none());
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
                let local = choice(&distro, &python);
                let plan = definition.plan(&local).unwrap();
                assert!(plan.layers.len() >= 6, "{}", plan.name);
                let cloud = definition.plan(&Choice { base: BaseChoice::Cloud, ..local }).unwrap();
                assert!(cloud.cloud().is_some() && cloud.layers.len() > plan.layers.len(), "{}", plan.name);
            }
        }
    }
}
