//! An ordinary user. The tests' user exists in a mount namespace only, with files for users and ids of its own, so that
//! nothing changes on this computer.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use serde_json::Value;
use support::tool::{Done, Running, binary, clear, is_root, skip};
use support::{images, leftovers};

use super::confinement::{assert_shut, try_all};

/// A user id that nobody has.
const UID: u32 = 54_321;

/// What the namespace is made of; `$1` is the folder with everything in it, `$2` the binary, `$3` the user id.
const ENTER: &str = r#"
set -e
folder=$1 binary=$2 uid=$3
shift 3
for file in passwd group subuid subgid; do mount --bind "$folder/etc/$file" "/etc/$file"; done
mount --bind "$folder" /mnt
mount --bind "$binary" /mnt/automation
cd /mnt
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --bounding-set=+all -- "$@"
"#;

/// A folder of the user's that is `/mnt` for it.
struct User {
    folder: PathBuf,
    name: String,
}

fn host_file(name: &str) -> String {
    std::fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default()
}

fn own(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    chown(path, Some(UID), Some(UID)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

impl User {
    /// The user, with or without subordinate ids, and a state directory called `name`.
    fn new(name: &str, subordinate: bool) -> Self {
        static MADE: Once = Once::new();
        let folder = images::cache().join(if subordinate { "user" } else { "user-without" });
        MADE.call_once(|| {
            for name in ["user", "user-without"] {
                let folder = images::cache().join(name);
                own(&folder);
                std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
                std::fs::write(folder.join("automation"), "").unwrap();
                let etc = folder.join("etc");
                std::fs::create_dir_all(&etc).unwrap();
                let write = |file: &str, text: String| std::fs::write(etc.join(file), text).unwrap();
                write("passwd", format!("{}hgtests:x:{UID}:{UID}::/mnt/home:/bin/sh\n", host_file("passwd")));
                write("group", format!("{}hgtests:x:{UID}:\n", host_file("group")));
                let range = if name == "user" { "hgtests:7000000:65536\n" } else { "" };
                write("subuid", range.to_owned());
                write("subgid", range.to_owned());
                own(&folder.join("home"));
                own(&folder.join("cache"));
                images::define(&folder.join("small-images"), &[]);
            }
        });
        // Every checkout's tests see their own folder as /mnt, and processes are looked for by this path.
        let name = format!("{name}-{}", std::process::id());
        own(&folder.join(&name));
        Self { folder, name }
    }

    /// One whose state directory shares the images in the cache.
    fn with_images(name: &str, arguments: &[&str]) -> Self {
        let user = Self::new(name, true);
        let baked = user.tool("cache", arguments).end_within(Duration::from_secs(1200));
        baked.expect(0);
        let link = user.folder.join(&user.name).join("images");
        drop(std::fs::remove_file(&link));
        std::os::unix::fs::symlink("/mnt/cache/images", &link).unwrap();
        user
    }

    fn tool(&self, state: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new("unshare");
        clear(&mut command, Path::new("/mnt/home"));
        command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(&self.folder).args([binary(), &UID.to_string()]);
        command.args(["/mnt/automation", "--state-path", &format!("/mnt/{state}")]).args(arguments);
        Running::start(command)
    }

    fn start(&self, arguments: &[&str]) -> Running {
        self.tool(&self.name, arguments)
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.start(arguments).end()
    }

    fn assert_clean(&self) {
        let left = leftovers::of(&Path::new("/mnt").join(&self.name));
        assert!(left.is_empty(), "{left:?}");
        let machines = std::fs::read_dir(self.folder.join(&self.name).join("machines")).into_iter().flatten().count();
        assert_eq!(machines, 0);
        let audit: Value = self.run(&["audit", "--json"]).expect(0).json();
        assert_eq!(audit, serde_json::json!([]));
    }
}

impl Drop for User {
    fn drop(&mut self) {
        drop(self.run(&["audit", "--fix"]));
        drop(std::fs::remove_dir_all(self.folder.join(&self.name)));
    }
}

/// Whether the surroundings allow to play an ordinary user.
fn possible() -> bool {
    if !is_root() {
        skip("only root can play another user; the other tests run as an ordinary one");
    }
    is_root()
}

#[test]
fn an_ordinary_user_runs_the_main_job() {
    if !possible() {
        return;
    }
    let _alone = super::alone();
    let user = User::with_images("whole", &["image", "build"]);
    let done = user.run(&["run-tests-linux", "test-add.t", "test-commit.t", "--json"]).expect(0);
    let results = done.tells(&["Nothing is left behind"]).json();
    assert_eq!(results["counts"]["passed"], 2, "{results}");
    let id = results["id"].as_str().unwrap();
    let certificate = user.run(&["audit", "--run", id, "--json"]).expect(0).json();
    assert_eq!(certificate["clean"], true, "{certificate}");
    let tmpfs = user.run(&["run-tests-linux", "--filesystem", "tmpfs", "test-add.t"]).expect(0);
    tmpfs.tells(&["file system: tmpfs"]);
    // A disk of its own takes a loop device, which is root's: refused before anything is made.
    let refused = user.run(&["run-tests-linux", "--filesystem", "ext4", "test-add.t"]).expect(3);
    let refused = refused.tells(&["hint:"]);
    assert!(refused.stderr.contains("Nothing was made") || refused.stderr.contains("Nothing is left"), "{refused:?}");
    user.assert_clean();
}

#[test]
fn an_ordinary_users_machine_is_one_like_roots_and_ends_after_kill_9() {
    if !possible() {
        return;
    }
    let user = User::with_images("small", &["--images", "/mnt/small-images", "image", "build"]);
    let up = |further: &[&str]| {
        let arguments = [&["--images", "/mnt/small-images", "machine", "up"], further].concat();
        user.run(&arguments).expect(0).text().trim().to_owned()
    };
    let id = up(&[]);
    let exec = |words: &[&str]| user.run(&[&["machine", "exec", &id, "--"], words].concat());
    assert_eq!(exec(&["sudo", "id", "-u"]).expect(0).text(), "0\n");
    exec(&["sh", "-c", "sudo touch /root/x && sudo chown 1234 /root/x && sudo mount -t tmpfs none /mnt"]).expect(0);
    exec(&["sh", "-c", "exit 255"]).expect(255);
    user.run(&["machine", "down", &id]).expect(0);
    user.assert_clean();
    let running = user.start(&["--images", "/mnt/small-images", "machine", "up", "--grace", "3s", "--ttl", "3s"]);
    running.wait_for("Booting");
    running.signal(rustix::process::Signal::KILL);
    running.end();
    leftovers::ended_within(&Path::new("/mnt").join(&user.name), Duration::from_secs(30));
    user.run(&["audit", "--fix"]).expect(0);
    user.assert_clean();
}

#[test]
fn the_state_of_an_ordinary_users_machine_becomes_an_image() {
    if !possible() {
        return;
    }
    let user = User::with_images("snapshot", &["--images", "/mnt/small-images", "image", "build"]);
    let tool = |words: &[&str]| user.run(&[&["--images", "/mnt/small-images"], words].concat());
    let id = tool(&["machine", "up"]).expect(0).text().trim().to_owned();
    let exec = |id: &str, line: &str| tool(&["machine", "exec", id, "--", "sudo", "sh", "-c", line]);
    // Files of ids that are not the user's, one that hides what is below, one that nobody may read.
    exec(&id, "mkdir /opt/a; echo words >/opt/a/b; chown 1234:99 /opt/a/b; chmod 0 /opt/a /opt/a/b; rm -r /etc/skel; mkdir /etc/skel").expect(0);
    let name = format!("of-user-{}", std::process::id());
    tool(&["machine", "snapshot", &id, &name]).expect(0);
    tool(&["machine", "down", &id]).expect(0);
    let copy = tool(&["machine", "up", "--image", &name]).expect(0).text().trim().to_owned();
    exec(
        &copy,
        "[ $(cat /opt/a/b) = words ] && [ $(stat -c %u:%g:%a /opt/a/b) = 1234:99:0 ] && [ -z \"$(ls -A /etc/skel)\" ]",
    )
    .expect(0);
    tool(&["machine", "down", &copy]).expect(0);
    tool(&["image", "rm", "--yes", &name]).expect(0);
    user.assert_clean();
}

#[test]
fn an_ordinary_user_removes_everything() {
    if !possible() {
        return;
    }
    let user = User::with_images("uninstall", &["--images", "/mnt/small-images", "image", "build"]);
    let up = ["--images", "/mnt/small-images", "machine", "up"];
    let id = user.run(&up).expect(0).text().trim().to_owned();
    let closed = "sudo mkdir -p /opt/a && sudo chown -R 1234 /opt/a && sudo chmod 0 /opt/a";
    user.run(&["machine", "exec", &id, "--", "sh", "-c", closed]).expect(0);
    // A layer whose files are another id's, and of which nothing has a record: what `rm -rf` leaves.
    let state = user.folder.join(&user.name);
    std::fs::remove_file(state.join("images")).unwrap();
    for folder in ["images", "images/layers", "images/layers/0123456789abcdef"] {
        own(&state.join(folder));
    }
    let layer = state.join("images/layers/0123456789abcdef/fs");
    std::fs::rename(state.join("machines").join(&id).join("upper/opt"), layer).unwrap();
    let dry = user.run(&["uninstall", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((dry["machines"].as_array().unwrap().len(), &dry["layers"]), (1, &1.into()), "{dry}");
    user.run(&["uninstall"]).expect(2).tells(&["nobody is there to be asked"]);
    let done = user.run(&["uninstall", "--yes"]);
    // The folder itself is in root's, where the user cannot remove it.
    let inside = std::fs::read_dir(&state).into_iter().flatten().flatten().map(|entry| entry.path());
    assert_eq!(inside.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "{done:?}");
    assert_eq!(leftovers::of(&Path::new("/mnt").join(&user.name)), [""; 0]);
}

#[test]
fn nothing_leads_out_of_an_ordinary_users_machine() {
    if !possible() {
        return;
    }
    let user = User::with_images("shut", &["--images", "/mnt/small-images", "image", "build"]);
    for network in ["loopback", "host"] {
        let up = ["--images", "/mnt/small-images", "machine", "up", "--network", network];
        let id = user.run(&up).expect(0).text().trim().to_owned();
        let said = user.run(&["machine", "exec", &id, "--", "bash", "-c", &try_all(network)]).expect(0).text();
        assert_shut(&said);
        user.run(&["machine", "down", &id]).expect(0);
    }
    user.assert_clean();
}

#[test]
fn a_user_without_subordinate_ids_is_told_the_remedy() {
    if !possible() {
        return;
    }
    let user = User::new("without", false);
    for command in [&["machine", "up"][..], &["run-tests-linux", "test-add.t"], &["demo"]] {
        let done = user.run(command).expect(3);
        done.tells(&["`hgtests`", "/etc/subuid", "hint:", "usermod"]);
    }
    let checks = user.run(&["doctor", "--json"]).expect(3).json();
    assert!(checks.as_array().unwrap().iter().any(|check| check["ok"] == false && check["remedy"].is_string()));
    user.assert_clean();
}

#[test]
fn an_ordinary_user_sees_the_demonstration() {
    if !possible() {
        return;
    }
    let user = User::with_images("demo", &["image", "build", "bare"]);
    let done = user.run(&["demo"]).expect(0).tells(&["PASSED  2 of 2 tests", "Nothing is left behind"]);
    // In the cache that tests share, another definition's image may be made of the same layer, and have given it its name.
    assert!(done.text().contains("What stays is the image `"), "{}", done.text());
    user.assert_clean();
}
