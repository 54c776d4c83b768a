//! The steps of `images/windows-dev`, run by this computer's Python over programs that stand for what they install: what a step does
//! when it is cut off and begins again, and when what comes is not what is pinned.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The definition's folder with pins of its own, and a drive.
struct Bake {
    folder: tempfile::TempDir,
}

fn definition() -> PathBuf {
    support::root().join("images/windows-dev")
}

fn pins() -> BTreeMap<String, BTreeMap<String, String>> {
    serde_json::from_str(&std::fs::read_to_string(definition().join("pins.json")).unwrap()).unwrap()
}

/// The steps in their order.
fn steps() -> Vec<String> {
    let toml: toml::Table = std::fs::read_to_string(definition().join("image.toml")).unwrap().parse().unwrap();
    let script = |step: &toml::Value| step["script"].as_str().unwrap().to_owned();
    toml["steps"].as_array().unwrap().iter().map(script).collect()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

impl Bake {
    fn new() -> Self {
        let bake = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["image", "drive/ProgramData/ssh", "downloads", "path"] {
            std::fs::create_dir_all(bake.at(folder)).unwrap();
        }
        for entry in std::fs::read_dir(definition()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, bake.at("image").join(path.file_name().unwrap())).unwrap();
        }
        bake.pin();
        for name in ["path/cmd.exe", "path/msiexec.exe", "path/powershell", "drive/Windows/System32/sc.exe"] {
            bake.fake(name);
        }
        bake.fake("drive/Program Files/Amazon/EC2Launch/EC2Launch.exe");
        // The Python that runs the steps is on the machine before them.
        let version = bake.python(&["-c", "import sys; print('%d%d' % sys.version_info[:2], sys.version.split()[0])"]);
        let (short, whole) = version.trim().split_once(' ').unwrap();
        bake.fake(&format!("drive/hgdev/python{short}-x64/python.exe"));
        std::fs::write(bake.at(&format!("drive/hgdev/python{short}-x64/version")), format!("{whole} 64\n")).unwrap();
        bake
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fake(&self, name: &str) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::copy(support::root().join("tests/windows_image/installer.sh"), self.at(name)).unwrap();
    }

    fn python(&self, words: &[&str]) -> String {
        let done = Command::new("python3").args(words).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Puts a program that stands for it in the place of each download.
    fn pin(&self) {
        let mut pins = pins();
        for pin in pins.values_mut() {
            let name = pin["url"].rsplit('/').next().unwrap().to_owned();
            let download = self.at("downloads").join(&name);
            if name.ends_with(".zip") {
                let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w').write(sys.argv[2], 'MinGW/msys/1.0/bin/sh.exe')";
                let fake = support::root().join("tests/windows_image/installer.sh");
                self.python(&["-c", script, download.to_str().unwrap(), fake.to_str().unwrap()]);
            } else {
                self.fake(&format!("downloads/{name}"));
            }
            pin.insert("url".to_owned(), format!("file://{}", download.display()));
            pin.insert("sha256".to_owned(), hex(&std::fs::read(&download).unwrap()));
        }
        std::fs::write(self.at("image/pins.json"), serde_json::to_string(&pins).unwrap()).unwrap();
    }

    fn run(&self, step: &str, more: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.at("path").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("python3");
        command.args(["-I", "-S", "-B"]).arg(self.at("image").join(step)).env("PATH", path);
        command.env("HG_ROOT", self.at("drive")).env("CALLS", self.at("calls"));
        command.env("FAKES", support::root().join("tests/windows_image/installer.sh"));
        command.env("HG_SOURCE_URL", "https://example.org/hg").env("HG_SOURCE_REVISION", "");
        command.envs(more.iter().copied()).output().unwrap()
    }

    fn passes(&self, step: &str) {
        let done = self.run(step, &[]);
        assert!(done.status.success(), "{step}: {done:?}");
    }

    fn baked(&self) -> String {
        std::fs::read_to_string(self.at("drive/hgdev/baked.json")).unwrap()
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.at("calls")).unwrap_or_default()
    }
}

