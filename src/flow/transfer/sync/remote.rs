//! The content of a folder on a machine, as `remote/linux/sync-tree.sh` reports it.
//!
//! The machine remembers what was sent, and lists every file at the end of a sync. The content of a file is known
//! without reading it if its size, inode, mtime and ctime are the same as in that listing, and if nobody can have
//! changed it unseen before the listing. The second holds in two cases:
//!
//! * its last change was before the sync looked at the folder. The look made its content known, and a change between
//!   the look and the listing would have left a later ctime.
//! * it came with the sync, and has the mtime with which it was unpacked where nobody else could reach it. Its ctime
//!   says nothing, for putting a file into its place changes it. Before the machine does that, it lets the clock of its
//!   files move on, so that any later write leaves another mtime.
//!
//! Times are compared for equality; only ctimes and the time of the look, which one clock gives, are compared for their
//! order. So a clock that jumps between two syncs costs at most that a file is read again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use model::fault::Fault;

use crate::transfer::sync::local::{self, Hash, LocalTree, Token};

/// The kind of an entry on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteKind {
    /// A file, with its hash if that is known.
    File(Option<Hash>),
    /// A symbolic link to this target.
    Link(Vec<u8>),
    /// A folder.
    Folder,
    /// Anything else.
    Other,
}

/// An entry on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// Its kind.
    pub kind: RemoteKind,
    /// Its permission bits.
    pub mode: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Size, inode and mtime as the machine printed them: they are only compared for equality.
    content: Vec<u8>,
    /// Its ctime, which every change of content, mode or links moves, and which no program can set.
    changed: Time,
}

impl RemoteEntry {
    /// What tells the entry with its content from any other, 16 hexadecimal digits: a program that changes either moves the ctime, which none can
    /// set.
    pub fn identity(&self) -> String {
        let target: &[u8] = if let RemoteKind::Link(target) = &self.kind { target } else { b"" };
        let (seconds, nanoseconds) = self.changed;
        let about = format!("{} {seconds}.{nanoseconds} {:o} ", HEXLOWER.encode(&self.content), self.mode);
        HEXLOWER.encode(&local::hash(&[about.as_bytes(), target].concat())[..8])
    }
}

/// Seconds and nanoseconds.
type Time = (i64, u64);

/// An entry that a sync sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// A file of this hash.
    File(Hash),
    /// A link whose target has this hash.
    Link(Hash),
    /// A folder.
    Folder,
}

/// The content of a folder on a machine, with what is remembered there of earlier syncs.
#[derive(Debug, Default)]
pub struct RemoteTree {
    /// The entries by path below the top, a folder before its content.
    pub entries: BTreeMap<PathBuf, RemoteEntry>,
    /// The entries that earlier syncs put at each path. There are two where a sync did not end: it may or may not have
    /// come to that path.
    pub sent: HashMap<PathBuf, HashSet<Sent>>,
    /// By the path of a file here, what it looked like when a sync read it, and the hash that it had.
    known_here: HashMap<PathBuf, (Token, Hash)>,
    began: Vec<u8>,
    remembers: bool,
    damaged: bool,
}

fn unreadable_listing(what: &str) -> Fault {
    Fault::infrastructure(format!("the machine's listing cannot be read: {what}"))
}

/// Reads a time as `find` prints it, with ten digits after the point: nine of them are the nanoseconds.
fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits: String = rest.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, digits.parse().ok()?))
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Reads what `look` printed.
pub fn read(printed: &[u8]) -> Result<RemoteTree, Fault> {
    let sections = Sections::read(printed).ok_or_else(|| unreadable_listing("it breaks off"))?;
    let unreadable = || unreadable_listing("an entry");
    // `same` stands in place of `now` if nothing has changed since the listing at the end of the last sync.
    let listing = if sections.has("same") { "seen" } else { "now" };
    let entries = parse_listing(&sections.records(listing).ok_or_else(unreadable)?).ok_or_else(unreadable)?;
    let mut look = RemoteTree { entries, ..RemoteTree::default() };
    look.began = sections.records("began").and_then(|began| Some(began.first()?.to_vec())).unwrap_or_default();
    // What cannot be read of the records says nothing, and all is compared by content.
    match look.remember(&sections).is_some() && !sections.has("odd") {
        true => Ok(look),
        false => Ok(RemoteTree { entries: look.forget(), began: look.began, damaged: true, ..RemoteTree::default() }),
    }
}

/// The parts of what `look` printed, by their names.
struct Sections<'a>(HashMap<&'a [u8], &'a [u8]>);

