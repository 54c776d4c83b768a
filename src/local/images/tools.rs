//! Provides `mmdebstrap` and keyrings; those that this host lacks are downloaded below the state directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::leash::Leash;
use model::base::removal;
use model::base::text;
use model::event::{Awaited, ImageEvent, Teller};
use model::fault::Fault;
use rustix::process::{Pid, Signal};
use tokio::process::Command;

use crate::folders::{Folders, MachineFolder};
use crate::hints;
use crate::images::{lock, mirrors};
use crate::trouble::{Doing, Trouble};
use crate::{computer, init};

/// Ubuntu's archive key of 2018, fingerprint `F6ECB3762474EDA9D21B7022871920D1991BC93C`, from the package
/// `ubuntu-keyring` 2023.11.28.1: Debian 12 has no package of it, and a key that comes with what it signs proves nothing.
const UBUNTU_KEY: &[u8] = include_bytes!("ubuntu-archive-2018.gpg");

/// The programs and keys to make a base with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// The command that runs `mmdebstrap`.
    pub mmdebstrap: Vec<String>,
    /// The files of archive keys: the distribution's, and the user's own.
    pub keyrings: Vec<PathBuf>,
}

impl Tools {
    /// Replaces the user's own keys by a copy in the machine's folder, because the sandbox may have no access to the
    /// original.
    pub(crate) fn with_keys_copied(mut self, folder: &MachineFolder, keyring: Option<&Path>) -> Result<Self, Trouble> {
        for own in self.keyrings.iter_mut().filter(|path| Some(path.as_path()) == keyring) {
            let mut name = std::ffi::OsString::from("keyring-");
            name.push(own.file_name().unwrap_or_default());
            let copy = folder.path().join(&name);
            std::fs::copy(&*own, &copy).doing(|| format!("copy the keys in `{}`", own.display()))?;
            *own = Path::new(init::MACHINE).join(&name);
        }
        Ok(self)
    }
}

/// Finds the tools for a base of `family`, and downloads those that are missing. Changes nothing outside the state
/// directory.
pub(crate) async fn provide(
    folders: &Folders,
    family: &str,
    keyring: Option<&Path>,
    teller: &Teller,
) -> Result<Tools, Fault> {
    if computer::find_program("apt-get").is_none() || computer::find_program("dpkg-deb").is_none() {
        return Err(Fault::outside("`apt-get` and `dpkg-deb` are not installed")
            .hint("Build images on a Debian or Ubuntu host, or install the packages `apt` and `dpkg`."));
    }
    let mmdebstrap = match computer::find_program("mmdebstrap") {
        Some(program) => vec![program.display().to_string()],
        None => {
            let folder = bring_in(folders, "mmdebstrap", teller).await?;
            let perl = computer::find_program("perl").ok_or_else(|| {
                Fault::outside("`perl` is not installed, which `mmdebstrap` needs")
                    .hint("Install it: `apt install perl`.")
            })?;
            vec![perl.display().to_string(), folder.join("usr/bin/mmdebstrap").display().to_string()]
        }
    };
    let mut keyrings: Vec<PathBuf> =
        keyring.map(Path::to_owned).into_iter().chain(mirrors::host_keyring(family)).collect();
    if keyrings.is_empty() {
        keyrings.push(foreign_keyring(folders, family, teller).await?);
    }
    Ok(Tools { mmdebstrap, keyrings })
}

/// Refuses a file of archive keys that cannot be read, for which `mmdebstrap` would only print its usage.
pub(crate) fn check_keyring(keyring: &Path) -> Result<(), Fault> {
    let fault = |why: String| {
        Fault::outside(format!("the file of archive keys `{}` cannot be used", keyring.display())).because(why).hint(
            "It is named by `keyring` in the section `[local]` of the settings: name another, or take the line out.",
        )
    };
    let file = File::open(keyring).map_err(|error| fault(error.to_string()))?;
    let found = file.metadata().map_err(|error| fault(error.to_string()))?;
    match (found.is_file(), found.len()) {
        (false, _) => Err(fault("it is not a file".to_owned())),
        (true, 0) => Err(fault("it is empty".to_owned())),
        (true, _) => Ok(()),
    }
}

/// The keys of another distribution than the host's.
async fn foreign_keyring(folders: &Folders, family: &str, teller: &Teller) -> Result<PathBuf, Fault> {
    if family == "ubuntu" {
        let path = folders.tools().join("ubuntu-archive-2018.gpg");
        computer::make_private_folder(&folders.tools())?;
        crate::spec::write_atomically(&path, UBUNTU_KEY).doing(|| format!("write `{}`", path.display()))?;
        return Ok(path);
    }
    let package = format!("{family}-archive-keyring");
    let brought = bring_in(folders, &package, teller).await;
    let found = brought.as_ref().ok().and_then(|folder| {
        let keyrings = folder.join("usr/share/keyrings");
        mirrors::KEYRING_NAMES
            .iter()
            .map(|ending| keyrings.join(format!("{package}.{ending}")))
            .find(|path| path.exists())
    });
    found.ok_or_else(|| {
        let fault = Fault::outside(format!("this host has no archive keys of `{family}`"))
            .hint(format!("Install the package `{package}`, or name a file of keys in the setting `local.keyring`."));
        match brought {
            Err(cause) => fault.because(cause),
            Ok(_) => fault,
        }
    })
}

