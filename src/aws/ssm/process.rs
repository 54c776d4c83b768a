//! Starting, following and ending commands by requests to the agent's script.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::names::suffix;
use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use guest::Invocation;
use model::connection::{ConnectionError, Process, Progress, Stdin};
use model::exit::Exit;
use model::machine::Platform;
use model::task::{Chunk, Command, WindowSize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ssm::agent::{Ping, ScriptRunner};
use crate::ssm::protocol::{AT_ONCE, CommandState, PIECE, Places, ScriptReport, ScriptRequest, StartRequest, Tracker};

/// Most bytes of a command's line and its input together: larger ones would take hundreds of requests and minutes.
pub(super) const PAYLOAD_CAP: usize = 16 << 20;

/// How many failures in a row of a live agent are tolerated: the agent restarts when it updates itself.
const FAILURES: u32 = 3;

/// The pause after such a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

/// How many pieces of output are buffered for a command whose output is not read: together 70 KB.
const CHUNKS: usize = 4;

/// How long ending a command may take, and sending the last request of a connection.
pub(super) const END_LIMIT: Duration = Duration::from_secs(20);

/// How many folders of ended commands one request names.
const FORGET_BATCH: usize = 50;

/// The state that all commands of one connection share.
pub(super) struct SsmSession {
    pub(super) runner: Arc<dyn ScriptRunner>,
    pub(super) places: Places,
    /// How long an answer may be held back, in seconds.
    pub(super) hold: u64,
    /// The ids of ended commands whose folders are still on the machine.
    forget: Mutex<Vec<String>>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl SsmSession {
    pub(super) fn new(runner: Arc<dyn ScriptRunner>, places: Places, hold: u64) -> Self {
        let (tasks, closed) = (TaskTracker::new(), CancellationToken::new());
        Self { runner, places, hold, forget: Mutex::default(), tasks, closed }
    }

    fn forgotten(&self) -> MutexGuard<'_, Vec<String>> {
        self.forget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self, reason: String) -> ConnectionError {
        ConnectionError::Lost { address: self.runner.address(), reason }
    }

    /// Sends a request about the command `id` and reads the answer. Folders of ended commands are removed with it.
    pub(super) async fn ask(&self, id: &str, request: &ScriptRequest) -> Result<ScriptReport, ConnectionError> {
        let mut riding = CarriedIds { session: self, ids: self.take_forgotten() };
        let answer = self.runner.run(request.text(&self.places, &riding.ids, id)?).await?;
        riding.ids.clear();
        ScriptReport::read(&answer).map_err(|reason| self.lost(reason))
    }

    fn take_forgotten(&self) -> Vec<String> {
        let mut ids = self.forgotten();
        let rest = ids.len().saturating_sub(FORGET_BATCH);
        ids.split_off(rest)
    }

    /// Runs `invocation` with `stdin` as `user`; `sent` gets the number of bytes as they are sent.
    pub(super) async fn start(
        self: &Arc<Self>,
        user: &str,
        invocation: &Invocation,
        stdin: Option<&[u8]>,
        sent: Progress<'_>,
    ) -> Result<SsmProcess, ConnectionError> {
        if self.closed.is_cancelled() {
            return Err(self.lost("it was closed".to_owned()));
        }
        let line = &invocation.line;
        let mut payload = line.as_bytes().to_vec();
        payload.extend_from_slice(&invocation.head);
        payload.extend_from_slice(stdin.unwrap_or_default());
        if payload.len() > PAYLOAD_CAP {
            let cap = model::base::text::bytes(PAYLOAD_CAP as u64);
            let reason = format!("a command and its input over SSM are at most {cap}; larger ones need SSH");
            return Err(ConnectionError::Invalid(reason));
        }
        let remote = RemoteCommand { session: Arc::clone(self), id: suffix(), ended: false };
        let mut pieces: Vec<Vec<u8>> = payload.chunks(PIECE).map(<[u8]>::to_vec).collect();
        let last = pieces.pop().unwrap_or_default();
        let count = pieces.len();
        remote.put(pieces, sent).await?;
        let mut tracker = Tracker::new(self.hold);
        let range = tracker.first();
        let start = ScriptRequest::Start(StartRequest {
            user: user.to_owned(),
            pieces: count,
            line: line.len(),
            total: payload.len(),
            last,
            hold: self.hold,
        });
        let report = remote.send_accepted(&start).await?;
        sent((payload.len() - count * PIECE) as u64);
        let first = tracker.accept(range, report);
        Ok(SsmProcess::follow(remote, tracker, first, stdin.is_none()))
    }

    /// Ends every command, and removes the remaining folders on the machine.
    pub(super) async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        let ending = async {
            self.tasks.wait().await;
            self.clear().await;
        };
        let _ = tokio::time::timeout(END_LIMIT, ending).await;
    }

    /// Removes the folders of commands that ended, as far as the agent answers.
    async fn clear(&self) {
        while !self.forgotten().is_empty() {
            if self.ask("none", &ScriptRequest::Forget).await.is_err() {
                return;
            }
        }
    }

    /// Does the same in the background.
    pub(super) fn clear_in_background(self: &Arc<Self>) {
        if !self.forgotten().is_empty() && tokio::runtime::Handle::try_current().is_ok() {
            let session = Arc::clone(self);
            self.tasks.spawn(async move {
                let _ = tokio::time::timeout(END_LIMIT, session.clear()).await;
            });
        }
    }
}

