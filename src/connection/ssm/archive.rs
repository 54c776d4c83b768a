//! Trees as archives in memory: packed for `remote/linux/ssm-files.sh` to unpack, and unpacked from what it packed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::connection::partial::{LocalPartial, local_failure};
use crate::connection::tree::{make_local_folder, plan_upload, refused};
use crate::model::connection::{ConnectionError, Totals};

/// A packed tree.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    /// The files in it.
    pub(super) totals: Totals,
    /// The mode of its top.
    pub(super) mode: u32,
}

/// The whole file, or nothing where it has more than `cap` bytes.
pub(super) fn read_capped(path: &Path, cap: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(cap + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= cap).then_some(bytes))
}

/// Packs the folder `top` whose files have at most `cap` bytes together.
///
/// Folders stand in two lists, for they are made before the files and get their modes after them.
pub(super) fn pack(top: &Path, cap: u64) -> Result<Packed, ConnectionError> {
    let mut plan = plan_upload(top)?;
    let levels: Vec<(String, u32)> = plan.levels().into_values().flatten().collect();
    let mode = levels.first().map_or(0o755, |(_, mode)| *mode);
    let failed = |error: std::io::Error| refused(top, &error.to_string());
    let mut builder = Builder::new(Vec::new());
    let listed: Vec<_> = levels.iter().enumerate().skip(1).collect();
    add(&mut builder, "folders", &list(listed.iter().copied()), 0o600).map_err(failed)?;
    add(&mut builder, "modes", &list(listed.iter().rev().copied()), 0o600).map_err(failed)?;
    let mut totals = Totals::default();
    for (path, mode) in &plan.files {
        let from = top.join(path);
        let read = read_capped(&from, cap - totals.bytes).map_err(|error| local_failure("read", &from, &error))?;
        let Some(bytes) = read else {
            let reason = format!("more than {} do not travel by SSM; use SSH", crate::base::text::bytes(cap));
            return Err(refused(top, &reason));
        };
        add(&mut builder, &format!("tree/{path}"), &bytes, *mode).map_err(failed)?;
        totals.files += 1;
        totals.bytes += bytes.len() as u64;
    }
    for (path, target) in &plan.links {
        let mut header = header(EntryType::Symlink, 0, 0o777);
        builder.append_link(&mut header, format!("tree/{path}"), target).map_err(failed)?;
    }
    let bytes = builder.into_inner().map_err(failed)?;
    Ok(Packed { bytes, totals, mode })
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode & 0o7777);
    header
}

fn add(builder: &mut Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    builder.append_data(&mut header(EntryType::Regular, bytes.len() as u64, mode), path, bytes)
}

/// Index, mode and path of each folder, a NUL after each.
fn list<'a>(folders: impl Iterator<Item = (usize, &'a (String, u32))>) -> Vec<u8> {
    let line = |(index, (path, mode)): (usize, &(String, u32))| format!("{index}\0{:o}\0./{path}\0", mode & 0o7777);
    folders.map(line).collect::<String>().into_bytes()
}

/// Unpacks what the machine packed to `local`, of which files have at most `cap` bytes together. Whatever the archive says,
/// everything stays below `local`.
pub(super) fn unpack(archive: &[u8], local: &Path, cap: u64) -> Result<Totals, ConnectionError> {
    let broken = |error: std::io::Error| refused(local, &format!("the machine's archive is broken: {error}"));
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().map_err(broken)?;
    let mut unpacking = Unpacking { local, cap, totals: Totals::default(), made: Vec::new(), folders: HashSet::new() };
    let Some(first) = entries.next() else {
        return Err(refused(local, "the machine's archive is empty"));
    };
    let first = first.map_err(broken)?;
    if first.header().entry_type() == EntryType::Regular {
        unpacking.file(first, local)?;
        return Ok(unpacking.totals);
    }
    unpacking.folder(&first, PathBuf::new())?;
    // Links come last: nothing may be written through one.
    let mut links = Vec::new();
    for entry in entries {
        let entry = entry.map_err(broken)?;
        let path = unpacking.place(&entry.path_bytes())?;
        match entry.header().entry_type() {
            EntryType::Directory => unpacking.folder(&entry, path)?,
            EntryType::Regular => unpacking.file(entry, &local.join(path))?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().map(|target| OsStr::from_bytes(&target).to_owned());
                let target = target.ok_or_else(|| refused(&local.join(&path), "its link leads nowhere"))?;
                links.push((local.join(path), target));
            }
            _ => return Err(refused(&local.join(path), "it is neither a file, a folder nor a symbolic link")),
        }
    }
    for (path, target) in links {
        let partial = LocalPartial::beside(&path);
        std::os::unix::fs::symlink(target, partial.path())
            .and_then(|()| partial.rename(&path))
            .map_err(|error| local_failure("write", &path, &error))?;
    }
    for (path, mode) in unpacking.made.iter().rev() {
        let permissions = std::fs::Permissions::from_mode(mode & 0o777);
        std::fs::set_permissions(path, permissions).map_err(|error| local_failure("write", path, &error))?;
    }
    Ok(unpacking.totals)
}

