//! The user namespace of an ordinary user's machine.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rustix::thread::UnshareFlags;

use crate::provider::local::spec::{IdMap, MAPPED_IDS};
use crate::provider::local::sys;
use crate::provider::local::trouble::{Doing, Trouble};

/// Puts this process into a new user namespace as its root.
///
/// The maps are written by the set-user-id programs of the `uidmap` package, which check that the ids are the user's;
/// they must run outside the new namespace, so a child is forked before.
pub fn enter(map: &IdMap) -> Result<(), Trouble> {
    let (mut wait, mut begin) = std::io::pipe().doing(|| "make a pipe")?;
    let (mut answer, mut reply) = std::io::pipe().doing(|| "make a pipe")?;
    let target = std::process::id();
    let child = match sys::fork().doing(|| "fork")? {
        sys::Fork::Child => {
            drop((begin, answer));
            // Nothing to map when the parent ended or could not make the namespace.
            if wait.read(&mut [0]).unwrap_or_default() == 1
                && let Err(trouble) = write_maps(target, map)
            {
                let _ = reply.write_all(&serde_json::to_vec(&trouble).unwrap_or_default());
            }
            sys::exit_now(0)
        }
        sys::Fork::Parent(pid) => pid,
    };
    drop((wait, reply));
    let unshared = sys::unshare(UnshareFlags::NEWUSER);
    if unshared.is_ok() {
        let _ = begin.write_all(b"g");
    }
    drop(begin);
    let mut said = Vec::new();
    let heard = answer.read_to_end(&mut said);
    let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
    unshared.map_err(|error| refused(&error))?;
    heard.doing(|| "hear from `newuidmap`")?;
    match serde_json::from_slice::<Trouble>(&said) {
        Ok(trouble) => Err(trouble),
        Err(_) => become_root(),
    }
}

/// The user is 0 by the map already; this makes it so for the group and drops the supplementary groups.
fn become_root() -> Result<(), Trouble> {
    use rustix::process::{Gid, Uid};
    rustix::thread::set_thread_groups(&[]).doing(|| "drop supplementary groups")?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).doing(|| "become group 0")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).doing(|| "become user 0")
}

fn write_maps(target: u32, map: &IdMap) -> Result<(), Trouble> {
    write_map("newuidmap", target, map.uid, map.subuid)?;
    write_map("newgidmap", target, map.gid, map.subgid)
}

fn write_map(program: &str, target: u32, own: u32, subordinate: u32) -> Result<(), Trouble> {
    let numbers = [target, 0, own, 1, 1, subordinate, MAPPED_IDS];
    let output = Command::new(program)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Trouble::new(format!("cannot run `{program}`: {error}")).hint(UIDMAP_HINT))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Trouble::new(format!("`{program}` refused: {said}")).hint(SUBIDS_HINT))
}

/// What to do without `newuidmap`.
pub const UIDMAP_HINT: &str = "Install the `uidmap` package (`apt install uidmap`), or run as root.";

/// What to do without subordinate ids.
pub const SUBIDS_HINT: &str = "Give the user 65536 subordinate ids, as root: \
     `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` (it adds a line to `/etc/subuid` and \
     `/etc/subgid`).";

/// The kernel refused a user namespace: names the setting that forbids it.
fn refused(error: &std::io::Error) -> Trouble {
    let reads = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let settings = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let remedy = settings.iter().find(|(path, value, _)| reads(path, value)).map_or_else(
        || "Ask whoever runs this computer or container to allow user namespaces, or run as root.".to_owned(),
        |(_, _, mend)| format!("Run `sysctl -w {mend}` as root, or run this as root."),
    );
    Trouble::new(format!("cannot make a user namespace: {error}")).hint(remedy)
}