/// Ids of commands to forget that a request carries; they go back to the session if the request fails.
struct CarriedIds<'a> {
    session: &'a SsmSession,
    ids: Vec<String>,
}

impl Drop for CarriedIds<'_> {
    fn drop(&mut self) {
        self.session.forgotten().append(&mut self.ids);
    }
}

/// A command on the machine; dropping this ends the command if it has not ended by itself.
struct RemoteCommand {
    session: Arc<SsmSession>,
    id: String,
    ended: bool,
}

impl RemoteCommand {
    /// Sends a request that must not be refused.
    async fn send_accepted(&self, request: &ScriptRequest) -> Result<ScriptReport, ConnectionError> {
        let report = self.send_with_retries(request).await?;
        match report.state {
            CommandState::Refused(reason) => {
                Err(ConnectionError::Denied { address: self.session.runner.address(), reason })
            }
            _ => Ok(report),
        }
    }

    /// Sends the pieces of a command's line and input, several at a time.
    async fn put(&self, pieces: Vec<Vec<u8>>, sent: Progress<'_>) -> Result<(), ConnectionError> {
        let putting = stream::iter(pieces.into_iter().enumerate()).map(|(index, bytes)| async move {
            let length = bytes.len() as u64;
            self.send_accepted(&ScriptRequest::Put { index, bytes }).await?;
            sent(length);
            Ok::<_, ConnectionError>(())
        });
        putting.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Sends a request, and repeats it if a live agent fails a few times: a request that arrives twice acts once.
    async fn send_with_retries(&self, request: &ScriptRequest) -> Result<ScriptReport, ConnectionError> {
        let mut failures = 0;
        loop {
            let error = match self.session.ask(&self.id, request).await {
                Err(error @ (ConnectionError::Lost { .. } | ConnectionError::TimedOut { .. })) => error,
                answered => return answered,
            };
            failures += 1;
            match self.session.runner.ping().await {
                Ok(Ping::Silent(reason)) => return Err(self.session.lost(reason)),
                Ok(Ping::Online) if failures < FAILURES => tokio::time::sleep(FAILURE_PAUSE).await,
                _ => return Err(error),
            }
        }
    }

    /// Fetches the next output.
    async fn fetch(&self, tracker: &mut Tracker) -> Result<Vec<Chunk>, ConnectionError> {
        let ranges = tracker.next();
        let requests: Vec<ScriptRequest> = ranges.iter().copied().map(ScriptRequest::Follow).collect();
        let reports = join_all(requests.iter().map(|request| self.send_with_retries(request))).await;
        let mut chunks = Vec::new();
        for (range, report) in ranges.into_iter().zip(reports) {
            chunks.extend(tracker.accept(range, report?).map_err(|reason| self.session.lost(reason))?);
        }
        Ok(chunks)
    }
}

impl Drop for RemoteCommand {
    fn drop(&mut self) {
        if self.ended {
            self.session.forgotten().push(std::mem::take(&mut self.id));
            return;
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            let (session, id) = (Arc::clone(&self.session), std::mem::take(&mut self.id));
            self.session.tasks.spawn(async move {
                drop(tokio::time::timeout(END_LIMIT, session.ask(&id, &ScriptRequest::End)).await);
            });
        }
    }
}

/// The state that a process and the task that follows its command share.
#[derive(Default)]
struct ProcessState {
    exit: Mutex<Option<Exit>>,
    /// Cancelled when nobody wants the command any more.
    given_up: CancellationToken,
}

impl ProcessState {
    fn exit(&self) -> MutexGuard<'_, Option<Exit>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that the agent runs.
pub(super) struct SsmProcess {
    output: mpsc::Receiver<Chunk>,
    shared: Arc<ProcessState>,
    stdin_open: bool,
    done: bool,
}

impl SsmProcess {
    /// Follows a command from its `first` answer on.
    fn follow(
        mut remote: RemoteCommand,
        tracker: Tracker,
        first: Result<Vec<Chunk>, String>,
        stdin_open: bool,
    ) -> Self {
        let (sender, output) = mpsc::channel(CHUNKS);
        let shared = Arc::new(ProcessState::default());
        let known = Arc::clone(&shared);
        let session = Arc::clone(&remote.session);
        session.tasks.clone().spawn(async move {
            let following = async {
                match first {
                    Ok(chunks) => pass_on(&remote, tracker, chunks, &sender).await,
                    Err(reason) => Some(Exit::Lost(reason)),
                }
            };
            let exit = tokio::select! {
                biased;
                () = known.given_up.cancelled() => None,
                () = session.closed.cancelled() => Some(Exit::Lost("the connection was closed".to_owned())),
                exit = following => exit,
            };
            remote.ended = exit.as_ref().is_some_and(|exit| !matches!(exit, Exit::Lost(_)));
            if let Some(exit) = exit {
                known.exit().get_or_insert(exit);
            }
            drop(remote);
            drop(sender);
        });
        Self { output, shared, stdin_open, done: false }
    }
}

/// Sends `chunks` and all output that follows to the reader; returns how the command ended, or `None` if nobody reads.
async fn pass_on(
    remote: &RemoteCommand,
    mut tracker: Tracker,
    mut chunks: Vec<Chunk>,
    sender: &mpsc::Sender<Chunk>,
) -> Option<Exit> {
    loop {
        for chunk in chunks {
            sender.send(chunk).await.ok()?;
        }
        if let Some(exit) = tracker.exit() {
            return Some(exit);
        }
        chunks = match remote.fetch(&mut tracker).await {
            Ok(chunks) => chunks,
            Err(error) => return Some(Exit::Lost(reason(error))),
        };
    }
}

/// The reason why a command is lost, without the address, which the caller knows.
fn reason(error: ConnectionError) -> String {
    match error {
        ConnectionError::Lost { reason, .. } => reason,
        ConnectionError::Refused { source: Some(source), .. } => source.to_string(),
        error => error.to_string(),
    }
}

#[async_trait]
impl Process for SsmProcess {
    async fn next(&mut self) -> Option<Chunk> {
        self.stdin_open = false;
        let chunk = self.output.recv().await;
        self.done = chunk.is_none();
        chunk
    }

