//! The files of a release, and the script that installs them: packed by `tests/release` around a program of the tests' own.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::files::FileServer;
use support::index::names;
use support::tool::{Place, skip};

/// What plays the program: it says a version and has completions, which is all that packing and installing ask of it.
const PROGRAM: &str = "#!/bin/sh\ncase $1 in\n--version) echo 'automation VERSION' ;;\ncompletions) echo \"# $2\" ;;\n*) exit 2 ;;\nesac\n";

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn archive() -> String {
    format!("automation-{VERSION}-x86_64-unknown-linux-musl.tar.gz")
}

/// Both streams as text.
fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

fn sum(path: &Path) -> String {
    let out = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(out.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// A release, the key that signed it, and a home to install it in.
struct Release {
    place: Place,
    files: PathBuf,
    key: PathBuf,
}

impl Release {
    /// None, said as a skipped test, where there can be none.
    fn make() -> Option<Self> {
        if std::env::consts::ARCH != "x86_64" {
            skip("releases are for x86-64");
            return None;
        }
        let place = Place::new();
        let key = place.path().join("key");
        make_key(&key);
        let files = pack(&place, "files", &["--key", key.to_str().unwrap()]);
        Some(Self { files, key, place })
    }

    fn installs(&self, from: &str, further: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command.arg(support::root().join("install.sh")).args(["--from", from]).args(further);
        support::tool::clear(&mut command, &self.place.home);
        command.current_dir(&self.place.home).output().unwrap()
    }

    #[track_caller]
    fn refused(&self, further: &[&str], code: i32, told: &str) {
        let before = names(&self.place.home);
        let done = self.installs(self.files.to_str().unwrap(), further);
        assert_eq!(done.status.code(), Some(code), "{}", said(&done));
        assert!(said(&done).contains(told) && said(&done).contains("nothing was installed"), "{told}: {}", said(&done));
        assert_eq!(names(&self.place.home), before);
    }

    /// The key in one line, as it is published.
    fn line(&self) -> String {
        std::fs::read_to_string(self.key.with_extension("pub")).unwrap().trim().to_owned()
    }

    /// Runs `change` over the text of a file, and puts the file back after `check`.
    fn with(&self, name: &str, change: impl Fn(&str) -> String, check: impl Fn()) {
        let path = self.files.join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, change(&String::from_utf8_lossy(&before))).unwrap();
        check();
        std::fs::write(&path, before).unwrap();
    }
}

fn make_key(path: &Path) {
    let done = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
}

/// Packs the program into the folder `name` of the place.
fn pack<S: AsRef<OsStr>>(place: &Place, name: &str, further: &[S]) -> PathBuf {
    let (program, files) = (place.path().join(format!("{name}-program")), place.path().join(name));
    executable(&program, &PROGRAM.replace("VERSION", VERSION));
    let mut command = Command::new(support::root().join("tests/release"));
    command.arg("--binary").arg(&program).arg("--output").arg(&files).args(["--maintainer", "Somebody <a@b.example>"]);
    let done = command.args(further).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    files
}

#[test]
fn the_same_program_gives_the_same_files_and_without_a_key_there_is_no_signature() {
    let Some(release) = Release::make() else { return };
    // Neither the folder nor the time of day, the mask or the language of who packs it are in them.
    let other = pack(&release.place, "a-longer-name", &[""; 0]);
    let mut unsigned = names(&release.files);
    unsigned.retain(|name| !name.ends_with(".sig"));
    assert_eq!((names(&other), unsigned.len(), names(&release.files).len()), (unsigned.clone(), 5, 7));
    for name in unsigned {
        assert_eq!(sum(&release.files.join(&name)), sum(&other.join(&name)), "{name}");
    }
    let package = other.join(format!("automation_{VERSION}_amd64.deb"));
    let listed = said(&Command::new("dpkg-deb").arg("--contents").arg(&package).output().unwrap());
    for path in ["./usr/bin/automation\n", "./usr/share/doc/automation/copyright\n", "/completions/automation\n"] {
        assert!(listed.contains(path), "{listed}");
    }
    let field = |name: &str| said(&Command::new("dpkg-deb").arg("--field").arg(&package).arg(name).output().unwrap());
    assert_eq!((field("Version").trim(), field("Depends").trim()), (VERSION, ""));
    assert!(field("Recommends").contains("uidmap"));
    // What the tool is told of the release is what was packed.
    let check = |from: &Path| release.place.run(&["upgrade", "--check", "--json", "--from", from.to_str().unwrap()]);
    assert_eq!(check(&other).expect(0).json()["newest"], VERSION);
}

#[test]
fn a_release_is_installed_from_a_folder_and_from_a_server_with_any_form_of_the_key() {
    let Some(release) = Release::make() else { return };
    let server = FileServer::start(&release.files);
    let (line, signers) = (release.line(), release.place.path().join("signers"));
    std::fs::write(
        &signers,
        format!("# of this year\nsomebody@example.org namespaces=\"automation-release\" {line}\n"),
    )
    .unwrap();
    let public = release.key.with_extension("pub");
    let folder = release.files.to_str().unwrap().to_owned();
    let forms = [None, Some(line.as_str()), public.to_str(), signers.to_str()];
    for (at, from) in
        [&folder, &format!("file://{folder}"), &server.url, &format!("{}/", server.url)].into_iter().enumerate()
    {
        let further: Vec<&str> = forms[at].map(|key| vec!["--key", key]).unwrap_or_default();
        let done = release.installs(from, &further);
        assert!(done.status.success(), "{from}: {}", said(&done));
        assert!(said(&done).contains("Type next: automation doctor"), "{}", said(&done));
        assert_eq!(said(&done).contains("Who made the files was not checked"), further.is_empty(), "{}", said(&done));
        let bin = release.place.home.join(".local/bin");
        assert_eq!(
            (names(&release.place.home), names(&bin)),
            (vec![".local".to_owned()], vec!["automation".to_owned()])
        );
        let told = said(&Command::new(bin.join("automation")).arg("--version").output().unwrap());
        assert_eq!(told.trim(), format!("automation {VERSION}"));
        std::fs::remove_dir_all(release.place.home.join(".local")).unwrap();
    }
    let prefix = release.place.path().join("an other/prefix");
    let wanted = ["--version", VERSION, "--prefix", prefix.to_str().unwrap()];
    assert!(release.installs(&server.url, &wanted).status.success());
    assert_eq!(names(&prefix.join("bin")), ["automation"]);
    assert_eq!(names(&release.place.home), [""; 0]);
}

#[test]
fn what_is_not_what_was_released_is_refused_and_what_was_there_stays() {
    let Some(release) = Release::make() else { return };
    let (line, other) = (release.line(), release.place.path().join("other"));
    make_key(&other);
    let other = std::fs::read_to_string(other.with_extension("pub")).unwrap();
    let signed = ["--key", line.as_str()];
    let bin = release.place.home.join(".local/bin");
    std::fs::create_dir_all(&bin).unwrap();
    executable(&bin.join("automation"), "#!/bin/sh\necho old\n");
    release.with(
        &archive(),
        |text| format!("{text}x"),
        || {
            release.refused(&[], 3, "has the SHA-256");
            release.refused(&signed, 3, "has the SHA-256");
        },
    );
    release.refused(&["--key", other.trim()], 3, "is not that of your key");
    // Whoever can change the program can change its sum as well, but has not the key.
    let sums = format!("automation-{VERSION}.sha256");
    let wrong = |text: &str| text.replace(&sum(&release.files.join(archive())), &"0".repeat(64));
    release.with(&sums, wrong, || {
        release.refused(&[], 3, "and the release names 0000");
        release.refused(&signed, 3, "is not that of your key, or the file is another than was signed");
    });
    release.with(&sums, |_| String::new(), || release.refused(&[], 3, "has no build for this computer"));
    release.with(
        "latest.json",
        |text| text.replace(VERSION, "0.0.1"),
        || {
            release.refused(&signed, 3, "latest.json is not that of your key");
            release.refused(&[], 3, "there is no ");
        },
    );
    release.with("latest.json", |text| text.replace(VERSION, "$(reboot)"), || release.refused(&[], 3, "is no version"));
    for (further, code, told) in [
        (&["--version", "7.7.7"][..], 3, "there is no "),
        (&["--version", "../1"], 3, "is no version"),
        (&["--key", "/nowhere/key"], 2, "there is no key"),
        (&["--key"], 2, "--key wants a value"),
        (&["--frobnicate"], 2, "what is --frobnicate?"),
        (&["--from", "http://example.org"], 2, "can be read and changed on its way"),
        (&["--from", "http://127.0.0.1:80@example.org"], 2, "can be read and changed on its way"),
        (&["--from", "ftp://example.org"], 2, "none of https://"),
    ] {
        release.refused(further, code, told);
    }
    // A program that does not run here, although it is what was released, takes no other's place.
    let broken = release.place.path().join("broken");
    executable(&broken, "#!/bin/sh\ncase $1 in completions) ;; *) exit 1 ;; esac\n");
    let further = ["--binary", broken.to_str().unwrap()];
    let files = pack(&release.place, "broken-files", &further);
    let done = release.installs(files.to_str().unwrap(), &[]);
    assert!(done.status.code() == Some(3) && said(&done).contains("does not run on this computer"), "{}", said(&done));
    assert_eq!(names(&bin), ["automation"]);
    let told = said(&Command::new(bin.join("automation")).output().unwrap());
    assert_eq!(told, "old\n");
}
