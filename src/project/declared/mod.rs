//! Test runners that a TOML file declares: how a machine is made ready, how tests are listed and run, how their report is read.

mod config;
mod document;
mod presets;
mod runner;

pub use config::{Declaration, Surroundings, load, load_suite};
pub use document::NetworkWord;
pub use presets::{PresetWords, presets};
pub use runner::{DeclaredTests, NAME};
