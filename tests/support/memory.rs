//! What a process holds in memory, by what the kernel says of it.

/// The most that a process was seen to hold, bytes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Peak {
    /// All pages in memory, those of its program and libraries among them. The kernel keeps the highest.
    pub resident: u64,
    /// Pages of its own: what it allocated. The highest of those that were looked at.
    pub own: u64,
}

impl Peak {
    /// Looks at process `pid`; one that has ended changes nothing.
    pub fn look(&mut self, pid: u32) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() << 10
        };
        self.resident = self.resident.max(bytes("VmHWM:"));
        self.own = self.own.max(bytes("RssAnon:"));
    }
}
