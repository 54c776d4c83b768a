//! `automation machine exec --all` and `--machines`: one command on many machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flow::down;
use flow::fleet::{self, CommandEnd, FleetLimits, Listener, TimedEnd};
use model::base::id::MachineId;
use model::event::{Step, StepEvent, Teller};
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::task::{Chunk, Command};
use model::work::Work;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::command::error::exit;
use crate::command::machine::chosen::find;
use crate::command::signals;
use crate::compose::Context;
use crate::ui::Screen;
use crate::ui::prefix::Prefixed;

/// How long connecting to one machine may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// The most that is kept of one stream of one machine for JSON, bytes.
const STREAM_CAP: usize = 1 << 20;

/// The most that is kept of all streams together, bytes: with more than 128 machines each keeps less.
const TOTAL_CAP: usize = 256 << 20;

/// The machines to run on, and the limits.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    /// Run it on every machine of this state directory that is up for you to use: that `machine up` made, or that was kept
    /// (`--keep-failed`)
    #[arg(long, group = "fleet")]
    pub all: bool,
    /// With `--all`: also on machines on which the run that made them is, or was cut off, at work
    #[arg(long, requires = "all")]
    include_busy: bool,
    /// Run it on these machines
    #[arg(long, group = "fleet", value_name = "ID,ID", value_delimiter = ',')]
    pub machines: Vec<String>,
    /// How many machines run it at the same time, 1 to 500
    #[arg(long, requires = "fleet", value_name = "N", default_value = "50", value_parser = parallel)]
    parallel: usize,
    /// How long it may take on each machine; it is ended then
    #[arg(long, value_name = "SPAN", value_parser = model::base::text::parse_duration)]
    pub timeout: Option<Duration>,
    /// Print what came of it as JSON, when all is over
    #[arg(long, requires = "fleet")]
    json: bool,
    /// Only list the machines
    #[arg(long, requires = "fleet")]
    dry_run: bool,
}

fn parallel(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=500).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from 1 to 500"))
}

impl FleetArgs {
    /// Whether the command is to run on many machines.
    pub(crate) fn is_fleet(&self) -> bool {
        self.all || !self.machines.is_empty()
    }

    /// Whether nothing is to be run.
    pub(crate) fn dry_run(&self) -> bool {
        self.dry_run
    }
}

/// Runs `command` on all chosen machines.
pub(crate) async fn run(context: &Context, args: &FleetArgs, command: &Command) -> Result<i32, Fault> {
    let machines = choose(context, args)?;
    if args.dry_run {
        list(context, args.json, &machines);
        return Ok(exit::OK);
    }
    context.screen.message(&format!("Running {}.", describe_users(&machines)));
    let stop = CancellationToken::new();
    let second = "Left at once. Commands that were running may still be running.".to_owned();
    signals::watch_work(stop.clone(), "ending the commands", second)?;
    let limits = FleetLimits { parallel: args.parallel, connect: CONNECT_LIMIT, time: args.timeout };
    let members = fleet::members(&context.sites, &machines).await?;
    let (ends, collected) = if args.json {
        let mut listener = Collecting::new(FleetProgress::new(context, &machines), machines.len());
        (fleet::run(members, command, limits, &stop, &mut listener).await, listener.streams)
    } else {
        let mut listener = Showing::new(FleetProgress::new(context, &machines), &machines);
        (fleet::run(members, command, limits, &stop, &mut listener).await, Vec::new())
    };
    context.screen.settle();
    if args.json {
        let reports = machines.iter().zip(&ends).zip(collected);
        let reports: Vec<MemberReport> =
            reports.map(|((machine, ended), streams)| report(machine, ended, streams)).collect();
        context.screen.json(&reports);
    }
    context.screen.message(&summary(&machines, &ends, context.now()));
    Ok(if stop.is_cancelled() { exit::INTERRUPTED } else { verdict(&ends) })
}

