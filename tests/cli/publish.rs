//! A release is published: at a real package index, and at a real SSH server that plays the host of the releases.
//!
//! The release is made up, with wheels that hold little; `AUTOMATION_RELEASE` names a folder with the sixteen wheels and four
//! installers of Mercurial 7.2.4 (or the version in `AUTOMATION_RELEASE_VERSION`), and `AUTOMATION_NEWEST_MERCURIAL` its source: then
//! they are published as well.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use support::index::{IndexServer, Order, OrderedIndex, names};
use support::mounts;
use support::release::{BUILD_FILE, make_release, wheel};
use support::sshd::{Sshd, user};
use support::tool::{Done, Place, Running, is_root, skip};

/// An old `latest.dat`.
const OLD: &str = "10\t1.1\t.*Windows.*\thttps://mercurial-scm.org/release/windows/Mercurial-1.1-x86.exe\told\n";

/// A release that is to be published, and the host that it goes to.
struct Publication {
    place: Place,
    sshd: Sshd,
    dist: PathBuf,
    source: PathBuf,
    /// The folder on the host.
    there: PathBuf,
}

fn know(place: &Place, sshd: &Sshd, public: &str) {
    std::fs::create_dir_all(place.home.join(".ssh")).unwrap();
    let words: Vec<&str> = public.split(' ').take(2).collect();
    std::fs::write(place.home.join(".ssh/known_hosts"), format!("[127.0.0.1]:{} {}\n", sshd.port, words.join(" ")))
        .unwrap();
}

impl Publication {
    /// A release `1.2` whose files have about `size` bytes each.
    fn new(size: usize) -> Self {
        Self::at(Sshd::start(), size)
    }

    fn at(sshd: Sshd, size: usize) -> Self {
        let place = Place::new();
        know(&place, &sshd, &sshd.host.public_openssh);
        let (dist, source) = (place.path().join("dist"), place.path().join("source"));
        make_release(&dist, "1.2", &["cp313", "cp314"], size);
        std::fs::create_dir_all(source.join("tests")).unwrap();
        std::fs::write(source.join("tests/run-tests.py"), "").unwrap();
        std::fs::write(source.join("pyproject.toml"), BUILD_FILE).unwrap();
        let there = sshd.folder("release");
        std::fs::write(there.join("latest.dat"), OLD).unwrap();
        Self { place, sshd, dist, source, there }
    }

    fn arguments(&self, further: &[&str]) -> Vec<String> {
        let of = |path: &Path| path.to_str().unwrap().to_owned();
        let usual = [
            ("--dist", of(&self.dist)),
            ("--source", of(&self.source)),
            ("--folder", of(&self.there)),
            ("--identity", of(&self.sshd.dir.path().join("identity"))),
            ("--host", format!("127.0.0.1:{}", self.sshd.port)),
            ("--ssh-username", user()),
        ];
        let mut words = vec!["publish-windows-artifacts".to_owned()];
        for (option, value) in usual.into_iter().filter(|(option, _)| !further.contains(option)) {
            words.extend([option.to_owned(), value]);
        }
        words.extend(further.iter().map(|word| (*word).to_owned()));
        words
    }

    fn start(&self, further: &[&str]) -> Running {
        let mut command = self.place.command(&self.arguments(further));
        command.env("TZ", "UTC");
        Running::start(command)
    }

    fn run(&self, further: &[&str]) -> Done {
        self.start(further).end()
    }

    /// Publishes version 1.2 at `index` without asking.
    fn publish(&self, index: &str) -> Done {
        self.run(&["1.2", "--yes", "--repository-url", index])
    }

    fn files(&self) -> Vec<String> {
        let is_artifact = |name: &String| [".whl", ".exe", ".msi"].iter().any(|end| name.ends_with(end));
        names(&self.dist).into_iter().filter(is_artifact).collect()
    }

    fn wheels(&self) -> Vec<String> {
        self.files().into_iter().filter(|name| name.ends_with(".whl")).collect()
    }

    fn latest(&self) -> String {
        std::fs::read_to_string(self.there.join("latest.dat")).unwrap()
    }

