//! Control groups that cap a machine: version 2 where it has the controllers, otherwise version 1.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use model::base::id::MachineId;
use model::machine::Caps;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::folders::entries;
use crate::hints;
use crate::trouble::{Doing, Trouble};

/// The groups to make for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupPlan {
    /// One group with version 2, one for each controller with version 1.
    pub groups: Vec<ControlGroup>,
}

/// One control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ControlGroup {
    /// The group's folder.
    pub path: PathBuf,
    /// The limits to write to files of the folder.
    pub settings: Vec<Setting>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// The file in the group's folder.
    pub file: String,
    /// The content to write.
    pub value: String,
    /// Whether the machine must not start without this limit. Limits of swap are optional, since its accounting may be
    /// off.
    pub required: bool,
}

/// The period in microseconds of which a machine gets its share.
const PERIOD: u64 = 100_000;

/// The mount points of the control groups, from `/proc/self/mountinfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Version 2.
    pub unified: Option<PathBuf>,
    /// Version 1: controller and mount point.
    pub legacy: Vec<(String, PathBuf)>,
}

impl Hierarchies {
    /// The mount points on this computer.
    pub(crate) fn mounted() -> Result<Self, Trouble> {
        Ok(Self::parse(&std::fs::read_to_string("/proc/self/mountinfo").doing(|| "read `/proc/self/mountinfo`")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => found.unified = Some(PathBuf::from(point)),
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    for name in options.split(',').filter(|name| matches!(*name, "cpu" | "memory")) {
                        found.legacy.push((name.to_owned(), PathBuf::from(point)));
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn legacy(&self, controller: &str) -> Option<&Path> {
        self.legacy.iter().find(|(name, _)| name == controller).map(|(_, path)| path.as_path())
    }

    /// Every folder that may hold our groups.
    fn parents(&self) -> Vec<PathBuf> {
        let mut parents: Vec<PathBuf> = self.legacy.iter().map(|(_, path)| path.clone()).collect();
        if let Some(unified) = &self.unified {
            parents.push(unified.clone());
            parents.extend(own_ancestors(unified));
        }
        parents.sort();
        parents.dedup();
        parents
    }
}

/// The group's name, which distinguishes machines of different state directories.
fn group_name(state: &Path, id: &MachineId) -> String {
    format!("{}{id}", prefix(state))
}

fn prefix(state: &Path) -> String {
    let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
    format!("automation-{}-", HEXLOWER.encode(&digest[..4]))
}

/// Plans groups that can enforce `caps`; `None` without caps.
pub(crate) fn plan(state: &Path, id: &MachineId, caps: &Caps, root: bool) -> Result<Option<CgroupPlan>, Trouble> {
    if caps.cpus.is_none() && caps.memory.is_none() {
        return Ok(None);
    }
    if caps.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus < 0.01) {
        return Err(Trouble::new("a machine needs at least `0.01` processors"));
    }
    let hierarchies = Hierarchies::mounted()?;
    let name = group_name(state, id);
    let parent = hierarchies.unified.as_ref().and_then(|unified| unified_parent(unified, caps, root));
    if let Some(parent) = parent {
        let path = parent.join(name);
        return Ok(Some(CgroupPlan { groups: vec![ControlGroup { path, settings: unified_settings(caps) }] }));
    }
    let mut groups = Vec::new();
    for (controller, settings) in legacy_settings(caps) {
        let parent = hierarchies.legacy(controller).filter(|_| root).ok_or_else(|| {
            Trouble::new(format!("no control group with the `{controller}` controller can be made here"))
                .hint(hints::CGROUP)
        })?;
        groups.push(ControlGroup { path: parent.join(&name), settings });
    }
    Ok(Some(CgroupPlan { groups }))
}

/// The group below which a group with the controllers can be made: for root the top, otherwise an ancestor of this
/// process's own group.
fn unified_parent(unified: &Path, caps: &Caps, root: bool) -> Option<PathBuf> {
    let candidates = if root { vec![unified.to_owned()] } else { own_ancestors(unified) };
    let wanted: Vec<&str> = [caps.cpus.map(|_| "cpu"), caps.memory.map(|_| "memory")].into_iter().flatten().collect();
    candidates.into_iter().find(|group| offers(group, &wanted, root) && may_write(group))
}

/// Whether children of `group` have the controllers `wanted`; root enables them where that is possible.
fn offers(group: &Path, wanted: &[&str], root: bool) -> bool {
    let has = |file: &str, name: &str| {
        std::fs::read_to_string(group.join(file)).unwrap_or_default().split_whitespace().any(|word| word == name)
    };
    wanted.iter().all(|name| {
        has("cgroup.subtree_control", name)
            || (root
                && has("cgroup.controllers", name)
                && std::fs::write(group.join("cgroup.subtree_control"), format!("+{name}")).is_ok())
    })
}

fn may_write(group: &Path) -> bool {
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(group, access).is_ok()
        && rustix::fs::access(group.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
}

/// The groups above this process's own, nearest first.
fn own_ancestors(unified: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Path::new(own).ancestors().skip(1).map(|path| unified.join(path)).collect()
}

fn quota(cpus: f64) -> u64 {
    (cpus * PERIOD as f64) as u64
}

fn setting(file: &str, value: impl ToString, required: bool) -> Setting {
    Setting { file: file.to_owned(), value: value.to_string(), required }
}

fn unified_settings(caps: &Caps) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(cpus) = caps.cpus {
        settings.push(setting("cpu.max", format!("{} {PERIOD}", quota(cpus)), true));
    }
    if let Some(memory) = caps.memory {
        settings.push(setting("memory.max", memory, true));
        settings.push(setting("memory.swap.max", 0, false));
    }
    settings
}

fn legacy_settings(caps: &Caps) -> Vec<(&'static str, Vec<Setting>)> {
    let mut groups = Vec::new();
    if let Some(cpus) = caps.cpus {
        let period = setting("cpu.cfs_period_us", PERIOD, true);
        groups.push(("cpu", vec![period, setting("cpu.cfs_quota_us", quota(cpus), true)]));
    }
    if let Some(memory) = caps.memory {
        let swap = setting("memory.memsw.limit_in_bytes", memory, false);
        groups.push(("memory", vec![setting("memory.limit_in_bytes", memory, true), swap]));
    }
    groups
}

/// Makes the groups and sets their limits.
pub(crate) fn make(plan: &CgroupPlan) -> Result<(), Trouble> {
    for group in &plan.groups {
        let shown = group.path.display();
        std::fs::create_dir(&group.path)
            .doing(|| format!("make the control group `{shown}`"))
            .map_err(|t| t.hint(hints::CGROUP))?;
        for setting in &group.settings {
            let written = std::fs::write(group.path.join(&setting.file), &setting.value);
            if setting.required {
                written.doing(|| format!("set `{}` to `{}` in `{shown}`", setting.file, setting.value))?;
            }
        }
    }
    Ok(())
}

/// Moves a process into the groups; all processes that it starts from then on follow.
pub(crate) fn enter(plan: &CgroupPlan, pid: i32) -> Result<(), Trouble> {
    for group in &plan.groups {
        std::fs::write(group.path.join("cgroup.procs"), pid.to_string())
            .doing(|| format!("move the machine into `{}`", group.path.display()))?;
    }
    Ok(())
}

/// Ends the processes in the group at `path` and removes the group; succeeds where there is none.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    // Version 1 lacks this file. There the end of the machine's first process has ended all others.
    let kill = path.join("cgroup.kill");
    if kill.exists() {
        std::fs::write(kill, "1")?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Tries [`remove`] for up to a second: a group is busy for a moment after its last process died.
pub(crate) fn remove_patiently(path: &Path) -> std::io::Result<()> {
    for _ in 0..50 {
        if remove(path).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    remove(path)
}

/// The existing groups of one machine.
pub(crate) fn groups_of(state: &Path, id: &MachineId) -> Result<Vec<PathBuf>, Trouble> {
    Ok(all(state)?.into_iter().filter(|(machine, _)| machine == id).map(|(_, path)| path).collect())
}

/// How many processes of a machine the system has ended because the limit of its memory was reached; none where it has no limit, or nobody counts.
pub(crate) fn memory_kills(state: &Path, id: &MachineId) -> Option<u64> {
    let kills = |group: &PathBuf| {
        let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
        // A group may be there for the processors alone, and counts then what the whole computer's memory was too small for.
        let is_limited = read("memory.max").is_none_or(|most| most.trim() != "max");
        let counts = read("memory.events").or_else(|| read("memory.oom_control")).filter(|_| is_limited)?;
        counts.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    };
    groups_of(state, id).ok()?.iter().find_map(kills)
}

/// All groups of this state directory's machines.
pub(crate) fn all(state: &Path) -> Result<Vec<(MachineId, PathBuf)>, Trouble> {
    let prefix = prefix(state);
    let mut found = Vec::new();
    for parent in Hierarchies::mounted()?.parents() {
        for entry in entries(&parent)? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|id| id.parse().ok());
            if let Some(id) = id {
                found.push((id, entry.path()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_table_tells_versions_apart() {
        let table = "30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                     31 20 0:27 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
                     32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchies::parse(table);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.legacy("cpu"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.legacy("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
    }

    #[test]
    fn caps_become_limits() {
        let caps = Caps { cpus: Some(1.5), memory: Some(1 << 30) };
        let settings = unified_settings(&caps);
        assert_eq!(settings[0].value, "150000 100000");
        assert_eq!(settings[1].value, "1073741824");
        let none = plan(Path::new("/s"), &"hg-a".parse().unwrap(), &Caps::default(), true);
        assert_eq!(none, Ok(None));
        let bad = Caps { cpus: Some(f64::NAN), memory: None };
        assert!(plan(Path::new("/s"), &"hg-a".parse().unwrap(), &bad, true).is_err());
    }

    #[test]
    fn a_group_offers_what_its_children_get() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cgroup.subtree_control"), "memory pids\n").unwrap();
        assert!(offers(folder.path(), &["memory"], false));
        assert!(!offers(folder.path(), &["cpu", "memory"], false));
    }
}
