//! Following a task by byte offsets, over one connection after another.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use guest::tasks::{FOLLOWS, NEVER, OTHER_BOOT, REFUSED, Request, VANISHED};
use model::base::id::TaskId;
use model::base::text;
use model::connection::{ConnectionError, Process, Stdin};
use model::exit::Exit;
use model::task::{Chunk, Command, Offsets, TaskRecord, WindowSize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::task::durable::{Durable, OUTPUT_CAP, REQUEST_LIMIT, is_lost, reason_of};

/// The most bytes that a login shell may print before the line after which the task's own output begins.
const GREETING_CAP: usize = 64 << 10;

/// The reason that a task is lost if the machine's boot is another.
pub(super) const BOOTED_AGAIN: &str = "the machine was booted again, which ended the task";

/// The longest record; the supervisor has one block for it.
const RECORD_CAP: u64 = 64 << 10;

/// How many pieces of output may wait for their reader.
const QUEUE: usize = 32;

/// How many times in a row a task may be followed in vain: without a new byte, and for less than [`FAIR`].
const MOST_FRUITLESS: u32 = 20;

/// The pause before following again after it was in vain; it grows by this much each time.
const PAUSE: Duration = Duration::from_millis(100);

/// An attempt that lasted this long was not in vain, even if the task printed nothing.
const FAIR: Duration = Duration::from_secs(2);

/// How following begins.
pub(super) enum Begin {
    /// By starting this command.
    Start(Command),
    /// The task was started before.
    Follow,
}

/// The end of a task.
struct TaskEnd {
    exit: Exit,
    record: Option<TaskRecord>,
}

/// A task on a machine. Dropping it leaves the task running.
pub struct Task {
    id: TaskId,
    durable: Durable,
    chunks: mpsc::Receiver<Chunk>,
    /// How far its reader has got.
    offsets: Offsets,
    ended: Arc<Mutex<Option<TaskEnd>>>,
    exit: Option<Exit>,
    record: Option<TaskRecord>,
    follower: tokio::task::JoinHandle<()>,
    ends_with_us: bool,
}

/// Counts a piece in `offsets`.
fn add(offsets: &mut Offsets, chunk: &Chunk) {
    match chunk {
        Chunk::Stdout(bytes) => offsets.stdout += bytes.len() as u64,
        Chunk::Stderr(bytes) => offsets.stderr += bytes.len() as u64,
    }
}

impl Durable {
    /// Why the machine has ended, where that is because its time is over.
    pub(super) fn time_is_over(&self) -> Option<String> {
        self.inner.machine.time_over(self.inner.run.now())
    }
}

impl Task {
    pub(super) fn spawn(durable: &Durable, id: &TaskId, begin: Begin, from: Offsets) -> Self {
        let (sender, chunks) = mpsc::channel(QUEUE);
        let ended = Arc::new(Mutex::new(None));
        let mut follower = Follower { durable: durable.clone(), id: id.clone(), begin, offsets: from, sender };
        let outcome = Arc::clone(&ended);
        let follower = tokio::spawn(async move {
            let end = follower.follow().await;
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        });
        Self {
            id: id.clone(),
            durable: durable.clone(),
            chunks,
            offsets: from,
            ended,
            exit: None,
            record: None,
            follower,
            ends_with_us: false,
        }
    }

    /// Makes the task end when this is dropped.
    #[must_use]
    pub(super) fn end_on_drop(mut self) -> Self {
        self.ends_with_us = true;
        self
    }

    /// How many bytes of its output were handed out, with those before the offsets from which it is followed.
    pub fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// The machine's record of the task; none before the task has ended, and none if it is lost.
    pub fn record(&self) -> Option<&TaskRecord> {
        self.record.as_ref()
    }
}

#[async_trait]
impl Process for Task {
    async fn next(&mut self) -> Option<Chunk> {
        if let Some(chunk) = self.chunks.recv().await {
            add(&mut self.offsets, &chunk);
            return Some(chunk);
        }
        if self.exit.is_none() {
            // The follower stores how the task ended before it finishes, and closes the channel by finishing.
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
            let lost = || TaskEnd { exit: Exit::Lost("it is no longer followed".to_owned()), record: None };
            let ended = ended.unwrap_or_else(lost);
            (self.exit, self.record) = (Some(ended.exit), ended.record);
        }
        None
    }

    fn take_stdin(&mut self) -> Option<Box<dyn Stdin>> {
        None
    }

    async fn resize(&self, _: WindowSize) -> Result<(), ConnectionError> {
        Ok(())
    }

    /// Nothing: whoever follows a task ends it by dropping it.
    async fn signal(&mut self, _: &str) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn exit(&self) -> Exit {
        self.exit.clone().unwrap_or_else(|| Exit::Lost("its output was not read to the end".to_owned()))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.follower.abort();
        if self.ends_with_us
            && self.exit.is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (durable, id) = (self.durable.clone(), self.id.clone());
            runtime.spawn(async move {
                durable.cancel_quietly(&id).await;
            });
        }
    }
}

