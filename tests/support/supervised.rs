//! The supervisor of tasks, for machines in memory: what `remote/linux/supervise.sh` answers, without running anything.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connection::dummy::{Dummy, Reply};
use model::exit::Exit;
use model::task::{Chunk, Command, Offsets, TaskRecord};

const FOLLOWS: &str = "hg-automation: output follows\n";

/// How long every task took, by the machine's clock.
pub const TOOK: Duration = Duration::from_secs(100);

type Answer = Box<dyn Fn(&Command) -> Option<Reply> + Send + Sync>;

#[derive(Default)]
struct State {
    replies: HashMap<String, VecDeque<Reply>>,
    answers: Vec<Answer>,
    tasks: HashMap<String, Reply>,
    started: Vec<String>,
}

/// What tasks do; clones are the same.
#[derive(Clone, Default)]
pub struct Supervised {
    state: Arc<Mutex<State>>,
}

impl Supervised {
    /// Answers the supervisor's requests on `machine`.
    pub fn on_machine(machine: &Dummy) -> Self {
        let supervised = Self::default();
        let own = supervised.clone();
        machine.answer(move |command| own.request(command));
        supervised
    }

    /// The task `line` does this; several are used in order, and the last one stays.
    pub fn on(&self, line: impl Into<String>, reply: Reply) -> &Self {
        self.state.lock().unwrap().replies.entry(line.into()).or_default().push_back(reply);
        self
    }

    /// Asks `answer` about each task that no line matches.
    pub fn answer(&self, answer: impl Fn(&Command) -> Option<Reply> + Send + Sync + 'static) {
        self.state.lock().unwrap().answers.push(Box::new(answer));
    }

    /// The lines of the tasks that were started, in order.
    pub fn started(&self) -> Vec<String> {
        self.state.lock().unwrap().started.clone()
    }

    fn request(&self, command: &Command) -> Option<Reply> {
        let words: Vec<&str> = command.args.iter().map(String::as_str).collect();
        if command.program != "sh" {
            return None;
        }
        match words[..] {
            ["-c", _, "sh", folder, "supervisor"] => Some(Reply::ok().folder(folder).stdout("boot\n")),
            [script, verb, folder, ..] if script.ends_with("/supervise.sh") => self.task(verb, folder, &words),
            _ => None,
        }
    }

    fn task(&self, verb: &str, folder: &str, words: &[&str]) -> Option<Reply> {
        let state = &mut *self.state.lock().unwrap();
        let mut offsets = Offsets::default();
        match verb {
            "start" | "launch" => {
                if !state.tasks.contains_key(folder) {
                    let at = words.iter().position(|word| *word == "--")?;
                    let reply = state.run(&inner(&words[at + 1..]))?;
                    state.tasks.insert(folder.to_owned(), reply);
                }
                if verb == "launch" {
                    return Some(state.tasks[folder].silent());
                }
            }
            "follow" => {
                offsets = Offsets { stdout: words[3].parse().unwrap(), stderr: words[4].parse().unwrap() };
            }
            "cancel" => return Some(Reply::ok()),
            "record" => return Some(Reply::ok().stdout(record(state.tasks.get(folder)?))),
            _ => return None,
        }
        let reply = state.tasks.get(folder)?;
        let first = if verb == "start" { reply.silent() } else { Reply::ok() };
        let mut sent = first.stdout(FOLLOWS).stderr(FOLLOWS);
        for chunk in reply.chunks() {
            let (kept, bytes) = match chunk {
                Chunk::Stdout(bytes) => (&mut offsets.stdout, bytes),
                Chunk::Stderr(bytes) => (&mut offsets.stderr, bytes),
            };
            let skipped = (*kept).min(bytes.len() as u64);
            *kept -= skipped;
            let rest = bytes[usize::try_from(skipped).unwrap()..].to_vec();
            sent = if matches!(chunk, Chunk::Stdout(_)) { sent.stdout(rest) } else { sent.stderr(rest) };
        }
        let sent = sent.after(reply.takes());
        Some(if reply.hangs() { sent.hang() } else { sent })
    }
}

impl State {
    fn run(&mut self, command: &Command) -> Option<Reply> {
        let line = crate::commands::line(command);
        self.started.push(line.clone());
        if let Some(replies) = self.replies.get_mut(&line) {
            return if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() };
        }
        self.answers.iter().find_map(|answer| answer(command))
    }
}

/// The command behind the supervisor's words.
fn inner(words: &[&str]) -> Command {
    let (mut words, mut env) = (words.iter().copied().peekable(), Vec::new());
    if words.next_if_eq(&"env").is_some() {
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            env.push((name.to_owned(), value.to_owned()));
            words.next();
        }
    }
    Command { env, ..Command::new(words.next().unwrap()).args(words) }
}

fn record(reply: &Reply) -> String {
    let mut output = Offsets::default();
    for chunk in reply.chunks() {
        match chunk {
            Chunk::Stdout(bytes) => output.stdout += bytes.len() as u64,
            Chunk::Stderr(bytes) => output.stderr += bytes.len() as u64,
        }
    }
    let (started_at, ended_at) = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH + TOOK);
    let exit = reply.end().clone();
    assert!(!matches!(exit, Exit::Lost(_)), "a machine writes down what it saw");
    let record = TaskRecord { exit, started_at, ended_at, peak_memory: None, output, capped: false, cancelled: false };
    serde_json::to_string(&record).unwrap()
}
