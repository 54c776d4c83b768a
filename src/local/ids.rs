//! The user namespaces of machines.

use std::process::{Command, Stdio};

use model::base::text;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use crate::aside::ForkedWork;
use crate::hints;
use crate::spec::{IdMap, MAPPED_IDS};
use crate::sys;
use crate::trouble::{Doing, Trouble};

/// Puts this process into a new user namespace as its root, with the ids of an ordinary user.
///
/// The set-user-id programs of the `uidmap` package write the maps, since they check that the ids are the user's; they
/// must run outside the new namespace.
pub(crate) fn enter(map: &IdMap) -> Result<(), Trouble> {
    let target = std::process::id();
    let writer = ForkedWork::new(|| {
        write_by("newuidmap", target, map.uid, map.subuid)?;
        write_by("newgidmap", target, map.gid, map.subgid)
    })?;
    sys::unshare(UnshareFlags::NEWUSER).map_err(|error| refused(&error))?;
    writer.run()?;
    become_root()
}

/// Gives the new user namespace of a child its ids; only for root, which needs no permission.
pub(crate) fn give(child: Pid, map: &IdMap) -> Result<(), Trouble> {
    let lines = |own: u32, subordinate: u32| format!("0 {own} 1\n1 {subordinate} {MAPPED_IDS}\n");
    write(child, &lines(map.uid, map.subuid), &lines(map.gid, map.subgid))
}

/// Gives the new user namespace of `target` the ids of its parent namespace.
pub(crate) fn give_same(target: Pid) -> Result<(), Trouble> {
    // The map has the same ranges as that of the parent, because a range cannot span two of the parent's.
    let lines = format!("0 0 1\n1 1 {MAPPED_IDS}\n");
    write(target, &lines, &lines)
}

fn write(target: Pid, uids: &str, gids: &str) -> Result<(), Trouble> {
    for (name, text) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{}/{name}", target.as_raw_nonzero());
        std::fs::write(&path, text).doing(|| format!("write `{path}`"))?;
    }
    Ok(())
}

/// Makes this process user 0 and group 0 of its user namespace, and drops the supplementary groups.
pub(crate) fn become_root() -> Result<(), Trouble> {
    use rustix::process::{Gid, Uid};
    rustix::thread::set_thread_groups(&[]).doing(|| "drop supplementary groups")?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).doing(|| "become group 0")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).doing(|| "become user 0")
}

fn write_by(program: &str, target: u32, own: u32, subordinate: u32) -> Result<(), Trouble> {
    let numbers = [target, 0, own, 1, 1, subordinate, MAPPED_IDS];
    let output = Command::new(program)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Trouble::new(format!("cannot run `{program}`: {error}")).hint(hints::UIDMAP))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = text::trim_output(&output.stderr);
    Err(Trouble::new(format!("`{program}` refused: {stderr}")).hint(hints::SUBIDS))
}

/// The error where the kernel refuses a user namespace; it names the setting that forbids it.
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

/// The error where the kernel refuses a namespace.
pub(crate) fn no_namespace(what: &str, error: &std::io::Error) -> Trouble {
    Trouble::new(format!("cannot make {what}: {error}")).hint(
        "Run `automation doctor`. Root in a container needs the capability `SYS_ADMIN` (for example `docker run \
         --privileged`); an ordinary user needs user namespaces.",
    )
}
