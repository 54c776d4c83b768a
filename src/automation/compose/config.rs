//! The settings file as `automation config` works on it. Nothing is made of it but itself: a file with an error in it must not stand in the
//! way of its mending.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::text;
use model::fault::Fault;
use model::setting::Section;
use state::dir::StateDir;
use state::settings::{KnownKey, Settings, SettingsFile, known_key, known_keys, template};

use crate::compose::{check_provider, ec2, screen, sections, state_path, variables};
use crate::globals::Globals;
use crate::ui::{self, Screen};

/// How long a change is tried again because others change the settings, each of which takes milliseconds.
const CHANGE_LIMIT: Duration = Duration::from_secs(5);

/// The settings and the variables that take their place, each `(key, variable)`.
fn overriding() -> impl Iterator<Item = (&'static str, &'static str)> {
    [("provider", "AUTOMATION_PROVIDER")].into_iter().chain(ec2::VARIABLES.iter().copied())
}

/// The party that decides a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is the default.
    Default,
    /// A line of the file, `FILE:LINE`.
    File(String),
    /// A variable of the environment.
    Environment(&'static str),
}

/// The settings file and what may stand in it.
pub struct Config {
    /// The screen on which everything is shown.
    pub screen: Screen,
    root: PathBuf,
    file: SettingsFile,
    sections: Vec<Section>,
    /// The folder of image definitions that was named.
    images: Option<PathBuf>,
}

impl Config {
    /// That of the state directory, which need not exist. `words` are the arguments as given.
    pub fn of(globals: &Globals, words: &[String]) -> Result<Self, Fault> {
        let root = state_path(globals)?;
        if globals.state_path.is_some() {
            ui::name_state(&root);
        }
        let file = SettingsFile::at(StateDir::settings_file_of(&root));
        Ok(Self { screen: screen(globals, words)?, root, file, sections: sections()?, images: globals.images.clone() })
    }

    /// The file.
    pub fn file(&self) -> &SettingsFile {
        &self.file
    }

    /// Every key that there is.
    pub fn keys(&self) -> Vec<KnownKey> {
        known_keys(&self.sections)
    }

    /// The key that is called `name`.
    pub fn key(&self, name: &str) -> Result<KnownKey, Fault> {
        known_key(name, &self.sections)
    }

    /// The text to begin with where there is no file.
    pub fn template(&self) -> String {
        template(&self.sections)
    }

    /// The settings that `text` would be, for this tool as it was built.
    pub fn check(&self, text: &str) -> Result<Settings, Fault> {
        let settings = self.file.check(text, &self.sections)?;
        check_provider(&settings)?;
        Ok(settings)
    }

    /// The settings of the file.
    pub fn settings(&self) -> Result<Settings, Fault> {
        self.check(&self.file.read()?.unwrap_or_default())
    }

    /// The value of a setting, and who decides it.
    pub fn value(&self, settings: &Settings, known: &KnownKey) -> (Option<String>, Origin) {
        let variable = overriding().filter(|(key, _)| *key == known.name).find_map(|(_, variable)| {
            let value = variables::value(variable.as_ref()).filter(|value| !value.is_empty())?;
            Some((value.to_string_lossy().into_owned(), variable))
        });
        match (variable, settings.extra(&known.name)) {
            (Some((value, variable)), _) => (Some(value), Origin::Environment(variable)),
            (None, Some(value)) => {
                (Some(value.to_owned()), Origin::File(settings.origin(&known.name).unwrap_or_default()))
            }
            (None, None) => (known.key.default.map(str::to_owned), Origin::Default),
        }
    }

    /// Refuses values that could not be used, although they look right, where they are not those of the text `before`.
    fn check_use(&self, settings: &Settings, before: Option<&str>) -> Result<(), Fault> {
        let held = before.and_then(|before| self.file.check(before, &self.sections).ok());
        let is_new = |key: &str| {
            settings.extra(key).filter(|value| held.as_ref().and_then(|held| held.extra(key)) != Some(value))
        };
        if let Some(distro) = is_new("defaults.distro") {
            self.check_distro(distro)?;
        }
        match is_new("local.keyring").filter(|path| !std::path::Path::new(path).is_file()) {
            Some(path) => Err(Fault::usage(format!("`local.keyring` names no file: `{path}`"))
                .hint("It holds the keys that the mirrors' signatures are checked with.")),
            None => Ok(()),
        }
    }

    /// Refuses a distribution that no image can be made of.
    fn check_distro(&self, distro: &str) -> Result<(), Fault> {
        let images = self.images.as_deref();
        let mut known = BTreeSet::new();
        for folder in [Some(None), images.map(Some)].into_iter().flatten() {
            for name in project::image::names(folder)? {
                let definition = project::image::load(folder, &name)?;
                // One with a distribution of its own does not ask the settings.
                if definition.distro_for(None, distro) == distro {
                    known.extend(definition.distros());
                }
            }
        }
        if known.contains(distro) {
            return Ok(());
        }
        let all: Vec<&str> = known.iter().map(String::as_str).collect();
        let fault = Fault::usage(format!("there is no distribution `{distro}` (there are: {})", all.join(", ")));
        Err(match text::nearest(distro, all) {
            Some(near) => fault.hint(format!("Did you mean `{near}`?")),
            None => fault.hint("One of your own definitions of images counts with `--images DIR`."),
        })
    }

    /// Replaces the text of the file by what `change` makes of it, where that is right and something else; whether it was replaced. Where
    /// somebody else changes the file meanwhile, theirs is changed, until [`CHANGE_LIMIT`] is over.
    pub fn change(&self, change: impl Fn(Option<&str>) -> Result<Option<String>, Fault>) -> Result<bool, Fault> {
        let deadline = Deadline::after(CHANGE_LIMIT, "a moment in which nobody else changes the settings");
        loop {
            let before = self.file.read()?;
            let Some(text) = change(before.as_deref())?.filter(|text| before.as_ref() != Some(text)) else {
                return Ok(false);
            };
            match self.try_replace(before.as_deref(), &text)? {
                true => return Ok(true),
                false if deadline.remaining().is_zero() => {
                    return Err(self.changed_meanwhile().because(deadline.expired()));
                }
                false => {}
            }
        }
    }

    /// Replaces the text of the file, which was `before`, by `text`, where that is right. The state directory is made where it is
    /// missing.
    pub fn replace(&self, before: Option<&str>, text: &str) -> Result<(), Fault> {
        match self.try_replace(before, text)? {
            true => Ok(()),
            false => Err(self.changed_meanwhile()),
        }
    }

    /// The same; gives false, and writes nothing, where the file is not what it was before.
    fn try_replace(&self, before: Option<&str>, text: &str) -> Result<bool, Fault> {
        // What is refused is refused before anything is made.
        let settings = self.check(text)?;
        self.check_use(&settings, before)?;
        let _lock = StateDir::open_for_cleanup(&self.root)?.lock_settings()?;
        if self.file.read()?.as_deref() != before {
            return Ok(false);
        }
        self.file.write(text).map(|()| true)
    }

    fn changed_meanwhile(&self) -> Fault {
        let path = self.file.path().display();
        Fault::outside(format!("`{path}` was changed meanwhile by somebody else"))
            .hint("Nothing was written. Look at it, and try again.")
    }
}
