//! Checkouts of Mercurial to test with: the real one, and one with its runner and a few tests of our own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::images;
use crate::tool::{Place, clear};

/// Flags for the runner that spare the build of Mercurial, where the tree under test has nothing to build.
pub const READY_HG: [&str; 2] = ["--", "--with-hg=/hgdev/venv-bootstrap/bin/hg"];

/// Runs `hg` in a folder; it must succeed. Gives what it printed.
pub fn hg(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("hg");
    clear(&mut command, folder);
    command.env("HGRCPATH", "").env("HGPLAIN", "1").env("HGUSER", "tests").env("HGENCODING", "utf-8");
    let output = command.args(arguments).current_dir(folder).output().expect("mercurial must be installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "hg {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The repository that the image carries as `/hgdev/src`, on this computer. Never to be changed: [`related`] clones it.
fn baked() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let place = Place::whole();
        let shown = place.json(&["image", "show", "linux-dev-debian12", "--json"]);
        let folder = images::cache().join(format!("src-{}", &shown["id"].as_str().unwrap()[..12]));
        if !folder.join("done").exists() {
            drop(std::fs::remove_dir_all(&folder));
            std::fs::create_dir_all(&folder).unwrap();
            let id = place.up(&[]);
            let bundle = ["/hgdev/venv-bootstrap/bin/hg", "--cwd", "/hgdev/src", "bundle", "--all", "/tmp/all.hg"];
            place.exec(&id, &bundle).expect(0);
            let local = folder.join("all.hg");
            place.run(&["machine", "cp", &format!("{id}:/tmp/all.hg"), local.to_str().unwrap()]).expect(0);
            place.run(&["machine", "down", &id]).expect(0);
            place.assert_clean();
            hg(&folder, &["init", "src"]);
            hg(&folder.join("src"), &["unbundle", "--quiet", "--update", local.to_str().unwrap()]);
            std::fs::write(folder.join("done"), "").unwrap();
        }
        folder.join("src")
    })
}

/// A clone of the image's own source.
pub fn related(folder: &Path) -> PathBuf {
    let target = folder.join("related");
    hg(folder, &["clone", "--quiet", baked().to_str().unwrap(), target.to_str().unwrap()]);
    target
}

/// A checkout of the model of a source that packages itself; its release 7.2.4 is checked out.
pub fn packaged(folder: &Path) -> PathBuf {
    let target = folder.join("source");
    crate::copy_folder(&crate::root().join("tests/fixtures/packaged"), &target);
    std::fs::create_dir_all(target.join("tests")).unwrap();
    std::fs::write(target.join("tests/run-tests.py"), "").unwrap();
    hg(&target, &["init"]);
    hg(&target, &["commit", "--quiet", "--addremove", "--message", "source"]);
    hg(&target, &["tag", "7.2.4"]);
    hg(&target, &["update", "--quiet", "7.2.4"]);
    target
}

/// A repository of unrelated history with Mercurial's runner and `tests`: names and texts.
pub fn small(folder: &Path, tests: &[(&str, &str)]) -> PathBuf {
    small_of(baked(), folder, tests)
}

/// The same with the runner of an unpacked `source`.
pub fn small_of(source: &Path, folder: &Path, tests: &[(&str, &str)]) -> PathBuf {
    let target = folder.join("checkout");
    std::fs::create_dir_all(target.join("tests")).unwrap();
    hg(&target, &["init"]);
    for entry in std::fs::read_dir(source.join("tests")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if (name.ends_with(".py") && !name.starts_with("test-")) || name == "hghave" {
            std::fs::copy(entry.path(), target.join("tests").join(name)).unwrap();
        }
    }
    for (name, text) in tests {
        std::fs::write(target.join("tests").join(name), text).unwrap();
    }
    hg(&target, &["commit", "--quiet", "--addremove", "--message", "a few tests"]);
    target
}

/// The release's source, fetched by `tests/newest-mercurial`.
pub fn release() -> PathBuf {
    if let Some(file) = std::env::var_os("AUTOMATION_NEWEST_MERCURIAL") {
        return file.into();
    }
    let folder = crate::root().join("target/newest-mercurial");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = files.into_iter().find(|file| file.to_string_lossy().ends_with(".tar.gz"));
    found.expect("run `tests/newest-mercurial`, which fetches the release, or name it with AUTOMATION_NEWEST_MERCURIAL")
}

/// The release without a repository.
pub fn unpacked(folder: &Path) -> PathBuf {
    let target = folder.join("newest");
    std::fs::create_dir(&target).unwrap();
    let done =
        Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(release()).arg("-C").arg(&target).status();
    assert!(done.unwrap().success());
    target
}
