//! Images that tests share: baked once by the tool itself, kept for later runs of the tests.
//!
//! The small image is the real definition with the packages of every base alone, and with its first step alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use crate::bits;
use crate::tool::{Running, binary, clear, private, skip};

/// How long one bake may take.
const BAKE_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The folder for everything that tests keep: images, and the places of tests that run now.
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("AUTOMATION_TEST_CACHE")
        .map_or_else(|| crate::root().join("target/test-cache"), PathBuf::from);
    cache.join(format!("cli-{}", rustix::process::geteuid().as_raw()))
}

/// Writes a definition of `linux-dev` with the real base, the step that makes the user, and `steps`: names and scripts.
pub fn define(folder: &Path, steps: &[(&str, &str)]) {
    let real = crate::root().join("images/linux-dev");
    let text = std::fs::read_to_string(real.join("image.toml")).unwrap();
    let mut document: toml::Table = text.parse().unwrap();
    document.insert("packages".into(), toml::Value::Array(Vec::new()));
    let distros = document["distros"].as_table_mut().unwrap();
    distros.retain(|name, _| name == "debian12");
    let target = folder.join("linux-dev");
    drop(std::fs::remove_dir_all(&target));
    std::fs::create_dir_all(&target).unwrap();
    let mut all = document["steps"].as_array().unwrap().clone();
    // The one that makes the user, and the one before it that a distribution's own image needs.
    all.retain(|step| ["cloud-base", "user"].contains(&step["name"].as_str().unwrap()));
    for step in &all {
        let script = step["script"].as_str().unwrap();
        std::fs::copy(real.join(script), target.join(script)).unwrap();
    }
    append(&target, &mut all, steps);
    document.insert("steps".into(), toml::Value::Array(all));
    std::fs::write(target.join("image.toml"), toml::to_string(&document).unwrap()).unwrap();
}

/// Writes `steps`, names and scripts, beside those that are there.
fn append(target: &Path, all: &mut Vec<toml::Value>, steps: &[(&str, &str)]) {
    for (name, script) in steps {
        let file = format!("{name}.sh");
        std::fs::write(target.join(&file), script).unwrap();
        let step = format!("name = '{name}'\ndescription = 'Trying {name}'\nscript = '{file}'\ntimeout = '10m'\n");
        all.push(toml::Value::Table(step.parse().unwrap()));
    }
}

/// Writes the real definition of `linux-dev` with further `steps`.
pub fn define_whole(folder: &Path, steps: &[(&str, &str)]) {
    let real = crate::root().join("images/linux-dev");
    let target = folder.join("linux-dev");
    std::fs::create_dir_all(folder).unwrap();
    assert!(Command::new("cp").arg("-r").args([&real, &target]).status().unwrap().success());
    // Tells whoever copies its layers.
    std::fs::write(target.join("whole"), "").unwrap();
    let text = std::fs::read_to_string(real.join("image.toml")).unwrap();
    let mut document: toml::Table = text.parse().unwrap();
    let mut all = document["steps"].as_array().unwrap().clone();
    append(&target, &mut all, steps);
    document.insert("steps".into(), toml::Value::Array(all));
    std::fs::write(target.join("image.toml"), toml::to_string(&document).unwrap()).unwrap();
}

/// Bakes the small image where it is missing; gives the folder of its definition.
pub fn small() -> PathBuf {
    static BAKED: Once = Once::new();
    let definitions = cache().join("small");
    BAKED.call_once(|| {
        // Written anew by every run of the tests; whoever reads it at this moment must not see half of it.
        let fresh = tempfile::tempdir_in(folder()).unwrap();
        define(fresh.path(), &[]);
        if std::fs::read_dir(&definitions).is_err() || differs(fresh.path(), &definitions) {
            drop(std::fs::remove_dir_all(&definitions));
            std::fs::rename(fresh.keep(), &definitions).unwrap();
        }
        bake(&["--images", definitions.to_str().unwrap()]);
    });
    definitions
}

fn differs(one: &Path, other: &Path) -> bool {
    !Command::new("diff").args(["-r", "-q"]).args([one, other]).stdout(Stdio::null()).status().unwrap().success()
}

/// Bakes the real image where it is missing.
pub fn whole() {
    static BAKED: Once = Once::new();
    BAKED.call_once(|| bake(&[]));
}

/// Bakes the real image of another distribution where it is missing.
pub fn of(distro: &str) {
    bake(&["--distro", distro]);
}

/// Bakes the stand-in for Windows machines where it is missing; false, said as a skipped test, where there can be none.
pub fn standin() -> bool {
    static BAKED: Once = Once::new();
    if let Some(reason) = bits::missing_for_standins() {
        skip(&reason);
        return false;
    }
    BAKED.call_once(|| bake(&["windows-standin"]));
    true
}

/// The cache's folder, made where it is missing.
fn folder() -> PathBuf {
    let cache = cache();
    private(&cache);
    cache
}

fn bake(further: &[&str]) {
    let cache = folder();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    clear(&mut command, home.path());
    command.arg("--state-path").arg(&cache).args(["image", "build"]).args(further);
    Running::start(command).end_within(BAKE_LIMIT).expect(0);
}