impl<'a> Sections<'a> {
    /// Takes them apart; none where they break off.
    fn read(mut printed: &'a [u8]) -> Option<Self> {
        let mut sections = HashMap::new();
        loop {
            let (head, rest) = printed.split_at_checked(printed.iter().position(|byte| *byte == 0)?)?;
            let (name, bytes) = std::str::from_utf8(head.strip_prefix(b"=")?).ok()?.split_once(' ')?;
            // What a section holds may look like another one, and is taken whatever it is.
            let (body, behind) = rest.get(1..)?.split_at_checked(bytes.parse().ok()?)?;
            sections.insert(name.as_bytes(), body);
            if name == "end" {
                return behind.is_empty().then_some(Self(sections));
            }
            printed = behind;
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name.as_bytes())
    }

    /// The records of a section; none where the last one is not whole.
    fn records(&self, name: &str) -> Option<Vec<&'a [u8]>> {
        match self.0.get(name.as_bytes()).copied().unwrap_or_default() {
            [] => Some(Vec::new()),
            body => Some(body.strip_suffix(b"\0")?.split(|byte| *byte == 0).collect()),
        }
    }
}

/// The entries of a listing, in which each has two records: itself, and the target of a link.
fn parse_listing(records: &[&[u8]]) -> Option<BTreeMap<PathBuf, RemoteEntry>> {
    let entry = |record: &[u8], target: &[u8]| {
        let fields: Vec<&[u8]> = record.splitn(7, |byte| *byte == b' ').collect();
        let [kind, mode, size, inode, content, changed, name] = fields.as_slice() else { return None };
        let kind = match *kind {
            b"f" => RemoteKind::File(None),
            b"l" => RemoteKind::Link(target.to_vec()),
            b"d" => RemoteKind::Folder,
            _ => RemoteKind::Other,
        };
        let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
        let content = [size, inode, content].map(|field| *field).join(&b' ');
        let size = std::str::from_utf8(size).ok()?.parse().ok()?;
        Some((path(name), RemoteEntry { kind, mode, size, content, changed: parse_time(changed)? }))
    };
    let pairs = records.chunks(2);
    pairs.map(|pair| entry(pair.first().copied()?, pair.get(1).copied()?)).collect()
}

/// Reads a record of `sent` or `pending`: `KIND HASH PATH`, or `F HASH TOKEN PATH` of a file that need not be read here again.
fn parse_sent(record: &[u8]) -> Option<(PathBuf, Sent, Option<Token>)> {
    let mut fields = record.splitn(3, |byte| *byte == b' ');
    let (kind, hash, name) = (fields.next()?, fields.next()?, fields.next()?);
    let sent = match kind {
        b"F" => {
            let (token, name) = name.split_at_checked(16).filter(|(_, rest)| rest.starts_with(b" "))?;
            let token = HEXLOWER.decode(token).ok()?.try_into().ok()?;
            return Some((path(&name[1..]), Sent::File(unhex(hash)?), Some(token)));
        }
        b"f" => Sent::File(unhex(hash)?),
        b"l" => Sent::Link(unhex(hash)?),
        b"d" => Sent::Folder,
        _ => return None,
    };
    Some((path(name), sent, None))
}

/// Reads a record of `fresh`, `SIZE INODE MTIME PATH`; gives its first three fields as [`RemoteEntry::content`] has them.
fn parse_fresh(record: &[u8]) -> Option<(PathBuf, &[u8])> {
    let (at, _) = record.iter().enumerate().filter(|(_, byte)| **byte == b' ').nth(2)?;
    Some((path(&record[at + 1..]), &record[..at]))
}

fn unhex(text: &[u8]) -> Option<Hash> {
    HEXLOWER.decode(text).ok()?.try_into().ok()
}

impl RemoteTree {
    /// The time just before the machine looked at the folder, by the clock that gives its files their times.
    pub fn began(&self) -> &[u8] {
        &self.began
    }

    /// Whether the machine remembers a sync that ended.
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Whether something that is no record of a sync was found in the place of one.
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Takes over what the records say; none where one of them cannot be read.
    fn remember(&mut self, sections: &Sections<'_>) -> Option<()> {
        let (sent, pending) = (sections.records("sent")?, sections.records("pending")?);
        for record in sent.iter().chain(&pending) {
            let (place, sent, token) = parse_sent(record)?;
            if let (Some(token), Sent::File(hash)) = (token, sent) {
                self.known_here.insert(place.clone(), (token, hash));
            }
            self.sent.entry(place).or_default().insert(sent);
        }
        let (seen, fresh) = (parse_listing(&sections.records("seen")?)?, sections.records("fresh")?);
        let fresh = fresh.into_iter().map(parse_fresh).collect::<Option<HashMap<PathBuf, &[u8]>>>()?;
        let stamps = sections.records("stamp")?;
        let stamp = stamps.first().map(|stamp| parse_time(stamp).ok_or(())).transpose().ok()?;
        self.remembers = stamp.is_some();
        // The machine removes `pending` last. While it is there, the other sections may belong to different syncs, and a
        // path may have two hashes: then no content is taken as known.
        if let (Some(stamp), true) = (stamp, pending.is_empty()) {
            self.recall(&seen, &fresh, stamp);
        }
        Some(())
    }

