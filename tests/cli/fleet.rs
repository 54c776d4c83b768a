//! One command on many machines.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::leftovers;
use support::tool::{Done, Place};

fn machines<const N: usize>(place: &Place) -> [String; N] {
    let running = [(); N].map(|()| place.start(&["machine", "up"]));
    running.map(|running| running.end().expect(0).text().trim().to_owned())
}

/// `machine exec` with these options, then `sh -c SCRIPT`.
fn exec(place: &Place, options: &[&str], script: &str) -> Done {
    place.run(&[&["machine", "exec"], options, &["--", "sh", "-c", script]].concat())
}

fn sorted(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.sort();
    lines
}

#[test]
fn output_comes_behind_the_machines_id_and_one_status_says_it_all() {
    let place = Place::small();
    place.run(&["machine", "exec", "--all", "--", "true"]).expect(2).tells(&["no machine", "machine up"]);
    let [a, b, c] = machines(&place);
    let three = format!("{a},{b},{c},{a}");

    // Bytes that are no text, a line without an end, both streams; a machine that was named twice runs it once.
    let done = exec(&place, &["--machines", &three], r"printf 'one\n\377two'; echo err >&2").expect(0);
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for id in [&a, &b, &c] {
        expected.push(format!("{id} | one\n").into_bytes());
        expected.push([format!("{id} | ").as_bytes(), b"\xfftwo\n"].concat());
    }
    expected.sort();
    assert_eq!(sorted(&done.stdout), expected, "{done:?}");
    let done = done.tells(&["3 succeeded"]);
    for id in [&a, &b, &c] {
        assert!(done.stderr.contains(&format!("{id} | err\n")), "{}", done.stderr);
    }

    let fails = format!("test $(hostname) != {b} || exit 7");
    exec(&place, &["--all"], &fails).expect(1).tells(&["2 succeeded, 1 failed", &b, "exit status 7"]);

    let report = exec(&place, &["--machines", &three, "--json"], &format!("cat; echo $(hostname); {fails}")).expect(1);
    let report = report.json();
    let names: Vec<&str> = report.as_array().unwrap().iter().map(|one| one["machine"].as_str().unwrap()).collect();
    assert_eq!(names, [&a, &b, &c]);
    for one in report.as_array().unwrap() {
        let code = if one["machine"] == b.as_str() { 7 } else { 0 };
        assert_eq!(one["exit"], serde_json::json!({"kind": "code", "value": code}), "{one}");
        assert_eq!(one["stdout"], format!("{}\n", one["machine"].as_str().unwrap()));
        assert!(one["error"].is_null() && one["seconds"].as_f64().unwrap() > 0.0 && one["capped"] == false, "{one}");
    }
    let noisy =
        exec(&place, &["--machines", &a, "--json"], "head -c 3000000 /dev/zero | tr '\\0' x; echo end").expect(0);
    let noisy = noisy.json();
    assert_eq!(noisy[0]["capped"], true);
    let kept = noisy[0]["stdout"].as_str().unwrap();
    assert!(kept.len() < 1_100_000 && kept.ends_with("[1951428 bytes more were left out]\n"), "{}", kept.len());

    // Nothing runs where a machine is not known; the nearest is named.
    let wrong = a.chars().rev().skip(1).collect::<Vec<_>>().into_iter().rev().chain(['_']).collect::<String>();
    let refused = exec(&place, &["--machines", &format!("{b},{wrong}")], "touch /tmp/ran").expect(2);
    refused.tells(&["no machine", &wrong, "Did you mean", &a]);
    place.exec(&b, &["test", "-e", "/tmp/ran"]).expect(1);
    let listed = exec(&place, &["--all", "--dry-run"], "touch /tmp/ran").expect(0).text();
    assert_eq!(listed.lines().count(), 3);
    assert!([&a, &b, &c].iter().all(|id| listed.contains(id.as_str())), "{listed}");
    place.exec(&b, &["test", "-e", "/tmp/ran"]).expect(1);

    for bad in [
        &["--all", "--machines", &a][..],
        &["--all", "--parallel", "0"],
        &["--all", "--parallel", "501"],
        &["--all", "--timeout", "0"],
        &["--parallel", "2", &a],
        &["--machines", ""],
        &["--al"],
    ] {
        assert_eq!(exec(&place, bad, "true").code(), 2, "{bad:?}");
    }
    place.run(&["machine", "exec", "--all"]).expect(2);
    place.run(&["machine", "down", &a, &b, &c]).expect(0);
    place.assert_clean();
}

