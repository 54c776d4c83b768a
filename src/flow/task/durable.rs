//! Commands that outlive the connection that started them.
//!
//! [`Durable`] is a connection over connections that come and go. A command started on it runs under a supervisor on
//! the machine (`guest::tasks`), which keeps its output, starts it at most once and writes down how it ended; this side
//! follows its output by byte offsets. When the connection breaks, another is made (the host key is checked as ever)
//! and following goes on where it stopped, so nothing is lost and nothing comes twice. A command is lost only when the
//! machine is gone for good, was booted again, or its supervisor was killed, and the reason says which.
//!
//! There are no terminals, and no input that comes while a command runs. Standard output and standard error each come
//! in order, but not in order relative to each other.

mod follow;
mod notice;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use guest::tasks::{OTHER_BOOT, Request};
use guest::{self, Guest};
use model::base::clock;
use model::base::deadline::{Deadline, Pace};
use model::base::id::TaskId;
use model::base::text;
use model::connection::{Connection, ConnectionError, Parcel, Process, Progress, Totals, Trees};
use model::event::{LetInTrouble, MachineEvent};
use model::exit::Exit;
use model::fault::Fault;
use model::machine::{Machine, Platform};
use model::output::Output;
use model::provider::ability::Notice;
use model::task::{Command, Offsets};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::run::Run;
use crate::site::Site;
use crate::task::durable::follow::Begin;

pub use follow::Task;

/// The most bytes of each stream of a task that the machine keeps. The whole suite of tests with debugging output takes
/// a few hundred MiB.
const OUTPUT_CAP: u64 = 1 << 30;

/// The pause between two attempts to connect starts at the first and doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How long one attempt to connect may take: a network that swallows packets is tried anew after that.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);

/// The pause between two checks that this computer is still let in, while the machine is not reached, and the time that
/// one check may take.
const LET_IN_PAUSE: Duration = Duration::from_secs(30);
const LET_IN_LIMIT: Duration = Duration::from_secs(60);

/// How long a short request to the supervisor may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// The most bytes of each stream of an answer to a request.
const ANSWER_CAP: usize = 2 << 20;

/// How many times one request or copy may lose its connection. If every connection breaks, the network is not to blame.
const MOST_LOSSES: usize = 20;

/// How long a cancelled task has between SIGTERM and SIGKILL, in seconds.
const CANCEL_GRACE: u64 = 5;

/// The time that `supervise.sh cancel` needs beyond the grace, in which it watches processes that do not end.
const CANCEL_MARGIN: Duration = Duration::from_secs(25);

/// A connection whose commands outlive it. Clones are the same connection.
#[derive(Clone)]
pub struct Durable {
    inner: Arc<Inner>,
}

struct Inner {
    run: Run,
    site: Site,
    machine: Machine,
    folder: String,
    link: tokio::sync::Mutex<CurrentConnection>,
    /// The supervisor's name for the machine's boot, once the supervisor is there.
    boot: tokio::sync::Mutex<Option<String>>,
    /// When the machine was last known to answer.
    answered: Mutex<Instant>,
    /// The notice that the machine is taken back, once it was given.
    notice: watch::Sender<Option<Notice>>,
}

/// The connection of the moment.
struct CurrentConnection {
    live: Option<Arc<dyn Connection>>,
    /// Counts connections, so that one that several callers find broken is given up once.
    number: u64,
    /// When the last connection broke, until there is another.
    broke: Option<Instant>,
}

/// Whether the connection is to blame, so that another may do better.
fn is_lost(error: &ConnectionError) -> bool {
    use ConnectionError::{Lost, MachineEnded, NoAddress, Refused, TimedOut};
    matches!(error, Lost { .. } | MachineEnded { .. } | TimedOut { .. } | Refused { .. } | NoAddress { .. })
}

/// The reason why a connection failed, without its address, which the surrounding message names already.
fn reason_of(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Lost { reason, .. } => reason.clone(),
        ConnectionError::MachineEnded { .. } => "the machine has ended".to_owned(),
        ConnectionError::Refused { source: Some(source), .. } => source.to_string(),
        error => error.to_string(),
    }
}

/// Whether no later attempt can do better.
fn is_final(error: &ConnectionError) -> bool {
    use ConnectionError::{Lost, NoAddress, Protocol, Refused, TimedOut};
    !matches!(error, Lost { .. } | NoAddress { .. } | Refused { .. } | TimedOut { .. } | Protocol { .. })
}