struct Unpacking<'a> {
    local: &'a Path,
    cap: u64,
    totals: Totals,
    /// Folders that were not there before, from the top, with the modes that they are to have.
    made: Vec<(PathBuf, u32)>,
    /// Paths below the top of all folders: only in these may anything be made.
    folders: HashSet<PathBuf>,
}

impl Unpacking<'_> {
    /// The path below the top that `name` means.
    fn place(&self, name: &[u8]) -> Result<PathBuf, ConnectionError> {
        let shown = || Path::new(OsStr::from_bytes(name)).to_owned();
        let trimmed = name.strip_prefix(b"./").unwrap_or(name);
        let trimmed = trimmed.strip_suffix(b"/").unwrap_or(trimmed);
        let odd = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
        if trimmed.split(|byte| *byte == b'/').any(odd) {
            return Err(refused(&shown(), "the machine gives it a name that leads out of its folder"));
        }
        let path = PathBuf::from(OsStr::from_bytes(trimmed));
        match path.parent() {
            Some(above) if self.folders.contains(above) => Ok(path),
            _ => Err(refused(&shown(), "the machine does not name the folder that it is in")),
        }
    }

    fn folder<R: Read>(&mut self, entry: &tar::Entry<'_, R>, path: PathBuf) -> Result<(), ConnectionError> {
        // The top may be a link that its owner made; below it a link would lead out of the folder.
        let top = path.as_os_str().is_empty();
        let place = if top { self.local.to_owned() } else { self.local.join(&path) };
        let mode = entry.header().mode().map_err(|error| refused(&place, &error.to_string()))?;
        if make_local_folder(&place, top)? {
            self.made.push((place, mode));
        }
        self.folders.insert(path);
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: tar::Entry<'_, R>, place: &Path) -> Result<(), ConnectionError> {
        let failed = |error: std::io::Error| local_failure("write", place, &error);
        let mode = entry.header().mode().map_err(failed)?;
        let size = entry.size();
        if size > self.cap - self.totals.bytes {
            let reason = format!("more than {} do not travel by SSM; use SSH", crate::base::text::bytes(self.cap));
            return Err(refused(self.local, &reason));
        }
        let mut bytes = Vec::new();
        entry.take(size).read_to_end(&mut bytes).map_err(failed)?;
        let (partial, mut file) = LocalPartial::create(place)?;
        file.write_all(&bytes).map_err(failed)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777)).map_err(failed)?;
        partial.rename(place).map_err(failed)?;
        self.totals.files += 1;
        self.totals.bytes += size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of entries whose names are taken as they are, which a builder of good ones refuses.
    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let link = *kind == EntryType::Symlink;
            let bytes = if link { "" } else { content };
            let mut header = header(*kind, bytes.len() as u64, 0o755);
            let gnu = header.as_gnu_mut().unwrap();
            gnu.name[..name.len()].copy_from_slice(name.as_bytes());
            if link {
                gnu.linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, bytes.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_archive_cannot_lead_out_of_its_folder() {
        let (dir, file, link) = (EntryType::Directory, EntryType::Regular, EntryType::Symlink);
        let outside = tempfile::tempdir().unwrap();
        let out = outside.path().to_str().unwrap();
        let cases: [&[(&str, EntryType, &str)]; 6] = [
            &[("./", dir, ""), ("../x", file, "x")],
            &[("./", dir, ""), ("/x", file, "x")],
            &[("./", dir, ""), ("./a/../../x", file, "x")],
            &[("./", dir, ""), ("./a/x", file, "x")],
            &[("./", dir, ""), ("./a", link, out), ("./a/x", file, "x")],
            &[("./", dir, ""), ("./pipe", EntryType::Fifo, "")],
        ];
        for case in cases {
            let top = tempfile::tempdir().unwrap();
            let local = top.path().join("to");
            assert!(unpack(&archive(case), &local, 100).is_err(), "{case:?}");
            assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 1, "{case:?}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        // A link that was there before is no folder.
        let top = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), top.path().join("a")).unwrap();
        assert!(unpack(&archive(&[("./", dir, ""), ("./a/", dir, "")]), top.path(), 100).is_err());
    }

    #[test]
    fn too_much_is_refused_both_ways() {
        let top = tempfile::tempdir().unwrap();
        std::fs::write(top.path().join("a"), [0; 60]).unwrap();
        std::fs::write(top.path().join("b"), [0; 60]).unwrap();
        assert_eq!(pack(top.path(), 120).unwrap().totals, Totals { files: 2, bytes: 120 });
        let error = pack(top.path(), 119).map(drop).unwrap_err().to_string();
        assert!(error.contains("use SSH"), "{error}");
        let large = archive(&[("./", EntryType::Directory, ""), ("./a", EntryType::Regular, "0123456789")]);
        let error = unpack(&large, &top.path().join("to"), 9).map(drop).unwrap_err().to_string();
        assert!(error.contains("use SSH"), "{error}");
        assert!(!top.path().join("to/a").exists());
    }
}
