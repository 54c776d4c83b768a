//! Parameters as `image.toml` declares them: what they take, what a distribution adds, which variables carry them to steps.

use std::collections::BTreeMap;

use model::base::text;
use model::fault::Fault;
use model::parameter::{Parameter, ParameterKind};
use serde::Deserialize;

/// A parameter as it is written down.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DeclaredParameter {
    help: String,
    /// The words that every distribution takes.
    #[serde(default)]
    values: Vec<String>,
    /// Words, with `#` for a number, that no distribution need have: somebody else's machines may have them.
    #[serde(default)]
    beyond: Vec<String>,
    /// The kind of text that it takes, if it takes no words.
    takes: Option<Text>,
    allowed: Option<String>,
    default: String,
    /// The variable by which a step gets the value.
    pub variable: String,
    option: Option<String>,
    setting: Option<String>,
    /// Whether a value other than the default is part of the image's name.
    #[serde(default)]
    pub in_name: bool,
    /// Values of other parameters without which this one means nothing: its variable is empty then.
    #[serde(default, rename = "if")]
    pub only_if: Values,
}

/// Text that a parameter takes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Text {
    Url,
    Line,
}

/// A distribution's entry for one value of a parameter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ValueEntry {
    /// Other names of the value there.
    #[serde(default)]
    also: Vec<String>,
    /// Further variables that steps get with it.
    #[serde(default)]
    pub variables: Values,
}

/// Texts by name: values of parameters, or of variables.
pub(crate) type Values = BTreeMap<String, String>;

/// All parameters of a definition, by name.
pub(crate) type DeclaredParameters = BTreeMap<String, DeclaredParameter>;

/// A distribution's entries for values of parameters: by parameter, then by value.
pub(crate) type DistroValues = BTreeMap<String, BTreeMap<String, ValueEntry>>;

/// A value that a user gave for a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GivenValue {
    /// The value.
    pub value: String,
    /// Where it stands, `FILE:LINE`, for the message if it is refused; none if it was typed.
    pub origin: Option<String>,
}

/// Reads and checks the parameters of a definition; `distros` are its distributions' entries for them. The error is for
/// people.
pub(crate) fn read(all: &DeclaredParameters, distros: &[&DistroValues]) -> Result<Vec<Parameter>, String> {
    for (name, values) in distros.iter().flat_map(|distro| distro.iter()) {
        if all.get(name).is_none_or(|declared| declared.takes.is_some()) {
            return Err(format!("a distribution has values of `{name}`, which is not a parameter with `values`"));
        }
        check_words(name, values.keys().chain(values.values().flat_map(|own| &own.also)), b"._-")?;
    }
    let parameters = all.iter().map(|(name, declared)| declared.read(name, distros)).collect::<Result<Vec<_>, _>>()?;
    for (name, declared) in all {
        check_conditions(&parameters, &declared.only_if).map_err(|why| format!("parameter `{name}`: {why}"))?;
    }
    Ok(parameters)
}

/// Checks words, which become arguments and parts of names and paths. Beside letters and digits they may have `marks`.
fn check_words<'a>(name: &str, mut words: impl Iterator<Item = &'a String>, marks: &[u8]) -> Result<(), String> {
    let plain = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || marks.contains(&b));
    match words.find(|word| !plain(word) || word.starts_with(['-', '.'])) {
        Some(bad) => Err(format!("`{bad}`, a value of `{name}`, is not a word of letters, digits, `.`, `-` and `_`")),
        None => Ok(()),
    }
}

/// Refuses conditions on unknown parameters and on values that these do not take.
pub(crate) fn check_conditions(parameters: &[Parameter], conditions: &Values) -> Result<(), String> {
    for (name, value) in conditions {
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == *name) else {
            return Err(format!("a condition names the unknown parameter `{name}` (there are: {})", names(parameters)));
        };
        if !parameter.accepts(value) {
            return Err(format!("a condition on `{name}`, which takes {}, not `{value}`", parameter.allowed()));
        }
    }
    Ok(())
}

