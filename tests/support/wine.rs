//! A machine that is wine behind a real OpenSSH server: `cmd.exe`, job objects and Python for Windows as they are there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use model::machine::{Machine, Platform};

use crate::root;
use crate::sshd::Sshd;
use crate::tool::{is_root, skip};

/// The Pythons that `tests/windows-python` fetches.
pub const PYTHONS: [&str; 3] = ["3.9", "3.11", "3.13"];

/// The Python of most tests.
pub const PYTHON: &str = "3.11";

/// How wine's server goes on after its last program, in seconds: the next test finds it running.
const LINGER: &str = "-p60";

/// wine's folder, once it is there; or what is missing.
fn prefix() -> Result<&'static Path, &'static str> {
    static PREFIX: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PREFIX.get_or_init(make_prefix).as_ref().map(PathBuf::as_path).map_err(String::as_str)
}

fn make_prefix() -> Result<PathBuf, String> {
    if !is_root() {
        return Err("only root gives the file server a root of its own".to_owned());
    }
    for program in ["wine", "wineboot", "wineserver", "x86_64-w64-mingw32-gcc", "unshare"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|at| at.join(program).exists()));
        if !found {
            return Err(format!("there is no `{program}`"));
        }
    }
    let pythons = root().join("target/windows-python");
    if let Some(version) = PYTHONS.iter().find(|version| !pythons.join(version).join("python.exe").exists()) {
        return Err(format!("there is no Python {version} for Windows, which `tests/windows-python` fetches"));
    }
    let prefix = root().join("target/wine");
    std::fs::create_dir_all(&prefix).unwrap();
    let lock = std::fs::File::create(prefix.join("lock")).unwrap();
    lock.lock().unwrap();
    let drive = prefix.join("drive_c");
    if !prefix.join("made").exists() {
        assert!(quietly(Command::new("wineboot").arg("-i"), &prefix), "wineboot -i");
        std::fs::create_dir_all(drive.join("home")).unwrap();
        for version in PYTHONS {
            let copied =
                Command::new("cp").arg("-r").arg(pythons.join(version)).arg(drive.join(folder(version))).status();
            assert!(copied.unwrap().success());
        }
        std::fs::write(prefix.join("made"), "").unwrap();
    }
    let source = root().join("tests/windows/session.c");
    let built = Command::new("x86_64-w64-mingw32-gcc")
        .arg("-Wall")
        .arg("-o")
        .arg(drive.join("session.exe"))
        .arg(source)
        .status();
    assert!(built.unwrap().success());
    // One that runs already lingers as well.
    let _ = quietly(Command::new("wineserver").arg(LINGER), &prefix);
    // What wine starts beside its first program holds that one's streams.
    assert!(quietly(Command::new("wine").args(["cmd", "/c", "exit"]), &prefix), "wine cmd /c exit");
    Ok(prefix)
}

/// Runs a program of wine's with nothing for its streams; whether it succeeds.
fn quietly(command: &mut Command, prefix: &Path) -> bool {
    let command =
        command.env("WINEPREFIX", prefix).env("WINEDLLOVERRIDES", "mscoree=;mshtml=").env("WINEDEBUG", "-all");
    let command = command.env("XDG_RUNTIME_DIR", prefix).env("LC_ALL", "C.UTF-8").env_remove("DISPLAY");
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    done.success()
}

/// The folder on drive C that has a Python.
pub fn folder(version: &str) -> String {
    format!("Python{}", version.replace('.', ""))
}

/// A machine with Windows.
pub struct Wine {
    /// Its server.
    pub sshd: Sshd,
    prefix: &'static Path,
}

impl Wine {
    /// One whose login has this Python; `None`, said as a skipped test, where something for it is missing.
    pub fn start(python: &str, breakaway: bool) -> Option<Self> {
        let prefix = match prefix() {
            Ok(prefix) => prefix,
            Err(missing) => {
                skip(missing);
                return None;
            }
        };
        let login = root().join("tests/windows/login.sh");
        let breakaway = if breakaway { "yes" } else { "no" };
        let words = format!("{} {} {} {breakaway}", login.display(), prefix.display(), folder(python));
        Some(Self { sshd: Sshd::with(&format!("ForceCommand {words}")), prefix })
    }

    /// The machine that it plays.
    pub fn machine(&self) -> Machine {
        Machine { platform: Platform::Windows, ..self.sshd.machine() }
    }

    /// The place on this computer of `C:/PATH`.
    pub fn place(&self, path: &str) -> PathBuf {
        self.prefix.join("drive_c").join(path)
    }

    /// A fresh folder of the machine, by its path there; it goes with this value.
    pub fn folder(&self) -> (tempfile::TempDir, String) {
        let folder = tempfile::Builder::new().prefix("t").tempdir_in(self.place("home")).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        (folder, format!("C:/home/{name}"))
    }
}
