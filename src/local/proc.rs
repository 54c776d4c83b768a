//! The processes of machines, as `/proc` shows them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::folders::entries;
use crate::spec::ProcessId;
use crate::trouble::Trouble;

/// The hidden subcommand that runs a guard: exactly `automation internal-guard SPEC`, because guards are found by that.
pub(crate) const GUARD_COMMAND: &str = "internal-guard";

/// A guard, or a machine's first process, which is a fork of its guard and shows the same command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineProcess {
    /// The process.
    pub id: ProcessId,
    /// The specification with which it was started.
    pub spec: PathBuf,
    /// Whether it is the first process of a PID namespace of its own.
    pub is_init: bool,
}

/// The name of a keeper's process, by which it differs from its guard, since both have the same command line.
const KEEPER: &std::ffi::CStr = c"machine-keeper";

/// Marks this process as a keeper.
pub(crate) fn mark_as_keeper() {
    // This cannot fail, since the name is short enough.
    let _ = rustix::thread::set_name(KEEPER);
}

fn is_keeper(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_ascii_end() == KEEPER.to_bytes())
}

/// All live guards and first processes on this computer that this user may see.
pub(crate) fn guards() -> Result<Vec<MachineProcess>, Trouble> {
    Ok(all()?.into_iter().filter(|found| !is_keeper(found.id.pid)).collect())
}

/// The live keepers of one machine.
pub(crate) fn keepers_of(spec: &Path) -> Result<Vec<MachineProcess>, Trouble> {
    Ok(all()?.into_iter().filter(|found| found.spec == spec && is_keeper(found.id.pid)).collect())
}

/// All live guards, keepers and first processes on this computer that this user may see.
pub(crate) fn all() -> Result<Vec<MachineProcess>, Trouble> {
    let own = i32::try_from(std::process::id()).ok().and_then(identify);
    own.ok_or_else(|| Trouble::new("`/proc` does not show this process, so it shows no other"))?;
    Ok(entries(Path::new("/proc"))?
        .into_iter()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let spec = guarded_spec(pid)?;
            Some(MachineProcess { id: identify(pid)?, spec, is_init: is_init(pid) })
        })
        .collect())
}

/// The live guards and first processes of one machine.
pub(crate) fn guards_of(spec: &Path) -> Result<Vec<MachineProcess>, Trouble> {
    Ok(guards()?.into_iter().filter(|found| found.spec == spec).collect())
}

fn guarded_spec(pid: i32) -> Option<PathBuf> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip(1);
    (words.next()? == GUARD_COMMAND.as_bytes()).then_some(())?;
    let spec = PathBuf::from(OsStr::from_bytes(words.next()?));
    // The command line ends with a NUL, so that an empty word follows the last one.
    (words.next()?.is_empty() && words.next().is_none()).then_some(spec)
}

/// A process among those that a machine's first process has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The process.
    pub id: ProcessId,
    /// The number of the process that it was started by, or that has taken it over.
    pub parent: i32,
    state: char,
}

impl Member {
    /// Whether nothing of it runs: all of its threads are stopped, or it has ended.
    pub(crate) fn stands_still(&self) -> bool {
        let still = |state: char| matches!(state, 'T' | 't' | 'Z' | 'X');
        // The state of a process is that of its first thread.
        still(self.state) && threads(self.id.pid).into_iter().all(still)
    }

    /// Whether it waits for something that no signal interrupts.
    pub(crate) fn waits(&self) -> bool {
        self.state == 'D'
    }

    /// The line that it was started with, or that it has put in its place.
    pub(crate) fn line(&self) -> Vec<u8> {
        std::fs::read(format!("/proc/{}/cmdline", self.id.pid)).unwrap_or_default()
    }
}

/// The states of a process's threads.
fn threads(pid: i32) -> Vec<char> {
    let tasks = entries(Path::new(&format!("/proc/{pid}/task"))).unwrap_or_default();
    tasks.iter().filter_map(|task| Some(fields(&task.path())?.0)).collect()
}

/// State, parent and start time of a process or thread, by its folder in `/proc`.
fn fields(folder: &Path) -> Option<(char, i32, u64)> {
    let text = std::fs::read_to_string(folder.join("stat")).ok()?;
    // The second field is the name in parentheses, which may itself hold spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

/// The process `top` and all that descend from it, each before those that it has started; none where there is no such process.
pub(crate) fn family(top: i32) -> Vec<Member> {
    let all: Vec<Member> = entries(Path::new("/proc"))
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let (state, parent, started) = fields(&entry.path())?;
            Some(Member { id: ProcessId { pid, started }, parent, state })
        })
        .collect();
    let mut family: Vec<Member> = all.iter().filter(|member| member.id.pid == top).cloned().collect();
    let mut next = 0;
    while let Some(parent) = family.get(next).map(|member| member.id.pid) {
        family.extend(all.iter().filter(|member| member.parent == parent && member.id.pid != top).cloned());
        next += 1;
    }
    family.retain(|member| !matches!(member.state, 'Z' | 'X'));
    family
}

/// The process with its start time; `None` when there is no such process or it is a zombie.
pub(crate) fn identify(pid: i32) -> Option<ProcessId> {
    let (state, _, started) = fields(Path::new(&format!("/proc/{pid}")))?;
    (!matches!(state, 'Z' | 'X')).then_some(ProcessId { pid, started })
}

/// Whether this process lives, and not another with its number.
pub(crate) fn is_alive(id: ProcessId) -> bool {
    identify(id.pid) == Some(id)
}

/// Whether the process is number 1 of an inner PID namespace.
fn is_init(pid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .is_some_and(|ids| ids.split_whitespace().count() > 1 && ids.split_whitespace().next_back() == Some("1"))
}

/// The PID namespace of a process, for example `pid:[4026532448]`.
pub(crate) fn pid_namespace(pid: i32) -> Option<String> {
    Some(std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_no_guard() {
        let me = i32::try_from(std::process::id()).unwrap();
        let id = identify(me).unwrap();
        assert!(is_alive(id));
        assert!(!is_alive(ProcessId { started: id.started + 1, ..id }));
        assert!(guarded_spec(me).is_none() && !is_init(me));
        assert!(pid_namespace(me).unwrap().starts_with("pid:["));
    }
}
