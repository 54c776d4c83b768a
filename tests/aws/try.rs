//! `try` as a user meets it: real repositories on both sides, and a real program in the place of the function.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws::ec2::policy::{self, Scope};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::mercurial::hg;
use support::tool::{Done, Place, Running};

use super::cli::World;

/// The function that is called unless another is named.
const FUNCTION: &str = "ci-try-server-upload";

/// How calls of a function are named.
const CALL: &str = "lambda:InvokeFunction";

/// A person's checkout, what the try server has, and the account between them.
struct Try {
    world: World,
    folder: tempfile::TempDir,
}

impl Try {
    /// Both repositories have the same two public changesets.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("origin");
        std::fs::create_dir(&origin).unwrap();
        hg(&origin, &["init"]);
        for name in ["a", "b"] {
            commit(&origin, name, name.as_bytes(), &["--message", name]);
        }
        hg(&origin, &["phase", "--public", "tip"]);
        for clone in ["work", "server"] {
            hg(folder.path(), &["clone", "--quiet", "origin", clone]);
        }
        let it = Self { world: World::interface(Place::new()), folder };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/aws/try_server.py");
        it.stand_in(FUNCTION, vec!["python3".into(), script.into(), it.server().into()]);
        it
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn server(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    fn stand_in(&self, name: &str, words: Vec<OsString>) {
        self.world.aws.control.set(|now| drop(now.functions.insert(name.to_owned(), words)));
    }

    /// A function that does what a line of shell does.
    fn shell(&self, name: &str, line: &str) {
        self.stand_in(name, ["sh", "-c", line].map(OsString::from).to_vec());
    }

    fn start_in(&self, folder: &Path, arguments: &[&str]) -> Running {
        let mut command = self.world.place.command(&[&["try"], arguments].concat());
        command.envs(self.world.aws.environment()).current_dir(folder);
        Running::start(command)
    }

    /// Runs `try` in the checkout; nothing of a bundle stays, however it ends.
    fn run(&self, arguments: &[&str]) -> Done {
        let done = self.start_in(&self.work(), arguments).end();
        self.assert_no_bundle();
        done
    }

    fn assert_no_bundle(&self) {
        let left = std::fs::read_dir(self.world.place.state.join("runs")).into_iter().flatten().flatten();
        assert_eq!(left.map(|entry| entry.file_name()).collect::<Vec<_>>(), Vec::<OsString>::new());
    }

    /// The changesets for whose sake the stand-in ran, in order.
    fn calls(&self) -> Vec<String> {
        let calls = std::fs::read_to_string(self.server().join(".hg/calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn calls_of_lambda(&self) -> usize {
        self.world.aws.control.count(CALL)
    }
}

/// Commits a file.
fn commit(repository: &Path, name: &str, bytes: &[u8], arguments: &[&str]) -> String {
    std::fs::write(repository.join(name), bytes).unwrap();
    hg(repository, &["add", "--quiet", name]);
    hg(repository, &[&["commit", "--quiet"], arguments].concat());
    node(repository, ".")
}

fn node(repository: &Path, revision: &str) -> String {
    hg(repository, &["log", "--rev", revision, "--template", "{node}"])
}

fn nodes(repository: &Path, revisions: &str) -> Vec<String> {
    hg(repository, &["log", "--rev", revisions, "--template", "{node}\\n"]).lines().map(str::to_owned).collect()
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn a_changeset_arrives_with_the_drafts_that_it_stands_on_and_no_others() {
    let it = Try::new();
    hg(&it.work(), &["branch", "--quiet", "k\u{e4}se"]);
    let first =
        commit(&it.work(), "c", b"1", &["--user", "\u{c4}nn <a@b>", "--message", "first \u{1f600}\n\nmore \"words\""]);
    let second = commit(&it.work(), "c", b"2", &["--message", "second"]);
    let beside = commit(&it.work(), "d", b"", &["--message", "beside"]);
    hg(&it.work(), &["update", "--quiet", &second]);
    std::fs::write(it.work().join("c"), "uncommitted").unwrap();

    let allowed: Vec<&str> = policy::actions("try").into_iter().collect();
    it.world.aws.control.allow_only(&allowed);
    let done = it.run(&[]).expect(0).tells(&["uncommitted changes of 1 file are not sent", "Sending 2 changesets"]);
    assert!(done.stderr.contains(&format!("{} second", &second[..12])), "{}", done.stderr);
    assert_eq!(done.text(), format!("remote: node {second}\nremote: branch k\u{e4}se\nremote: second\n"));
    assert_eq!(nodes(&it.server(), "all()"), nodes(&it.work(), &format!("::{second}")));
    assert_eq!(hg(&it.server(), &["cat", "--rev", &second, "c"]), "2");
    let (history, calls) = (it.world.aws.control.history(), it.world.aws.control.calls());
    assert_eq!(super::decision::refused(&policy::document(&["try"], &Scope::default()), &history, &calls), [].into());
    assert_eq!(it.world.aws.control.violations(), Vec::<String>::new());

    // By another name of the revision and of the function, with all that is known of it.
    let arn = aws_emulator::lambda::arn("us-west-2", FUNCTION);
    let told = it.run(&["-r", "first(draft())", "--function", &arn, "--json"]).expect(0).json();
    let message = "first \u{1f600}\n\nmore \"words\"";
    let size = told["bytes"].as_u64().unwrap();
    let expected = json!({
        "node": first, "branch": "k\u{e4}se", "user": "\u{c4}nn <a@b>", "message": message, "uncommitted": 0,
        "changesets": [{"node": first, "summary": "first \u{1f600}"}], "function": arn, "region": "us-west-2", "bytes": size,
        "sent": true, "replies": [format!("node {first}"), "branch k\u{e4}se", message],
    });
    assert_eq!(told, expected);
    let payload = it.world.aws.control.calls().last().unwrap().call.payload.len();
    assert_eq!(payload as u64, size);
    it.run(&["--rev", &beside]).expect(0);
    assert_eq!(it.calls(), [second, first, beside]);
}

#[test]
fn without_a_public_changeset_everything_is_sent_and_no_remote_is_asked() {
    let it = Try::new();
    let server = it.server();
    std::fs::remove_dir_all(&server).unwrap();
    hg(it.folder.path(), &["init", "server"]);
    hg(&it.work(), &["phase", "--force", "--draft", "all()"]);
    // Whoever asks it ends with an error.
    std::fs::write(it.work().join(".hg/hgrc"), "[paths]\ndefault = /does/not/exist\n").unwrap();
    let told = it.run(&["--json"]).expect(0).json();
    assert_eq!(told["changesets"].as_array().unwrap().len(), 2);
    assert_eq!(nodes(&server, "all()"), nodes(&it.work(), "all()"));
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is_asked() {
    let it = Try::new();
    for (arguments, words) in [
        (&[][..], &["what is checked out is public already", "nothing to send"][..]),
        (&["--rev", "."], &["`.` is public already"]),
        (&["--rev", "nope"], &["has no revision `nope`"]),
        (&["--rev", "0:1"], &["more than one changeset"]),
        (&["--rev", "none()"], &["`none()` names no changeset"]),
        (&["--rev", "null"], &["`null` names no changeset"]),
        (&["--rev", ""], &["`--rev` is empty"]),
        (&["--rev", "wdir()"], &["is the working copy", "hg commit"]),
        (&["--function", "a b"], &["neither the name of a function nor its ARN"]),
    ] {
        it.run(arguments).expect(2).tells(words);
    }
    commit(&it.work(), "c", b"", &["--secret", "--message", "mine"]);
    it.run(&[]).expect(2).tells(&["`.` is secret, and only drafts are sent"]);
    hg(&it.work(), &["phase", "--draft", "."]);
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:f";
    it.run(&["--function", arn]).expect(2).tells(&["in another region than `us-west-2`", "--aws-region eu-west-1"]);
    let empty = it.folder.path().join("empty");
    hg(it.folder.path(), &["init", "empty"]);
    it.start_in(&empty, &[]).end().expect(2).tells(&["nothing is checked out"]);
    it.start_in(it.folder.path(), &[]).end().expect(2).tells(&["is not in a Mercurial checkout"]);
    assert_eq!((it.world.aws.control.count("*"), it.calls()), (0, Vec::new()));
}

#[test]
fn what_is_too_large_for_a_call_is_not_sent_and_what_just_fits_is() {
    let it = Try::new();
    commit(&it.work(), "large", &noise(4_600_000), &["--message", "fits"]);
    let told = it.run(&["--json"]).expect(0).json();
    let size = told["bytes"].as_u64().unwrap();
    assert!((6_100_000..6_291_456).contains(&size), "{size}");
    it.world.aws.control.clear_log();
    commit(&it.work(), "larger", &noise(7_000_000), &["--message", "does not fit"]);
    for arguments in [&[][..], &["--dry-run"], &["--json"]] {
        let done = it.run(arguments).expect(2);
        let done = done.tells(&["at most 6291455 (6.0 MiB)", "bytes (14.8 MiB)", "Nothing was sent", "fewer below it"]);
        assert!(arguments != ["--json"] || done.text().is_empty(), "{}", done.text());
    }
    assert_eq!((it.calls_of_lambda(), it.calls().len()), (0, 1));
    let names = it.world.aws.control.names();
    assert!(names.iter().all(|name| name == "sts:GetCallerIdentity"), "{names:?}");
}

#[test]
fn a_dry_run_shows_what_would_be_sent_and_asks_nothing() {
    let it = Try::new();
    let node = commit(&it.work(), "c", b"1", &["--message", "work"]);
    let done = it.run(&["--dry-run", "--aws-region", "eu-west-1"]).expect(0).tells(&["Nothing was sent."]);
    for part in
        ["Would send 1 changeset (", ") to the function `ci-try-server-upload` in `eu-west-1`:", " work\n", &node]
    {
        assert!(done.text().contains(part), "{}", done.text());
    }
    let told = it.run(&["--dry-run", "--json"]).expect(0).json();
    assert_eq!((&told["node"], &told["sent"], &told["replies"]), (&json!(node), &Value::Bool(false), &json!([])));
    assert_eq!((it.world.aws.control.count("*"), it.calls()), (0, Vec::new()));
}

#[test]
fn errors_of_the_function_are_errors_of_the_command() {
    let it = Try::new();
    commit(&it.work(), "c", b"1", &["--message", "work"]);
    it.shell("raises", "cat >/dev/null; echo 'Traceback' >&2; echo 'ValueError: no room' >&2; exit 1");
    it.shell("html", "cat >/dev/null; echo '<html>'");
    it.shell("null", "cat >/dev/null; echo null");
    it.shell("half", "cat >/dev/null; printf '[\"received\", '");
    it.shell("silent", "cat >/dev/null; echo '[]'");
    it.shell("deaf", "echo '[\"ok\", 7]'");
    for (function, words) in [
        (
            "raises",
            &["the function `raises` failed", "Runtime.ExitError: ValueError: no room", "`/aws/lambda/raises`"][..],
        ),
        ("html", &["the reply of the function `html` is not JSON", "it is <html>", "what was sent arrived"]),
        ("null", &["is not a list of messages", "it is null"]),
        ("half", &["is not JSON", "it is [\"received\","]),
        ("missing", &["there is no function `missing` in `us-west-2`", "--function"]),
    ] {
        let done = it.run(&["--function", function]).expect(3).tells(words);
        assert_eq!(done.text(), "", "{function}");
    }
    it.run(&["--function", "silent"]).expect(0).tells(&["without an error and without a message"]);
    assert_eq!(it.run(&["--function", "deaf"]).expect(0).text(), "remote: ok\nremote: 7\n");
}

#[test]
fn a_call_is_repeated_only_where_it_did_not_arrive() {
    let it = Try::new();
    let node = commit(&it.work(), "c", b"1", &["--message", "work"]);
    it.world.aws.control.throttle(CALL, 2);
    it.run(&[]).expect(0);
    assert_eq!((it.calls_of_lambda(), it.calls()), (3, vec![node.clone()]));

    it.world.aws.control.clear_log();
    it.world.aws.control.throttle(CALL, 99);
    it.run(&[]).expect(4).tells(&["cannot call the function", "TooManyRequestsException", "try again in a minute"]);
    assert_eq!((it.calls_of_lambda(), it.calls().len()), (5, 1));

    it.world.aws.control.clear_orders();
    it.world.aws.control.clear_log();
    it.world.aws.control.cut(CALL, 1);
    let done = it.run(&[]).expect(4);
    done.tells(&["no complete answer came", "It may have run", "`/aws/lambda/ci-try-server-upload`"]);
    assert_eq!((it.calls_of_lambda(), it.calls()), (1, vec![node.clone(), node]));
}

#[test]
fn an_account_that_cannot_be_used_is_named_before_the_bundle_is_sent() {
    let it = Try::new();
    commit(&it.work(), "c", b"1", &["--message", "work"]);
    let mut alone = it.world.place.command(&["try"]);
    alone.env("AWS_EC2_METADATA_DISABLED", "true").current_dir(it.work());
    Running::start(alone).end().expect(3).tells(&["there are no AWS credentials", "AWS_PROFILE"]);
    it.world.aws.control.set(|now| now.expired = true);
    it.run(&[]).expect(3).tells(&["expired", "aws sso login"]);
    it.world.aws.control.set(|now| now.expired = false);
    assert_eq!(it.calls_of_lambda(), 0);
    it.world.aws.control.deny(CALL);
    it.run(&[]).expect(3).tells(&["lambda:InvokeFunction", "iam-policy"]);
    assert_eq!(it.calls(), Vec::<String>::new());
}

/// An extension of Mercurial's with which a bundle takes a second; hooks do not run.
const SLOW: &str = "
import time
from mercurial import commands, extensions

def slow(orig, *args, **opts):
    open(BUNDLING, 'w').close()
    time.sleep(1)
    return orig(*args, **opts)

def extsetup(ui):
    extensions.wrapcommand(commands.table, b'bundle', slow)
";

#[test]
fn an_interruption_says_that_the_function_goes_on() {
    let it = Try::new();
    commit(&it.work(), "c", b"1", &["--message", "work"]);
    let came = it.folder.path().join("came");
    it.shell(FUNCTION, &format!("cat >/dev/null; touch {}; sleep 5; echo '[]'", came.display()));
    let running = it.start_in(&it.work(), &[]);
    wait_for(&came, &running);
    running.signal(Signal::INT);
    running.end().expect(130).tells(&["interrupted", "may have arrived"]);
    it.assert_no_bundle();

    // Before that: the bundle is being made.
    let (slow, bundling) = (it.folder.path().join("slow.py"), it.folder.path().join("bundling"));
    std::fs::write(&slow, format!("BUNDLING = {:?}\n{SLOW}", bundling.display().to_string())).unwrap();
    let extension = format!("[extensions]\nslow = {}\n", slow.display());
    std::fs::write(it.work().join(".hg/hgrc"), extension).unwrap();
    let running = it.start_in(&it.work(), &[]);
    wait_for(&bundling, &running);
    running.signal(Signal::INT);
    running.end().expect(130).tells(&["Nothing was sent."]);
    // Nobody writes a bundle after that.
    std::thread::sleep(Duration::from_secs(2));
    it.assert_no_bundle();
    assert_eq!(it.calls_of_lambda(), 1);
}

fn wait_for(file: &Path, running: &Running) {
    let end = std::time::Instant::now() + support::tool::LIMIT;
    while !file.exists() {
        assert!(std::time::Instant::now() < end && running.lives(), "{}", running.said());
        std::thread::sleep(Duration::from_millis(10));
    }
}
