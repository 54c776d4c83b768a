//! `image.toml`: what an image is made of, and the plan that follows for a distribution and values of its parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use model::image::{BaseSpec, CloudBase, Fingerprint, ImagePlan, LayerPlan, LayerRecipe, Provided};
use model::machine::Platform;
use model::parameter::Parameter;
use model::script::ScriptFile;

use crate::image::document::{Distro, Ec2, ImageDocument, StepEntry, When};
use crate::image::parameters::{self, GivenValue, Values};
use crate::image::set_up::SetUp;
use crate::image::variables;
use crate::image::{fingerprint, source::DefinitionFiles};

/// The kind of an image's lowest layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BaseChoice {
    /// A userland that is bootstrapped here.
    #[default]
    Userland,
    /// The distribution's own image for a cloud.
    Cloud,
}

/// The user's choice of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChoice {
    /// The kind of its lowest layer.
    pub base: BaseChoice,
    /// The distribution.
    pub distro: String,
    /// The given values of parameters, by name; for all others the default counts.
    pub values: BTreeMap<String, GivenValue>,
    /// The pattern of the base image's name on a cloud in place of the distribution's own.
    pub cloud_name: Option<String>,
    /// What is done once to the image beyond its definition.
    pub set_up: Option<SetUp>,
}

impl ImageChoice {
    /// A distribution with the default of every parameter.
    pub fn new(base: BaseChoice, distro: &str) -> Self {
        Self { base, distro: distro.to_owned(), values: BTreeMap::new(), cloud_name: None, set_up: None }
    }

    /// The same choice with this value of a parameter.
    pub fn with(mut self, parameter: &str, value: &str) -> Self {
        self.values.insert(parameter.to_owned(), GivenValue { value: value.to_owned(), origin: None });
        self
    }
}

/// A choice with a value of every parameter.
struct Resolved<'a> {
    /// The kind of its lowest layer.
    base: BaseChoice,
    /// The distribution's name.
    name: &'a str,
    /// The distribution.
    distro: &'a Distro,
    /// The values by parameter.
    values: Values,
    /// The base image's name on a cloud, where it is not the distribution's own.
    cloud_name: Option<&'a str>,
}

impl Resolved<'_> {
    /// Whether a step takes part.
    fn includes(&self, step: &StepEntry) -> bool {
        let there = match step.when {
            None => true,
            Some(When::Cloud) => self.base == BaseChoice::Cloud,
            Some(When::LaterPackages) => self.distro.later.is_some(),
        };
        there && parameters::conditions_hold(&self.values, &step.only_if, &step.unless)
    }
}

/// The fingerprint of the topmost of `layers`, of which there is at least the base.
fn topmost(layers: &[LayerPlan]) -> Fingerprint {
    layers[layers.len() - 1].fingerprint.clone()
}

/// A definition that was read and found sound.
#[derive(Debug)]
pub struct Definition {
    document: ImageDocument,
    parameters: Vec<Parameter>,
    scripts: BTreeMap<String, String>,
}

/// Reads a definition with all its scripts.
pub(crate) fn parse(files: DefinitionFiles) -> Result<Definition, Fault> {
    let place = files.place("image.toml");
    let document: ImageDocument = toml::from_str(&files.definition()?)
        .map_err(|error| Fault::outside(format!("cannot read `{place}`")).because(error.to_string()))?;
    let flaw = |why: String| Fault::outside(format!("`{place}`: {why}"));
    let of_distros: Vec<&parameters::DistroValues> = document.distros.values().map(|distro| &distro.values).collect();
    let parameters = parameters::read(&document.parameters, &of_distros).map_err(flaw)?;
    let known = variables::known(&document).map_err(flaw)?;
    let mut scripts = BTreeMap::new();
    for step in &document.steps {
        for file in std::iter::once(&step.script).chain(&step.files) {
            scripts.insert(file.clone(), files.read(file)?);
        }
        step.check(&known, &parameters).map_err(|why| flaw(format!("step `{}`{why}", step.name)))?;
    }
    if let Some(name) = document.default_distro.as_ref().filter(|name| !document.distros.contains_key(*name)) {
        return Err(flaw(format!("`default-distro`: there is no distribution `{name}`")));
    }
    let unique: BTreeSet<&str> = document.steps.iter().map(|step| step.name.as_str()).collect();
    if unique.len() != document.steps.len() {
        return Err(flaw("two steps have the same name".to_owned()));
    }
    for (name, distro) in &document.distros {
        let checked = distro.check(document.base.is_some());
        checked.map_err(|why| flaw(format!("`distros.{name}`: {why}")))?;
    }
    for (name, ec2) in document.distros.iter().filter_map(|(name, distro)| Some((name, distro.ec2.as_ref()?))) {
        ec2.check().map_err(|why| flaw(format!("`distros.{name}.ec2`: {why}")))?;
    }
    Ok(Definition { document, parameters, scripts })
}

