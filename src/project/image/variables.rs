//! The variables that pass to the steps of an image what shapes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::document::{Distro, Fact, ImageDocument};
use crate::image::parameters::{self, Values};

/// The variables that a step may ask for. A variable that two things would set is refused, and so is a name that no
/// shell would take.
pub(crate) fn known(document: &ImageDocument) -> Result<BTreeSet<&str>, String> {
    let facts = document.variables.keys().map(|variable| (variable, "`variables`".to_owned()));
    let own = document.parameters.iter().map(|(name, declared)| (&declared.variable, format!("parameter `{name}`")));
    let of_values = document.distros.values().flat_map(|distro| &distro.values).flat_map(|(name, values)| {
        let variables = values.values().flat_map(|own| own.variables.keys());
        variables.map(move |variable| (variable, format!("the values of `{name}`")))
    });
    let mut owners: BTreeMap<&str, String> = BTreeMap::new();
    for (variable, owner) in facts.chain(own).chain(of_values) {
        check(variable)?;
        // Each value of a parameter may set the same ones.
        match owners.get(variable.as_str()).filter(|other| **other != owner) {
            Some(other) => return Err(format!("the variable `{variable}` is set by {other} and by {owner}")),
            None => owners.insert(variable, owner),
        };
    }
    Ok(owners.into_keys().collect())
}

fn check(variable: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    match variable.starts_with(|c: char| c.is_ascii_uppercase()) && variable.bytes().all(plain) {
        true => Ok(()),
        false => Err(format!("`{variable}` is not a name for a variable: it has capital letters, digits and `_`")),
    }
}

/// The values of the variables for an image; those that have none there are left out.
pub(crate) fn values<'a>(
    document: &'a ImageDocument,
    name: &str,
    distro: &'a Distro,
    values: &Values,
) -> BTreeMap<&'a str, String> {
    let mut all = BTreeMap::new();
    for (variable, fact) in &document.variables {
        all.insert(variable.as_str(), value_of(*fact, document, name, distro));
    }
    for (parameter, declared) in &document.parameters {
        let Some(value) = values.get(parameter) else { continue };
        let counts = parameters::conditions_hold(values, &declared.only_if, &BTreeMap::new());
        all.insert(&declared.variable, if counts { value.clone() } else { String::new() });
        let own = distro.values.get(parameter).and_then(|own| own.get(value));
        for (variable, text) in own.iter().flat_map(|own| &own.variables) {
            all.insert(variable, text.clone());
        }
    }
    all
}

fn value_of(fact: Fact, document: &ImageDocument, name: &str, distro: &Distro) -> String {
    let later = distro.later.as_ref();
    match fact {
        Fact::Distro => name.to_owned(),
        Fact::Packages => document.packages(distro).join(" "),
        Fact::LaterSuite => later.map(|later| later.suite.clone()).unwrap_or_default(),
        Fact::LaterPackages => later.map(|later| later.packages.join(" ")).unwrap_or_default(),
    }
}
