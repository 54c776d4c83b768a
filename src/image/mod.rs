//! Image definitions: data and scripts, built in or from a folder, turned into plans with fingerprints.

mod definition;
mod fingerprint;
mod source;

pub use definition::{BaseChoice, Choice, Definition};

use std::path::Path;

use crate::base::text;
use crate::model::fault::Fault;

/// Loads the definition `name` from `folder`, or the built-in one.
pub fn load(folder: Option<&Path>, name: &str) -> Result<Definition, Fault> {
    let known = names(folder)?;
    if !known.iter().any(|known| known == name) {
        let fault = Fault::usage(format!("there is no image definition `{name}` (there are: {})", known.join(", ")));
        return Err(match text::nearest(name, known.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("Did you mean `{near}`?")),
            None => fault.hint("Choose one of these, or name another folder of definitions with `--images DIR`."),
        });
    }
    definition::parse(source::Files::open(folder, name)?)
}

/// The names of the definitions that there are.
pub fn names(folder: Option<&Path>) -> Result<Vec<String>, Fault> {
    source::names(folder)
}
