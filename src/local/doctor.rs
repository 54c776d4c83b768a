//! Checks whether this computer can run local machines. Every check tries the thing itself where that leaves nothing
//! behind.

use std::path::Path;
use std::process::{Command, Stdio};

use model::base::id::MachineId;
use model::base::leash::Leash;
use model::base::text;
use model::check::Check;
use model::filesystem::Filesystem;
use model::machine::Caps;
use rustix::process::Signal;

use crate::files::{Action, FileWorker};
use crate::folders::Folders;
use crate::images::{layers::PROBE, room};
use crate::probe::PROBE_COMMAND;
use crate::trouble::Trouble;
use crate::{LocalConfig, blocking, cgroup, computer, loops};

/// Bytes on which the images of the main job and a few machines fit with ease.
const ROOMY: u64 = 10 << 30;

/// Checks everything that the local provider depends on.
pub async fn checks(config: &LocalConfig) -> Vec<Check> {
    let config = config.clone();
    blocking(move || all(&config)).await.unwrap_or_else(|fault| vec![Check::bad("doctor", fault.message, "Try again.")])
}

/// Tries everything in the state directory, where machines would be. One that was made for that goes again.
fn all(config: &LocalConfig) -> Vec<Check> {
    let is_missing = |path: &&Path| path.symlink_metadata().is_err();
    let missing: Vec<&Path> = config.state.ancestors().take_while(is_missing).collect();
    let checks = all_there(config);
    if !missing.is_empty() {
        let staging = Folders::new(&config.state).staging();
        // Where another process has made something there meanwhile, the folder is not empty, and stays.
        staging.ancestors().take(2).chain(missing).for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
    checks
}

fn all_there(config: &LocalConfig) -> Vec<Check> {
    let mut checks = vec![kernel(), ids()];
    match computer::make_private_folder(&config.state) {
        Ok(()) => checks.push(room(&config.state)),
        Err(trouble) => {
            checks.push(bad("state directory", trouble));
            return checks;
        }
    }
    checks.extend(probe(config));
    checks.extend([confinement(), bootstrap(), caps(&config.state)]);
    if computer::is_root() {
        checks.extend([volumes(), file_systems()]);
    } else {
        checks.push(file_systems_of_users());
    }
    checks
}

fn bad(name: &str, trouble: Trouble) -> Check {
    let remedy = trouble.hint.unwrap_or_else(|| "Run as root, or choose another place with `--state-path`.".to_owned());
    Check::bad(name, trouble.message, remedy)
}

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let version = computer::kernel_version(&release);
    let found = format!("Linux {release}");
    // 5.11 is the first on which an ordinary user may mount an overlay; 5.12 has `mount_setattr`.
    if version >= (5, 12) {
        Check::good("kernel", found)
    } else {
        Check::bad("kernel", found, "Use a kernel of version 5.12 or later.")
    }
}

fn ids() -> Check {
    let found = match computer::id_map() {
        Ok(None) => computer::unassigned_ids(&MachineId::random())
            .map(|map| format!("root; a machine gets ids that nobody has, for example from {}", map.uid)),
        Ok(Some(map)) => Ok(format!("ordinary, with subordinate ids from {}", map.subuid)),
        Err(trouble) => Err(trouble),
    };
    match found {
        Ok(found) => Check::good("user", found),
        Err(trouble) => bad("user", trouble),
    }
}

/// Describes what separates a machine from this computer, and how root can do without it.
fn confinement() -> Check {
    let name = "confinement";
    let always = "root on a machine is root of a user namespace, behind a filter of system calls";
    if !computer::is_root() {
        return Check::good(name, always);
    }
    Check::good(name, format!("{always}; with `--privileged-machine` it is root of this computer"))
}

fn room(state: &Path) -> Check {
    let kind = computer::file_system_of(state).unwrap_or_default();
    let free = room::free(state).unwrap_or_default();
    let found = format!("{} free on {kind} at `{}`; an image takes 0.9 GiB", text::bytes(free.bytes), state.display());
    if free.bytes >= ROOMY && free.fits_image() {
        return Check::good("disk space", found);
    }
    let found = if free.inodes < room::IMAGE_INODES { format!("{found}, and {} inodes", free.inodes) } else { found };
    let check = Check::bad("disk space", found, "Make room, or choose another place with `--state-path`.");
    if free.fits_image() { check.optional() } else { check }
}