impl Definition {
    /// Its parameters, sorted by name.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The user to log in as on a finished machine.
    pub fn login_user(&self) -> &str {
        &self.document.login_user
    }

    /// The distributions, sorted.
    pub fn distros(&self) -> Vec<String> {
        self.document.distros.keys().cloned().collect()
    }

    /// The distribution to take where the user named `named`: that which the definition prefers where nothing was named, or its
    /// only one, else `usual`.
    pub fn distro_for<'a>(&'a self, named: Option<&'a str>, usual: &'a str) -> &'a str {
        let only = || match self.document.distros.len() {
            1 => self.document.distros.keys().next().map(String::as_str),
            _ => None,
        };
        named.or(self.document.default_distro.as_deref()).or_else(only).unwrap_or(usual)
    }

    /// The distribution whose own image on a cloud has this name, with its wildcards.
    pub fn distro_of_cloud_name(&self, name: &str) -> Option<&str> {
        let has = |distro: &Distro| distro.ec2.as_ref().is_some_and(|ec2| ec2.name == name);
        self.document.distros.iter().find(|(_, distro)| has(distro)).map(|(distro, _)| distro.as_str())
    }

    /// The distributions that an image with this base can be made of, sorted.
    pub fn distros_of(&self, base: BaseChoice) -> Vec<String> {
        let has = |distro: &Distro| match base {
            BaseChoice::Userland => distro.has_userland(),
            BaseChoice::Cloud => distro.ec2.is_some(),
        };
        self.document.distros.iter().filter(|(_, distro)| has(distro)).map(|(name, _)| name.clone()).collect()
    }

    /// The choices that may differ between one call of the tool and the next: `choice` with each value of every
    /// parameter that varies, takes words, and is not in `choice` already.
    pub fn variants(&self, choice: &ImageChoice) -> Vec<ImageChoice> {
        let Some(distro) = self.document.distros.get(&choice.distro) else { return Vec::new() };
        let mut variants = vec![choice.clone()];
        let open = |parameter: &&Parameter| parameter.varies() && !choice.values.contains_key(&parameter.name);
        for parameter in self.parameters.iter().filter(open) {
            let Some(declared) = self.document.parameters.get(&parameter.name) else { continue };
            let values = declared.values(&parameter.name, &distro.values);
            if !values.is_empty() {
                let each =
                    |variant: ImageChoice| values.iter().map(move |value| variant.clone().with(&parameter.name, value));
                variants = variants.into_iter().flat_map(each).collect();
            }
        }
        variants
    }

    /// The things that a distribution provides to a build; none for an unknown distribution.
    pub fn provided(&self, distro: &str) -> Provided {
        self.document.distros.get(distro).map(|distro| distro.provides.clone()).unwrap_or_default()
    }

    /// The plan for a choice; an unknown distribution, parameter or value is refused with what there is.
    pub fn plan(&self, choice: &ImageChoice) -> Result<ImagePlan, Fault> {
        let resolved = self.resolve(choice)?;
        let mut layers = vec![self.base(&resolved)?];
        let variables = variables::values(&self.document, resolved.name, resolved.distro, &resolved.values);
        let steps: Vec<&StepEntry> = self.document.steps.iter().filter(|step| resolved.includes(step)).collect();
        // What a cloud's image ends with leaves no login: nothing can be done after it.
        let closing = steps.iter().rev().take_while(|step| step.when == Some(When::Cloud)).count();
        let (steps, closing) = steps.split_at(steps.len() - closing);
        for step in steps {
            layers.push(self.layer(step, &topmost(&layers), &variables));
        }
        if let Some(set_up) = &choice.set_up {
            layers.push(set_up.layer(&topmost(&layers)));
        }
        for step in closing {
            layers.push(self.layer(step, &topmost(&layers), &variables));
        }
        let mut name = format!("{}-{}", self.document.name, choice.distro);
        for parameter in &self.parameters {
            let named = self.document.parameters.get(&parameter.name).is_some_and(|declared| declared.in_name);
            if let Some(value) =
                resolved.values.get(&parameter.name).filter(|value| named && **value != parameter.default)
            {
                name = format!("{name}-{value}");
            }
        }
        if let Some(set_up) = &choice.set_up {
            name = set_up.name(&name);
        }
        Ok(ImagePlan {
            name,
            platform: self.document.platform,
            // A userland that is made here is Linux, whatever the finished machine stands for.
            baked_on: match resolved.base {
                BaseChoice::Userland => Platform::Linux,
                BaseChoice::Cloud => self.document.platform,
            },
            distro: choice.distro.clone(),
            values: resolved.values,
            layers,
        })
    }

    /// The lowest layer.
    fn base(&self, resolved: &Resolved<'_>) -> Result<LayerPlan, Fault> {
        let distro = resolved.distro;
        let name = "base".to_owned();
        if resolved.base == BaseChoice::Cloud {
            let mut base = distro.ec2.as_ref().map(Ec2::base).ok_or_else(|| self.no_cloud(resolved.name))?;
            if let Some(name) = resolved.cloud_name.filter(|name| *name != base.name) {
                // The parameter names the distribution's own.
                base = CloudBase { name: name.to_owned(), parameter: None, ..base };
            }
            return Ok(LayerPlan {
                name,
                description: format!("Starting from the distribution's image `{}`", base.name),
                fingerprint: fingerprint::cloud(&base),
                recipe: LayerRecipe::Cloud(base),
            });
        }
        let (Some(bootstrap), Some(family), Some(suite)) = (&self.document.base, &distro.family, &distro.suite) else {
            return Err(Fault::usage(format!("`{}` is an image of a cloud only", resolved.name))
                .hint("Choose the cloud by `--provider ec2`."));
        };
        let base = BaseSpec {
            family: family.clone(),
            suite: suite.clone(),
            suites: distro.suites.clone(),
            security_suite: distro.security_suite.clone(),
            components: distro.components.clone(),
            packages: self.document.packages(distro).into_iter().map(str::to_owned).collect(),
        };
        Ok(LayerPlan {
            name,
            description: bootstrap.description.clone(),
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

    fn layer(&self, step: &StepEntry, below: &Fingerprint, values: &BTreeMap<&str, String>) -> LayerPlan {
        let value = |name: &String| values.get(name.as_str()).cloned().unwrap_or_default();
        let env: Vec<(String, String)> = step.env.iter().map(|name| (name.clone(), value(name))).collect();
        let text_of = |file: &String| self.scripts.get(file).cloned().unwrap_or_default();
        let text = text_of(&step.script);
        let beside = |file: &String| ScriptFile { name: file.clone().into(), text: text_of(file).into() };
        let files: Vec<ScriptFile> = step.files.iter().map(beside).collect();
        LayerPlan {
            name: step.name.clone(),
            description: step.description.clone(),
            fingerprint: fingerprint::script(below, &text, &files, &env),
            recipe: LayerRecipe::Script {
                text,
                files,
                env,
                limit: text::parse_duration(&step.timeout).unwrap_or(Duration::from_secs(3600)),
            },
        }
    }

    /// The choice with a value of every parameter.
    fn resolve<'a>(&'a self, choice: &'a ImageChoice) -> Result<Resolved<'a>, Fault> {
        let Some(distro) = self.document.distros.get(&choice.distro) else {
            let known = self.distros();
            let message = format!("there is no distribution `{}` (there are: {})", choice.distro, known.join(", "));
            let fault = Fault::usage(message);
            return Err(match text::nearest(&choice.distro, known.iter().map(String::as_str)) {
                Some(near) => fault.hint(format!("Did you mean `{near}`?")),
                None => fault.hint("Choose one of these."),
            });
        };
        parameters::refuse_unknown(&self.document.name, &self.parameters, &choice.values)?;
        let mut values = Values::new();
        for parameter in &self.parameters {
            let value = match choice.values.get(&parameter.name) {
                Some(given) => self.resolve_value(parameter, given, &choice.distro, distro)?,
                None => parameter.default.clone(),
            };
            values.insert(parameter.name.clone(), value);
        }
        let cloud_name = choice.cloud_name.as_deref();
        Ok(Resolved { base: choice.base, name: &choice.distro, distro, values, cloud_name })
    }

    /// The value of a parameter that the user means.
    fn resolve_value(
        &self,
        parameter: &Parameter,
        given: &GivenValue,
        name: &str,
        distro: &Distro,
    ) -> Result<String, Fault> {
        let has = |distro: &Distro| {
            self.document.parameters.get(&parameter.name)?.find_value(parameter, &distro.values, &given.value)
        };
        if let Some(value) = has(distro) {
            return Ok(value);
        }
        let said = &given.value;
        let origin = given.origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default();
        let choices = self
            .document
            .parameters
            .get(&parameter.name)
            .map(|declared| declared.choices(&parameter.name, &distro.values));
        let Some(choices) = choices.filter(|choices| !choices.is_empty()) else {
            let message = format!("{origin}parameter `{}` takes {}, not `{said}`", parameter.name, parameter.allowed());
            return Err(Fault::usage(message).hint(format!("{}.", parameter.help)));
        };
        let fault = Fault::usage(format!("{origin}`{name}` has no {} `{said}` (there are: {choices})", parameter.name));
        let others = self.document.distros.iter().filter(|(_, distro)| has(distro).is_some());
        let others: Vec<String> = others.map(|(name, _)| format!("`--distro {name}`")).collect();
        Err(fault.hint(match others.as_slice() {
            [] => "Choose one of these.".to_owned(),
            others => format!("Choose one of these, or a distribution that has it: {}.", others.join(", ")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn choice(distro: &str, python: &str) -> ImageChoice {
        ImageChoice::new(BaseChoice::Userland, distro).with("python-version", python)
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
[variables]
HG_DISTRO = "distro"
HG_LATER_PACKAGES = "later-packages"
HG_LATER_SUITE = "later-suite"
HG_PACKAGES = "packages"
[parameters.python-version]
help = "The Python"
values = ["system3"]
default = "system3"
variable = "HG_PYTHON_VERSION"
option = "VERSION"
setting = "defaults.python-version"
in-name = true
[parameters.source]
help = "The source"
values = ["distribution", "upstream"]
default = "distribution"
variable = "HG_SOURCE"
setting = "mercurial.source"
[parameters.source-url]
help = "Where upstream is"
takes = "url"
default = "https://example.org/hg"
variable = "HG_SOURCE_URL"
setting = "mercurial.upstream-url"
if = { source = "upstream" }
[distros.one]
family = "debian"
suite = "s"
suites = ["s"]
components = ["main"]
without = ["b"]
[distros.one.values.python-version]
system3 = { also = ["3.11"] }
pypy3 = { variables = { HG_PYTHON_PACKAGES = "pypy3 pypy3-dev" } }
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
unless = { python-version = "system3" }
[[steps]]
name = "two"
description = "step two"
script = "2.sh"
env = ["HG_SOURCE", "HG_SOURCE_URL"]
timeout = "5m"
"#;

    fn load_text(text: &str, one: &str, two: &str) -> Result<Definition, Fault> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "image.toml", text);
        write(folder.path(), "1.sh", one);
        write(folder.path(), "2.sh", two);
        crate::image::load(Some(folder.path()), "x")
    }

    #[test]
    fn a_changed_step_changes_itself_and_what_is_above_and_nothing_below() {
        let before = load_text(TEXT, "1", "2").unwrap().plan(&choice("one", "system3")).unwrap();
        let after = load_text(TEXT, "1", "2 changed").unwrap().plan(&choice("one", "system3")).unwrap();
        let same: Vec<bool> =
            before.layers.iter().zip(&after.layers).map(|(a, b)| a.fingerprint == b.fingerprint).collect();
        assert_eq!(same, [true, true, false]);
        assert_eq!(before.name, "x-one");
    }

    #[test]
    fn a_variant_shares_the_layers_below_its_python() {
        let definition = load_text(TEXT, "1", "2").unwrap();
        let plain = definition.plan(&choice("one", "3.11")).unwrap();
        let variant = definition.plan(&choice("one", "pypy3")).unwrap();
        assert_eq!(
            (plain.name.as_str(), plain.values["python-version"].as_str()),
            ("x-one", "system3"),
            "its own version is no variant"
        );
        assert_eq!(variant.name, "x-one-pypy3");
        assert_eq!(plain.chain(2), variant.chain(2));
        assert_eq!((plain.layers.len(), variant.layers.len()), (3, 4));
        let LayerRecipe::Script { env, .. } = &plain.layers[1].recipe else { panic!("no script") };
        assert_eq!(env, &[("HG_DISTRO".to_owned(), "one".to_owned())]);
        let LayerRecipe::Base(base) = &plain.layers[0].recipe else { panic!("no base") };
        assert_eq!(base.packages, ["a", "openssh-server"], "one transaction installs all");
    }

    fn cloud(distro: &str) -> ImageChoice {
        ImageChoice::new(BaseChoice::Cloud, distro)
    }

    /// Users who have baked these need not bake them again because the tool learned of clouds.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_local_image_keeps_its_fingerprint() {
        let definition = load_text(TEXT, "1", "2").unwrap();
        let of = |python: &str| definition.plan(&choice("one", python)).unwrap().fingerprint().0;
        assert_eq!(of("system3"), "d6c6d367e04ac2c0ff37279ac908e04c9d7d17f45a60db2f61d48681bf4c15ad");
        assert_eq!(of("pypy3"), "dfcfbe2fca961863e3c76572f33440438b8f185562c7c8ba04d7482116174d36");
    }

    #[test]
    fn on_a_cloud_the_base_is_the_distributions_image_and_its_steps_are_added() {
        let definition = load_text(TEXT, "1", "2").unwrap();
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
        let of = |text: &str| load_text(text, "1", "2").and_then(|definition| definition.plan(&cloud("one")));
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
        let definition = load_text(TEXT, "1", "2").unwrap();
        let plan = definition.plan(&choice("two", "system3")).unwrap();
        let later = plan.layers.iter().find(|layer| layer.name == "later").unwrap();
        let LayerRecipe::Script { env, .. } = &later.recipe else { panic!("no script") };
        let expected = [("HG_LATER_SUITE", "u"), ("HG_LATER_PACKAGES", "d c")];
        assert_eq!(env, &expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let one = definition.plan(&choice("one", "system3")).unwrap();
        assert!(one.layers.iter().all(|layer| layer.name != "later"));
        assert_eq!(definition.provided("two")["setuptools"], "78.1.1");
        assert!(definition.provided("one").is_empty() && definition.provided("none").is_empty());
    }

    #[test]
    fn where_upstream_is_counts_only_when_the_source_comes_from_there() {
        let definition = load_text(TEXT, "1", "2").unwrap();
        let moved = |source: &str, url: &str| {
            let choice = ImageChoice::new(BaseChoice::Userland, "one").with("source", source).with("source-url", url);
            definition.plan(&choice).unwrap().fingerprint()
        };
        assert_eq!(moved("distribution", "x://a"), moved("distribution", "x://b"));
        assert_ne!(moved("upstream", "x://a"), moved("upstream", "x://b"));
    }

    /// The message and hint of a refused choice.
    fn refused(choice: &ImageChoice) -> String {
        let fault = load_text(TEXT, "1", "2").unwrap().plan(choice).unwrap_err();
        assert_eq!(fault.kind, model::fault::FaultKind::Usage);
        format!("{}\n{}", fault.message, fault.hint.unwrap_or_default())
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        insta::assert_snapshot!(refused(&choice("one", "3.99")), @r"
        `one` has no python-version `3.99` (there are: system3 (3.11), pypy3)
        Choose one of these.
        ");
        insta::assert_snapshot!(refused(&choice("two", "pypy3")), @r"
        `two` has no python-version `pypy3` (there are: system3)
        Choose one of these, or a distribution that has it: `--distro one`.
        ");
        insta::assert_snapshot!(refused(&choice("onne", "system3")), @r"
        there is no distribution `onne` (there are: one, two)
        Did you mean `one`?
        ");
        let one = ImageChoice::new(BaseChoice::Userland, "one");
        insta::assert_snapshot!(refused(&one.clone().with("sauce", "upstream")), @r"
        the image `x` has no parameter `sauce` (there are: python-version, source, source-url)
        Did you mean `source`?
        ");
        insta::assert_snapshot!(refused(&one.clone().with("source-url", "here")), @r"
        parameter `source-url` takes a URL, not `here`
        Where upstream is.
        ");
        let mut of_settings = one;
        let given = GivenValue { value: "2".into(), origin: Some("/s/config.toml:3".into()) };
        of_settings.values.insert("python-version".into(), given);
        assert!(refused(&of_settings).starts_with("/s/config.toml:3: `one` has no python-version `2`"));
    }

    #[test]
    fn what_one_call_may_choose_and_the_next_one_not_varies() {
        let definition = load_text(TEXT, "1", "2").unwrap();
        let names = |choice: &ImageChoice| -> Vec<String> {
            definition.variants(choice).iter().map(|choice| definition.plan(choice).unwrap().name).collect()
        };
        let one = ImageChoice::new(BaseChoice::Userland, "one");
        assert_eq!(names(&one), ["x-one", "x-one-pypy3"], "the settings alone decide of the source");
        assert_eq!(names(&one.with("python-version", "pypy3")), ["x-one-pypy3"]);
        assert_eq!(names(&ImageChoice::new(BaseChoice::Userland, "two")), ["x-two"]);
    }

    #[test]
    fn a_parameter_that_cannot_be_meant_is_an_error_that_names_it() {
        for (from, to, word) in [
            ("default = \"system3\"", "default = \"pypy3\"", "`python-version` does not take its own default"),
            (
                "default = \"https://example.org/hg\"",
                "default = \"here\"",
                "`source-url` does not take its own default",
            ),
            ("values = [\"system3\"]", "values = []", "`python-version` needs either `values` or `takes`"),
            ("takes = \"url\"", "takes = \"url\"\nin-name = true", "`source-url` takes text"),
            ("takes = \"url\"", "takes = \"url\"\nbeyond = [\"x\"]", "`beyond` has no meaning"),
            (
                "if = { source = \"upstream\" }",
                "if = { source = \"elsewhere\" }",
                "`distribution` or `upstream`, not `elsewhere`",
            ),
            (
                "unless = { python-version = \"system3\" }",
                "unless = { python = \"system3\" }",
                "unknown parameter `python`",
            ),
            ("[parameters.source]", "[parameters.Source]", "lower-case"),
            ("values = [\"distribution\", \"upstream\"]", "values = [\"distribution\", \"up stream\"]", "`up stream`"),
            ("values = [\"distribution\", \"upstream\"]", "values = [\"distribution\", \"upstream\", \"#\"]", "`#`"),
            (
                "variable = \"HG_SOURCE_URL\"",
                "variable = \"HG_SOURCE\"",
                "`HG_SOURCE` is set by parameter `source` and by",
            ),
            ("variable = \"HG_SOURCE_URL\"", "variable = \"url\"", "`url` is not a name for a variable"),
            ("HG_PYTHON_PACKAGES = \"", "HG_PACKAGES = \"", "`HG_PACKAGES` is set by `variables` and by the values of"),
            (
                "[distros.one.values.python-version]",
                "[distros.one.values.python]",
                "`python`, which is not a parameter",
            ),
            ("setting = \"mercurial.source\"", "setting = \"source\"", "`section.key`"),
            ("setting = \"mercurial.source\"", "setting = \"mercurial.sauce\"", "`mercurial.sauce`, which is none"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let fault = load_text(&TEXT.replace(from, to), "1", "2").unwrap_err();
            assert!(fault.chain().join("\n").contains(word), "{word}: {fault:?}");
        }
    }

    #[test]
    fn an_unknown_key_or_variable_is_an_error_that_names_it() {
        let fault = load_text(&format!("colour = 1\n{TEXT}"), "1", "2").unwrap_err();
        assert!(fault.chain().join("\n").contains("colour"), "{fault:?}");
        let fault = load_text(&TEXT.replace("[\"HG_SOURCE\"", "[\"HG_SAUCE\""), "1", "2").unwrap_err();
        assert!(fault.message.contains("HG_SAUCE") && fault.message.contains("HG_SOURCE"), "{fault:?}");
    }

    #[test]
    fn a_file_that_would_lie_in_the_place_of_its_steps_script_is_refused() {
        let step = |name: &str| {
            format!(
                "name = \"x\"\ndescription = \"d\"\nlogin-user = \"hg\"\n[distros.w.ec2]\nowner = \"012345678901\"\nname = \"w-*\"\n\
                 user = \"u\"\n[[steps]]\nname = \"{name}\"\ndescription = \"a\"\nscript = \"1.sh\"\nfiles = [\"2.sh\"]\ntimeout = \"5m\"\n"
            )
        };
        load_text(&step("1"), "1", "2").unwrap();
        let fault = load_text(&step("2"), "1", "2").unwrap_err();
        assert!(fault.message.contains("step `2` has a file `2.sh`"), "{fault:?}");
    }

    #[test]
    fn a_definition_whose_machines_have_another_system_needs_no_userland() {
        let text = |distro: &str| {
            format!(
                "name = \"x\"\ndescription = \"d\"\nplatform = \"windows\"\nlogin-user = \"Administrator\"\n{distro}\n\
                 [[steps]]\nname = \"a\"\ndescription = \"a\"\nscript = \"1.sh\"\ntimeout = \"5m\"\n"
            )
        };
        let cloud = "[distros.w.ec2]\nowner = \"012345678901\"\nname = \"w-*\"\nuser = \"Administrator\"";
        let definition = load_text(&text(cloud), "echo 1", "").unwrap();
        let plan = definition.plan(&ImageChoice::new(BaseChoice::Cloud, "w")).unwrap();
        assert_eq!((plan.platform, plan.layers.len()), (model::machine::Platform::Windows, 2));
        assert_eq!(definition.distros_of(BaseChoice::Userland), [""; 0]);
        let other = ImageChoice { cloud_name: Some("Other-*".to_owned()), ..ImageChoice::new(BaseChoice::Cloud, "w") };
        let other = definition.plan(&other).unwrap();
        let base = |plan: &ImagePlan| match &plan.layers[0].recipe {
            LayerRecipe::Cloud(base) => (base.name.clone(), base.parameter.clone()),
            recipe => panic!("{recipe:?}"),
        };
        assert_eq!(base(&other), ("Other-*".to_owned(), None), "the parameter names the usual one");
        assert_ne!(other.fingerprint(), plan.fingerprint(), "what it starts from is a part of an image");
        let fault = definition.plan(&ImageChoice::new(BaseChoice::Userland, "w")).unwrap_err();
        assert_eq!(fault.message, "`w` is an image of a cloud only");
        for (distro, why) in [
            ("[distros.w]", "there is neither a table `ec2` nor a userland: "),
            ("[distros.w]\nsuite = \"s\"", "a userland has `family`, `suite`, `suites` and `components`"),
            (
                "[distros.w]\nfamily = \"debian\"\nsuite = \"s\"\nsuites = [\"s\"]\ncomponents = [\"main\"]",
                "and the definition a table `[base]`",
            ),
        ] {
            let fault = load_text(&text(distro), "", "").unwrap_err();
            assert!(fault.message.contains("`distros.w`: ") && fault.message.contains(why), "{fault:?}");
        }
    }

    #[test]
    fn the_built_in_definitions_are_sound() {
        let windows = crate::image::load(None, "windows-dev").unwrap();
        assert_eq!(windows.distros(), ["server2022", "server2025"]);
        for distro in windows.distros() {
            let plan = windows.plan(&ImageChoice::new(BaseChoice::Cloud, &distro)).unwrap();
            let LayerRecipe::Cloud(base) = &plan.layers[0].recipe else { panic!("{plan:?}") };
            assert_eq!(windows.distro_of_cloud_name(&base.name), Some(distro.as_str()));
            assert!(plan.cloud().is_some() && plan.layers.len() >= 8, "{}", plan.name);
        }
        let definition = crate::image::load(None, "linux-dev").unwrap();
        assert!(definition.distros().contains(&"debian12".to_owned()));
        for distro in definition.distros() {
            for local in definition.variants(&ImageChoice::new(BaseChoice::Userland, &distro)) {
                let plan = definition.plan(&local).unwrap();
                assert!(plan.layers.len() >= 6, "{}", plan.name);
                let cloud = definition.plan(&ImageChoice { base: BaseChoice::Cloud, ..local }).unwrap();
                assert!(cloud.cloud().is_some() && cloud.layers.len() > plan.layers.len(), "{}", plan.name);
            }
        }
    }
}
