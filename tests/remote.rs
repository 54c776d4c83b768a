//! The scripts of `remote/`: each is embedded once, so that what runs on machines is what can be read and checked there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    support::root()
}

/// All files below `folder`, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What a source file embeds as text, by its path from the top of the repository.
fn embedded(source: &Path, text: &str) -> Vec<PathBuf> {
    let names = text.match_indices("include_str!(\"").map(|(at, start)| &text[at + start.len()..]);
    let names = names.filter_map(|rest| rest.split('"').next());
    let folder = source.parent().unwrap();
    names.map(|name| flat(&folder.join(name))).collect()
}

/// A path without `..`.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            flat.pop();
        } else {
            flat.push(part)
        }
    }
    flat
}

#[test]
fn each_script_is_embedded_by_exactly_one_constant() {
    let mut counts: BTreeMap<PathBuf, usize> =
        files(&root().join("remote")).into_iter().map(|path| (path, 0)).collect();
    assert!(counts.len() > 15, "the scripts are not where this test looks for them");
    let homes = [
        ("remote/linux", "src/guest"),
        ("remote/windows", "src/guest"),
        ("remote/mercurial", "src/project/mercurial"),
        ("remote/runners", "src/project"),
    ];
    for source in files(&root().join("src")) {
        let Ok(text) = std::fs::read_to_string(&source) else { continue };
        for path in embedded(&source, &text) {
            let home = homes.iter().find(|(folder, _)| path.starts_with(root().join(folder)));
            assert!(
                home.is_none_or(|(_, home)| source.starts_with(root().join(home))),
                "{} does not belong to {}",
                path.display(),
                source.display()
            );
            counts.entry(path).and_modify(|count| *count += 1);
        }
    }
    let odd: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(odd.is_empty(), "embedded by none, or by several: {odd:?}");
}

/// What belongs to Mercurial's runner: its folders, and its user as a word of its own; the tool's names begin with `hg-`.
fn of_a_runner(line: &str) -> bool {
    let within = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    ["/hgwork", "/hgdev"].iter().any(|folder| line.contains(folder))
        || line.split(|c| !within(c)).any(|word| word == "hg")
}

#[test]
fn what_lies_there_for_any_machine_names_nothing_of_one_runner() {
    let below = |folder: &str| files(&root().join("remote").join(folder));
    let (any, mercurial) = ([below("linux"), below("windows")].concat(), below("mercurial"));
    let named = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| of_a_runner(line));
        lines.map(|(at, line)| format!("{}:{}: {line}", path.display(), at + 1)).collect::<Vec<_>>()
    };
    let wrong: Vec<String> = any.iter().flat_map(named).collect();
    assert!(any.len() > 25 && wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(mercurial.iter().flat_map(named).count() > 50, "the check finds what it should");
    for line in ["useradd hg", "chown hg:hg x", "'hg ALL=(ALL:ALL)'", "ls /hgwork/src", "/hgdev"] {
        assert!(of_a_runner(line), "{line}");
    }
    for line in ["/tmp/hg-automation-*", ".hg-partial-x", "/etc/ssh/hg-authorized-keys"] {
        assert!(!of_a_runner(line), "{line}");
    }
}

/// A run's folder on this computer, with the script that holds a machine; it goes with the test.
fn run_folder() -> tempfile::TempDir {
    // The script looks for others of that name there.
    let folder = tempfile::Builder::new().prefix("hg-automation-").tempdir_in("/tmp").unwrap();
    std::fs::copy(root().join("remote/linux/hold.sh"), folder.path().join("hold.sh")).unwrap();
    folder
}

