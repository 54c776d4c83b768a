//! Lines to a machine that break under a run: nothing of it is lost, and nothing comes twice.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_emulator::lines::LineFault;
use support::mercurial;
use support::tool::{Done, Running};

use super::cli::World;
use crate::emulated::sdk;

/// What the loud test prints: at least so many lines of 100 bytes, 50 MB altogether.
const LINES: usize = 500_000;

/// Prints most of them in ten seconds or so, then a few at a time until it is let go, then the rest and how many there were.
const LOUD: &str = "
import os, sys, time
done = 0
def say(count):
    global done
    for _ in range(count):
        sys.stdout.write('%09d %s\\n' % (done, 'x' * 89))
        done += 1
    sys.stdout.flush()
while not os.path.exists('/tmp/go'):
    say(5000 if done < 450000 else 10)
    time.sleep(0.1)
say(max(1000, 500000 - done))
sys.stdout.write('%09d lines\\n' % done)
";

/// How long one break may take to be mended: a line that stalls is noticed after a minute, and a way in is looked for when an
/// attempt to connect has been in vain for 15 seconds.
const LIMIT: Duration = Duration::from_secs(240);

/// What is told when a connection is there again.
const AGAIN: &str = " again after ";

/// Where callers are after they have moved: of an example's network.
const ELSEWHERE: &str = "203.0.113.7";

/// A run that is under way, and the files that it keeps.
struct Run<'a> {
    world: &'a World,
    running: Running,
    folder: PathBuf,
}

impl<'a> Run<'a> {
    /// Starts a run of one test in a checkout of its own and waits until the test says `marker`.
    #[track_caller]
    fn start(world: &'a World, files: &[(&str, &str)], test: &str, marker: &str) -> Self {
        let checkout = mercurial::small(&tempfile::tempdir_in(world.place.path()).unwrap().keep(), files);
        let words = ["--json", "--source", checkout.to_str().unwrap(), test];
        let words = [&words[..], &mercurial::READY_HG, &["--debug"]].concat();
        let running = world.start_strictly("run-tests-linux", &words);
        running.wait_for(marker);
        let folder = world.place.state.join("runs").join(world.place.latest_of("run-tests-linux"));
        Self { world, running, folder }
    }

    /// Its log of steps.
    fn steps(&self) -> String {
        std::fs::read_to_string(self.folder.join("events.log")).unwrap()
    }

    /// How often it has connected again so far.
    fn mended(&self) -> usize {
        self.steps().matches(AGAIN).count()
    }