/// Downloads and unpacks a package of the host's distribution below `images/tools`, unless that was done before.
async fn bring_in(folders: &Folders, package: &str, teller: &Teller) -> Result<PathBuf, Fault> {
    let lock = lock::lock(&folders.locks(), "tools", &Awaited::Tool, teller).await?;
    let folder = folders.tools().join(package);
    if folder.exists() {
        return Ok(folder);
    }
    teller.tell(ImageEvent::BringingIn { package: package.to_owned() });
    unpack(&folders.tools(), package, &folder, &lock).await?;
    Ok(folder)
}

/// Downloads a package with `apt-get`, which verifies it, and unpacks it. The next download waits for `lock` and clears
/// the folder in which this happens. The programs hold the lock too, so that none of them works there any more by then.
async fn unpack(tools: &Path, package: &str, target: &Path, lock: &File) -> Result<(), Fault> {
    let fresh = tools.join(format!("{package}.new"));
    removal::remove_tree(&fresh).doing(|| format!("remove `{}`", fresh.display()))?;
    for folder in [&fresh, &tools.join("apt/state/lists/partial"), &tools.join("apt/cache/archives/partial")] {
        computer::make_private_folder(folder)?;
    }
    // The host's lists of packages are used if they exist and are fresh enough; otherwise we fetch our own.
    let download = ["download", package];
    if run(apt(tools, &fresh, Path::new("/var/lib/apt/lists"), &download), APT_LIMIT, lock).await.is_err() {
        let own = tools.join("apt/state/lists");
        run(apt(tools, &fresh, &own, &["update"]), APT_LIMIT, lock).await?;
        run(apt(tools, &fresh, &own, &download), APT_LIMIT, lock).await?;
    }
    let archive = find_archive(&fresh).ok_or_else(|| Fault::outside(format!("`apt-get` brought no `{package}`")))?;
    let content = fresh.join("content");
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").arg(archive).arg(&content);
    run(command, APT_LIMIT, lock).await?;
    std::fs::rename(&content, target).doing(|| format!("make `{}`", target.display()))?;
    drop(removal::remove_tree(&fresh));
    Ok(())
}

fn find_archive(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|name| name == "deb"))
}

/// `apt-get` with everything that it writes below the state directory.
fn apt(tools: &Path, folder: &Path, lists: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    let own = |path: &str| tools.join("apt").join(path).display().to_string();
    let options = [
        format!("Dir::State={}", own("state")),
        format!("Dir::State::lists={}", lists.display()),
        "Dir::State::status=/var/lib/dpkg/status".to_owned(),
        format!("Dir::Cache={}", own("cache")),
        format!("Dir::Log={}", own("log")),
        // The folders are closed to all other users, including the user that `apt` would become.
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Retries=2".to_owned(),
        "Acquire::http::Timeout=20".to_owned(),
        "Acquire::https::Timeout=20".to_owned(),
    ];
    for option in options {
        command.args(["-o", &option]);
    }
    command.arg("-q").args(arguments).current_dir(folder);
    command
}

/// How long `apt-get` may take to download a small package, including its lists.
const APT_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Runs a program, which holds `lock` with us. Ends the program and all processes that it started when `limit` is over
/// or the future is dropped; the program also ends with this process.
async fn run(mut command: Command, limit: Duration, lock: &File) -> Result<(), Fault> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.leash(Signal::KILL).hold_lock(lock).doing(|| format!("hand the lock to `{name}`"))?;
    command.env("PATH", computer::SYSTEM_PATH).env("LC_ALL", "C.UTF-8").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().doing(|| format!("run `{name}`"))?;
    let mut group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let deadline = Deadline::after(limit, format!("`{name}`"));
    let output = deadline
        .bound(child.wait_with_output())
        .await
        .map_err(|expired| Fault::outside(expired.to_string()).hint(hints::APT))?;
    let output = output.doing(|| format!("run `{name}`"))?;
    group.0 = None;
    if output.status.success() {
        return Ok(());
    }
    let last = text::last_lines(&text::trim_output(&output.stderr), 3).replace('\n', "; ");
    Err(Fault::outside(format!("`{name}` failed: {last}")).hint(hints::APT))
}

/// A process group that is killed when this value is dropped. Tokio reaps the process that was started.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A program that starts a child, writes the child's process id to `file` and waits for it.
    fn sleeper(file: &Path) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg("sleep 60 & echo $! > \"$1\"; wait").arg("sh").arg(file);
        command
    }

    async fn ends(file: &Path) {
        let child: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        while crate::proc::identify(child).is_some() {
            assert!(begun.elapsed() < Duration::from_secs(5), "the child lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_program_ends_with_its_limit_and_when_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let lock = File::create(folder.path().join("lock")).unwrap();
        let fault = run(sleeper(&file), Duration::from_millis(500), &lock).await.unwrap_err();
        assert!(fault.message.contains("`sh`") && fault.hint.is_some(), "{fault:?}");
        ends(&file).await;
        let waiting = run(sleeper(&file), Duration::from_secs(60), &lock);
        assert!(tokio::time::timeout(Duration::from_millis(500), waiting).await.is_err());
        ends(&file).await;
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let lock = tempfile::tempfile().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo E: no such package >&2; exit 3"]);
        let fault = run(command, Duration::from_secs(10), &lock).await.unwrap_err();
        assert_eq!(fault.message, "`sh` failed: E: no such package");
        let mut command = Command::new("true");
        command.arg("x");
        run(command, Duration::from_secs(10), &lock).await.unwrap();
    }
}
