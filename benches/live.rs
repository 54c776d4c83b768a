//! What it costs to show a run while it goes on: 10,000 tests on 64 machines, without machines. Prints a table with the bars.
//!
//! `cargo bench --bench live` runs it. It starts itself once more on a pseudo terminal of 24 rows and 80 columns, as a driver that
//! is told what happens: `first frame` is the time from the first event to the first byte on the terminal, `busy` the share of one
//! processor while ten events a second keep it drawing as often as it may, `an event` the processor time of each of 20,000 events
//! that come as fast as they can. `an hour` is what both make of a run that takes one: 36,000 frames and 20,000 events.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use automation::ui::live::{Frame, LiveView};
use automation::ui::{Look, OutputTo, Screen};
use jiff::Timestamp;
use model::event::{Event, EventKind, Sink, Subject, TestsEvent};
use model::outcome::{TestOutcome, TestResult};

const TESTS: usize = 10_000;
const MACHINES: usize = 64;

/// How long the terminal is kept busy.
const BUSY: Duration = Duration::from_secs(10);

/// The variable that says that this process is the driver.
const DRIVER: &str = "AUTOMATION_BENCH_DRIVER";

/// The most that a first frame may take, and the most of one processor in an hour.
const FIRST_FRAME: Duration = Duration::from_millis(100);
const HOUR_SHARE: f64 = 0.01;

fn main() {
    if std::env::var_os(DRIVER).is_some() {
        return drive();
    }
    println!("| what | measured | bar | |\n|---|---|---|---|");
    fold_and_frames();
    on_a_terminal();
}

fn row(what: &str, measured: &str) {
    println!("| {what} | {measured} | | |");
}

fn row_with_bar(what: &str, measured: &str, bar: &str, holds: bool) {
    println!("| {what} | {measured} | at most {bar} | {} |", if holds { "holds" } else { "MISSED" });
}

fn event(machine: usize, kind: impl Into<EventKind>) -> Event {
    let machine = format!("hg-{machine:010}").parse().unwrap();
    Event { at: Timestamp::now(), subject: Some(Subject::Machine(machine)), cell: None, kind: kind.into() }
}

fn began(number: usize) -> Event {
    let test = format!("test-something-with-a-name-{number}.t").as_str().into();
    event(number % MACHINES, TestsEvent::TestBegan { test })
}

fn ended(number: usize) -> Event {
    let name = format!("test-something-with-a-name-{number}.t").as_str().into();
    let result = TestResult::of(name, TestOutcome::Passed, Some(Duration::from_millis(number as u64)), None);
    event(number % MACHINES, TestsEvent::ended(&result))
}

/// The whole run: eight tests at a time on each machine.
fn story() -> Vec<Event> {
    let beside = 8 * MACHINES;
    let mut events = vec![event(0, TestsEvent::Selected { tests: TESTS, foreseen: None })];
    for number in 0..TESTS + beside {
        events.extend((number >= beside).then(|| ended(number - beside)));
        events.extend((number < TESTS).then(|| began(number)));
    }
    events
}

fn fold_and_frames() {
    let events = story();
    let began = Instant::now();
    let mut view = LiveView::default();
    for event in &events[..events.len() - 2000] {
        view.fold(event);
    }
    let each = began.elapsed() / u32::try_from(events.len() - 2000).unwrap();
    row("an event is counted", &format!("{:.2} µs", micros(each)));
    for columns in [40, 80, 200] {
        let frame = Frame { columns, rows: 40, unicode: true };
        let (began, rounds) = (Instant::now(), 500);
        for _ in 0..rounds {
            std::hint::black_box(view.lines(Timestamp::now(), frame));
        }
        let each = micros(began.elapsed() / rounds);
        row(&format!("a frame of {columns} columns is laid out"), &format!("{each:.0} µs"));
    }
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// What the driver tells of itself.
struct Told {
    busy: f64,
    event: f64,
    memory: u64,
}

fn on_a_terminal() {
    let (mut person, program) = terminal();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(DRIVER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(program)
        .spawn()
        .unwrap();
    let mut ready = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let began = Instant::now();
    child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    let mut seen = [0; 1 << 16];
    assert!(person.read(&mut seen).unwrap() > 0);
    let first = began.elapsed();
    std::thread::spawn(move || while person.read(&mut seen).is_ok_and(|read| read > 0) {});
    let mut said = String::new();
    child.stdout.as_mut().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    let numbers: Vec<f64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let told = Told { busy: numbers[0], event: numbers[1], memory: numbers[2] as u64 };
    let bar = format!("{} ms", FIRST_FRAME.as_millis());
    row_with_bar("first frame", &format!("{:.1} ms", first.as_secs_f64() * 1e3), &bar, first <= FIRST_FRAME);
    row("busy", &format!("{:.2} % of a processor", told.busy * 100.0));
    row("an event", &format!("{:.2} µs", told.event * 1e6));
    let hour = told.busy + told.event * 2.0 * TESTS as f64 / 3600.0;
    let bar = format!("{:.0} %", HOUR_SHARE * 100.0);
    row_with_bar("an hour", &format!("{:.2} % of a processor", hour * 100.0), &bar, hour <= HOUR_SHARE);
    row_with_bar("memory at the end", &format!("{} MiB", told.memory / 1024), "100 MiB", told.memory <= 100 * 1024);
}

/// The driver: waits for the word, tells its events, and says what that cost.
fn drive() {
    let look = Look { is_live: true, unicode: true, colored_stderr: true, ..Look::default() };
    let screen = Screen::new(OutputTo::Stdout, look, None);
    let events = story();
    let mut out = std::io::stdout();
    out.write_all(b".").unwrap();
    out.flush().unwrap();
    std::io::stdin().read_exact(&mut [0; 1]).unwrap();
    let (start, busy) = events.split_at(2 * 8 * MACHINES);
    start.iter().for_each(|event| screen.event(event.clone()));
    let (began, before) = (Instant::now(), processor_time());
    let (slow, fast) = busy.split_at(usize::try_from(BUSY.as_millis()).unwrap() / 100);
    for event in slow {
        screen.event(event.clone());
        std::thread::sleep(Duration::from_millis(100));
    }
    let share = (processor_time() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let before = processor_time();
    fast.iter().for_each(|event| screen.event(event.clone()));
    let each = (processor_time() - before).as_secs_f64() / fast.len() as f64;
    screen.settle();
    println!("{share} {each} {}", memory());
}

/// The processor time of all threads of this process.
fn processor_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    Duration::from_nanos(times.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// The most memory that this process had, KiB.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// A terminal of 24 rows and 80 columns: the side of the person, and the side of the program.
fn terminal() -> (std::fs::File, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&person, size).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (person.into(), program)
}
