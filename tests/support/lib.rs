//! What tests and benchmarks share: servers and relays, images, the tool itself as they start it, what it leaves behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are tests too"
)]

pub mod bits;
pub mod child;
pub mod commands;
pub mod contract;
pub mod door;
pub mod events;
pub mod files;
pub mod images;
pub mod index;
pub mod keep;
pub mod leftovers;
pub mod machine;
pub mod memory;
pub mod mercurial;
pub mod mounts;
pub mod picture;
pub mod processes;
pub mod proxy;
pub mod relay;
pub mod release;
pub mod sshd;
pub mod supervised;
pub mod terminal;
pub mod tool;
pub mod wine;

use std::path::{Path, PathBuf};

/// The folder of the whole project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// A program of the workspace, one folder above the test or benchmark that asks. One that is older than its source is refused: Cargo
/// builds it with the tests of its own package only.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let built = own.ancestors().nth(2).unwrap().join(name);
    let written = |path: &Path| path.metadata().and_then(|found| found.modified());
    let remedy = format!("`cargo test --workspace` and `cargo build -p {name}` build it");
    let made = written(&built).unwrap_or_else(|error| panic!("`{}`: {error}; {remedy}", built.display()));
    let sources = std::fs::read_to_string(built.with_extension("d")).unwrap_or_default();
    let sources = sources.split_once(':').map_or("", |(_, sources)| sources).split_whitespace().map(Path::new);
    for source in sources {
        let newer = written(source).is_ok_and(|time| time > made);
        assert!(!newer, "`{}` is older than `{}`; {remedy}", built.display(), source.display());
    }
    built
}

/// Copies a folder without what runs have left in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        match entry.path() {
            path if path.ends_with("__pycache__") => {}
            path if path.is_dir() => copy_folder(&path, &target),
            path => drop(std::fs::copy(path, target).unwrap()),
        }
    }
}
