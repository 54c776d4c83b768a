//! What runs on a machine, also as its root, stays there; and what a machine is does not depend on who makes it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use support::tool::{Done, Place, Running, binary, is_root, skip};

/// Ways out, each tried harmlessly; the program tells those that are open.
pub(crate) const ESCAPES: &str = include_str!("../support/escapes.py");

/// The fewest ways that count as a list.
const LEAST: usize = 25;

/// Fails if a way out is open, or if hardly one was tried.
pub(crate) fn assert_shut(said: &str) {
    assert!(!said.contains("OUT "), "{said}");
    assert!(!said.contains("odd "), "{said}");
    let tried = said.lines().find_map(|line| line.split_once("tried ")?.1.trim().parse::<usize>().ok());
    assert!(tried.is_some_and(|tried| tried >= LEAST), "{said}");
}

/// The program for a machine of `network`, as a line for a shell.
pub(crate) fn try_all(network: &str) -> String {
    format!("sudo python3 - {network} <<'PY'\n{ESCAPES}\nPY\n")
}

/// A socket of this computer's network that no folder shows, as a desktop's are.
fn abstract_socket() -> UnixListener {
    let name = format!("automation-tests-{}", std::process::id());
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

#[test]
fn nothing_leads_out_of_a_machine_also_for_its_root() {
    let place = Place::whole();
    let _desktop = abstract_socket();
    for network in ["loopback", "host"] {
        let id = place.up(&["--network", network]);
        assert_shut(&place.exec(&id, &["bash", "-c", &try_all(network)]).expect(0).text());
        place.run(&["machine", "down", &id]).expect(0);
    }
    place.assert_clean();
}

#[test]
fn nothing_leads_out_of_a_bake() {
    let script =
        format!("set -eu\napt-get check\npython3 - host >/escapes.log <<'PY'\n{ESCAPES}\nPY\ncat /escapes.log\n");
    let place = Place::whole_with_steps(&[("escapes", &script)]);
    place.own_images();
    place.run(&["image", "build"]).expect(0);
    let id = place.up(&[]);
    assert_shut(&place.exec(&id, &["cat", "/escapes.log"]).expect(0).text());
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

/// The user ids of every process that was started from below `state`, machines' own included.
fn users_of(state: &Path) -> Vec<u32> {
    let namespaces: Vec<_> = support::leftovers::processes(state)
        .into_iter()
        .filter_map(|(pid, _)| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok())
        .filter(|namespace| Some(namespace) != std::fs::read_link("/proc/self/ns/user").ok().as_ref())
        .collect();
    let mut users = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(namespace) = std::fs::read_link(entry.path().join("ns/user")) else { continue };
        if !namespaces.contains(&namespace) {
            continue;
        }
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        users.extend(line.unwrap_or_default().split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    users
}

#[test]
fn processes_of_roots_machines_are_nobodys_outside() {
    if !is_root() {
        skip("an ordinary user's machine has the user's own subordinate ids");
        return;
    }
    let place = Place::small();
    let id = place.up(&[]);
    let command = place.command(&["machine", "exec", &id, "--", "sh", "-c", "sudo sleep 60 & sleep 60"]);
    let running = Running::start(command);
    let seen = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        users_of(&place.state)
    });
    // The first process, the server, the session's user and its root.
    let users = seen.take(200).find(|users| users.len() >= 20).expect("the machine's processes are there");
    let people = std::fs::read_to_string("/etc/passwd").unwrap();
    let people: Vec<&str> = people.lines().filter_map(|line| line.split(':').nth(2)).collect();
    for user in users {
        assert!(user >= 100_000 && !people.contains(&user.to_string().as_str()), "{user}");
    }
    running.signal(rustix::process::Signal::KILL);
    running.end();
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

/// What a command on a machine finds, without what differs from login to login.
const FOUND: &str = "env | grep -v '^SSH_' | sort; umask; ulimit -S -a; ulimit -H -n; date +%Z; locale 2>/dev/null; \
     grep -E '^(Sig(Blk|Ign|Cgt)|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/personality 2>/dev/null; \
     ls /proc/self/fd | wc -l; sudo sh -c 'umask; ulimit -S -a; env | grep -v -e ^SSH_ -e ^SUDO_ | sort'; id";

#[test]
fn a_machine_is_the_same_whoever_makes_it() {
    let place = Place::small();
    let plain = place.up(&[]);
    let odd = place.command(&["machine", "up"]);
    let mut shell = Command::new("bash");
    shell.args(["-c", SURROUNDINGS, "bash", binary()]).args(odd.get_args());
    shell.current_dir(&place.home).env_clear().envs(odd.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let odd = Running::start(shell).end().expect(0).text().trim().to_owned();
    let found = |id: &str| {
        let done = place.exec(id, &["bash", "-c", FOUND]).expect(0).text();
        done.replace(id, "MACHINE")
    };
    assert_eq!(found(&plain), found(&odd));
    for id in [&plain, &odd] {
        let told = place.exec(id, &["sudo", "cat", "/proc/1/environ"]);
        assert!(!told.text().contains("pass-7261"), "{told:?}");
        place.run(&["machine", "down", id]).expect(0);
    }
    place.assert_clean();
}

/// Makes a machine in surroundings that nobody would want in it: a mask, a limit, signals ignored and blocked, an open folder,
/// a time zone, a locale, a proxy with its password.
const SURROUNDINGS: &str = "umask 077; ulimit -S -n 64; ulimit -S -s 1024; ulimit -S -c 0; exec 7</; \
     export TZ=Asia/Tokyo LC_ALL=tr_TR.UTF-8 https_proxy=http://user:pass-7261@proxy.invalid:3128 XDG_DATA_HOME=/x; \
     trap '' INT HUP QUIT USR1 CHLD; \
     exec setpriv --pdeathsig keep env --block-signal=USR2,CHLD,ALRM \"$@\"";

#[test]
fn root_can_ask_for_a_privileged_machine_and_it_is_said_everywhere() {
    let place = Place::small();
    let asked = ["machine", "up", "--privileged-machine"];
    let checks = place.json(&["doctor", "--json"]);
    let check = checks.as_array().unwrap().iter().find(|check| check["id"] == "confinement").unwrap().clone();
    if !is_root() {
        place.run(&asked).expect(2).tells(&["`--privileged-machine` is for root", "hint:"]);
        assert!(!check["found"].as_str().unwrap().contains("privileged"), "{check}");
        return;
    }
    assert!(check["found"].as_str().unwrap().contains("`--privileged-machine`"), "{check}");
    let done: Done = place.run(&asked).expect(0);
    let id = done.text().trim().to_owned();
    done.tells(&["is root of this computer (`--privileged-machine`)"]);
    let run = place.latest_of("machine up");
    let ids = |id: &str| place.exec(id, &["cat", "/proc/self/uid_map"]).expect(0).text();
    assert_eq!(ids(&id).split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    assert_eq!(place.run(&["audit", "--run", &run, "--json"]).json()["privileged"], true);
    let confined = place.up(&[]);
    assert!(ids(&confined).contains("65535"), "{}", ids(&confined));
    let run = place.latest_of("machine up");
    assert_eq!(place.run(&["audit", "--run", &run, "--json"]).json()["privileged"], false);
    for id in [id, confined] {
        place.run(&["machine", "down", &id]).expect(0);
    }
    place.assert_clean();
}

#[test]
fn a_machine_has_rights_over_its_own_things_and_no_more() {
    let place = Place::small();
    let id = place.up(&[]);
    let may = [
        "mount -t tmpfs none /mnt && umount /mnt",
        "mount --bind /etc /mnt && umount /mnt",
        "hostname other && test \"$(hostname)\" = other",
        "chown 4321:4321 /tmp/x && test \"$(stat -c %u /tmp/x)\" = 4321",
        "unshare --mount true",
        "chroot / true",
        "nice -n 5 true",
        "test \"$(stat -c %U /usr/bin/sudo)\" = root",
        "su hg -c true",
        "dpkg --audit",
        "apt-get --version",
    ];
    place.exec(&id, &["touch", "/tmp/x"]).expect(0);
    for command in may {
        place.exec(&id, &["sudo", "sh", "-c", command]).expect(0);
    }
    // Nobody there has rights over the network, so everybody has its ports.
    place
        .exec(&id, &["perl", "-MIO::Socket", "-e", "IO::Socket::INET->new(Listen => 1, LocalPort => 80) or die $!"])
        .expect(0);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}