    fn take_stdin(&mut self) -> Option<Box<dyn Stdin>> {
        std::mem::take(&mut self.stdin_open).then(|| Box::new(NoStdin(Arc::clone(&self.shared))) as Box<dyn Stdin>)
    }

    async fn resize(&self, _: WindowSize) -> Result<(), ConnectionError> {
        Err(ConnectionError::Invalid("a command over SSM has no terminal".to_owned()))
    }

    /// Nothing: the agent passes no signals on. A command ends when its process is dropped.
    async fn signal(&mut self, _: &str) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn exit(&self) -> Exit {
        match &*self.shared.exit() {
            Some(exit) if self.done => exit.clone(),
            _ => Exit::Lost("its output was not read to the end".to_owned()),
        }
    }
}

impl Drop for SsmProcess {
    fn drop(&mut self) {
        self.shared.given_up.cancel();
    }
}

/// The error for input that comes later.
const NO_INPUT: &str = "over SSM a command's input has to come with it; input that comes while it runs needs SSH";

/// Standard input that accepts nothing. A write ends the command: without that input, the command would do something
/// else than the user meant.
struct NoStdin(Arc<ProcessState>);

#[async_trait]
impl Stdin for NoStdin {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        *self.0.exit() = Some(Exit::Lost(NO_INPUT.to_owned()));
        self.0.given_up.cancel();
        Err(ConnectionError::Invalid(NO_INPUT.to_owned()))
    }

    async fn close(&mut self) -> Result<(), ConnectionError> {
        Ok(())
    }
}

/// How the user's shell starts `command`.
pub(super) fn invocation(platform: Platform, command: &Command) -> Result<Invocation, ConnectionError> {
    if command.terminal.is_some() {
        return Err(ConnectionError::Invalid("SSM gives no terminal; a terminal needs SSH".to_owned()));
    }
    let invocation = guest::of(platform).invocation(command)?;
    if invocation.line.is_empty() && command.stdin.is_none() {
        return Err(ConnectionError::Invalid(format!("a login shell reads its commands: {NO_INPUT}")));
    }
    Ok(invocation)
}
