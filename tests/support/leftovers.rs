//! What is left on this computer of one state directory, by looking at the system and not at the tool's own record.

use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Everything that is there: processes, mounts, loop devices, control groups, files of machines.
pub fn of(state: &Path) -> Vec<String> {
    let all = processes(state).into_iter().chain(inside(state));
    let mut found: Vec<String> = all.map(|(pid, line)| format!("process {pid} {line}")).collect();
    let path = state.display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    // The mount of a state directory that is a disk of its own is the test's, not the tool's.
    let below = format!(" {path}/");
    found.extend(mounts.lines().filter(|line| line.contains(&below)).map(|line| format!("mount {line}")));
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if backing.contains(&path) {
            found.push(format!("loop device {} {}", entry.file_name().display(), backing.trim()));
        }
    }
    found.extend(groups(state));
    let machines = std::fs::read_dir(state.join("machines")).into_iter().flatten().flatten();
    found.extend(machines.map(|entry| format!("files {}", entry.path().display())));
    found
}

/// The guards and first processes, and every process that works below the state directory.
pub fn processes(state: &Path) -> Vec<(i32, String)> {
    let path = state.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let ours = line.contains(" internal-") && line.contains(&path);
        // A dead process that nobody has waited for yet has no command line.
        if ours {
            found.push((pid, line));
        }
    }
    found
}

/// Every process inside of a machine of the state directory: the first one of each, and whatever was started there, by whose way
/// ever it outlived its parents. The machine's temporary folder is mounted for it, from below the state directory.
pub fn inside(state: &Path) -> Vec<(i32, String)> {
    // Mounts know no links that lead here.
    let state = &std::fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
    let is_inside = |mounts: &str| {
        // The path of a mount within its file system, which is the path here, or the end of it.
        let roots = mounts.lines().filter_map(|line| line.split(' ').nth(3));
        let mut states = roots.filter_map(|root| root.split_once("/machines/")).map(|(state, _)| state);
        states.any(|of| !of.is_empty() && state.ends_with(of.trim_start_matches('/')))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        if is_inside(&String::from_utf8_lossy(&read("mountinfo"))) {
            found.push((pid, String::from_utf8_lossy(&read("cmdline")).replace('\0', " ")));
        }
    }
    found
}

/// The first process of each machine: what it ends with.
pub fn first_processes(state: &Path) -> Vec<i32> {
    let is_first = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        ids.split_whitespace().skip(1).last() == Some("1")
    };
    processes(state).into_iter().map(|(pid, _)| pid).filter(is_first).collect()
}

fn groups(state: &Path) -> Vec<String> {
    let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let tag = HEXLOWER.encode(&digest[..4]);
    let (mut found, mut todo) = (Vec::new(), vec![(Path::new("/sys/fs/cgroup").to_owned(), 0)]);
    while let Some((folder, depth)) = todo.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(&tag) {
                found.push(format!("control group {}", entry.path().display()));
            } else if depth < 6 {
                todo.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// Waits until nothing is left.
pub fn gone_within(state: &Path, limit: Duration) {
    wait(limit, || of(state));
}

/// Waits until nothing but files is left: those of a machine whose driver was killed before it had started the guard, who
/// would remove them, stay for `audit --fix`.
pub fn ended_within(state: &Path, limit: Duration) {
    wait(limit, || of(state).into_iter().filter(|left| !left.starts_with("files ")).collect());
}

fn wait(limit: Duration, look: impl Fn() -> Vec<String>) {
    let end = Instant::now() + limit;
    loop {
        let left = look();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left after {limit:?}:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(50));
    }
}