/// The machines that were named, each once; a machine that is not known fails before anything has begun.
fn choose(context: &Context, args: &FleetArgs) -> Result<Vec<Machine>, Fault> {
    let mut chosen: Vec<Machine> = Vec::new();
    let mut busy = 0;
    if args.all {
        let now = context.now();
        let machines = Machine::each_once(context.journal.machines()?);
        let users = down::users(&context.estate(), &machines)?;
        for (machine, user) in machines.into_iter().zip(users).filter(|(machine, _)| machine.expires_at > now) {
            if args.include_busy || is_to_use(context, &machine, user.is_some())? {
                chosen.push(machine);
            } else {
                busy += 1;
            }
        }
        chosen.sort_by_key(|machine| std::cmp::Reverse(machine.created_at));
    }
    for text in &args.machines {
        let machine = find(context, text)?;
        if !chosen.iter().any(|known| known.id == machine.id) {
            chosen.push(machine);
        }
    }
    let left_out = format!(
        "left out: {} of runs that are at work, or were cut off (`--include-busy`)",
        model::base::text::pluralize(busy, "machine")
    );
    if chosen.is_empty() {
        let fault = Fault::usage("there is no machine to run it on").hint("`automation machine up` makes one.");
        return Err(if busy > 0 { fault.because(left_out) } else { fault });
    }
    if busy > 0 {
        context.screen.message(&left_out);
    }
    Ok(chosen)
}

/// Whether the machine, which a run uses where it `is_used`, is there for a person to use: made by hand, or kept by a run that has ended.
fn is_to_use(context: &Context, machine: &Machine, is_used: bool) -> Result<bool, Fault> {
    let by_hand = context.journal.run(&machine.run)?.is_some_and(|run| run.command == super::up::COMMAND);
    Ok(by_hand || machine.kept && !is_used)
}

/// The users and the counts of their machines: `as hg on 3 machines`.
fn describe_users(machines: &[Machine]) -> String {
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for machine in machines {
        *users.entry(&machine.user).or_default() += 1;
    }
    let describe =
        |(user, count): (&str, usize)| format!("as {user} on {}", model::base::text::pluralize(count, "machine"));
    users.into_iter().map(describe).collect::<Vec<_>>().join(", ")
}

/// Lists the machines that were chosen.
fn list(context: &Context, json: bool, machines: &[Machine]) {
    #[derive(Serialize)]
    struct ChosenMachine<'a> {
        machine: &'a MachineId,
        user: &'a str,
    }
    if json {
        let chosen = machines.iter().map(|Machine { id, user, .. }| ChosenMachine { machine: id, user });
        return context.screen.json(&chosen.collect::<Vec<ChosenMachine>>());
    }
    context.screen.message(&format!("Would run {}:", describe_users(machines)));
    let lines: Vec<String> = machines.iter().map(|machine| format!("{}\n", machine.id)).collect();
    context.screen.data(&lines.concat());
}

/// Shows on a terminal which machines have not ended yet.
struct FleetProgress {
    screen: Arc<Screen>,
    teller: Teller,
    pending: Vec<Option<MachineId>>,
    step: Option<Step>,
}

impl FleetProgress {
    fn new(context: &Context, machines: &[Machine]) -> Self {
        let waited_for = machines.iter().map(|machine| Some(machine.id.clone())).collect();
        Self { screen: Arc::clone(&context.screen), teller: context.teller(), pending: waited_for, step: None }
    }

    fn ended(&mut self, member: usize) {
        self.pending[member] = None;
        if self.pending.iter().all(Option::is_none) {
            self.step.take().map(Step::finish);
        }
    }

    fn tick(&mut self) {
        if !self.screen.is_live() {
            return;
        }
        let machines = self.pending.len();
        self.step.get_or_insert_with(|| self.teller.begin(Work::RunningOnMany { machines }));
        self.teller.tell(StepEvent::Waiting { machines: self.pending.iter().flatten().cloned().collect() });
    }
}

/// Shows output as it comes, a line at a time.
struct Showing {
    progress: FleetProgress,
    /// Standard output and standard error of every machine.
    streams: Vec<[Prefixed; 2]>,
}

impl Showing {
    fn new(progress: FleetProgress, machines: &[Machine]) -> Self {
        let width = machines.iter().map(|machine| machine.id.as_str().len()).max().unwrap_or_default();
        let streams = machines.iter().map(|machine| [(); 2].map(|()| Prefixed::new(machine.id.as_str(), width)));
        Self { progress, streams: streams.collect() }
    }

    fn show(&self, chunk: &Chunk) {
        let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = chunk;
        if !bytes.is_empty() {
            self.progress.screen.lines(chunk);
        }
    }
}