/// Follows a task and hands its output on.
struct Follower {
    durable: Durable,
    id: TaskId,
    begin: Begin,
    /// How much was handed on.
    offsets: Offsets,
    sender: mpsc::Sender<Chunk>,
}

/// How one attempt at following ended.
enum FollowEnd {
    /// The task has ended, and all of its output came.
    Drained,
    /// Another attempt may go on.
    Cut(String),
    /// Nothing more can be learnt.
    Over(Exit),
}

impl Follower {
    async fn follow(&mut self) -> TaskEnd {
        let mut fruitless = 0;
        loop {
            let (before, began) = (self.offsets, Instant::now());
            let why = match self.attempt().await {
                FollowEnd::Over(exit) => return TaskEnd { exit, record: None },
                FollowEnd::Cut(why) => why,
                FollowEnd::Drained => match self.record().await {
                    // Fewer bytes came than the machine kept: the process that read the file there was cut off.
                    Ok(record)
                        if record.output.stdout > self.offsets.stdout || record.output.stderr > self.offsets.stderr =>
                    {
                        "only a part of its output came".to_owned()
                    }
                    Ok(record) => return TaskEnd { exit: record.exit.clone(), record: Some(record) },
                    Err(why) => why,
                },
            };
            let in_vain = self.offsets == before && began.elapsed() < FAIR;
            fruitless = if in_vain { fruitless + 1 } else { 0 };
            if fruitless > MOST_FRUITLESS {
                let exit = Exit::Lost(format!("it cannot be followed: {why}"));
                return TaskEnd { exit, record: None };
            }
            // The first repetition comes at once: the connection broke just as it was used.
            tokio::time::sleep(PAUSE * fruitless.saturating_sub(1)).await;
        }
    }

    async fn attempt(&mut self) -> FollowEnd {
        match self.attempt_once().await {
            Ok(attempt) => attempt,
            // Its connection went with the machine.
            Err(error) => FollowEnd::Over(Exit::Lost(self.durable.time_is_over().unwrap_or_else(|| error.to_string()))),
        }
    }

