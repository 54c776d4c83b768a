//! Image definitions: data and scripts, built in or from a folder, turned into plans with fingerprints.

mod definition;
mod document;
mod fingerprint;
mod parameters;
mod set_up;
mod source;
mod variables;

pub use definition::{BaseChoice, Definition, ImageChoice};
pub use parameters::GivenValue;
pub(crate) use set_up::NOTHING;
pub use set_up::{NAME as SET_UP_LAYER, SetUp};

use std::path::Path;
use std::sync::OnceLock;

use model::base::text;
use model::fault::Fault;
use model::parameter::Parameter;

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
    let definition = definition::parse(source::DefinitionFiles::open(folder, name)?)?;
    match folder {
        Some(folder) => check_settings(&definition, &folder.join(name)).map(|()| definition),
        None => Ok(definition),
    }
}

/// Refuses a parameter that names a setting which does not exist.
fn check_settings(definition: &Definition, folder: &Path) -> Result<(), Fault> {
    let known: Vec<&str> = built_in_parameters()?.iter().filter_map(|known| known.setting.as_deref()).collect();
    for parameter in definition.parameters() {
        if let Some(unknown) = parameter.setting.as_deref().filter(|setting| !known.contains(setting)) {
            let (place, name) = (folder.join("image.toml"), &parameter.name);
            return Err(Fault::outside(format!(
                "`{}`: parameter `{name}` names the setting `{unknown}`, which is none of an image's (there are: {})",
                place.display(),
                known.join(", ")
            )));
        }
    }
    Ok(())
}

/// The names of all definitions.
pub fn names(folder: Option<&Path>) -> Result<Vec<String>, Fault> {
    source::names(folder)
}

/// The parameters of all built-in definitions, each name once: what the command line and the settings can know before they say which
/// definitions to use.
pub fn built_in_parameters() -> Result<&'static [Parameter], Fault> {
    static PARAMETERS: OnceLock<Vec<Parameter>> = OnceLock::new();
    if let Some(known) = PARAMETERS.get() {
        return Ok(known);
    }
    let mut all: Vec<Parameter> = Vec::new();
    for name in names(None)? {
        for parameter in load(None, &name)?.parameters() {
            if !all.iter().any(|known| known.name == parameter.name) {
                all.push(parameter.clone());
            }
        }
    }
    Ok(PARAMETERS.get_or_init(|| all))
}