/// The names of parameters, for people.
fn names(parameters: &[Parameter]) -> String {
    match parameters {
        [] => "none".to_owned(),
        all => all.iter().map(|parameter| parameter.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// Whether `values` have all values that `needed` names, and none that `unwanted` names.
pub(crate) fn conditions_hold(values: &Values, needed: &Values, unwanted: &Values) -> bool {
    let has = |(name, value): (&String, &String)| values.get(name) == Some(value);
    needed.iter().all(has) && !unwanted.iter().any(has)
}

/// Refuses values of unknown parameters; `image` is the definition's name.
pub(crate) fn refuse_unknown(
    image: &str,
    parameters: &[Parameter],
    given: &BTreeMap<String, GivenValue>,
) -> Result<(), Fault> {
    let known = |name: &&String| parameters.iter().any(|parameter| parameter.name == **name);
    let Some(unknown) = given.keys().find(|name| !known(name)) else { return Ok(()) };
    let fault =
        Fault::usage(format!("the image `{image}` has no parameter `{unknown}` (there are: {})", names(parameters)));
    Err(match text::nearest(unknown, parameters.iter().map(|parameter| parameter.name.as_str())) {
        Some(near) => fault.hint(format!("Did you mean `{near}`?")),
        None => {
            let lines: Vec<String> = parameters.iter().map(|p| format!("`{}`: {}", p.name, p.help)).collect();
            fault.hint(format!("Leave it out, or choose one of its own. {}", lines.join("; ")).trim_end().to_owned())
        }
    })
}

impl DeclaredParameter {
    /// The parameter, checked.
    fn read(&self, name: &str, distros: &[&DistroValues]) -> Result<Parameter, String> {
        let parameter = Parameter {
            name: name.to_owned(),
            help: self.help.clone(),
            takes: match self.takes {
                Some(Text::Url) => ParameterKind::Url,
                Some(Text::Line) => ParameterKind::Line,
                None => ParameterKind::Words { known: self.known(name, distros) },
            },
            allowed: self.allowed.clone(),
            default: self.default.clone(),
            option: self.option.clone(),
            setting: self.setting.clone(),
        };
        if let Some(flaw) = self.flaw(&parameter) {
            return Err(format!("parameter `{name}` {flaw}"));
        }
        check_words(name, self.values.iter(), b"._-")?;
        check_words(name, self.beyond.iter(), b"._-#")?;
        Ok(parameter)
    }

    /// A flaw of the parameter, if there is one; completes "the parameter".
    fn flaw(&self, parameter: &Parameter) -> Option<String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let (text, words) = (self.takes.is_some(), !self.values.is_empty());
        let default_fits = if text {
            self.default.is_empty() || parameter.accepts(&self.default)
        } else {
            self.values.contains(&self.default)
        };
        let flaws = [
            (
                !parameter.name.starts_with(|c: char| c.is_ascii_lowercase()) || !parameter.name.bytes().all(plain),
                "has a name that is not of lower-case letters, digits and `-`",
            ),
            (text == words, "needs either `values` or `takes`"),
            (text && !self.beyond.is_empty(), "takes text, for which `beyond` has no meaning"),
            (text && self.in_name, "takes text, which cannot be part of a name"),
            (!default_fits, "does not take its own default"),
            (
                self.setting.as_ref().is_some_and(|key| !key.contains('.')),
                "has a `setting` that is not written as `section.key`",
            ),
        ];
        flaws.into_iter().find(|(wrong, _)| *wrong).map(|(_, flaw)| flaw.to_owned())
    }

    /// All words that it takes somewhere, without repetition.
    fn known(&self, name: &str, distros: &[&DistroValues]) -> Vec<String> {
        let own = distros.iter().filter_map(|distro| distro.get(name)).flatten();
        let own = own.flat_map(|(value, own)| std::iter::once(value).chain(&own.also));
        let mut known: Vec<String> = Vec::new();
        for word in self.values.iter().chain(own).chain(&self.beyond) {
            if !known.contains(word) {
                known.push(word.clone());
            }
        }
        known
    }

    /// The values that it has on a distribution; none if it takes text.
    pub(crate) fn values(&self, name: &str, distro: &DistroValues) -> Vec<String> {
        let own = distro.get(name).into_iter().flat_map(BTreeMap::keys);
        self.values.iter().chain(own.filter(|value| !self.values.contains(value))).cloned().collect()
    }

    /// The value on a distribution that the user means by `said`; none if there is no such value.
    pub(crate) fn find_value(&self, parameter: &Parameter, distro: &DistroValues, said: &str) -> Option<String> {
        if self.takes.is_some() {
            return (said == self.default || parameter.accepts(said)).then(|| said.to_owned());
        }
        if self.values(&parameter.name, distro).iter().any(|value| value == said) {
            return Some(said.to_owned());
        }
        let own = distro.get(&parameter.name)?;
        own.iter().find(|(_, own)| own.also.iter().any(|other| other == said)).map(|(value, _)| value.clone())
    }

    /// The values that it has on a distribution, for people: `system3 (3.11), pypy3`.
    pub(crate) fn choices(&self, name: &str, distro: &DistroValues) -> String {
        let shown = |value: String| match distro.get(name).and_then(|own| own.get(&value)) {
            Some(own) if !own.also.is_empty() => format!("{value} ({})", own.also.join(", ")),
            _ => value,
        };
        self.values(name, distro).into_iter().map(shown).collect::<Vec<_>>().join(", ")
    }
}