impl Durable {
    /// `first` is a live connection, or none to connect at first use. `folder` on the machine becomes ours (mode 0700)
    /// at first use; the supervisor and the tasks' folders lie there, and the caller removes it.
    pub fn new(run: &Run, site: &Site, machine: &Machine, first: Option<Box<dyn Connection>>, folder: &str) -> Self {
        let link = CurrentConnection { live: first.map(Arc::from), number: 0, broke: None };
        Self {
            inner: Arc::new(Inner {
                run: run.clone(),
                site: site.clone(),
                machine: machine.clone(),
                folder: folder.to_owned(),
                link: tokio::sync::Mutex::new(link),
                boot: tokio::sync::Mutex::new(None),
                answered: Mutex::new(Instant::now()),
                notice: watch::Sender::new(None),
            }),
        }
    }

    /// The folder on the machine.
    pub fn folder(&self) -> &str {
        &self.inner.folder
    }

    /// Where the machine is from.
    pub fn site(&self) -> &Site {
        &self.inner.site
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.inner.machine
    }

    /// How the machine's system is spoken to.
    pub fn guest(&self) -> &'static dyn Guest {
        guest::of(self.inner.machine.platform)
    }

    /// Makes the folder and installs the supervisor there, if that was not done yet.
    pub async fn prepare(&self) -> Result<(), ConnectionError> {
        self.boot().await.map(drop)
    }

    /// Starts `command` unless a task with this id was started already, and follows it from the start.
    pub async fn run_task(&self, id: &TaskId, command: &Command) -> Result<Task, ConnectionError> {
        self.give_input(id, command).await?;
        Ok(Task::spawn(self, id, Begin::Start(command.clone()), Offsets::default()))
    }

    /// Starts `command` unless a task with this id was started already, and does not follow it.
    pub async fn launch_task(&self, id: &TaskId, command: &Command) -> Result<(), ConnectionError> {
        self.give_input(id, command).await?;
        let boot = self.boot().await?;
        let launch = Request::Launch { command, cap: OUTPUT_CAP, boot: &boot };
        let done = self.ask(&self.request(id, &launch), REQUEST_LIMIT).await?;
        match done.exit {
            Exit::Code(0) => Ok(()),
            _ => Err(self.refused_fault("start a task", &done)),
        }
    }

    /// Follows a task that any process started before, from these offsets.
    pub fn follow_task(&self, id: &TaskId, from: Offsets) -> Task {
        Task::spawn(self, id, Begin::Follow, from)
    }

    /// Whether a task has ended and left its record.
    pub async fn has_ended(&self, id: &TaskId) -> Result<bool, ConnectionError> {
        Ok(self.ask(&self.request(id, &Request::Record), REQUEST_LIMIT).await?.exit.is_success())
    }

    /// Ends a task, by SIGTERM and then by SIGKILL; returns when nothing of it runs. A task that was not started yet
    /// never will be.
    pub async fn cancel_task(&self, id: &TaskId) -> Result<(), Fault> {
        self.boot().await?;
        let command = self.request(id, &Request::Cancel { grace: CANCEL_GRACE });
        let done = self.ask(&command, Duration::from_secs(CANCEL_GRACE) + CANCEL_MARGIN).await?;
        match done.exit {
            Exit::Code(0) => Ok(()),
            _ => Err(Fault::from(self.refused_fault("end a task", &done))
                .hint("Something of it is still running; it ends with the machine.")),
        }
    }

    /// Ends a task if that takes no new connection. Nobody is left to hear of a failure, and a task that does not end
    /// now ends with the machine.
    async fn cancel_quietly(&self, id: &TaskId) {
        let Some(connection) = self.inner.link.lock().await.live.clone() else { return };
        let command = self.request(id, &Request::Cancel { grace: CANCEL_GRACE });
        let limit = Duration::from_secs(CANCEL_GRACE) + CANCEL_MARGIN;
        drop(tokio::time::timeout(limit, self.ask_once(connection.as_ref(), &command)).await);
    }

    /// The live connection, or a new one if that broke, for commands that need no supervision.
    pub async fn direct(&self) -> Result<Arc<dyn Connection>, ConnectionError> {
        self.live().await.map(|(_, connection)| connection)
    }

    /// Makes a connection beside the live one, for as long as the machine may still exist, and closes it.
    pub async fn reach_anew(&self) -> Result<(), ConnectionError> {
        self.connect().await?.close().await;
        self.note_answer();
        Ok(())
    }

    /// The live connection and its number.
    async fn live(&self) -> Result<(u64, Arc<dyn Connection>), ConnectionError> {
        let mut link = self.inner.link.lock().await;
        if let Some(live) = &link.live {
            return Ok((link.number, Arc::clone(live)));
        }
        let connection: Arc<dyn Connection> = self.connect().await?.into();
        self.note_answer();
        link.number += 1;
        link.live = Some(Arc::clone(&connection));
        if let Some(broke) = link.broke.take() {
            self.tell(MachineEvent::ConnectedAgain { after: broke.elapsed() });
        }
        Ok((link.number, connection))
    }

    /// Gives up the connection with this number.
    async fn give_up_connection(&self, number: u64, why: &str) {
        let mut link = self.inner.link.lock().await;
        if link.number != number || link.live.take().is_none() {
            return;
        }
        // The lease does not depend on this connection: until now the machine had no reason to end.
        self.note_answer();
        link.broke = Some(Instant::now());
        if self.time_is_over().is_none() {
            self.tell(MachineEvent::ConnectionLost { why: why.to_owned() });
        }
    }

    fn tell(&self, event: MachineEvent) {
        self.inner.run.teller.machine(&self.inner.machine.id, event);
    }

    fn note_answer(&self) {
        *self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the machine may still exist without a sign from it.
    fn patience(&self) -> Duration {
        let (run, site, machine) = (&self.inner.run, &self.inner.site, &self.inner.machine);
        if machine.kept {
            return clock::since(run.now(), machine.expires_at);
        }
        let answered = *self.inner.answered.lock().unwrap_or_else(PoisonError::into_inner);
        site.grace.saturating_sub(answered.elapsed())
    }

    /// Tries to connect for as long as the machine may still exist.
    async fn connect(&self) -> Result<Box<dyn Connection>, ConnectionError> {
        let (site, machine) = (&self.inner.site, &self.inner.machine);
        let began = Instant::now();
        let insisting = async {
            let (mut pace, mut admitted) = (Pace::new(BACKOFF), None::<Instant>);
            loop {
                let error = match site.connector.connect(machine, &machine.user, ATTEMPT_LIMIT, false).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => error,
                };
                if self.patience().is_zero() {
                    let reason = format!("{} (kept trying for {})", reason_of(&error), text::seconds(began.elapsed()));
                    return Err(ConnectionError::Lost { address: machine.address.to_string(), reason });
                }
                if admitted.is_none_or(|last| last.elapsed() >= LET_IN_PAUSE) {
                    admitted = Some(Instant::now());
                    self.let_in().await;
                }
                pace.pause().await;
            }
        };
        tokio::select! {
            biased;
            connected = insisting => connected,
            fault = site.until_ended(machine) => {
                Err(ConnectionError::Lost { address: machine.address.to_string(), reason: fault.line() })
            }
        }
    }

    /// Makes sure that nothing but the network keeps us from the machine. A failure is tried again while the machine is
    /// not reached.
    async fn let_in(&self) {
        let (run, site, machine) = (&self.inner.run, &self.inner.site, &self.inner.machine);
        let Some(sharing) = site.provider.abilities().sharing else { return };
        let ledger = run.ledger(site.provider.kind());
        let asked = sharing.let_in(machine, &ledger, &run.teller);
        let trouble = match tokio::time::timeout(LET_IN_LIMIT, asked).await {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => LetInTrouble::Failed((&fault).into()),
            Err(_) => LetInTrouble::NoAnswer(LET_IN_LIMIT),
        };
        self.tell(MachineEvent::LetInUnknown { trouble });
    }

    /// The machine's boot; the first call installs the supervisor.
    async fn boot(&self) -> Result<String, ConnectionError> {
        let mut boot = self.inner.boot.lock().await;
        if let Some(boot) = boot.as_ref() {
            return Ok(boot.clone());
        }
        let done = self.ask(&self.guest().install_supervisor(self.folder()), REQUEST_LIMIT).await?;
        if !done.exit.is_success() {
            return Err(self.refused_fault("put the supervisor there", &done));
        }
        let answer = done.stdout_text();
        // A login shell may print a greeting first.
        let here = answer.lines().last().unwrap_or("-").trim().to_owned();
        *boot = Some(here.clone());
        Ok(here)
    }

    fn refused_fault(&self, doing: &str, done: &Output) -> ConnectionError {
        let reason = match done.exit {
            Exit::Code(OTHER_BOOT) => follow::BOOTED_AGAIN.to_owned(),
            _ => done.ending(),
        };
        ConnectionError::File { doing: format!("{doing} (in `{}` on the machine)", self.folder()), reason }
    }

    /// A request to the supervisor about a task.
    fn request(&self, id: &TaskId, request: &Request<'_>) -> Command {
        self.guest().supervise(self.folder(), id, request)
    }

    /// Puts the input of `command` where the supervisor looks for it.
    async fn give_input(&self, id: &TaskId, command: &Command) -> Result<(), ConnectionError> {
        if command.terminal.is_some() || command.program.is_empty() {
            return Err(ConnectionError::Invalid("a supervised task has a program and no terminal".to_owned()));
        }
        if let Some(input) = command.stdin.as_ref().filter(|input| !input.is_empty()) {
            self.boot().await?;
            self.write_file(&self.guest().task_input(self.folder(), id), input, 0o600).await?;
        }
        Ok(())
    }

    /// Runs a short request that may be repeated, and repeats it if its connection breaks. Output beyond the cap of an
    /// answer is read and left out.
    pub(crate) async fn ask(&self, command: &Command, limit: Duration) -> Result<Output, ConnectionError> {
        let mut losses = 0;
        loop {
            let (number, connection) = self.live().await?;
            let deadline = Deadline::after(limit, format!("`{}` to end", command.program));
            let done = deadline.bound(self.ask_once(connection.as_ref(), command)).await.unwrap_or_else(|expired| {
                let address = self.inner.machine.address.to_string();
                Err(ConnectionError::TimedOut { address, what: expired.to_string() })
            });
            if !self.should_repeat(number, &done, &mut losses).await {
                return done;
            }
        }
    }

    async fn ask_once(&self, connection: &dyn Connection, command: &Command) -> Result<Output, ConnectionError> {
        let mut process = connection.start(command).await?;
        let output = Output::of(process.as_mut(), ANSWER_CAP).await;
        match &output.exit {
            Exit::Lost(reason) => {
                Err(ConnectionError::Lost { address: self.inner.machine.address.to_string(), reason: reason.clone() })
            }
            _ => Ok(output),
        }
    }

    /// Whether the work on the connection with this number is to be done again on the next.
    async fn should_repeat<T>(&self, number: u64, done: &Result<T, ConnectionError>, losses: &mut usize) -> bool {
        match done {
            Err(error) if is_lost(error) && *losses < MOST_LOSSES => {
                *losses += 1;
                self.give_up_connection(number, &reason_of(error)).await;
                true
            }
            _ => {
                self.note_answer();
                false
            }
        }
    }
}

