//! Mercurial: its source, its test runner.

mod build_files;
mod checkout;
mod contract;
mod flags;
mod listing;
mod names;
mod needs;
mod new_files;
mod push;
pub mod release;
mod report;
mod runner;
mod test_files;
mod try_push;
mod windows_packages;
mod windows_python;
mod windows_tests;
mod windows_work;

pub use checkout::{Checkout, SourceChoice, find, resolve_tests};
pub use contract::{CLAUSES, clauses_on};
pub use flags::{asking, builds};
pub use needs::BuildNeeds;
pub use new_files::NewFiles;
pub use runner::{LinuxTests, NAME};
pub use test_files::test_files;
pub use try_push::{Payload, SentChangeset, TRY_FUNCTION, TryPush};
pub use windows_packages::{InstallerType, PackageWish, Stage, WheelWish, WindowsPackages};
pub use windows_python::{WindowsArch, WindowsPython};
pub use windows_tests::{WINDOWS_NAME, WindowsTests};
pub use windows_work::WindowsWork;

use std::collections::BTreeMap;

/// What is tested, as results name it.
pub const PROGRAM: &str = "hg";

/// The Python to test with, by the values of an image's parameters.
pub fn python(values: &BTreeMap<String, String>) -> String {
    values.get("python-version").cloned().unwrap_or_else(|| SYSTEM_PYTHON.to_owned())
}

/// The Python of a machine's own system.
const SYSTEM_PYTHON: &str = "system3";