    /// The entries, without a word about their content.
    fn forget(&mut self) -> BTreeMap<PathBuf, RemoteEntry> {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in entries.values_mut() {
            if let RemoteKind::File(known) = &mut entry.kind {
                *known = None;
            }
        }
        entries
    }

    /// What a file here looked like when a sync read it, and the hash that it had.
    pub fn known_here(&self, path: &Path) -> Option<(Token, Hash)> {
        self.known_here.get(path).copied()
    }

    /// Takes over the hashes of files that are as they were at the end of the last sync, which looked at `stamp`. The
    /// beginning of this file says why they still hold.
    fn recall(&mut self, seen: &BTreeMap<PathBuf, RemoteEntry>, fresh: &HashMap<PathBuf, &[u8]>, stamp: Time) {
        for (path, entry) in &mut self.entries {
            // There is only one: a path has two only after an interrupted sync.
            let Some(Sent::File(hash)) = self.sent.get(path).and_then(|sent| sent.iter().next()) else { continue };
            let same = seen.get(path).is_some_and(|then| {
                matches!(then.kind, RemoteKind::File(_))
                    && then.content == entry.content
                    && then.changed == entry.changed
            });
            // Not at the time of the look itself: a change within the same tick of the clock may have come after it.
            let untouched = entry.changed < stamp || fresh.get(path).is_some_and(|came| *came == entry.content);
            if let (RemoteKind::File(known), true, true) = (&mut entry.kind, same, untouched) {
                *known = Some(*hash);
            }
        }
    }

    /// The files that only their hash can judge: those of the same size as the file here, and those that are not here
    /// and are removed if they still are what was sent.
    pub fn files_to_hash(&self, here: &LocalTree) -> Vec<PathBuf> {
        let open = |(path, entry): &(&PathBuf, &RemoteEntry)| {
            entry.kind == RemoteKind::File(None)
                && match here.entries.get(*path) {
                    Some(ours) if matches!(ours.kind, local::LocalKind::File(_)) => ours.size == entry.size,
                    _ => self.sent.contains_key(*path),
                }
        };
        self.entries.iter().filter(open).map(|(path, _)| path.clone()).collect()
    }

    /// Takes over the hashes that the machine printed. A file that it could not read is not among them and stays
    /// unknown.
    pub fn learn(&mut self, printed: &[u8]) {
        for (path, hash) in hashes(printed) {
            if let Some(entry) = self.entries.get_mut(path) {
                entry.kind = RemoteKind::File(Some(hash));
            }
        }
    }

    /// Whether the entry is still what a sync put there. A file of unknown content is not: it may be somebody's work,
    /// which no sync may remove.
    pub fn is_sent(&self, path: &Path) -> bool {
        let (Some(entry), Some(sent)) = (self.entries.get(path), self.sent.get(path)) else { return false };
        match &entry.kind {
            RemoteKind::File(Some(hash)) => sent.contains(&Sent::File(*hash)),
            RemoteKind::Link(target) => sent.contains(&Sent::Link(local::hash(target))),
            RemoteKind::Folder => sent.contains(&Sent::Folder),
            RemoteKind::File(None) | RemoteKind::Other => false,
        }
    }
}