#[test]
fn a_bake_that_is_cut_off_after_any_step_ends_with_the_same_image() {
    let whole = Bake::new();
    steps().iter().for_each(|step| whole.passes(step));
    let baked: Value = serde_json::from_str(&whole.baked()).unwrap();
    let names = baked.as_object().unwrap();
    for name in [
        "build-tools",
        "cibuildwheel",
        "embed/python313-x64",
        "embed/python313-x86",
        "gettext",
        "inno-setup",
        "mercurial",
        "pyoxidizer",
        "python39-x86",
        "sh",
        "source",
    ] {
        assert!(names.contains_key(name), "{name}: {baked}");
    }
    assert_eq!(names.keys().filter(|name| name.starts_with("python")).count(), 12);
    for cut in 1..=steps().len() {
        let bake = Bake::new();
        steps()[..cut].iter().for_each(|step| bake.passes(step));
        steps().iter().for_each(|step| bake.passes(step));
        assert_eq!(bake.baked(), whole.baked(), "cut off after {cut} steps");
    }
}

#[test]
fn a_step_that_is_cut_off_half_way_ends_well_the_next_time() {
    let whole = Bake::new();
    steps().iter().for_each(|step| whole.passes(step));
    for (at, dies) in [
        ("20-build-tools.py", "vs_BuildTools.exe"),
        ("20-build-tools.py", "cmd.exe"),
        ("30-pythons.py", "python-3.12.10-amd64.exe"),
        ("30-pythons.py", "pip"),
        ("35-embed.py", "embed"),
        ("40-tools.py", "gettext"),
        ("40-tools.py", "msiexec"),
        ("50-rust.py", "rustup"),
        ("60-src.py", "clone"),
        ("60-src.py", "update"),
    ] {
        let bake = Bake::new();
        for step in steps() {
            if step == at {
                let died = bake.run(&step, &[("DIES", dies)]);
                assert_eq!(died.status.code(), Some(1), "{dies}: {died:?}");
                assert!(String::from_utf8_lossy(&died.stderr).contains("ended with 137"), "{dies}: {died:?}");
            }
            bake.passes(&step);
        }
        assert_eq!(bake.baked(), whole.baked(), "{dies} died");
    }
}

#[test]
fn what_is_not_what_is_pinned_never_runs() {
    for (step, name) in [
        ("20-build-tools.py", "vs_BuildTools.exe"),
        ("30-pythons.py", "python-3.9.13.exe"),
        ("40-tools.py", "innosetup-5.6.1-unicode.exe"),
        ("50-rust.py", "rustup-init.exe"),
    ] {
        let bake = Bake::new();
        let mut text = std::fs::read(bake.at("downloads").join(name)).unwrap();
        text.extend(b"# one byte more\n");
        std::fs::write(bake.at("downloads").join(name), text).unwrap();
        let done = bake.run(step, &[]);
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("SHA-256") && said.contains("nothing of it was run"), "{said}");
        assert!(!bake.calls().contains(name), "{}", bake.calls());
        assert!(
            std::fs::read_dir(bake.at("drive/hgdev/assets")).unwrap().all(|it| !it.unwrap().path().ends_with(name))
        );
    }
}

