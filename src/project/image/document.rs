//! `image.toml` as it is written down; `docs/images.md` describes the keys.

use std::collections::{BTreeMap, BTreeSet};

use model::base::text;
use model::image::{CloudBase, Provided};
use model::machine::Platform;
use model::parameter::Parameter;
use serde::Deserialize;

use crate::image::parameters::{self, Values};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ImageDocument {
    pub name: String,
    #[serde(rename = "description")]
    _description: String,
    pub login_user: String,
    /// The system as which a finished machine is spoken to.
    #[serde(default)]
    pub platform: Platform,
    /// None where every distribution is another's image for a cloud.
    pub base: Option<Base>,
    #[serde(default)]
    pub packages: Vec<String>,
    /// Variables of steps that hold a fact, not a parameter.
    #[serde(default)]
    pub variables: BTreeMap<String, Fact>,
    #[serde(default)]
    pub parameters: parameters::DeclaredParameters,
    /// The distribution where none is named.
    pub default_distro: Option<String>,
    pub distros: BTreeMap<String, Distro>,
    pub steps: Vec<StepEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Base {
    pub description: String,
    pub packages: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Distro {
    /// What its userland is bootstrapped from, with the suite, suites and components; none where it is only an image for a cloud.
    pub family: Option<String>,
    pub suite: Option<String>,
    #[serde(default)]
    pub suites: Vec<String>,
    pub security_suite: Option<String>,
    #[serde(default)]
    pub components: Vec<String>,
    /// Packages beyond the common ones.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Common packages that this distribution lacks.
    #[serde(default)]
    pub without: Vec<String>,
    /// The things that its packages provide to a build: names and versions.
    #[serde(default)]
    pub provides: Provided,
    /// Packages in the versions of a later release, where its own are too old.
    pub later: Option<Later>,
    /// Its own values of parameters.
    #[serde(default)]
    pub values: parameters::DistroValues,
    /// Its image on Amazon EC2, where it has one.
    pub ec2: Option<Ec2>,
}

/// A fact that is known of every image, for a variable that the definition chooses.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fact {
    /// The distribution's name.
    Distro,
    /// All packages, sorted, with blanks between.
    Packages,
    /// The code name of the later release that packages are taken from; empty where there is none.
    LaterSuite,
    /// The packages that are taken from there, with blanks between.
    LaterPackages,
}

/// Packages from a later release of a distribution.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Later {
    /// The release's code name.
    pub suite: String,
    pub packages: Vec<String>,
}

/// Where a distribution's own image on Amazon EC2 is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Ec2 {
    /// The account that publishes it: twelve digits.
    pub owner: String,
    /// The pattern of its name.
    pub name: String,
    /// The public parameter of AWS Systems Manager that names the newest.
    pub parameter: Option<String>,
    /// The user to log in as.
    pub user: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct StepEntry {
    pub name: String,
    pub description: String,
    pub script: String,
    /// Further files of the definition, which lie beside the script while it runs.
    #[serde(default)]
    pub files: Vec<String>,
    #[serde(default)]
    pub env: Vec<String>,
    pub timeout: String,
    pub when: Option<When>,
    /// The step takes part only with all of these values of parameters.
    #[serde(default, rename = "if")]
    pub only_if: Values,
    /// The step takes part only without any of these values of parameters.
    #[serde(default)]
    pub unless: Values,
}

/// Where a step takes part.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum When {
    /// Only on a cloud's base image.
    Cloud,
    /// Only where packages of a later release are wanted.
    LaterPackages,
}

impl Distro {
    /// Whether a userland can be bootstrapped of it.
    pub(crate) fn has_userland(&self) -> bool {
        self.suite.is_some()
    }

    /// Checks that it says how its lowest layer comes to be; `bootstraps` is whether the definition says what bootstrapping does.
    pub(crate) fn check(&self, bootstraps: bool) -> Result<(), String> {
        let said = [self.family.is_some(), self.suite.is_some(), !self.suites.is_empty(), !self.components.is_empty()];
        let whole = "a userland has `family`, `suite`, `suites` and `components`, and the definition a table `[base]`";
        match said.contains(&true) {
            true if bootstraps && !said.contains(&false) => Ok(()),
            true => Err(whole.to_owned()),
            false if self.ec2.is_some() => Ok(()),
            false => Err(format!("there is neither a table `ec2` nor a userland: {whole}")),
        }
    }
}

impl Ec2 {
    /// Checks that it can mean one image. Anybody may publish an image under any name, so an owner that is not one
    /// account is refused.
    pub(crate) fn check(&self) -> Result<(), String> {
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

    pub(crate) fn base(&self) -> CloudBase {
        let Self { owner, name, parameter, user } = self;
        CloudBase { owner: owner.clone(), name: name.clone(), parameter: parameter.clone(), user: user.clone() }
    }
}

impl StepEntry {
    /// Checks the step; an error completes "step `name`".
    pub(crate) fn check(&self, known: &BTreeSet<&str>, parameters: &[Parameter]) -> Result<(), String> {
        text::parse_duration(&self.timeout).map_err(|why| format!(": {why}"))?;
        for conditions in [&self.only_if, &self.unless] {
            parameters::check_conditions(parameters, conditions).map_err(|why| format!(": {why}"))?;
        }
        // On a machine the script is called by the step's name, beside its files.
        let ending = self.script.rsplit_once('.').map_or("sh", |(_, ending)| ending);
        let script = format!("{}.{ending}", self.name);
        if let Some(file) = self.files.iter().find(|file| **file == script) {
            return Err(format!(" has a file `{file}`, in whose place its own script would lie: rename one of them"));
        }
        let Some(unknown) = self.env.iter().find(|name| !known.contains(name.as_str())) else { return Ok(()) };
        let names: Vec<&str> = known.iter().copied().collect();
        Err(format!(" asks for the unknown variable `{unknown}` (there are: {})", names.join(", ")))
    }
}

impl ImageDocument {
    /// All packages of an image, sorted.
    pub(crate) fn packages<'a>(&'a self, distro: &'a Distro) -> Vec<&'a str> {
        let common = self.packages.iter().filter(|name| !distro.without.contains(name));
        let all = common.chain(&distro.packages).chain(self.base.iter().flat_map(|base| &base.packages));
        let mut names: Vec<&str> = all.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