    /// Follows over one connection. An error is final.
    async fn attempt_once(&mut self) -> Result<FollowEnd, ConnectionError> {
        let boot = self.durable.boot().await?;
        let (number, connection) = self.durable.live().await?;
        let command = self.command(&boot, connection.holds_stdin());
        let mut process = match connection.start(&command).await {
            Ok(process) => process,
            Err(error) if is_lost(&error) => {
                self.durable.give_up_connection(number, &reason_of(&error)).await;
                return Ok(FollowEnd::Cut(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        // Held open meanwhile: its end tells the machine that nobody follows any more.
        let _stdin = process.take_stdin();
        let (mut stdout, mut stderr) = (GreetingFilter::default(), GreetingFilter::default());
        while let Some(chunk) = process.next().await {
            self.durable.note_answer();
            let chunk = match chunk {
                Chunk::Stdout(bytes) => Chunk::Stdout(stdout.strip(bytes)),
                Chunk::Stderr(bytes) => Chunk::Stderr(stderr.strip(bytes)),
            };
            if stdout.over || stderr.over {
                // The task runs, so it must not be started again.
                self.begin = Begin::Follow;
            }
            let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = &chunk;
            if bytes.is_empty() {
                continue;
            }
            add(&mut self.offsets, &chunk);
            if self.sender.send(chunk).await.is_err() {
                return Ok(FollowEnd::Over(Exit::Lost("its output was not read to the end".to_owned())));
            }
        }
        Ok(self.judge(number, process.exit(), &stderr).await)
    }

    async fn judge(&self, number: u64, exit: Exit, stderr: &GreetingFilter) -> FollowEnd {
        let lost = |reason: &str| FollowEnd::Over(Exit::Lost(reason.to_owned()));
        match exit {
            Exit::Code(0) => FollowEnd::Drained,
            Exit::Code(NEVER) => lost("it was never started"),
            Exit::Code(OTHER_BOOT) => lost(BOOTED_AGAIN),
            Exit::Code(VANISHED) => {
                // Its processes may run all the same.
                drop(self.durable.cancel_task(&self.id).await);
                lost("its supervisor on the machine was killed")
            }
            Exit::Code(REFUSED) => lost(&format!("the machine cannot start it: {}", stderr.text())),
            Exit::Lost(reason) => {
                self.durable.give_up_connection(number, &reason).await;
                FollowEnd::Cut(reason)
            }
            exit if stderr.held.is_empty() => FollowEnd::Cut(format!("following ended with {exit}")),
            exit => FollowEnd::Cut(format!("following ended with {exit}: {}", stderr.text())),
        }
    }

    fn command(&self, boot: &str, watched: bool) -> Command {
        let request = match &self.begin {
            Begin::Start(command) => Request::Start { command, cap: OUTPUT_CAP, boot, watched },
            Begin::Follow => Request::Follow { from: self.offsets, boot, watched },
        };
        self.durable.request(&self.id, &request)
    }

    /// The record as the machine's file has it, if it can be had so.
    async fn read_record(&self) -> Option<TaskRecord> {
        let path = self.durable.guest().record_file(self.durable.folder(), &self.id)?;
        let (_, connection) = self.durable.live().await.ok()?;
        serde_json::from_slice(&connection.read_file(&path, RECORD_CAP).await.ok()?).ok()
    }

    async fn record(&self) -> Result<TaskRecord, String> {
        if let Some(record) = self.read_record().await {
            return Ok(record);
        }
        let done = self.durable.ask(&self.durable.request(&self.id, &Request::Record), REQUEST_LIMIT).await;
        let done = done.map_err(|error| error.to_string())?;
        // A login shell may print a greeting first.
        let line = done.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
        serde_json::from_slice(line).map_err(|error| format!("its record cannot be read ({}): {error}", done.exit))
    }
}

/// The output before the line after which a task's bytes begin.
#[derive(Default)]
struct GreetingFilter {
    over: bool,
    held: Vec<u8>,
}

impl GreetingFilter {
    /// The part of `bytes` that belongs to the task.
    fn strip(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        if self.over {
            return bytes;
        }
        self.held.extend(bytes);
        let starts = |at: &usize| *at == 0 || self.held[at - 1] == b'\n';
        let found = self.held.windows(FOLLOWS.len()).enumerate().find(|(at, line)| starts(at) && *line == FOLLOWS);
        let Some((at, _)) = found else {
            self.held.truncate(GREETING_CAP);
            return Vec::new();
        };
        self.over = true;
        std::mem::take(&mut self.held).split_off(at + FOLLOWS.len())
    }

    fn text(&self) -> String {
        text::trim_output(&self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_login_shell_says_first_is_none_of_the_task() {
        let whole = b"Welcome!\nx hg-automation: output follows\nhg-automation: output follows\n\nout\nhg-automation: output follows\n";
        for at in 0..whole.len() {
            let mut greeting = GreetingFilter::default();
            let mut kept = greeting.strip(whole[..at].to_vec());
            kept.extend(greeting.strip(whole[at..].to_vec()));
            assert_eq!(kept, b"\nout\nhg-automation: output follows\n", "cut at {at}");
        }
        let mut greeting = GreetingFilter::default();
        assert!(greeting.strip(b"no room for x\n".to_vec()).is_empty());
        assert_eq!((greeting.over, greeting.text().as_str()), (false, "no room for x"));
    }
}