/// The hashes that the machine printed, by the paths that it was asked for.
pub fn hashes(printed: &[u8]) -> impl Iterator<Item = (&Path, Hash)> {
    printed.split(|byte| *byte == 0).filter_map(|record| {
        let (hash, name) = record.split_at_checked(64)?;
        Some((Path::new(OsStr::from_bytes(name.strip_prefix(b"  ./")?)), unhex(hash)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sections of a look, without `now` if everything is the same.
    fn look(now: &str, seen: &str, fresh: &str, stamp: &str, pending: &str) -> RemoteTree {
        let hash = local::hex(&local::hash(b"x"));
        let sent = format!("f {hash} a\0d - d\0");
        let now = if now == seen { ("same", "") } else { ("now", now) };
        let stamp = format!("{stamp}\0");
        let rest = [("stamp", &*stamp), ("seen", seen), ("fresh", fresh), ("sent", &*sent), ("pending", pending)];
        read(printed(&[&[("began", "200.5\0"), now][..], &rest, &[("end", "")]].concat()).as_bytes()).unwrap()
    }

    /// Sections as a machine prints them.
    fn printed(sections: &[(&str, &str)]) -> String {
        sections.iter().map(|(name, body)| format!("={name} {}\0{body}", body.len())).collect()
    }

    fn file(size: u64, inode: u64, content: &str, changed: &str) -> String {
        format!("f 644 {size} {inode} {content} {changed} a\0\0")
    }

    fn known(look: &RemoteTree) -> bool {
        matches!(look.entries[Path::new("a")].kind, RemoteKind::File(Some(_)))
    }

    #[test]
    fn a_file_is_known_only_where_nobody_can_have_changed_it_unseen() {
        let then = file(1, 7, "90.0", "100.0000000010");
        // Last touched before the last sync looked.
        assert!(known(&look(&then, &then, "", "100.0000000020", "")));
        // At that time or later: somebody may have been faster than the listing.
        assert!(!known(&look(&then, &then, "", "100.0000000010", "")));
        assert!(!known(&look(&then, &then, "", "99.9", "")));
        // It came with that sync, and is as it came.
        assert!(known(&look(&then, &then, "1 7 90.0 a\0", "99.9", "")));
        assert!(!known(&look(&then, &then, "1 7 89.0 a\0", "99.9", "")));
        // Changed since: in size, inode, time of the content, time of the change (to the past as well).
        for now in [
            file(2, 7, "90.0", "100.0000000010"),
            file(1, 8, "90.0", "100.0000000010"),
            file(1, 7, "91.0", "100.0000000010"),
            file(1, 7, "90.0", "50.0"),
        ] {
            assert!(!known(&look(&now, &then, "", "200.0", "")), "{now:?}");
        }
        // After a sync that did not end, no file is known.
        let pending = format!("f {} b\0", local::hex(&local::hash(b"y")));
        let look = look(&then, &then, "", "200.0", &pending);
        assert!(!known(&look) && look.sent.contains_key(Path::new("b")));
    }

    #[test]
    fn a_listing_that_breaks_off_is_refused_whatever_stands_in_it() {
        let now = format!("{}l 777 3 1 1.0 1.0 b\0=end 0\0", file(1, 1, "1.0", "1.0"));
        let whole = printed(&[("began", "1\0"), ("now", &now), ("end", "")]);
        let look = read(whole.as_bytes()).unwrap();
        assert_eq!(look.entries[Path::new("b")].kind, RemoteKind::Link(b"=end 0".to_vec()));
        for length in 0..whole.len() {
            assert!(read(&whole.as_bytes()[..length]).is_err(), "{length}");
        }
        for bad in ["f 644 1 1 1.0 a", "f 999 1 1 1.0 1.0 a", "f 644 x 1 1.0 1.0 a", "f 644 1 1 1.0 soon a"] {
            let now = format!("{bad}\0\0");
            assert!(read(printed(&[("now", &now), ("end", "")]).as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn records_that_cannot_be_read_are_as_good_as_none() {
        let then = file(1, 7, "90.0", "100.0");
        let sent = format!("f {} a\0", local::hex(&local::hash(b"x")));
        let well = [("now", &*then), ("stamp", "200.0\0"), ("seen", &*then), ("fresh", ""), ("sent", &*sent)];
        let with = |name: &str, body: &str| {
            let mut sections: Vec<(&str, &str)> = well.into_iter().filter(|(other, _)| *other != name).collect();
            sections.extend([(name, body), ("end", "")]);
            read(printed(&sections).as_bytes()).unwrap()
        };
        let look = with("pending", "");
        assert!(known(&look) && look.remembers() && !look.is_damaged());
        for (name, body) in [
            ("sent", "\0\0\0"),
            ("sent", "f 12 a\0"),
            ("sent", &sent[..sent.len() - 1]),
            ("pending", "=end 0\0"),
            ("seen", "garbage"),
            ("seen", &then[..then.len() - 1]),
            ("fresh", "1\0"),
            ("stamp", "soon\0"),
            ("odd", ""),
        ] {
            let look = with(name, body);
            assert!(look.is_damaged() && !look.remembers() && !known(&look), "{name} {body:?}");
            assert!(look.sent.is_empty() && look.entries.len() == 1, "{name} {body:?}");
        }
    }

    #[test]
    fn what_the_machine_hashed_is_learnt_by_name() {
        let then = file(1, 7, "90.0", "100.0");
        let mut look = look(&then, &then, "", "99.0", "");
        look.learn(b"too short\0");
        assert!(!known(&look) && !look.is_sent(Path::new("a")));
        look.learn(format!("{}  ./a\0{}  ./none\0", local::hex(&local::hash(b"x")), "0".repeat(64)).as_bytes());
        assert!(known(&look) && look.is_sent(Path::new("a")));
        look.learn(format!("{}  ./a\0", local::hex(&local::hash(b"y"))).as_bytes());
        assert!(!look.is_sent(Path::new("a")));
    }
}