    /// Fails unless everything is at the host, whole, and nothing else.
    fn assert_there(&self) {
        let mut expected = self.files();
        expected.push("latest.dat".to_owned());
        expected.sort();
        assert_eq!(names(&self.there), expected);
        for name in self.files() {
            let (here, there) = (self.dist.join(&name), self.there.join(&name));
            assert!(std::fs::read(&here).unwrap() == std::fs::read(&there).unwrap(), "{name}");
            assert_eq!(std::fs::metadata(&there).unwrap().mode() & 0o777, 0o664, "{name}");
        }
        let latest = self.latest();
        let columns: Vec<Vec<&str>> = latest.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(columns.len(), 4);
        assert!(columns.iter().all(|line| line.len() == 5 && line[0] == "10" && line[1] == "1.2"), "{latest}");
        let ends: Vec<&str> = columns.iter().map(|line| line[3].rsplit('/').next().unwrap()).collect();
        let ours = ["Mercurial-1.2-x86.exe", "Mercurial-1.2-x64.exe", "mercurial-1.2-x86.msi", "mercurial-1.2-x64.msi"];
        assert_eq!(ends, ours);
    }
}

#[test]
fn a_release_is_published_whole_and_a_second_time_there_is_nothing_to_do() {
    let (release, index) = (Publication::new(30_000), IndexServer::start(&[]));
    let url = ["--repository-url", index.url.as_str()];
    // Files that only their owner may read are published for all.
    for name in release.files() {
        std::fs::set_permissions(release.dist.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let plan = release.run(&[&["1.2", "--dry-run", "--json"], &url[..]].concat()).expect(0).json();
    assert_eq!(
        (&plan["id"], &plan["dry_run"], &plan["latest"]["fate"]),
        (&"1.2".into(), &true.into(), &"would be written".into())
    );
    for (place, count) in [("index", 6), ("host", 10)] {
        let files = plan[place]["files"].as_array().unwrap();
        assert_eq!(files.len(), count, "{plan}");
        assert!(files.iter().all(|file| file["fate"] == "would be published"), "{plan}");
    }
    release.run(&[&["1.2"], &url[..]].concat()).expect(2).tells(&["nobody is there to be asked", "--yes"]);
    assert_eq!((index.names(), names(&release.there)), (vec![], vec!["latest.dat".to_owned()]));

    let done = release.publish(&index.url).expect(0).tells(&["Published 16 files", "names 1.2 now", "has no tag 1.2"]);
    assert!(done.text().contains("mercurial-1.2-cp313-cp313-win32.whl"), "{}", done.text());
    release.assert_there();
    assert_eq!(index.names(), release.wheels());
    for name in release.wheels() {
        let same =
            std::fs::read(index.folder.path().join(&name)).unwrap() == std::fs::read(release.dist.join(&name)).unwrap();
        assert!(same, "{name}");
    }
    let kept: Vec<String> = names(&release.dist).into_iter().filter(|name| name.starts_with("latest.dat.")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read_to_string(release.dist.join(&kept[0])).unwrap(), OLD);
    assert!(kept[0].ends_with('Z') && kept[0].len() == "latest.dat.20261129T162247Z".len(), "{kept:?}");

    let again =
        release.run(&[&["1.2", "--json"], &url[..]].concat()).expect(0).tells(&["All files of 1.2 are published"]);
    assert_eq!(again.json()["latest"]["fate"], "there");
    assert_eq!(again.json()["host"]["files"].as_array().unwrap().len(), 10);
    release.place.assert_clean();
}

#[test]
fn an_index_that_lists_no_sums_is_compared_by_its_files() {
    let (release, index) = (Publication::new(3_000), IndexServer::start(&["--hash-algo", "no"]));
    release.publish(&index.url).expect(0);
    release.publish(&index.url).expect(0).tells(&["All files of 1.2 are published"]);
    let name = &release.wheels()[2];
    std::fs::write(index.folder.path().join(name), wheel("1.2", "cp399-cp399-win32", 3_000)).unwrap();
    release.publish(&index.url).expect(3).tells(&["with other bytes", name, "SHA-256"]);
}

#[test]
fn other_bytes_under_the_same_name_end_it_before_anything_is_sent() {
    let (release, index) = (Publication::new(3_000), IndexServer::start(&[]));
    let (exe, whl) = (&release.files()[0], &release.wheels()[1]);
    std::fs::write(release.there.join(exe), "MZ of old").unwrap();
    let told =
        release.publish(&index.url).expect(3).tells(&["a file of 1.2 with other bytes", exe, "Nothing was sent"]);
    assert!(!told.stderr.contains("Publishing"), "{}", told.stderr);
    // As long as ours, so that only its sum differs.
    let mut same = std::fs::read(release.dist.join(exe)).unwrap();
    same.reverse();
    std::fs::write(release.there.join(exe), same).unwrap();
    release.publish(&index.url).expect(3).tells(&[exe, "SHA-256"]);
    std::fs::remove_file(release.there.join(exe)).unwrap();
    std::fs::write(index.folder.path().join(whl), wheel("1.2", "cp399-cp399-win32", 10)).unwrap();
    release.publish(&index.url).expect(3).tells(&[whl, &index.url]);
    assert_eq!((index.names(), names(&release.there)), (vec![whl.clone()], vec!["latest.dat".to_owned()]));
    assert_eq!(release.latest(), OLD);
}

#[test]
fn who_was_killed_goes_on_where_it_was() {
    let (release, index) = (Publication::new(1_500_000), IndexServer::start(&[]));
    let running = release.start(&["1.2", "--yes", "--repository-url", &index.url]);
    while running.said().matches("Published ").count() < 7 {
        assert!(running.lives(), "{}", running.said());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    running.signal(Signal::KILL);
    drop(running.end());
    assert_eq!(release.latest(), OLD);
    // What is there under its name is whole.
    for name in release.files() {
        let there = std::fs::read(release.there.join(&name)).ok();
        assert!(there.is_none_or(|there| there == std::fs::read(release.dist.join(&name)).unwrap()), "{name}");
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    for name in index.names() {
        // The index may write now what it got to the last byte.
        let is_whole = || {
            std::fs::read(index.folder.path().join(&name)).unwrap() == std::fs::read(release.dist.join(&name)).unwrap()
        };
        while !is_whole() {
            assert!(std::time::Instant::now() < end, "{name}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    // A part that is certainly left.
    std::fs::write(release.there.join(format!(".{}.hg-partial-abcdefghijkl", release.files()[0])), "half").unwrap();
    let done = release.publish(&index.url).expect(0).tells(&["were there already"]);
    let sent = done.stderr.lines().filter(|line| line.contains("Published ") && line.contains("ercurial-1.2-")).count();
    assert!((1..=16 - 7).contains(&sent), "{sent} of 16 were sent again: {}", done.stderr);
    release.assert_there();
    assert_eq!(index.names(), release.wheels());
}

#[test]
fn what_an_index_answers_is_told_and_what_it_keeps_decides() {
    // A reply that was cut, another that came to nothing, an index that is busy: the files arrive once.
    let release = Publication::new(3_000);
    let index = OrderedIndex::start(|number| match number {
        0 => Order::KeepAndCut,
        1 => Order::Cut,
        2 => Order::Refuse(503),
        3 => Order::Refuse(429),
        _ => Order::Keep,
    });
    release.publish(&index.url).expect(0);
    assert_eq!((index.names(), index.uploads()), (release.wheels(), 9));
    release.assert_there();

    for (status, code, told) in [(403, 3, "AUTOMATION_INDEX_TOKEN"), (400, 3, "HTTP 400"), (500, 4, "HTTP 500")] {
        let release = Publication::new(3_000);
        let index = OrderedIndex::start(move |number| if number < 2 { Order::Keep } else { Order::Refuse(status) });
        let done = release.publish(&index.url).expect(code);
        done.tells(&[
            "1.2 is published in part",
            "does not take `mercurial-1.2-",
            "not so",
            told,
            "only what is missing",
        ]);
        assert_eq!((index.names().len(), release.latest()), (2, OLD.to_owned()));
        let whole = OrderedIndex::start(|_| Order::Keep);
        release.publish(&whole.url).expect(0);
        release.assert_there();
    }
}

#[test]
fn the_token_goes_to_the_index_alone_and_is_told_nowhere() {
    let release = Publication::new(3_000);
    let index = OrderedIndex::start(|_| Order::Keep);
    let arguments = release.arguments(&["1.2", "--yes", "--no-mercurial-scm-org", "--repository-url", &index.url]);
    let with = |variables: &[(&str, &str)]| {
        let mut command = release.place.command(&arguments);
        command.envs(variables.iter().copied());
        Running::start(command).end()
    };
    let netrc = release.place.home.join(".netrc");
    std::fs::write(&netrc, "machine 127.0.0.1 login ann password of-netrc\n").unwrap();
    std::fs::set_permissions(&netrc, std::fs::Permissions::from_mode(0o644)).unwrap();
    with(&[]).expect(3).tells(&["others may read the passwords", "chmod 600"]);
    let done = with(&[("AUTOMATION_INDEX_TOKEN", "pypi-secret"), ("TWINE_PASSWORD", "other")]).expect(0);
    // `__token__:pypi-secret`
    assert!(
        index.authorizations().iter().all(|header| header == "Basic X190b2tlbl9fOnB5cGktc2VjcmV0"),
        "{:?}",
        index.authorizations()
    );
    assert!(!format!("{}{}", done.text(), done.stderr).contains("pypi-secret"));
    assert_eq!(names(&release.there), ["latest.dat"]);

    for (variables, header) in
        [(&[("TWINE_USERNAME", "bob"), ("TWINE_PASSWORD", "x")][..], "Basic Ym9iOng="), (&[], "Basic YW5uOm9mLW5ldHJj")]
    {
        std::fs::set_permissions(&netrc, std::fs::Permissions::from_mode(0o600)).unwrap();
        with(variables).expect(0);
        assert_eq!(index.authorizations().last().unwrap(), header);
    }
    let open = release.arguments(&["1.2", "--repository-url", "http://index.example.org/"]);
    let mut command = release.place.command(&open);
    command.env("TWINE_PASSWORD", "x");
    Running::start(command).end().expect(2).tells(&["in the open", "https"]);
    let held = release.run(&["1.2", "--repository-url", "https://ann:secret@index.example.org/"]).expect(2);
    assert!(!held.stderr.contains("secret"), "{}", held.stderr);
}

#[test]
fn what_cannot_be_published_is_told_and_nothing_is_sent() {
    let (release, index) = (Publication::new(3_000), IndexServer::start(&[]));
    let url = ["--yes", "--repository-url", index.url.as_str()];
    let with = |words: &[&str]| release.run(&[words, &url[..]].concat());
    with(&["1.3"]).expect(2).tells(&["10 of the 10 files of 1.3", "files of 1.2"]);
    with(&["latest"]).expect(2).tells(&["`latest` is not the version of a release"]);
    with(&["1.2", "--no-pypi", "--no-mercurial-scm-org"]).expect(2);
    with(&["1.2", "--latest", "never"]).expect(2).tells(&["`auto`, `always` or `keep`"]);
    with(&["1.2", "--folder", "/nowhere/at/all"]).expect(3).tells(&["there is no folder", "--folder"]);
    with(&["1.2", "--host", "bob@127.0.0.1"]).expect(2).tells(&["--ssh-username"]);
    with(&["1.2", "--source", "/"]).expect(2).tells(&["is not in a source of Mercurial"]);

    // Another key than the one that is known, and no known key at all.
    know(&release.place, &release.sshd, &connection::generate("other").unwrap().public_openssh);
    with(&["1.2"]).expect(3).tells(&["host key mismatch", "Nothing was sent"]);
    std::fs::remove_file(release.place.home.join(".ssh/known_hosts")).unwrap();
    with(&["1.2"]).expect(3).tells(&["host key unknown"]);
    know(&release.place, &release.sshd, &release.sshd.host.public_openssh);

    let name = &release.wheels()[0];
    let path = release.dist.join(name);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    with(&["1.2"]).expect(3).tells(&[name, "must not be published"]);
    std::fs::remove_file(&path).unwrap();
    with(&["1.2"]).expect(2).tells(&["1 of the 10 files of 1.2", name]);
    assert_eq!((index.names(), names(&release.there)), (vec![], vec!["latest.dat".to_owned()]));
    assert_eq!(release.latest(), OLD);
}

#[test]
fn one_place_alone_gets_what_is_its_own_and_nobody_is_moved_back() {
    let release = Publication::new(3_000);
    std::fs::write(release.there.join("latest.dat"), OLD.replace("1.1", "2.0")).unwrap();
    release.run(&["1.2", "--yes", "--no-pypi"]).expect(0).tells(&["names 2.0, which is newer", "--latest always"]);
    assert!(release.latest().contains("\t2.0\t"));
    release.run(&["1.2", "--no-pypi"]).expect(0).tells(&["All files of 1.2 are published"]);
    release.run(&["1.2", "--yes", "--no-pypi", "--latest", "always"]).expect(0).tells(&["names 1.2 now"]);
    release.assert_there();

    let index = IndexServer::start(&[]);
    for name in release.files().iter().filter(|name| !name.ends_with(".whl")) {
        std::fs::remove_file(release.dist.join(name)).unwrap();
    }
    let wheels = ["1.2", "--yes", "--no-mercurial-scm-org", "--repository-url", index.url.as_str()];
    release.run(&wheels).expect(0);
    assert_eq!(index.names(), release.wheels());
}

#[test]
fn a_host_for_files_alone_is_enough() {
    let release = Publication::at(Sshd::with("ForceCommand internal-sftp"), 3_000);
    release.run(&["1.2", "--yes", "--no-pypi"]).expect(0).tells(&["Published 10 files"]);
    release.assert_there();
    release.run(&["1.2", "--yes", "--no-pypi"]).expect(0).tells(&["All files of 1.2 are published"]);
    let exe = &release.files()[1];
    let mut other = std::fs::read(release.dist.join(exe)).unwrap();
    other.reverse();
    std::fs::write(release.there.join(exe), other).unwrap();
    release.run(&["1.2", "--yes", "--no-pypi"]).expect(3).tells(&["with other bytes", exe]);
}

#[test]
fn a_full_disk_on_either_side_leaves_nothing_half_way() {
    if !is_root() {
        return skip("an SSH server in a namespace of an ordinary user's lets nobody in");
    }
    let mut release = Publication::at(Sshd::prepare(""), 300_000);
    // The host's disk has room for some of the files.
    std::fs::remove_file(release.there.join("latest.dat")).unwrap();
    let there = release.there.clone();
    let config = release.sshd.dir.path().join("sshd_config");
    let full = release.place.path().join("full");
    std::fs::create_dir(&full).unwrap();
    let arguments = release.arguments(&["1.2", "--yes", "--no-pypi"]);
    release.dist = full.clone();
    let from_full = release.arguments(&["1.2", "--yes", "--no-pypi"]);
    let line = |words: &[String]| {
        words.iter().map(|word| model::base::quote::word(word).unwrap()).collect::<Vec<_>>().join(" ")
    };
    let script = format!(
        r#"
        mkdir -p /run/sshd
        mount -t tmpfs -o size=1200k none '{there}'
        printf old >'{there}/latest.dat'
        sshd=/usr/sbin/sshd
        "$sshd" -D -e -f '{config}' 2>/dev/null & server=$!
        trap 'kill $server' EXIT
        for i in $(seq 100); do ssh-keyscan -p {port} 127.0.0.1 2>/dev/null | grep -q ssh- && break; sleep 0.1; done
        code=0; a {first} 2>said || code=$?
        cat said; test $code = 3; grep -F 'no space left' said; grep -F 'is published in part' said
        test "$(cat '{there}/latest.dat')" = old
        test -z "$(find '{there}' -name '.*' -type f)"
        for file in '{there}'/*ercurial*; do cmp "$file" "{dist}/$(basename "$file")"; done
        mount -o remount,size=20m '{there}'
        mount -t tmpfs -o size=3300k none '{full}'
        cp "{dist}"/*ercurial* '{full}/'
        dd if=/dev/zero of='{full}/filler' bs=1k 2>/dev/null || true
        code=0; a {second} 2>said || code=$?
        cat said; test $code = 3; grep -F 'cannot keep the old' said; grep -F 'it is not the latest yet' said
        test "$(cat '{there}/latest.dat')" = old
        rm '{full}/filler'
        a {second}
        grep -F '1.2' '{there}/latest.dat'
        test "$(cat '{full}'/latest.dat.*Z)" = old
        "#,
        there = there.display(),
        config = config.display(),
        port = release.sshd.port,
        first = line(&arguments),
        second = line(&from_full),
        full = full.display(),
        dist = release.place.path().join("dist").display(),
    );
    mounts::script(&release.place, &script).map(|done| done.expect(0));
}

/// The real files, where somebody has them.
#[test]
fn the_real_release_is_published() {
    let Some(dist) = std::env::var_os("AUTOMATION_RELEASE").map(PathBuf::from) else {
        return skip("`AUTOMATION_RELEASE` names no folder with the files of a real release");
    };
    let version = std::env::var("AUTOMATION_RELEASE_VERSION").unwrap_or_else(|_| "7.2.4".to_owned());
    let mut release = Publication::new(1_000);
    let file = support::mercurial::release();
    let unpacked =
        Command::new("tar").args(["--strip-components=1", "-xzf"]).arg(file).arg("-C").arg(&release.source).status();
    assert!(unpacked.unwrap().success());
    std::fs::remove_dir_all(&release.dist).unwrap();
    std::fs::create_dir(&release.dist).unwrap();
    for name in names(&dist) {
        std::fs::copy(dist.join(&name), release.dist.join(&name)).unwrap();
    }
    release.there = release.sshd.folder("real");
    let index = IndexServer::start(&[]);
    let further = [version.as_str(), "--yes", "--repository-url", &index.url];
    release.run(&further).expect(0).tells(&["the release in", "there was none before"]);
    assert_eq!(index.names(), release.wheels());
    for name in release.files() {
        let same =
            std::fs::read(release.there.join(&name)).unwrap() == std::fs::read(release.dist.join(&name)).unwrap();
        assert!(same, "{name}");
    }
    release.run(&further).expect(0).tells(&["All files of"]);
}
