//! Archives from machines that lie, and archives of odd trees, with this computer's own `tar` in the machine's place.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::{Command as Process, Stdio};

use tar::{EntryType, Header};

use super::*;
use crate::item::plan;

const DIR: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;

/// An archive of entries whose names are taken as they are.
fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        let data = if *kind == LINK { "" } else { content };
        header.set_entry_type(*kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        if *kind == LINK {
            gnu.linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn unpack_from(archive: &[u8], local: &Path, expected: Option<&[&str]>, cap: u64) -> Result<Totals, ConnectionError> {
    let expected = expected.map(|paths| paths.iter().map(PathBuf::from).collect());
    unpack::unpack(archive, local, Bounds { expected, cap: (cap, "it is too large") }, &AtomicU64::new(0))
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn an_archive_cannot_lead_out_of_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    let cases: [&[(&str, EntryType, &str)]; 13] = [
        &[],
        &[("x/", DIR, "")],
        &[("./", DIR, ""), ("../x", FILE, "x")],
        &[("./", DIR, ""), ("/x", FILE, "x")],
        &[("./", DIR, ""), ("./a/../../x", FILE, "x")],
        &[("./", DIR, ""), ("./a/x", FILE, "x")],
        &[("./", DIR, ""), ("./a", LINK, out), ("./a/x", FILE, "x")],
        &[("./", DIR, ""), ("./a", LINK, out), ("./a/", DIR, ""), ("./a/x", FILE, "x")],
        &[("./", DIR, ""), ("./a", FILE, "x"), ("./a", FILE, "y")],
        &[("./", DIR, ""), ("./a", LINK, out), ("./a", LINK, out)],
        &[("./", DIR, ""), ("./pipe", EntryType::Fifo, "")],
        &[("./", DIR, ""), ("./hard", EntryType::Link, "")],
        &[("./", DIR, ""), ("./none", LINK, "")],
    ];
    for case in cases {
        let top = tempfile::tempdir().unwrap();
        // It is unpacked into a new folder and into an existing one.
        for local in [top.path().join("to"), top.path().to_owned()] {
            assert!(unpack_from(&archive(case), &local, None, 100).is_err(), "{case:?}");
            assert_eq!(count(top.path()), 0, "{case:?}");
        }
    }
    assert_eq!(count(outside.path()), 0);
}

#[test]
fn a_folder_is_never_entered_through_a_link_that_is_there() {
    let (top, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), top.path().join("a")).unwrap();
    let tree = archive(&[("./", DIR, ""), ("./a/", DIR, ""), ("./a/evil", FILE, "x")]);
    let error = unpack_from(&tree, top.path(), None, 100).unwrap_err().to_string();
    assert!(error.contains("a link has that name"), "{error}");
    assert_eq!((count(outside.path()), count(top.path())), (0, 1));
    // A file does not replace the link or the file that it leads to, either.
    let error = unpack_from(&archive(&[("./", DIR, ""), ("./a", FILE, "x")]), top.path(), None, 100).unwrap_err();
    assert!(error.to_string().contains("a link has that name"), "{error}");
    assert!(std::fs::symlink_metadata(top.path().join("a")).unwrap().is_symlink());
    assert_eq!((count(outside.path()), count(top.path())), (0, 1));
}

#[test]
fn nothing_comes_that_nobody_asked_for() {
    let top = tempfile::tempdir().unwrap();
    let local = top.path().join("to");
    let asked = Some(&["a/b", "c"][..]);
    for case in [[("./a/x", FILE, "x")], [("./a/", DIR, "")], [("./c", LINK, "/etc")], [("./c/b", FILE, "x")]] {
        assert!(unpack_from(&archive(&case), &local, asked, 100).is_err(), "{case:?}");
        assert_eq!(count(top.path()), 0);
    }
    let totals = unpack_from(&archive(&[("./a/b", FILE, "x"), ("./c", FILE, "yy")]), &local, asked, 100).unwrap();
    assert_eq!(
        (totals, std::fs::read(local.join("a/b")).unwrap()),
        (Totals { files: 2, ..Totals::file(3) }, b"x".to_vec())
    );
}

#[test]
fn no_link_that_comes_leads_out_of_the_folder() {
    let top = tempfile::tempdir().unwrap();
    let local = top.path().join("to");
    let links = [("./in", LINK, "d/../x"), ("./out", LINK, "d/../../x"), ("./abs", LINK, "/etc/passwd")];
    let tree = archive(&[&[("./", DIR, ""), ("./d/", DIR, ""), ("./x", FILE, "x")][..], &links[..]].concat());
    // The second time it is merged into the folder that the first made.
    for _ in 0..2 {
        let totals = unpack_from(&tree, &local, None, 100).unwrap();
        assert_eq!((totals.files, totals.replaced_links), (1, vec!["abs".to_owned(), "out".to_owned()]));
        assert_eq!(std::fs::read_link(local.join("in")).unwrap(), Path::new("d/../x"));
        for (name, target) in [("out", "`d/../../x`"), ("abs", "`/etc/passwd`")] {
            assert!(std::fs::symlink_metadata(local.join(name)).unwrap().is_file());
            assert!(std::fs::read_to_string(local.join(name)).unwrap().contains(target));
        }
    }
}

#[test]
fn an_archive_that_is_one_file_goes_where_a_file_may_go() {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    let file = archive(&[("./a", FILE, "text")]);
    std::os::unix::fs::symlink("real", at("link")).unwrap();
    unpack_from(&file, &at("link"), None, 100).unwrap();
    assert_eq!((std::fs::read(at("real")).unwrap(), count(top.path())), (b"text".to_vec(), 2));
    assert!(std::fs::symlink_metadata(at("link")).unwrap().is_symlink());
    assert_eq!(unpack_from(&file, Path::new("/dev/null"), None, 100).unwrap(), Totals::file(4));
    assert!(unpack_from(&file, Path::new("/dev/full"), None, 100).unwrap_err().to_string().contains("No space"));
    assert!(unpack_from(&file, &at("none/"), None, 100).is_err());
}

#[test]
fn what_is_too_much_or_too_deep_or_broken_is_refused() {
    let top = tempfile::tempdir().unwrap();
    let local = top.path().join("to");
    let refused = |bytes: &[u8], text: &str| {
        let cap = if text == "too large" { 9 } else { 10 };
        let error = unpack_from(bytes, &local, None, cap).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert_eq!(count(top.path()), 0);
    };
    let large = archive(&[("./", DIR, ""), ("./a", FILE, "0123456789")]);
    refused(&large, "too large");
    refused(&large[..1024], "broken");
    let mut flipped = large.clone();
    flipped[600] ^= 1;
    refused(&flipped, "sum is wrong");
    let mut endless = Header::new_gnu();
    endless.set_entry_type(EntryType::GNULongName);
    endless.set_size(1 << 40);
    endless.set_cksum();
    refused(endless.as_bytes(), "too long");
    let names: Vec<String> = (1..300).map(|depth| format!("./{}", "a/".repeat(depth))).collect();
    let mut packed = Vec::new();
    let mut packer = Packer::new(|piece: Piece| {
        packed.extend(piece.bytes);
        true
    });
    let items = names.iter().map(|name| Item {
        path: name.trim_start_matches("./").trim_end_matches('/').into(),
        kind: crate::item::ItemKind::Folder,
        mode: 0o755,
    });
    packer.tree(top.path(), &items.collect::<Vec<_>>()).unwrap();
    packer.end().unwrap();
    // Our archives have below `tree/` what a machine's archive has below `./`.
    let out = Process::new("tar").args(["-cf", "-", "-C"]).arg(top.path()).arg(".").output().unwrap();
    let mut deep = out.stdout[..512].to_vec();
    deep.extend(&packed);
    refused(&deep, "folders below each other");
}

/// Packs `top`, has `tar` unpack it, and gives the folder with the result.
fn through_tar(top: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut tar = Process::new("tar");
    let tar = tar.args(["-xpmf", "-", "-b", "128", "--no-same-owner", "-C"]).arg(to.path());
    let mut tar = tar.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = tar.stdin.take().unwrap();
    let cargo =
        PackJob { top: top.to_owned(), items: plan(top).unwrap(), notes: vec![("note".to_owned(), vec![7; 700])] };
    pack(&cargo, |piece| stdin.write_all(&piece.bytes).is_ok()).unwrap();
    drop(stdin);
    let done = tar.wait_with_output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(to.path().join("whole").exists() && std::fs::read(to.path().join("note")).unwrap() == [7; 700]);
    to
}

#[test]
fn sparse_files_stay_sparse_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    std::fs::create_dir(&top).unwrap();
    let size = 6_u64 << 30;
    for (name, at) in
        [("none", vec![]), ("few", vec![0, size - 5]), ("many", (1..60).map(|n| n * (100 << 20)).collect())]
    {
        let file = std::fs::File::create(top.join(name)).unwrap();
        file.set_len(size).unwrap();
        for offset in at {
            file.write_all_at(b"data!", offset).unwrap();
        }
    }
    std::fs::File::create(top.join("end")).unwrap().write_all_at(b"x", 1 << 20).unwrap();
    let to = through_tar(&top);
    let packed =
        Process::new("tar").args(["--format=gnu", "-Scf", "-", "-C"]).arg(to.path().join("tree")).arg(".").output();
    let back = dir.path().join("back");
    let totals = unpack_from(&packed.unwrap().stdout, &back, None, u64::MAX).unwrap();
    assert_eq!((totals.files, totals.bytes), (4, 3 * size + (1 << 20) + 1));
    for place in [to.path().join("tree"), back] {
        for name in ["none", "few", "many", "end"] {
            let (ours, theirs) =
                (std::fs::File::open(top.join(name)).unwrap(), std::fs::File::open(place.join(name)).unwrap());
            let (from, found) = (ours.metadata().unwrap(), theirs.metadata().unwrap());
            assert_eq!(from.len(), found.len());
            assert!(found.blocks() <= from.blocks() + 64, "{name}: {} blocks of {}", found.blocks(), from.blocks());
            for offset in (0..60).map(|n| n * (100 << 20)).chain([size - 5, 1 << 20]) {
                let (mut a, mut b) = ([0; 5], [0; 5]);
                let (got, read) = (ours.read_at(&mut a, offset).unwrap(), theirs.read_at(&mut b, offset).unwrap());
                assert_eq!((got, a), (read, b), "{name} at {offset}");
            }
        }
    }
}

