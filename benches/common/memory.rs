//! The memory of a process and of all below it, as long as it runs.

use std::process::Child;
use std::time::Duration;

use support::processes::descendants;

/// The most that was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peak {
    /// Bytes of all processes together; what they share counts once.
    pub bytes: u64,
    /// How many processes there were then.
    pub processes: usize,
}

/// Looks every 20 ms until `child` has ended, which must be well.
pub(crate) fn watch(mut child: Child) -> Peak {
    let mut peak = Peak::default();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        let tree = tree(child.id());
        let bytes = tree.iter().map(|pid| proportional(*pid)).sum();
        if bytes > peak.bytes {
            peak = Peak { bytes, processes: tree.len() };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The proportional set size in bytes: pages that several processes map are divided among them.
fn proportional(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// `root` and everything below it.
fn tree(root: u32) -> Vec<u32> {
    std::iter::once(root).chain(descendants(root)).collect()
}