impl Listener for Showing {
    fn output(&mut self, member: usize, chunk: Chunk) {
        let [stdout, stderr] = &mut self.streams[member];
        let lines = match chunk {
            Chunk::Stdout(bytes) => Chunk::Stdout(stdout.push(&bytes)),
            Chunk::Stderr(bytes) => Chunk::Stderr(stderr.push(&bytes)),
        };
        self.show(&lines);
    }

    fn ended(&mut self, member: usize) {
        let [stdout, stderr] = &mut self.streams[member];
        let (stdout, stderr) = (Chunk::Stdout(stdout.end()), Chunk::Stderr(stderr.end()));
        self.show(&stdout);
        self.show(&stderr);
        self.progress.ended(member);
    }

    fn tick(&mut self) {
        self.progress.tick();
    }
}

/// The part of one stream that is kept.
#[derive(Debug, Default)]
struct CappedStream {
    bytes: Vec<u8>,
    /// How many more bytes there were.
    left_out: u64,
}

impl CappedStream {
    fn push(&mut self, bytes: &[u8], cap: usize) {
        let room = cap.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.left_out += (bytes.len() - room) as u64;
    }

    /// The stream as text: bytes that are not UTF-8 are replaced, and the end says how many were left out.
    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.left_out > 0 {
            text.push_str(&format!("\n[{} bytes more were left out]\n", self.left_out));
        }
        text
    }
}

/// Keeps output for JSON.
struct Collecting {
    progress: FleetProgress,
    cap: usize,
    streams: Vec<[CappedStream; 2]>,
}

impl Collecting {
    fn new(progress: FleetProgress, machines: usize) -> Self {
        let streams = std::iter::repeat_with(Default::default).take(machines).collect();
        Self { progress, cap: STREAM_CAP.min(TOTAL_CAP / (2 * machines).max(1)), streams }
    }
}

impl Listener for Collecting {
    fn output(&mut self, member: usize, chunk: Chunk) {
        let [stdout, stderr] = &mut self.streams[member];
        match chunk {
            Chunk::Stdout(bytes) => stdout.push(&bytes, self.cap),
            Chunk::Stderr(bytes) => stderr.push(&bytes, self.cap),
        }
    }

    fn ended(&mut self, member: usize) {
        self.progress.ended(member);
    }

    fn tick(&mut self) {
        self.progress.tick();
    }
}

/// The JSON of one machine (`docs/json.md`).
#[derive(Debug, Serialize)]
struct MemberReport {
    machine: MachineId,
    user: String,
    exit: Option<Exit>,
    stdout: String,
    stderr: String,
    capped: bool,
    seconds: f64,
    error: Option<String>,
}

fn report(machine: &Machine, ended: &TimedEnd, [stdout, stderr]: [CappedStream; 2]) -> MemberReport {
    let words = reason(&ended.end);
    let (exit, error) = match &ended.end {
        CommandEnd::Ran(Exit::Lost(_)) => (Some(Exit::Lost(words.clone())), Some(words)),
        CommandEnd::Ran(exit) => (Some(exit.clone()), None),
        CommandEnd::TimedOut { .. } | CommandEnd::Stopped { .. } => (Some(Exit::Lost(words.clone())), Some(words)),
        CommandEnd::NotReached(_) | CommandEnd::NotBegun => (None, Some(words)),
    };
    MemberReport {
        machine: machine.id.clone(),
        user: machine.user.clone(),
        exit,
        capped: stdout.left_out + stderr.left_out > 0,
        stdout: stdout.text(),
        stderr: stderr.text(),
        seconds: ended.took.as_secs_f64(),
        error,
    }
}

/// The outcome of an end, in the order in which the summary lists them; the greatest decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MemberFate {
    Succeeded,
    Failed,
    NotReached,
    Lost,
    Interrupted,
    NotBegun,
}

impl MemberFate {
    fn of(end: &CommandEnd) -> Self {
        match end {
            CommandEnd::Ran(Exit::Lost(_)) | CommandEnd::TimedOut { .. } => Self::Lost,
            CommandEnd::Ran(exit) if exit.is_success() => Self::Succeeded,
            CommandEnd::Ran(_) => Self::Failed,
            CommandEnd::NotReached(_) => Self::NotReached,
            CommandEnd::Stopped { .. } => Self::Interrupted,
            CommandEnd::NotBegun => Self::NotBegun,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::NotReached => "not reached",
            Self::Lost => "lost",
            Self::Interrupted => "had not ended",
            Self::NotBegun => "not begun",
        }
    }
}