#[test]
fn a_dead_and_a_slow_machine_hold_up_nobody_and_are_told_of() {
    let place = Place::small();
    let [well, dead, slow, fails] = machines(&place);
    for (pid, line) in leftovers::processes(&place.state) {
        if line.contains(&dead) {
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
    }
    let script = format!("case $(hostname) in {slow}) echo begun; exec sleep 1000;; {fails}) exit 3;; esac; echo done");
    let began = Instant::now();
    let ids = [&slow, &dead, &well, &fails].map(String::as_str).join(",");
    let done = exec(&place, &["--machines", &ids, "--timeout", "3s"], &script).expect(4);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(sorted(&done.stdout), sorted(format!("{slow} | begun\n{well} | done\n").as_bytes()));
    done.tells(&[
        "1 succeeded, 1 failed, 1 not reached, 1 lost",
        &format!("failed: {fails} (exit status 3)"),
        &format!("not reached: {dead} ("),
        &format!("lost: {slow} (it did not end within 3.0s, it was ended)"),
    ]);
    place.exec(&slow, &["pgrep", "-x", "sleep"]).expect(1);

    let report = exec(&place, &["--machines", &ids, "--timeout", "3s", "--json"], &script).expect(4).json();
    assert_eq!((&report[0]["exit"]["kind"], &report[0]["stdout"]), (&"lost".into(), &"begun\n".into()), "{report}");
    assert!(report[1]["exit"].is_null() && report[1]["error"].is_string(), "{report}");
    assert_eq!(report[2]["exit"]["value"], 0, "{report}");

    place.run(&["machine", "down", &well, &dead, &slow, &fails]).expect(0);
    place.assert_clean();
}

#[test]
fn a_command_on_one_machine_is_ended_when_its_time_is_over() {
    let place = Place::small();
    let [id] = machines(&place);
    let exec = |words: &[&str]| place.run(&[&["machine", "exec", "--timeout", "2s", &id, "--"], words].concat());
    let began = Instant::now();
    let done = exec(&["sh", "-c", "echo begun; exec sleep 1000"]).expect(4);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(done.tells(&["did not end within 2.0s, it was ended", "hint:"]).text(), "begun\n");
    // One that heeds no friendly signal, with what it still says.
    let stubborn = "trap 'echo asked' TERM; while :; do sleep 1; done";
    assert_eq!(exec(&["sh", "-c", stubborn]).expect(4).tells(&["it was ended"]).text(), "asked\n");
    place.exec(&id, &["pgrep", "-x", "sleep"]).expect(1);
    exec(&["sh", "-c", "exit 7"]).expect(7);
    place.run(&["machine", "down", &id]).expect(0);
    place.assert_clean();
}

#[test]
fn ctrl_c_ends_the_commands() {
    let place = Place::small();
    let [a, b] = machines(&place);
    let script = format!("test $(hostname) = {a} || {{ echo begun; sleep 1000; }}");
    let running = place.start(&["machine", "exec", "--all", "--parallel", "2", "--", "sh", "-c", &script]);
    running.wait_for(&format!("{b} | begun"));
    running.signal(Signal::INT);
    let done = running.end_within(Duration::from_secs(30)).expect(130);
    // The other machine's command may have ended before the signal, or not: then it stands in the same line.
    let done = done.tells(&["Interrupted"]);
    let told = done.stderr.lines().find(|line| line.contains("had not ended: ")).unwrap_or_default();
    assert!(told.contains(b.as_str()) && told.ends_with(" (it was interrupted, it was ended)"), "{}", done.stderr);
    place.exec(&b, &["pgrep", "-x", "sleep"]).expect(1);
    place.run(&["machine", "down", &a, &b]).expect(0);
    place.assert_clean();
}

#[test]
fn all_means_what_is_there_to_be_used_and_as_whom_is_told() {
    let mut place = Place::small();
    let [mine] = machines(&place);
    place.define(&[("fails", "exit 1\n")]);
    place.run(&["image", "build", "--keep-failed"]).expect(3);
    let bakes = place.json(&["machine", "list", "--json"])[0]["id"].as_str().unwrap().to_owned();
    assert_ne!(bakes, mine);
    place.define(&[]);
    let run = place.run(&["run", "--image", "linux-dev", "--detach", "--", "sleep", "1000"]).expect(0);
    let run = run.text().trim().to_owned();
    let left_out = "left out: 1 machine of runs that are at work, or were cut off (`--include-busy`)";
    exec(&place, &["--all", "--include-busy"], "true").expect(0).tells(&["as hg on 2 machines, as root on 1 machine"]);
    let done = exec(&place, &["--all", "--json"], "id -un").expect(0);
    let users = |machine: &str| {
        let report = done.json();
        let one = report.as_array().unwrap().iter().find(|one| one["machine"] == machine).cloned().unwrap();
        (one["user"].as_str().unwrap().to_owned(), one["stdout"].as_str().unwrap().trim().to_owned())
    };
    assert_eq!([users(&mine), users(&bakes)], ["hg", "root"].map(|user| (user.to_owned(), user.to_owned())));
    assert_eq!(done.json().as_array().unwrap().len(), 2);
    done.tells(&[left_out, "as hg on 1 machine, as root on 1 machine"]);
    place.run(&["machine", "down", &mine, &bakes]).expect(0);
    exec(&place, &["--all"], "true").expect(2).tells(&["no machine", "--include-busy"]);
    place.run(&["runs", "cancel", &run]).expect(0);
    place.assert_clean();
}
