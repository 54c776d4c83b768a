//! The options for variables that travel to a user's command.

use std::collections::BTreeMap;
use std::path::Path;

use model::base::text;
use model::fault::Fault;
use project::command::{Secrets, check_variable};

use crate::compose::variables;

/// The variables of a command.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct VariableArgs {
    /// A variable for the command, with this value or with the one that it has here; may be given several times. Values are seen by
    /// whoever sees the processes of the machine
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = Variable::parse)]
    given: Vec<Variable>,
    /// A secret for the command, as a variable: its value is the one that it has here, or what is in FILE, without a newline at the end; may be
    /// given several times. It is written down nowhere, and `***` stands for it in the output
    #[arg(long = "secret", value_name = "NAME[=FILE]", value_parser = Variable::parse)]
    secrets: Vec<Variable>,
}

/// The longest file with a secret, bytes.
const SECRET_CAP: u64 = 64 << 10;

/// A variable as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    name: String,
    value: Option<String>,
}

impl Variable {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        check_variable(name)?;
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(format!("the value of `{name}` has a NUL byte"));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

impl VariableArgs {
    /// Whether a variable is given by an option.
    pub fn has(&self, name: &str) -> bool {
        self.given.iter().chain(&self.secrets).any(|given| given.name == name)
    }

    /// The secrets.
    pub fn secrets(&self) -> Result<Secrets, Fault> {
        let mut secrets = Secrets::default();
        for Variable { name, value: file } in &self.secrets {
            if self.given.iter().any(|given| given.name == *name) {
                return Err(Fault::usage(format!("`{name}` is given by `--env` and by `--secret`")));
            }
            let refused = |why: String| Fault::usage(format!("`--secret {name}` cannot be taken")).because(why);
            let value = match file {
                Some(file) => read_secret(Path::new(file))
                    // What stands there may be the secret itself.
                    .map_err(|why| refused(format!("the file that stands behind `=`: {why}")))?,
                None => own_value("--secret", name)?,
            };
            secrets.add(name, value).map_err(refused)?;
        }
        Ok(secrets)
    }

    /// The variables with their values, upon those that a file declares; of one that was given twice the last counts.
    pub fn resolve(&self, declared: BTreeMap<String, String>) -> Result<Vec<(String, String)>, Fault> {
        let mut resolved = Vec::new();
        for (name, value) in declared {
            let given = Variable::parse(&format!("{name}={value}"));
            resolved.extend(
                given
                    .map_err(|why| Fault::usage(why).hint("It stands in `automation.toml`."))?
                    .value
                    .map(|value| (name, value)),
            );
        }
        for Variable { name, value } in &self.given {
            let value = match value {
                Some(value) => value.clone(),
                None => own_value("--env", name)?,
            };
            resolved.retain(|(other, _)| other != name);
            resolved.push((name.clone(), value));
        }
        Ok(resolved)
    }
}

/// The value that a variable has here.
fn own_value(option: &str, name: &str) -> Result<String, Fault> {
    let value = variables::value(name.as_ref()).ok_or_else(|| {
        Fault::usage(format!("`{option} {name}`: the variable is not set here"))
            .hint(format!("Set it, or give more: `{option} {name}=...`; `automation run --help` says what."))
    })?;
    value.into_string().map_err(|_| Fault::usage(format!("`{option} {name}`: its value is not UTF-8")))
}

fn read_secret(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > SECRET_CAP {
        return Err(format!("it has more than {}", text::bytes(SECRET_CAP)));
    }
    let mut value = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    // An editor ends every file with a newline, which is no part of the secret.
    value.truncate(value.trim_end_matches(['\r', '\n']).len());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_variables_and_values_are_anything() {
        let parsed = |text: &str| Variable::parse(text).map(|variable| (variable.name, variable.value));
        assert_eq!(parsed("A=b=c\nd"), Ok(("A".to_owned(), Some("b=c\nd".to_owned()))));
        assert_eq!(parsed("_x1"), Ok(("_x1".to_owned(), None)));
        assert_eq!(parsed("A="), Ok(("A".to_owned(), Some(String::new()))));
        for wrong in ["", "=a", "1A=b", "A B=c", "A-B", "ä=b", "UID=0", "A=\0"] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_last_value_counts_and_a_variable_without_one_has_to_be_set() {
        let given = |texts: &[&str]| VariableArgs {
            secrets: Vec::new(),
            given: texts.iter().map(|text| Variable::parse(text).unwrap()).collect(),
        };
        let resolved = given(&["A=1", "B=2", "A=3"])
            .resolve(BTreeMap::from([("B", "0"), ("C", "4")].map(|(name, value)| (name.to_owned(), value.to_owned()))))
            .unwrap();
        assert_eq!(
            resolved,
            [("C", "4"), ("B", "2"), ("A", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let missing = given(&["AUTOMATION_IS_NOT_SET_HERE"]).resolve(BTreeMap::new()).unwrap_err();
        assert!(missing.message.contains("is not set here"), "{missing:?}");
    }
}