    /// Waits until `ready`.
    #[track_caller]
    fn wait_until(&self, what: &str, ready: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !ready() {
            assert!(Instant::now() < end && self.running.lives(), "no {what}: {}", self.steps());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Breaks what is there, and waits until the run is connected again and has kept more of the output.
    #[track_caller]
    fn mends(&self, breaking: impl FnOnce()) {
        let size = || std::fs::metadata(self.folder.join("output.log")).unwrap().len();
        let before = self.mended();
        breaking();
        self.wait_until("new connection", || self.mended() > before);
        let kept = size();
        self.wait_until("further output", || size() > kept);
    }

    /// Runs a command on its machine.
    fn exec(&self, command: &[&str]) -> Done {
        let task = std::fs::read_dir(self.folder.join("tasks")).unwrap().next().unwrap().unwrap().path();
        let machine = task.file_stem().unwrap().to_str().unwrap();
        self.world.start_strictly("machine", &[&["exec", machine, "--"], command].concat()).end()
    }
}

/// From where the group of machines lets in, sorted.
fn let_in(world: &World) -> Vec<String> {
    let rules = async {
        let client = aws_sdk_ec2::Client::new(&sdk(&world.aws).await);
        client.describe_security_groups().group_names("hg-linux-dev-1").send().await.unwrap()
    };
    let groups = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(rules);
    let permissions = groups.security_groups()[0].ip_permissions();
    let ranges = permissions.iter().flat_map(|permission| permission.ip_ranges());
    let mut ranges: Vec<String> = ranges.filter_map(|range| range.cidr_ip().map(str::to_owned)).collect();
    ranges.sort();
    ranges
}

/// What a run's log holds of standard output, as its index tells it from standard error.
fn stdout(folder: &Path) -> Vec<u8> {
    let log = std::fs::read(folder.join("output.log")).unwrap();
    let index = std::fs::read(folder.join("output.index")).unwrap();
    let (mut stdout, mut at) = (Vec::new(), 0);
    for record in index.chunks(5) {
        let end = at + u32::from_le_bytes(record[1..].try_into().unwrap()) as usize;
        if record[0] == 1 {
            stdout.extend_from_slice(&log[at..end]);
        }
        at = end;
    }
    assert_eq!(at, log.len());
    stdout
}

/// Fails unless `log` holds what the loud test printed, byte for byte, and hardly anything else.
fn assert_whole(log: &[u8]) {
    let find = |what: &[u8]| log.windows(what.len()).position(|window| window == what);
    let end = find(b" lines\n").expect("the last line");
    let said: usize = std::str::from_utf8(&log[end - 9..end]).unwrap().parse().unwrap();
    assert!(said >= LINES, "{said}");
    let filler = "x".repeat(89);
    let expected: Vec<u8> = (0..said).flat_map(|line| format!("{line:09} {filler}\n").into_bytes()).collect();
    let start = find(b"000000000 xxx").unwrap();
    // Compared without showing 50 MB where they differ.
    let differs = log[start..].iter().zip(&expected).position(|(found, told)| found != told);
    let shown = differs.map(|at| String::from_utf8_lossy(&log[start + at..(start + at + 200).min(log.len())]));
    assert_eq!((shown, start + expected.len() + 9), (None, end), "the log differs from what the machine wrote");
    assert!(log.len() - expected.len() < 1 << 16, "{} bytes too many", log.len() - expected.len());
}

/// Runs a loud test while its lines break in every way, once because its caller has moved; `world` has the whole image.
pub(crate) fn break_under_a_run(world: &World) {
    let lines = &world.aws.control.lines;
    // The first one breaks while the machine is prepared or the source travels.
    lines.break_next(&[(6_000, LineFault::Reset)]);
    let loud = [("loud.py", LOUD), ("test-loud.t", "  $ \"$PYTHON\" \"$TESTDIR/loud.py\"\n")];
    let run = Run::start(world, &loud, "test-loud.t", "000000001 xxx");
    // The log of steps is written once a second.
    run.wait_until("word of the tests", || run.steps().contains("1 test expected"));
    let steps = run.steps();
    let prepared = steps.find("1 test expected").unwrap();
    assert_eq!(steps[..prepared].matches(AGAIN).count(), 1, "{steps}");
    for fault in [LineFault::Reset, LineFault::Close].into_iter().cycle().take(7) {
        run.mends(|| lines.break_all(fault));
    }
    let before = let_in(world);
    run.mends(|| world.aws.control.move_callers(ELSEWHERE.parse().unwrap()));
    assert!(run.steps().contains(&format!("Letting {ELSEWHERE}/32 reach")), "{}", run.steps());
    // The old rule has an end of its own: other machines of the same user may still be reached from there.
    let after = let_in(world);
    assert!(before.iter().all(|range| after.contains(range)), "{before:?} {after:?}");
    assert_eq!((after.len(), after.contains(&format!("{ELSEWHERE}/32"))), (before.len() + 1, true), "{after:?}");
    run.mends(|| lines.break_all(LineFault::Reset));
    assert_eq!(run.mended(), 10);
    run.exec(&["touch", "/tmp/go"]).expect(0);
    let done = run.running.end_within(LIMIT).expect(0);
    assert_eq!(done.json()["counts"]["passed"], 1, "{}", done.text());
    assert_whole(&stdout(&run.folder));
    world.assert_clean();
}

/// What a machine that was booted again shows: nothing runs any more that ran before, and the boot is another. Not the line of
/// the command itself.
const BOOT_AGAIN: &str = "
echo 11111111-2222-4333-8444-555555555555 >/run/boot-id
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id
pkill -KILL -f supervis[e]
pkill -KILL -f run-test[s]
true";

/// A test that says a word and is not over for long.
const LONG: (&str, &str) = ("test-long.t", "  $ echo begun\n  begun\n  $ sleep 600\n");

/// Runs a long test on a machine that ends under it: lost, and said so.
pub(crate) fn end_under_a_run(world: &World) {
    let run = Run::start(world, &[LONG], LONG.0, "begun");
    // Its last word may be cut off.
    run.exec(&["sudo", "poweroff"]);
    let done = run.running.end_within(LIMIT).expect(4);
    assert_eq!(done.json()["counts"]["lost"], 1, "{}", done.text());
    assert!(done.stderr.contains("has ended") || done.stderr.contains("terminated"), "{}", done.stderr);
    world.assert_clean();
}

/// The same for a machine that is booted again.
pub(crate) fn boot_under_a_run(world: &World) {
    let run = Run::start(world, &[LONG], LONG.0, "begun");
    run.exec(&["sudo", "sh", "-c", BOOT_AGAIN]);
    world.aws.control.lines.break_all(LineFault::Close);
    let done = run.running.end_within(LIMIT).expect(4).tells(&["the machine was booted again"]);
    assert_eq!(done.json()["counts"]["lost"], 1, "{}", done.text());
    world.assert_clean();
}
