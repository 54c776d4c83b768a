//! Machines that somebody else made: played by a machine of ours with an SSH server on a port of this computer, and by an
//! SSH server on this computer that keeps little of the contract.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use support::mercurial::{self, READY_HG};
use support::sshd::{Sshd, free_port, user};
use support::tool::Place;

/// A machine of ours that plays somebody else's.
struct Foreign {
    place: Place,
    id: String,
    port: u16,
}

/// Makes a key pair and gives the path of the private half.
fn key(place: &Place, name: &str) -> PathBuf {
    let pair = connection::generate(name).unwrap();
    let path = place.path().join(name);
    std::fs::write(&path, &pair.private_openssh).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path.with_extension("pub"), &pair.public_openssh).unwrap();
    path
}

fn public(private: &std::path::Path) -> String {
    std::fs::read_to_string(private.with_extension("pub")).unwrap().trim().to_owned()
}

impl Foreign {
    /// Boots it, with an SSH server that takes `login` and shows `host`.
    fn start(login: &std::path::Path, host: &std::path::Path) -> Self {
        let place = Place::whole();
        let id = place.up(&["--network", "host"]);
        let port = free_port();
        place.run(&["machine", "cp", host.to_str().unwrap(), &format!("{id}:/tmp/host_key")]).expect(0);
        let script = format!(
            "set -e; mkdir -m 700 ~/.ssh; echo '{}' >~/.ssh/authorized_keys; sudo chown root:root /tmp/host_key
             sudo chmod 600 /tmp/host_key; sudo mkdir -p /run/sshd
             sudo /usr/sbin/sshd -f /dev/null -h /tmp/host_key -p {port} -o ListenAddress=127.0.0.1 -o PidFile=none \
             -o UsePAM=no -o 'Subsystem=sftp internal-sftp' </dev/null >/dev/null 2>&1",
            public(login)
        );
        place.exec(&id, &["bash", "-c", &script]).expect(0);
        Self { place, id, port }
    }

    fn target(&self) -> String {
        format!("hg@127.0.0.1:{}", self.port)
    }

    /// What is there of ours.
    fn ours(&self) -> String {
        let script = "ls -d /hgwork /tmp/hg-automation-* 2>/dev/null; pgrep -a -u hg tail; true";
        self.place.exec(&self.id, &["sh", "-c", script]).expect(0).text()
    }
}

fn know(place: &Place, port: u16, public: &str) {
    std::fs::create_dir_all(place.home.join(".ssh")).unwrap();
    let words: Vec<&str> = public.split(' ').take(2).collect();
    std::fs::write(place.home.join(".ssh/known_hosts"), format!("[127.0.0.1]:{port} {}\n", words.join(" "))).unwrap();
}

#[test]
fn the_suite_runs_on_a_machine_of_somebody_elses_and_its_files_go() {
    let place = Place::new();
    let (login, host, other) = (key(&place, "login"), key(&place, "host"), key(&place, "other"));
    let foreign = Foreign::start(&login, &host);
    let (target, login) = (foreign.target(), login.to_str().unwrap());
    let with = |further: &[&str]| {
        let all = [&["--host", &target, "--identity", login], further].concat();
        place.start(&all)
    };

    // Its key is not known, then another one is known: both are refused, and the file is not written.
    let refused = with(&["run-tests-linux", "test-ok.t"]).end().expect(3);
    refused.tells(&["host key unknown", "known_hosts", "hint:", "`ssh`"]);
    assert!(!place.home.join(".ssh").exists());
    know(&place, foreign.port, &public(&other));
    let known = std::fs::read(place.home.join(".ssh/known_hosts")).unwrap();
    with(&["run-tests-linux", "test-ok.t"]).end().expect(3).tells(&["host key"]);
    assert_eq!(std::fs::read(place.home.join(".ssh/known_hosts")).unwrap(), known);
    know(&place, foreign.port, &public(&host));

    let check = ["machine", "check", &target, "--identity", login];
    let checks = place.run(&[&check[..], &["--json"]].concat()).expect(0).json();
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks}");
    place.run(&check).expect(0);
    let stranger = ["machine", "check", &target, "--identity", other.to_str().unwrap()];
    place.run(&stranger).expect(3).tells(&["authentication refused", "user `hg`"]);

    let checkout = mercurial::small(place.path(), &[("test-ok.t", "  $ true\n"), ("test-hangs.t", "  $ sleep 1000\n")]);
    let source = ["run-tests-linux", "--source", checkout.to_str().unwrap()];
    let done = with(&[&source[..], &["test-ok.t", "--json"], &READY_HG].concat()).end().expect(0);
    assert_eq!(done.json()["counts"]["passed"], 1);
    assert_eq!(foreign.ours(), "");
    place.assert_certified(&place.latest());

    let running = with(&[&source[..], &["test-hangs.t"], &READY_HG].concat());
    running.wait_for("running 1 tests");
    running.signal(rustix::process::Signal::INT);
    running.end_within(Duration::from_secs(60)).expect(130).tells(&["Nothing is left behind"]);
    assert_eq!(foreign.ours(), "");
    place.assert_certified(&place.latest());

    let volume = with(&[&source[..], &["--filesystem", "ext4", "test-ok.t"]].concat()).end().expect(2);
    assert!(!volume.stderr.contains("Left behind"), "{}", volume.stderr);

    // It is never ended by us.
    foreign.place.exec(&foreign.id, &["true"]).expect(0);
    foreign.place.run(&["machine", "down", &foreign.id]).expect(0);
    foreign.place.assert_clean();
    place.assert_clean();
}