/// Makes namespaces and an overlay in a process of their own, whose output are the checks.
fn probe(config: &LocalConfig) -> Vec<Check> {
    let name = "namespaces";
    let map = match config.ids(&MachineId::random()) {
        Ok(map) => map,
        Err(trouble) => return vec![bad(name, trouble)],
    };
    let folders = Folders::new(&config.state);
    let folder = folders.staging().join(format!("{PROBE}{}", std::process::id()));
    if let Err(trouble) = computer::make_private_folder(&folder) {
        return vec![bad("state directory", trouble)];
    }
    let output = Command::new(&config.executable)
        .arg(PROBE_COMMAND)
        .arg(&folder)
        .arg(serde_json::to_string(&map).unwrap_or_default())
        .stdin(Stdio::null())
        .leash(Signal::KILL)
        .output();
    let files = FileWorker { state: folders.state().to_owned(), executable: config.executable.clone() };
    let removed = files.apply(&Action::Remove, &folder);
    let printed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut checks: Vec<Check> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if checks.is_empty() {
        checks.push(Check::bad(name, "the probe said nothing", "Run `automation doctor` again."));
    }
    if let Err(error) = removed {
        let remedy = format!("Remove `{}` by hand, as root.", folder.display());
        checks.push(Check::bad("probe", format!("cannot remove its folder: {error}"), remedy));
    }
    checks
}

fn bootstrap() -> Check {
    let name = "making images";
    if let Some(program) = computer::find_program("mmdebstrap") {
        return Check::good(name, format!("`{}`", program.display()));
    }
    let missing: Vec<&str> =
        ["apt-get", "dpkg-deb", "perl"].into_iter().filter(|name| computer::find_program(name).is_none()).collect();
    if missing.is_empty() {
        return Check::good(name, "`mmdebstrap` is not installed and will be brought in by `apt-get`");
    }
    let found = format!("`mmdebstrap` is not installed, nor is `{}`", missing.join("`, `"));
    Check::bad(name, found, "Install `mmdebstrap` and `apt`, or build images on a Debian or Ubuntu host.")
}

fn volumes() -> Check {
    let name = "second volumes";
    match loops::find_free() {
        Ok(path) => Check::good(name, format!("`{}` is free", path.display())),
        Err(trouble) => bad(name, trouble).optional(),
    }
}

fn caps(state: &Path) -> Check {
    let name = "caps on processors and memory";
    let caps = Caps { cpus: Some(1.0), memory: Some(1 << 30) };
    let id = MachineId::random();
    let tried = cgroup::plan(state, &id, &caps, computer::is_root()).and_then(|plan| {
        let plan = plan.ok_or_else(|| Trouble::new("no caps"))?;
        let made = cgroup::make(&plan);
        for group in &plan.groups {
            drop(cgroup::remove(&group.path));
        }
        made.map(|()| plan)
    });
    match tried {
        Ok(plan) => {
            let paths: Vec<String> =
                plan.groups.iter().filter_map(|group| Some(format!("`{}`", group.path.parent()?.display()))).collect();
            Check::good(name, format!("control groups in {}", paths.join(" and "))).optional()
        }
        Err(trouble) => bad(name, trouble).optional(),
    }
}

/// Only root can mount a disk, whatever file systems the kernel has.
fn file_systems_of_users() -> Check {
    let found = "default and tmpfs; one with a disk of its own can be mounted by root only";
    Check::bad("file systems", found, "Run as root for `--filesystem ext4` and the like.").optional()
}

fn file_systems() -> Check {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = std::fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    let has = |name: &&str| {
        known.lines().any(|line| line.split_whitespace().next_back() == Some(name))
            || modules.lines().any(|line| line.contains(&format!("/{name}/{name}.ko")))
    };
    let of_kernel = Filesystem::ALL.into_iter().filter(|it| *it != Filesystem::Default).map(Filesystem::name);
    let (known, missing): (Vec<&str>, Vec<&str>) = of_kernel.partition(|name| has(name));
    let found = format!("the kernel knows {}", known.join(", "));
    if missing.is_empty() {
        return Check::good("file systems", found).optional();
    }
    let remedy = format!("`--filesystem` cannot be {} here; any other works.", missing.join(" or "));
    Check::bad("file systems", found, remedy).optional()
}
