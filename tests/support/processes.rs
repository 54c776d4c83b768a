//! Processes of this computer, by what the kernel says of them.

/// Every process below `root`.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = after.split_whitespace().nth(1).and_then(|field| field.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let (mut found, mut todo) = (Vec::new(), vec![root]);
    while let Some(parent) = todo.pop() {
        let below: Vec<u32> = parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid).collect();
        todo.extend(&below);
        found.extend(below);
    }
    found
}