#[test]
fn tests_are_split_over_machines_of_somebody_elses() {
    let place = Place::new();
    let (login, host) = (key(&place, "login"), key(&place, "host"));
    let foreign = [Foreign::start(&login, &host), Foreign::start(&login, &host)];
    let known = foreign.iter().map(|foreign| format!("[127.0.0.1]:{} {}\n", foreign.port, public(&host)));
    let known: String = known.collect();
    std::fs::create_dir_all(place.home.join(".ssh")).unwrap();
    std::fs::write(place.home.join(".ssh/known_hosts"), known).unwrap();
    let tests: Vec<String> = (0..8).map(|number| format!("test-slow-{number}.t")).collect();
    let texts: Vec<(&str, &str)> = tests.iter().map(|name| (name.as_str(), "  $ sleep 1\n")).collect();
    let checkout = mercurial::small(place.path(), &texts);
    let targets = foreign.each_ref().map(Foreign::target);
    let hosts = ["--host", &targets[0], "--host", &targets[1], "--identity", login.to_str().unwrap()];
    let run = |further: &[&str]| {
        let source = ["run-tests-linux", "--source", checkout.to_str().unwrap(), "--json"];
        place.run(&[&hosts[..], &source[..], further, &READY_HG].concat())
    };
    let results = run(&[]).expect(0).json();
    assert_eq!(results["counts"]["passed"], 8, "{results}");
    let machines = results["machines"].as_array().unwrap();
    assert!(
        machines.len() == 2 && machines.iter().all(|used| !used["at_work"].as_array().unwrap().is_empty()),
        "{results}"
    );
    // The cells of a matrix take them one after another.
    let cells = run(&["--matrix", "filesystem=default,tmpfs"]).expect(0).json();
    let (counts, machines) = (&cells["counts"], cells["machines"].as_array().unwrap().len());
    assert_eq!((&counts["passed"], cells["cells"].as_array().unwrap().len(), machines), (&16.into(), 2, 4), "{cells}");
    for foreign in &foreign {
        assert_eq!(foreign.ours(), "");
    }
    run(&["--shards", "3"]).expect(2).tells(&["asks for 3 machines, and `--host` names 2 machines"]);
    run(&["--shards", "host:2,local:1"]).expect(2).tells(&["not split beside others"]);
    place.run(&["--host", &targets[0], "--host", &targets[0], "run-tests-linux"]).expect(2).tells(&["given twice"]);
    place
        .run(&["--host", &targets[0], "--host", &targets[1], "machine", "up"])
        .expect(2)
        .tells(&["works on one machine"]);
    place.assert_certified(&place.latest());
    place.assert_clean();
    for foreign in foreign {
        foreign.place.run(&["machine", "down", &foreign.id]).expect(0);
        foreign.place.assert_clean();
    }
}