/// Does work that may be repeated: over the live connection, and again over another one where that broke.
macro_rules! repeated {
    ($self:ident, $connection:ident => $work:expr) => {{
        let mut losses = 0;
        loop {
            let (number, $connection) = $self.live().await?;
            let done = $work.await;
            if !$self.should_repeat(number, &done, &mut losses).await {
                return done;
            }
        }
    }};
}

#[async_trait]
impl Connection for Durable {
    fn platform(&self) -> Platform {
        self.inner.machine.platform
    }

    /// Runs the command as a task with an id of its own. Dropping the process ends the command on the machine.
    async fn start(&self, command: &Command) -> Result<Box<dyn Process>, ConnectionError> {
        Ok(Box::new(self.run_task(&TaskId::random(), command).await?.end_on_drop()))
    }

    async fn write_file(&self, remote: &str, bytes: &[u8], mode: u32) -> Result<(), ConnectionError> {
        repeated!(self, connection => connection.write_file(remote, bytes, mode))
    }

    async fn read_file(&self, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError> {
        repeated!(self, connection => connection.read_file(remote, cap))
    }

    async fn upload(&self, local: &Path, remote: &str, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        repeated!(self, connection => connection.upload(local, remote, progress))
    }

    async fn download(&self, remote: &str, local: &Path, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        repeated!(self, connection => connection.download(remote, local, progress))
    }

    fn trees(&self) -> Result<&dyn Trees, ConnectionError> {
        Ok(self)
    }

    fn holds_stdin(&self) -> bool {
        false
    }

    async fn close(&self) {
        let live = self.inner.link.lock().await.live.take();
        if let Some(live) = live {
            live.close().await;
        }
    }
}

#[async_trait]
impl Trees for Durable {
    async fn send_parcel(
        &self,
        command: &Command,
        parcel: Parcel<'_>,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        // If the connection breaks, nobody here knows what the command did by then, so it is not sent twice.
        self.live().await?.1.trees()?.send_parcel(command, parcel, progress).await
    }

    async fn upload_some(
        &self,
        local: &Path,
        paths: &[PathBuf],
        remote: &str,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        repeated!(self, connection => connection.trees()?.upload_some(local, paths, remote, progress))
    }

    async fn download_some(
        &self,
        remote: &str,
        paths: &[PathBuf],
        local: &Path,
        most: u64,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        repeated!(self, connection => connection.trees()?.download_some(remote, paths, local, most, progress))
    }
}
