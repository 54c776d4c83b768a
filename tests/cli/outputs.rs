//! Where what is printed goes: a disk that is full, a reader that has gone, a terminal that must not be steered.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::tool::{Done, Place};

/// Runs the tool with standard output on a device that has no room.
fn on_a_full_disk(place: &Place, arguments: &[&str]) -> Done {
    let began = std::time::Instant::now();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = place.command(arguments).stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Done { status: output.status, stdout: Vec::new(), stderr, took: began.elapsed() }
}

/// The same with standard error.
fn with_full_messages(place: &Place, arguments: &[&str]) -> Option<i32> {
    let full = File::options().write(true).open("/dev/full").unwrap();
    place.command(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full).status().unwrap().code()
}

#[test]
fn data_that_cannot_be_written_is_an_error_that_names_the_cause() {
    let place = Place::small();
    let id = place.up(&[]);
    let run = place.latest();
    let here = place.path().join("hostname").display().to_string();
    let there = format!("{id}:/etc/hostname");
    for arguments in [
        &["machine", "list"][..],
        &["machine", "list", "--json"],
        &["runs", "list"],
        &["runs", "list", "--json"],
        &["runs", "show", &run],
        &["runs", "logs", &run, "--steps"],
        &["image", "list", "--json"],
        &["image", "show", "linux-dev-debian12"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["machine", "exec", &id, "--", "echo", "hi"],
        &["machine", "exec", &id, "--", "head", "-c", "3000000", "/dev/zero"],
        &["machine", "exec", "--machines", &id, "--", "echo", "hi"],
        &["machine", "exec", "--machines", &id, "--json", "--", "echo", "hi"],
        &["machine", "cp", &there, &here, "--json"],
        &["machine", "down", &id, "--dry-run"],
    ] {
        on_a_full_disk(&place, arguments).expect(3).tells(&["cannot write to standard output", "No space left"]);
    }
    // The command's own failure is the worse news.
    on_a_full_disk(&place, &["machine", "exec", &id, "--", "false"]).expect(1);
    // What a command says on standard error is its output too; its own failure is the worse news there as well.
    for (script, code, of_many) in [("echo lost >&2", 3, 3), ("echo lost >&2; exit 7", 7, 1), ("echo data", 0, 0)] {
        let one = with_full_messages(&place, &["machine", "exec", &id, "--", "sh", "-c", script]);
        assert_eq!(one, Some(code), "{script}");
        let many = with_full_messages(&place, &["machine", "exec", "--machines", &id, "--", "sh", "-c", script]);
        assert_eq!(many, Some(of_many), "{script}");
    }
    // A reader that has gone has what it wanted.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let gone = place.command(&["runs", "list"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((gone.status.code(), gone.stderr), (Some(0), Vec::new()));
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn a_machine_whose_id_cannot_be_told_is_ended() {
    let place = Place::small();
    for arguments in [&["machine", "up"][..], &["machine", "up", "--json"]] {
        let done = on_a_full_disk(&place, arguments).expect(3);
        done.tells(&["cannot write to standard output", "No space left", "so it was ended", "Nothing is left behind"]);
        assert_eq!(place.json(&["machine", "list", "--json"]), serde_json::json!([]));
        assert_eq!(place.json(&["runs", "show", &place.latest(), "--json"])["exit_code"], 3);
    }
    place.assert_clean();
}

const STEERING: &str = "x\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\u{202e}y";

#[test]
fn names_from_elsewhere_do_not_steer_the_terminal_from_within_our_words() {
    let place = Place::with_steps(&[("shouts", &format!("printf '%s\\n' '{STEERING}' >&2; exit 1\n"))]);
    place.own_images();
    let file = place.path().join("definitions/linux-dev/image.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("Trying shouts", "Trying \\u001b]0;owned\\u0007")).unwrap();
    place.run(&["image", "build"]).expect(3);
    let run = place.latest();
    for arguments in [
        &["image", "build"][..],
        &["image", "show", STEERING],
        &["machine", "exec", STEERING, "--", "true"],
        &["machine", "up", "--distro", STEERING],
        &["runs", "show", STEERING],
        &["machine", "check", STEERING],
        &["machine", "cp", STEERING, "there"],
        &["--images", STEERING, "image", "list"],
        &["run-tests-linux", "--source", STEERING],
        &[STEERING],
        &["machine", "list", STEERING],
        &["runs", "list"],
        &["runs", "list", "--json"],
        &["runs", "show", &run],
        &["runs", "logs", &run, "--steps"],
    ] {
        let done = place.run(arguments);
        let said = format!("{}{}", done.text(), done.stderr);
        let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!said.contains(steers), "{arguments:?} says {said:?}");
    }
    place.assert_clean();
}

/// A terminal: the side of the person, and the side of the program.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (person, program)
}

/// What a person sees of a command whose standard output is a terminal.
fn seen(place: &Place, arguments: &[&str]) -> String {
    let (person, program) = terminal();
    let mut command = place.command(arguments);
    let status = command.stdin(Stdio::null()).stdout(program).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{arguments:?}");
    // What holds the other side open is dropped with the command.
    drop(command);
    let mut bytes = Vec::new();
    drop(File::from(person).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_task_sets_no_title_and_does_not_reach_the_clipboard_unless_it_is_wanted_raw() {
    let place = Place::small();
    let id = place.up(&[]);
    let shouts = "printf 'a\\033]0;title\\007b\\033]52;c;ZXZpbA==\\033\\\\c\\033[31mred\\033[0m\\n'";
    let (one, many) = (["machine", "exec", &id], ["machine", "exec", "--machines", &id]);
    for command in [&one[..], &many] {
        let shown = seen(&place, &[command, &["--", "sh", "-c", shouts]].concat());
        assert!(shown.contains("abc\u{1b}[31mred\u{1b}[0m") && !shown.contains("title"), "{shown:?}");
        let raw = seen(&place, &[&["--raw"], command, &["--", "sh", "-c", shouts]].concat());
        assert!(raw.contains("a\u{1b}]0;title\u{7}b\u{1b}]52;"), "{raw:?}");
        // Who is no terminal gets every byte.
        let done = place.run(&[command, &["--", "sh", "-c", shouts]].concat()).expect(0);
        assert!(done.text().contains("a\u{1b}]0;title\u{7}b"), "{done:?}");
    }
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}