#[test]
fn runs_on_one_machine_take_turns() {
    let place = Place::new();
    let (login, host) = (key(&place, "login"), key(&place, "host"));
    let foreign = Foreign::start(&login, &host);
    know(&place, foreign.port, &public(&host));
    let (target, login) = (foreign.target(), login.to_str().unwrap());
    let tests = [("test-ok.t", "  $ true\n"), ("test-hangs.t", "  $ sleep 1000\n"), ("test-slow.t", "  $ sleep 10\n")];
    let checkout = mercurial::small(place.path(), &tests);
    let with = |further: &[&str]| {
        let source = ["run-tests-linux", "--source", checkout.to_str().unwrap()];
        place.start(&[&["--host", &target, "--identity", login], &source[..], further, &READY_HG].concat())
    };
    let first = with(&["test-hangs.t"]);
    first.wait_for("running 1 tests");
    let holder = place.latest();

    // Who does not want to wait is refused, and told for whom; the tests of the first do not notice.
    let refused = with(&["--wait", "2s", "test-ok.t"]).end().expect(3);
    refused.tells(&[
        "in use by another run",
        &holder,
        "which has held the machine since",
        "hint:",
        "Nothing is left behind",
    ]);
    let second = with(&["test-ok.t", "--json"]);
    second.wait_for(&format!("for run {holder}"));
    foreign.place.exec(&foreign.id, &["pgrep", "-f", "sleep 1000"]).expect(0);
    first.signal(rustix::process::Signal::INT);
    first.end().expect(130);
    assert_eq!(second.end().expect(0).json()["counts"]["passed"], 1);
    assert_eq!(foreign.ours(), "");

    // Tests whose driver was killed hold the machine for as long as they run, and what they came to is not lost to the next.
    let killed = with(&["test-slow.t"]);
    killed.wait_for("running 1 tests");
    let orphan = place.latest();
    killed.signal(rustix::process::Signal::KILL);
    drop(killed.end());
    let next = with(&["test-ok.t", "--json"]);
    next.wait_for(&format!("for run {orphan}"));
    assert_eq!(next.end().expect(0).json()["counts"]["passed"], 1);
    let attach = ["--host", &target, "--identity", login, "runs", "attach", &orphan, "--json"];
    let attached = place.run(&attach).expect(0).json();
    assert_eq!((&attached["counts"]["passed"], &attached["counts"]["total"]), (&1.into(), &1.into()), "{attached}");
    assert_eq!(foreign.ours(), "");
    foreign.place.run(&["machine", "down", &foreign.id]).expect(0);
    foreign.place.assert_clean();
    place.assert_clean();
}

#[test]
fn a_machine_that_answers_with_something_else_is_told_by_what_it_says() {
    for (config, told) in [
        ("ForceCommand echo only this", &["login shell", "`only this`", "ForceCommand"][..]),
        ("ForceCommand exit 1", &["login shell", "exit status 1", "said nothing"]),
        ("Subsystem sftp /nowhere/sftp-server", &["sftp:"]),
        ("MaxSessions 0", &["opens no session", "MaxSessions"]),
    ] {
        let place = Place::new();
        let sshd = Sshd::with(config);
        know(&place, sshd.port, &sshd.host.public_openssh);
        let target = format!("{}@127.0.0.1:{}", user(), sshd.port);
        let identity = sshd.dir.path().join("identity");
        let identity = identity.to_str().unwrap();
        let code = if config.starts_with("MaxSessions") { 4 } else { 3 };
        let done = place.run(&["machine", "check", &target, "--identity", identity]).expect(code);
        let said = format!("{}{}", done.text(), done.stderr);
        assert!(told.iter().all(|word| said.contains(word)), "{config}: {said}");
        // What could not be made is not left behind.
        let run = ["run-tests-linux", "--host", &target, "--identity", identity, "test-add.t"];
        place.run(&run).expect(code).tells(&["hint:"]);
        place.assert_certified(&place.latest());
        place.assert_clean();
    }
}

#[test]
fn a_host_whose_name_stands_for_no_address_is_told_as_that() {
    let (place, sshd) = (Place::new(), Sshd::with(""));
    let identity = sshd.dir.path().join("identity");
    let check = ["machine", "check", "hg@nosuch.invalid", "--identity", identity.to_str().unwrap()];
    let done = place.run(&check).expect(4).tells(&[
        "cannot find the address of `nosuch.invalid`",
        "hint:",
        "how the name is written",
    ]);
    assert!(!done.stderr.contains("refused"), "{}", done.stderr);
}

#[test]
fn one_session_a_connection_is_enough() {
    let place = Place::new();
    let sshd = Sshd::with("MaxSessions 1");
    know(&place, sshd.port, &sshd.host.public_openssh);
    let target = format!("{}@127.0.0.1:{}", user(), sshd.port);
    let identity = sshd.dir.path().join("identity");
    for _ in 0..3 {
        let done =
            place.run(&["machine", "check", &target, "--identity", identity.to_str().unwrap(), "--json"]).expect(3);
        let sftp = done.json().as_array().unwrap().iter().any(|check| check["id"] == "sftp" && check["ok"] == true);
        assert!(sftp, "{}", done.text());
    }
    place.assert_clean();
}

#[test]
fn a_run_on_a_machine_of_somebody_elses_makes_no_key_of_ours() {
    let place = Place::new();
    let login = key(&place, "login");
    let host = ["run-tests-linux", "--host", "hg@127.0.0.1:1", "--identity", login.to_str().unwrap()];
    // Refused after the run has begun, and before the machine is asked for anything.
    let done = place.run(&[&host[..], &["--image-source", "--filesystem", "ext4"]].concat()).expect(2);
    done.tells(&["no second volume", "Nothing is left behind"]);
    assert_eq!(std::fs::read_dir(place.state.join("keys")).unwrap().count(), 0);
    place.assert_clean();
}