#[test]
fn odd_names_and_targets_pass_through_tar() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    let long = std::ffi::OsString::from("n".repeat(255));
    let deep = (0..15).fold(top.to_owned(), |path, _| path.join(&long));
    std::fs::create_dir_all(&deep).unwrap();
    let names: [&[u8]; 6] = [b"-rf", b" ", b"new\nline", b"bad\xff\xfe", b"'\"\\", b"--to-command=x"];
    for name in names {
        std::fs::write(deep.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
        std::fs::write(top.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let target = std::ffi::OsStr::from_bytes(b"/no/such/\xff thing");
    std::os::unix::fs::symlink(target, top.join("link")).unwrap();
    std::os::unix::fs::symlink("t".repeat(1000), top.join("far")).unwrap();
    std::fs::hard_link(top.join("-rf"), top.join("hard")).unwrap();
    std::fs::set_permissions(top.join("hard"), PermissionsExt::from_mode(0o4751)).unwrap();
    let to = through_tar(top);
    let place = to.path().join("tree");
    let below = deep.strip_prefix(top).unwrap();
    for name in names {
        let name = std::ffi::OsStr::from_bytes(name);
        assert_eq!(std::fs::read(place.join(below).join(name)).unwrap(), name.as_bytes());
        assert_eq!(std::fs::read(place.join(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(std::fs::read_link(place.join("link")).unwrap(), target);
    assert_eq!(std::fs::read_link(place.join("far")).unwrap().as_os_str().len(), 1000);
    let hard = std::fs::metadata(place.join("hard")).unwrap();
    assert_eq!((hard.nlink(), hard.permissions().mode() & 0o7777), (1, 0o4751));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let say = |change: &dyn Fn()| {
        std::fs::write(&path, vec![1; 3 * write::PIECE]).unwrap();
        let cargo = PackJob { top: dir.path().to_owned(), items: plan(dir.path()).unwrap(), notes: Vec::new() };
        let mut pieces = 0;
        let packed = pack(&cargo, |_| {
            pieces += 1;
            if pieces == 1 {
                change();
            }
            true
        });
        packed.unwrap_err().to_string()
    };
    assert!(say(&|| std::fs::File::options().write(true).open(&path).unwrap().set_len(9).unwrap()).contains("shorter"));
    let grow = || std::fs::File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    assert!(say(&grow).contains("changed"));
    std::fs::write(&path, "x").unwrap();
    let cargo = PackJob { top: dir.path().to_owned(), items: plan(dir.path()).unwrap(), notes: Vec::new() };
    std::fs::remove_file(&path).unwrap();
    let error = pack(&cargo, |_| true).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("No such file"), "{error}");
}

#[test]
fn a_file_that_says_that_it_is_empty_is_sent_with_its_content_or_refused() {
    let top = Path::new("/proc/sys/fs/inotify");
    let content: Vec<Vec<u8>> =
        std::fs::read_dir(top).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    let cargo = PackJob { top: top.to_owned(), items: plan(top).unwrap(), notes: Vec::new() };
    let mut moved = 0;
    let totals = pack(&cargo, |piece| {
        moved += piece.content;
        true
    });
    let (totals, bytes) = (totals.unwrap(), content.iter().map(Vec::len).sum::<usize>() as u64);
    assert!(bytes > 0);
    assert_eq!((totals.files, totals.bytes, moved), (content.len() as u64, bytes, bytes));
    let top_of_sys = Path::new("/sys/devices/system/cpu");
    let online = vec![item::item(top_of_sys, PathBuf::from("online")).unwrap()];
    let cargo = PackJob { top: top_of_sys.to_owned(), items: online, notes: Vec::new() };
    let online = std::fs::read(top_of_sys.join("online")).unwrap();
    assert_eq!(pack(&cargo, |_| true).unwrap(), Totals::file(online.len() as u64));
    let to = through_tar(top);
    for entry in std::fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            std::fs::read(to.path().join("tree").join(path.file_name().unwrap())).unwrap(),
            std::fs::read(&path).unwrap()
        );
    }
}

#[test]
fn too_much_for_memory_is_refused_both_ways() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(top.path().join("a"), [0; 60]).unwrap();
    std::fs::write(top.path().join("b"), [0; 60]).unwrap();
    assert_eq!(in_memory(top.path(), 120).unwrap().1, Totals { files: 2, ..Totals::file(120) });
    assert!(in_memory(top.path(), 119).unwrap_err().to_string().contains("use SSH"));
    let large = archive(&[("./", DIR, ""), ("./a", FILE, "0123456789")]);
    assert!(from_memory(&large, &top.path().join("to"), 9).unwrap_err().to_string().contains("use SSH"));
    assert!(!top.path().join("to").exists());
}