#[test]
fn an_image_that_is_not_scanned_again_is_none_and_one_keeps_no_key() {
    let bake = Bake::new();
    for key in [
        "ssh_host_rsa_key",
        "ssh_host_rsa_key.pub",
        "hg_host_ed25519_key",
        "administrators_authorized_keys",
        "sshd_config",
    ] {
        std::fs::write(bake.at("drive/ProgramData/ssh").join(key), "x").unwrap();
    }
    steps().iter().for_each(|step| bake.passes(step));
    let left: Vec<_> =
        std::fs::read_dir(bake.at("drive/ProgramData/ssh")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["sshd_config"]);
    assert!(bake.calls().contains("EC2Launch.exe reset --clean\n"), "{}", bake.calls());
    assert!(!bake.at("drive/hgdev/assets").exists());
    let path = std::fs::read_to_string(bake.at("drive/path")).unwrap();
    assert_eq!(path.split(';').count(), 4, "{path}");
    assert!(path.contains("cibuildwheel/Scripts"), "a build calls it by its name: {path}");
    // Protection against tampering: what was asked for is not what is.
    let refused = bake.run("10-scanning.py", &[("SPARED", "scanned")]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(bake.run("10-scanning.py", &[("SCANS", "on")]).status.success());
    let refused = bake.run("90-clean.py", &[("SPARED", "scanned")]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn pins_are_hashes_and_the_python_of_the_first_boot_is_one_of_them() {
    let pins = pins();
    for (name, pin) in &pins {
        assert!(pin["sha256"].len() == 64 && pin["sha256"].bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        let files =
            pins.values().filter(|other| other["url"].rsplit('/').next() == pin["url"].rsplit('/').next()).count();
        assert_eq!(files, 1, "{name}: two downloads have one name");
    }
    // Windows does not install one Python at two places, so both must be the same one.
    let boot = std::fs::read_to_string(support::root().join("remote/windows/first-boot.ps1")).unwrap();
    let python = &pins["python-3.13-x64"];
    assert!(boot.contains(&python["url"]) && boot.contains(&python["sha256"]), "{python:?}");
    for file in ["requirements-build.txt", "requirements-cibuildwheel.txt", "requirements-packaging.txt"] {
        let text = std::fs::read_to_string(definition().join(file)).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(
            lines.len() > 2 && lines.iter().all(|line| line.contains("==") && line.contains(" --hash=sha256:")),
            "{file}"
        );
    }
    // Packaging on Windows has what packaging on the stand-in has.
    let text = std::fs::read_to_string(definition().join("requirements-packaging.txt")).unwrap();
    let there = std::fs::read_to_string(support::root().join("images/windows-standin/60-mercurial.sh")).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let hash = line.rsplit("sha256:").next().unwrap();
        assert!(there.contains(hash), "{line}");
    }
}

/// The newest release says itself what it is built with on Windows.
#[test]
fn pins_are_those_of_the_newest_mercurial() {
    let folder = support::root().join("target/newest-mercurial");
    let archive = std::fs::read_dir(&folder).ok().into_iter().flatten().map(|entry| entry.unwrap().path());
    let Some(archive) = archive.filter(|path| path.to_string_lossy().ends_with(".tar.gz")).max() else {
        return support::tool::skip("`tests/newest-mercurial` was not run");
    };
    let words = ["--wildcards", "--to-stdout", "*/contrib/install-windows-dependencies.ps1"];
    let told = Command::new("tar").arg("xzf").arg(&archive).args(words).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap().to_lowercase();
    assert!(told.contains("sha256"), "{}", archive.display());
    let old: Vec<_> = pins().into_iter().filter(|(_, pin)| !told.contains(&pin["sha256"])).collect();
    assert!(old.is_empty(), "{}: other hashes: {old:?}", archive.display());
}

#[test]
fn every_file_of_a_step_is_there_and_every_file_is_of_a_step() {
    let toml: toml::Table = std::fs::read_to_string(definition().join("image.toml")).unwrap().parse().unwrap();
    let of = |step: &toml::Value| {
        let files = step.get("files").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        files.iter().chain([&step["script"]]).map(|file| file.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let named: std::collections::BTreeSet<String> = toml["steps"].as_array().unwrap().iter().flat_map(of).collect();
    let there = std::fs::read_dir(definition()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: std::collections::BTreeSet<String> = there.filter(|name| name != "image.toml").collect();
    assert_eq!(named, there);
    // What a step imports lies beside it.
    for step in toml["steps"].as_array().unwrap() {
        let text = std::fs::read_to_string(definition().join(step["script"].as_str().unwrap())).unwrap();
        for (name, sign) in [
            ("hgdev.py", "import hgdev"),
            ("scanning.py", "from scanning"),
            ("pins.json", "hgdev.fetch("),
            ("embed.py", "\"embed.py\""),
        ] {
            assert!(!text.contains(sign) || of(step).contains(&name.to_owned()), "{}: {name}", step["script"]);
        }
    }
}

#[test]
fn the_runner_looks_for_a_shell_where_the_image_puts_it() {
    let line = |file: &str| {
        let text = std::fs::read_to_string(support::root().join(file)).unwrap();
        let line = text.lines().find(|line| line.starts_with("SHELL = ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{file} names none")).replace("hgdev.HGDEV", "places.HGDEV")
    };
    assert_eq!(line("remote/mercurial/windows/run_tests.py"), line("images/windows-dev/40-tools.py"));
}