/// The script in `folder` with `args`, its streams kept.
fn hold(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(folder.join("hold.sh")).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_run_holds_the_folder_that_it_names_and_no_other() {
    let (first, second, machine) = (run_folder(), run_folder(), tempfile::tempdir().unwrap());
    let at = |name: &str| machine.path().join(name).to_str().unwrap().to_owned();
    let (one, other) = (at("one"), at("other"));
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&other).unwrap();
    let who = |of: &str| {
        let said = hold(second.path(), &["who", of]).output().unwrap();
        (said.status.code(), String::from_utf8(said.stdout).unwrap())
    };
    assert_eq!(who(&one), (Some(0), String::new()));

    let mut held = hold(first.path(), &[&one, "run-1", "60", "ann on a desk"]).spawn().unwrap();
    let mut lines = BufReader::new(held.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "held");
    let (code, holder) = who(&one);
    assert!(code == Some(0) && holder.starts_with("run-1 20") && holder.ends_with("Z ann on a desk\n"), "{holder}");
    assert_eq!(who(&other), (Some(0), String::new()));
    let mut waits = hold(second.path(), &[&one, "run-2", "60", "bob"]).spawn().unwrap();
    let mut waiting = BufReader::new(waits.stdout.take().unwrap()).lines();
    assert_eq!(waiting.next().unwrap().unwrap(), format!("waits {}", holder.trim_end()));

    // Each ends with the folder of its run.
    first.close().unwrap();
    assert_eq!(held.wait().unwrap().code(), Some(0));
    assert_eq!(waiting.next().unwrap().unwrap(), "held");
    std::fs::remove_file(second.path().join("hold.sh")).unwrap();
    assert_eq!(waits.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_held_is_told_from_wrong_words() {
    let folder = run_folder();
    let code = |args: &[&str]| hold(folder.path(), args).output().unwrap().status.code();
    assert_eq!((code(&["who", "/no/such"]), code(&["/no/such", "run-1", "60", "ann"])), (Some(1), Some(1)));
    for wrong in [&[][..], &["who"], &["run-1", "60", "ann"], &["/tmp", "run-1", "long", "ann"]] {
        assert_eq!(code(wrong), Some(64), "{wrong:?}");
    }
}

#[test]
fn an_embedded_file_is_found_by_its_path() {
    let text = "const A: &str = include_str!(\"../../remote/x.sh\");\nlet b = include_str!(\"y.sh\");";
    assert_eq!(embedded(Path::new("src/a/b.rs"), text), [PathBuf::from("remote/x.sh"), PathBuf::from("src/a/y.sh")]);
}

/// A program for Windows, run by this computer's Python: what is the system's own is left out there.
fn windows_program(name: &str, words: &[&str]) -> std::process::Output {
    let program = root().join("remote/windows").join(name);
    Command::new("python3").arg("-IS").arg(program).args(words).output().unwrap()
}

#[test]
fn a_lease_is_renewed_whole_or_not_at_all() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_str().unwrap();
    let renew = |words: &[&str]| windows_program("renew_lease.py", words).status.code();
    assert_eq!(renew(&["1795176000", folder]), Some(0));
    assert_eq!((renew(&["soon", folder]), renew(&[]), renew(&["1", "/no/such/folder"])), (Some(64), Some(64), Some(1)));
    let names: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lease"]);
    assert_eq!(std::fs::read_to_string(state.path().join("lease")).unwrap(), "1795176000\n");
}

#[test]
fn the_host_key_of_a_running_server_is_replaced_by_one_that_it_shows() {
    let sshd = support::sshd::Sshd::prepare("");
    let (ssh, state) = (sshd.dir.path(), tempfile::tempdir().unwrap());
    let key = ssh.join("hg_host_ed25519_key");
    let words = [ssh.to_str().unwrap(), state.path().to_str().unwrap(), &sshd.port.to_string()].map(str::to_owned);
    let replace = || windows_program("replace_host_key.py", &words.each_ref().map(String::as_str));
    let refused = replace();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("did not take its keys"), "{refused:?}");

    std::os::unix::fs::symlink("hg_host_ed25519_key", ssh.join("new")).unwrap();
    std::fs::rename(ssh.join("host_key"), &key).unwrap();
    std::fs::rename(ssh.join("new"), ssh.join("host_key")).unwrap();
    std::fs::write(state.path().join("ready"), "").unwrap();
    let mut sshd = sshd;
    sshd.launch();
    let done = replace();
    assert!(done.status.success(), "{done:?}");
    let public = String::from_utf8(done.stdout).unwrap();
    let blob = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
    assert!(public.starts_with("ssh-ed25519 AAAA") && public.lines().count() == 1, "{public}");
    assert_ne!(blob(&public), blob(&sshd.host.public_openssh));
    let mut left: Vec<_> =
        std::fs::read_dir(sshd.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name.to_string_lossy().contains("new"));
    assert!(left.is_empty(), "{left:?}");
    // And by whoever comes anew.
    let scan = Command::new("ssh-keyscan").args(["-t", "ed25519", "-p", &sshd.port.to_string(), "127.0.0.1"]).output();
    assert!(String::from_utf8(scan.unwrap().stdout).unwrap().contains(&blob(&public)));
}

/// A metadata service that answers with a token, and to the first two looks that there is no notice; gives its address.
fn metadata_service() -> String {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut looks = 0;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
            let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let has = |header: &str| request.iter().any(|line| line == header);
            let (status, body) = match request[0].as_str() {
                "PUT /below/latest/api/token HTTP/1.0" if has("X-aws-ec2-metadata-token-ttl-seconds: 60") => {
                    (200, "t0")
                }
                "GET /below/latest/meta-data/spot/instance-action HTTP/1.0" if has("X-aws-ec2-metadata-token: t0") => {
                    looks += 1;
                    if looks > 2 { (200, r#"{"action": "terminate"}"#) } else { (404, "<html>none") }
                }
                other => panic!("{other}"),
            };
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} Answer\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    format!("http://{address}/below/")
}

/// Starts what watches for a notice; its standard input is open.
fn watcher(service: &str, words: [&str; 2]) -> std::process::Child {
    Command::new("bash")
        .arg(root().join("remote/linux/watch-notice.sh"))
        .args(words)
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", service)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_notice_is_printed_once_it_is_there() {
    let mut child = watcher(&metadata_service(), ["1", "3"]);
    let _open = child.stdin.take();
    let done = child.wait_with_output().unwrap();
    assert_eq!(
        (done.status.code(), done.stdout.as_slice()),
        (Some(0), &b"{\"action\": \"terminate\"}\n"[..]),
        "{done:?}"
    );
}

#[test]
fn watching_for_a_notice_ends_with_standard_input_and_where_no_service_answers() {
    // Nobody listens on port 1.
    let child = watcher("http://127.0.0.1:1", ["600", "2"]);
    let done = child.wait_with_output().unwrap();
    assert_eq!(
        (done.status.code(), done.stdout.len() + done.stderr.len()),
        (Some(0), 0),
        "its input is closed: {done:?}"
    );
    let mut child = watcher("http://127.0.0.1:1", ["1", "2"]);
    let _open = child.stdin.take();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("the metadata service at 127.0.0.1:1 does not answer as it should: no token"), "{said}");
    assert_eq!(watcher("", ["x", "2"]).wait_with_output().unwrap().status.code(), Some(64));
}