#[test]
fn a_server_that_never_speaks_is_given_up() {
    let place = Place::new();
    let identity = key(&place, "login");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    know(&place, port, &public(&identity));
    let target = format!("hg@127.0.0.1:{port}");
    let check = ["machine", "check", &target, "--identity", identity.to_str().unwrap()];
    let done = place.start(&check).end_within(Duration::from_secs(90)).expect(4);
    done.tells(&["127.0.0.1"]);
    drop(listener);
    let done = place.start(&check).end_within(Duration::from_secs(90));
    assert!([3, 4].contains(&done.code()), "{done:?}");
    done.tells(&["refused"]);
    place.assert_clean();
}

#[test]
fn a_machine_that_does_not_keep_the_contract_is_refused_clause_by_clause() {
    let place = Place::new();
    let sshd = Sshd::start();
    know(&place, sshd.port, &sshd.host.public_openssh);
    let target = format!("{}@127.0.0.1:{}", user(), sshd.port);
    let identity = sshd.dir.path().join("identity");
    let identity = identity.to_str().unwrap();
    let done = place.run(&["machine", "check", &target, "--identity", identity, "--json"]).expect(3);
    let checks = done.json();
    let broken: Vec<&str> = checks
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    assert!(broken.iter().any(|clause| clause.contains("/hgdev")) && broken.contains(&"login user"), "{broken:?}");
    assert!(checks.as_array().unwrap().iter().any(|check| check["id"] == "ssh" && check["ok"] == true));
    place.run(&["machine", "check", &target, "--identity", identity]).expect(3).tells(&["login user:", "useradd"]);
    let run = ["run-tests-linux", "--host", &target, "--identity", identity, "test-add.t"];
    place.run(&run).expect(3).tells(&["does not keep the contract", "login user", "hint:"]);
    place.assert_certified(&place.latest());
    place.assert_clean();
}

#[test]
fn declared_tests_run_on_a_machine_of_somebody_elses_and_their_files_go() {
    let place = Place::new();
    let (login, host) = (key(&place, "login"), key(&place, "host"));
    let foreign = Foreign::start(&login, &host);
    know(&place, foreign.port, &public(&host));
    let config = place.path().join("tests.toml");
    let run = "sleep 300 </dev/null >/dev/null 2>&1 & echo 1..1; echo ok 1 - a; sudo -n touch owned; sudo -n chmod 0 .";
    let text =
        format!("list = 'echo a'\nrun = '''{run}'''\nreport = {{ format = 'tap', output = true }}\nsource = '.'\n");
    std::fs::write(&config, text).unwrap();
    let (target, login) = (foreign.target(), login.to_str().unwrap());
    let words = ["--host", &target, "--identity", login, "run-tests", "--config", config.to_str().unwrap()];
    for _ in 0..2 {
        place.run(&words).expect(0).tells(&["PASSED  1 of 1 test"]);
        let script = "ls -d /var/tmp/automation-work /tmp/hg-automation-* 2>/dev/null; pgrep -a sleep; true";
        assert_eq!(foreign.place.exec(&foreign.id, &["sh", "-c", script]).expect(0).text(), "");
    }
    place.assert_clean();
}

#[test]
fn a_command_runs_on_a_machine_of_somebody_elses_and_its_files_go() {
    let place = Place::new();
    let (login, host) = (key(&place, "login"), key(&place, "host"));
    let foreign = Foreign::start(&login, &host);
    know(&place, foreign.port, &public(&host));
    let folder = place.path().join("project");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "here\n").unwrap();
    let (target, login) = (foreign.target(), login.to_str().unwrap());
    let source = ["--host", &target, "--identity", login, "run", "--source", folder.to_str().unwrap()];
    let line = "cat a; sleep 300 </dev/null >/dev/null 2>&1 & exit 5";
    let done = place.run(&[&source[..], &["--shell", line]].concat()).expect(5);
    assert_eq!(done.text(), "here\n");
    let script = "ls -d /var/tmp/automation-work /tmp/hg-automation-* 2>/dev/null; pgrep -a sleep; true";
    assert_eq!(foreign.place.exec(&foreign.id, &["sh", "-c", script]).expect(0).text(), "");
    // It has the image that it has.
    place.run(&[&source[..], &["--setup", "true", "--", "true"]].concat()).expect(125).tells(&["`--setup`"]);
    place.assert_clean();
}
