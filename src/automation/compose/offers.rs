//! What may stand for a value, for a shell that completes what somebody types: found at once, without making, waiting for or asking
//! anything, and without a word where it is not found.

use std::path::PathBuf;

use jiff::Timestamp;
use model::base::text;
use model::image::ImageRecord;
use model::machine::Machine;
use model::run::{RunRecord, RunState};
use project::file::ProjectFile;
use project::image::Definition;
use project::mercurial;
use state::journal::glance;
use state::settings::known_keys;

use crate::compose::{current_folder, home, providers, sections, state_path};
use crate::globals::Globals;

/// How many runs and machines are offered: more than anybody reads.
const MOST: u32 = 100;

/// The longest that is said of a value, characters.
const WORDS: usize = 80;

/// A value, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The value.
    pub value: String,
    /// A few words for people.
    pub words: Option<String>,
}

impl Offer {
    fn new(value: impl Into<String>, words: impl Into<String>) -> Self {
        let words = words.into();
        let mut shown: String = words.chars().take(WORDS).collect();
        if shown.len() < words.len() {
            shown.push('…');
        }
        Self { value: value.into(), words: Some(shown) }
    }

    fn bare(value: impl Into<String>) -> Self {
        Self { value: value.into(), words: None }
    }
}

/// Where values are looked for.
#[derive(Debug, Clone, Default)]
pub struct Offers {
    /// The state directory, where there is one.
    state: Option<PathBuf>,
    /// The folder of image definitions in place of the built-in ones.
    images: Option<PathBuf>,
}

impl Offers {
    /// Those for a line that was typed so far with these options.
    pub fn of(globals: &Globals) -> Self {
        let state = state_path(globals).ok().filter(|path| path.is_dir());
        Self { state, images: globals.images.clone() }
    }

    /// The runs, newest first.
    pub fn runs(&self) -> Vec<Offer> {
        let now = Timestamp::now();
        let runs = self.state.as_deref().map(|root| glance::runs(root, MOST)).unwrap_or_default();
        let latest = runs.first().map(|run| Offer::new("latest", words_of_run(run, now)));
        let all = runs.iter().map(|run| Offer::new(run.id.as_str(), words_of_run(run, now)));
        latest.into_iter().chain(all).collect()
    }

    /// The machines, those that were made last first.
    pub fn machines(&self) -> Vec<Offer> {
        let machines =
            self.state.as_deref().map(|root| glance::machines(root, MOST)).map(Machine::each_once).unwrap_or_default();
        let words = |machine: &Machine| format!("{}, {}", machine.image, machine.provider.name());
        let latest = machines.iter().max_by_key(|machine| machine.created_at);
        let latest = latest.map(|machine| Offer::new("latest", words(machine)));
        let all = machines.iter().flat_map(|machine| {
            let name = machine.name.as_ref().map(|name| Offer::new(name.as_str(), words(machine)));
            name.into_iter().chain([Offer::new(machine.id.as_str(), words(machine))])
        });
        latest.into_iter().chain(all).collect()
    }

    /// The definitions of images.
    pub fn definitions(&self) -> Vec<Offer> {
        self.all_definitions().into_iter().map(|(name, _)| Offer::bare(name)).collect()
    }

    /// The images of this computer that are the state of a machine.
    pub fn snapshots(&self) -> Vec<Offer> {
        let records = self.state.as_deref().map(local::images::glance).unwrap_or_default();
        let offer = |record: ImageRecord| {
            let of = record.snapshot?;
            Some(Offer::new(record.name, format!("the state of {}", of.machine)))
        };
        records.into_iter().filter_map(offer).collect()
    }

    /// What a machine can boot from: definitions, and states of machines.
    pub fn boot_images(&self) -> Vec<Offer> {
        self.definitions().into_iter().chain(self.snapshots()).collect()
    }

    /// The names of the images that the definitions give, and of those that are the state of a machine.
    pub fn images(&self) -> Vec<Offer> {
        let all = self.all_definitions().into_iter();
        let names = all.flat_map(|(name, of)| of.distros().into_iter().map(move |distro| format!("{name}-{distro}")));
        names.map(Offer::bare).chain(self.snapshots()).collect()
    }

    /// The distributions of all definitions.
    pub fn distros(&self) -> Vec<Offer> {
        let all = self.all_definitions().into_iter().flat_map(|(_, definition)| definition.distros());
        text::distinct(all).into_iter().map(Offer::bare).collect()
    }

    fn all_definitions(&self) -> Vec<(String, Definition)> {
        let folder = self.images.as_deref();
        let names = project::image::names(folder).unwrap_or_default();
        names.into_iter().filter_map(|name| Some((name.clone(), project::image::load(folder, &name).ok()?))).collect()
    }

    /// The commands of the project's own file.
    pub fn project_commands(&self) -> Vec<Offer> {
        let file = current_folder().ok().and_then(|folder| ProjectFile::find(&folder, home().ok().as_deref()).ok()?);
        let offer = |(name, words): (&str, Option<&str>)| match words {
            Some(words) => Offer::new(name, words),
            None => Offer::bare(name),
        };
        file.iter().flat_map(ProjectFile::commands).map(offer).collect()
    }

    /// The tests of the checkout around the current folder.
    pub fn tests(&self) -> Vec<Offer> {
        let folder = current_folder().unwrap_or_default();
        mercurial::test_files(&folder).into_iter().map(Offer::bare).collect()
    }

    /// The providers.
    pub fn providers(&self) -> Vec<Offer> {
        providers().map(|kind| Offer::bare(kind.name())).collect()
    }

    /// The keys of the settings.
    pub fn settings(&self) -> Vec<Offer> {
        let known = known_keys(&sections().unwrap_or_default());
        known.into_iter().map(|known| Offer::new(known.name, known.key.meaning)).collect()
    }

    /// The words that a setting takes, where it takes words.
    pub fn setting_values(&self, key: &str) -> Vec<Offer> {
        let known = known_keys(&sections().unwrap_or_default()).into_iter().find(|known| known.name == key);
        known.iter().flat_map(|known| known.key.kind.words()).map(Offer::bare).collect()
    }
}

/// What a run is, and how it stands.
fn words_of_run(run: &RunRecord, now: Timestamp) -> String {
    let state = match (run.state, &run.summary) {
        (RunState::Running, _) => "at work or cut off",
        (RunState::Detached, _) => "detached",
        (RunState::Releasing | RunState::Ended, Some(summary)) => summary,
        (RunState::Releasing | RunState::Ended, None) => "ended",
    };
    format!("{}, {}: {state}", run.command, text::ago(run.started_at, now))
}