fn reason(end: &CommandEnd) -> String {
    let outcome = |seen: bool| if seen { "it was ended" } else { "it may still be running" };
    match end {
        CommandEnd::Ran(Exit::Lost(reason)) => format!("its end is not known: {reason}"),
        CommandEnd::Ran(exit) => exit.to_string(),
        CommandEnd::NotReached(reason) => reason.clone(),
        CommandEnd::TimedOut { limit, seen } => {
            format!("it did not end within {}, {}", model::base::text::seconds(*limit), outcome(*seen))
        }
        CommandEnd::Stopped { seen } => format!("it was interrupted, {}", outcome(*seen)),
        CommandEnd::NotBegun => "it had not begun".to_owned(),
    }
}

/// The counts of the outcomes, and a line for every machine that did not succeed; machines with the same outcome and
/// reason share a line.
fn summary(machines: &[Machine], ends: &[TimedEnd], now: jiff::Timestamp) -> String {
    let mut counts: BTreeMap<MemberFate, usize> = BTreeMap::new();
    let mut lines: Vec<(MemberFate, String, Vec<&str>)> = Vec::new();
    for (machine, ended) in machines.iter().zip(ends) {
        let fate = MemberFate::of(&ended.end);
        *counts.entry(fate).or_default() += 1;
        if fate == MemberFate::Succeeded || fate == MemberFate::NotBegun {
            continue;
        }
        let mut words = reason(&ended.end);
        if fate == MemberFate::NotReached && machine.expires_at <= now {
            words.push_str(&format!(" (it expired at {:.0})", machine.expires_at));
        }
        match lines.iter_mut().find(|(other, text, _)| *other == fate && *text == words) {
            Some((_, _, ids)) => ids.push(machine.id.as_str()),
            None => lines.push((fate, words, vec![machine.id.as_str()])),
        }
    }
    lines.sort_by_key(|(fate, _, _)| *fate);
    let counts: Vec<String> = counts.iter().map(|(fate, count)| format!("{count} {}", fate.words())).collect();
    let mut text = counts.join(", ");
    for (fate, words, ids) in lines {
        text.push_str(&format!("\n  {}: {} ({words})", fate.words(), ids.join(", ")));
    }
    text
}

/// The exit code for all machines: an unknown end takes precedence over a failure.
fn verdict(ends: &[TimedEnd]) -> i32 {
    match ends.iter().map(|ended| MemberFate::of(&ended.end)).max() {
        None | Some(MemberFate::Succeeded) => exit::OK,
        Some(MemberFate::Failed) => exit::FAILED,
        Some(MemberFate::NotReached | MemberFate::Lost | MemberFate::Interrupted | MemberFate::NotBegun) => {
            exit::INFRASTRUCTURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: CommandEnd) -> TimedEnd {
        TimedEnd { end, took: Duration::from_secs(1) }
    }

    #[test]
    fn what_is_not_known_is_stronger_than_what_failed() {
        let code = |ends: &[CommandEnd]| verdict(&ends.iter().cloned().map(ended).collect::<Vec<_>>());
        let (well, failed) = (CommandEnd::Ran(Exit::Code(0)), CommandEnd::Ran(Exit::Code(7)));
        let slow = CommandEnd::TimedOut { limit: Duration::from_secs(5), seen: true };
        assert_eq!(code(&[well.clone(), well.clone()]), 0);
        assert_eq!(code(&[well.clone(), failed.clone()]), 1);
        assert_eq!(code(&[CommandEnd::Ran(Exit::Signal("KILL".to_owned()))]), 1);
        assert_eq!(code(&[failed.clone(), CommandEnd::NotReached("refused".to_owned()), well.clone()]), 4);
        assert_eq!(code(&[slow, failed]), 4);
        assert_eq!(code(&[CommandEnd::Ran(Exit::Lost("gone".to_owned())), well]), 4);
    }

    #[test]
    fn a_cap_leaves_a_mark_and_bytes_that_are_no_text_are_replaced() {
        let mut kept = CappedStream::default();
        kept.push(b"ab\xff", 4);
        assert_eq!(kept.text(), "ab\u{fffd}");
        kept.push(b"cdef", 4);
        kept.push(b"g", 4);
        assert_eq!(kept.text(), "ab\u{fffd}c\n[4 bytes more were left out]\n");
    }
}
