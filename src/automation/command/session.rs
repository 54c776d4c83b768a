//! One run from its first journal row to its certificate.

use std::sync::{Arc, OnceLock};

use flow::lease::part_with_the_rest;
use flow::parting::Parting;
use flow::run::Run;
use flow::site::{Site, Sites};
use model::base::id::RunId;
use model::base::quote;
use model::event::{Event, Remainder, RunEvent, Sink, TroubleEvent};
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::{Machine, ProviderKind};
use model::resource::{Resource, ResourceState};
use model::run::{Driver, RunRecord, RunState};
use model::task::{Chunk, Offsets, TaskOutput};
use state::file::Lock;
use state::log::RunLog;
use state::runs::RunDir;
use tokio_util::sync::CancellationToken;

use crate::command::error;
use crate::command::signals::{self, SignalTargets};
use crate::compose::Context;
use crate::ui::{self, Screen};

/// A run that is under way: its record in the journal, its folder, its log, its signals.
pub struct Session {
    /// The context that the command runs with.
    pub context: Context,
    /// The run in the form that flows use.
    pub run: Run,
    /// The site that makes its machines.
    pub site: Site,
    /// Its folder.
    pub dir: RunDir,
    log: Arc<RunLog>,
    record: RunRecord,
    /// Cancelled when the task goes on without a driver.
    detachable: CancellationToken,
    /// The line for a machine's shell that brings a person to where the run works.
    place: OnceLock<String>,
    /// Whether the task's output is shown.
    shows_output: bool,
    /// The lock that this process holds for as long as it drives the run.
    _driving: Lock,
}

/// The end of a command, before it is known whether something was left behind.
#[derive(Debug, Default)]
pub struct Ending {
    /// The exit code when nothing was left behind.
    pub code: i32,
    /// One line for `runs list`.
    pub summary: String,
    /// The machines on which the run's tasks go on; none when the run has ended.
    pub detached: Vec<Machine>,
}

/// Shows events on the screen and keeps them in the run's log.
struct Tee {
    screen: Arc<Screen>,
    log: Arc<RunLog>,
}

impl Sink for Tee {
    fn event(&self, event: Event) {
        self.log.event(event.clone());
        self.screen.event(event);
    }
}

/// Keeps a task's output in the run's log, and shows it.
struct LoggedOutput {
    screen: Option<Arc<Screen>>,
    show: fn(&Screen, Chunk),
    log: Arc<RunLog>,
}

impl TaskOutput for LoggedOutput {
    fn offsets(&self) -> Offsets {
        self.log.offsets()
    }

    fn append(&self, chunk: &Chunk) -> Result<(), Fault> {
        self.log.append(chunk)?;
        if let Some(screen) = &self.screen {
            (self.show)(screen, chunk.clone());
        }
        Ok(())
    }
}

impl Session {
    /// Writes the run down and begins it, on machines of the provider that was asked for.
    pub async fn begin(context: Context, command: &str) -> Result<Self, Fault> {
        let kind = context.default_provider()?;
        Self::begin_on(context, command, kind).await
    }

    /// The same on machines of `kind`.
    pub async fn begin_on(context: Context, command: &str, kind: ProviderKind) -> Result<Self, Fault> {
        let id = RunId::new(context.now());
        let record = RunRecord {
            id: id.clone(),
            command: command.to_owned(),
            arguments: context.words.clone(),
            owner: context.owner.clone(),
            driver: state::process::current()?,
            state: RunState::Running,
            started_at: context.now(),
            ended_at: None,
            exit_code: None,
            summary: None,
        };
        // All that can be refused is refused before the run is written down: nobody would close its record.
        let site = context.sites.site(kind).await?;
        let dir = context.state.create_run(&id)?;
        let driving = dir.lock_driver()?.ok_or_else(|| Fault::outside(format!("another process drives run {id}")))?;
        context.journal.store_run(&record)?;
        Self::with(context, site, dir, record, (driving, false))
    }

    /// Goes on with a run that another process began: this process drives it from now on, on machines of `kind`.
    pub async fn resume(
        context: Context,
        record: RunRecord,
        kind: ProviderKind,
        driving: Lock,
        shows_output: bool,
    ) -> Result<Self, Fault> {
        let site = context.sites.site(kind).await?;
        let dir = context.state.run(&record.id)?;
        // A detached run stays `Detached` in the record: its machine lives on whatever becomes of this driver.
        let record = RunRecord { driver: state::process::current()?, ..record };
        context.journal.update_run(&record)?;
        let mut session = Self::with(context, site, dir, record, (driving, true))?;
        session.shows_output = shows_output;
        session.detachable.cancel();
        Ok(session)
    }

    /// `attached` says whether another process began the run.
    fn with(
        context: Context,
        site: Site,
        dir: RunDir,
        record: RunRecord,
        (driving, attached): (Lock, bool),
    ) -> Result<Self, Fault> {
        let teller = context.teller();
        let log = Arc::new(RunLog::start(&dir, Box::new(move |trouble| teller.tell(trouble)))?);
        let tee = Tee { screen: Arc::clone(&context.screen), log: Arc::clone(&log) };
        let run = context.run(record.id.clone(), Arc::new(tee));
        let detachable = CancellationToken::new();
        signals::watch(SignalTargets {
            stop: run.stop.clone(),
            detach: run.detach.clone(),
            detachable: detachable.clone(),
            attached,
            screen: Arc::clone(&context.screen),
            clean: context.to_type(&format!("audit --fix --run {}", record.id)),
            attach: context.to_type(&format!("runs attach {}", record.id)),
        })?;
        Ok(Self {
            context,
            run,
            site,
            dir,
            log,
            record,
            detachable,
            place: OnceLock::new(),
            shows_output: true,
            _driving: driving,
        })
    }

    /// The same run, which parts with its machines so.
    #[must_use]
    pub fn parting(mut self, parting: Arc<Parting>) -> Self {
        self.run.parting = parting;
        self
    }

    /// Notes that from now on the task goes on without this driver, so that the user may detach.
    pub fn detachable(&self) {
        self.detachable.cancel();
    }

    /// Whether the output of the run's tasks is shown.
    pub fn shows_output(&self) -> bool {
        self.shows_output
    }

    /// The sink that keeps the output of the run's tests, and shows it where nothing else shows how far they are.
    pub fn test_output(&self) -> impl TaskOutput + use<> {
        self.logged(Screen::test_output)
    }

    /// The sink that keeps and shows the output of a user's command.
    pub fn task_output(&self) -> impl TaskOutput + use<> {
        self.logged(Screen::task_output)
    }

    fn logged(&self, show: fn(&Screen, Chunk)) -> LoggedOutput {
        let screen = self.shows_output.then(|| Arc::clone(&self.context.screen));
        LoggedOutput { screen, show, log: Arc::clone(&self.log) }
    }

    /// When the run began.
    pub fn started_at(&self) -> jiff::Timestamp {
        self.record.started_at
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.record.id
    }

    /// The command that began it.
    pub fn command(&self) -> &str {
        &self.record.command
    }

    /// The arguments that it was begun with.
    pub fn arguments(&self) -> &[String] {
        &self.record.arguments
    }

    /// Notes the line for a machine's shell that brings a person to where the run works.
    pub fn works_at(&self, place: Option<String>) {
        if let Some(place) = place {
            // The cells of a run work at the same place.
            drop(self.place.set(place));
        }
    }

    /// Looks at what is left, closes the run's record unless its task goes on, and gives the exit code.
    pub async fn end(self, result: Result<Ending, Fault>) -> Result<i32, Fault> {
        let ending = match result {
            Ok(ending) => ending,
            Err(fault) => {
                self.run.tell(RunEvent::Failed { failure: (&fault).into() });
                Ending { code: fault.kind.exit_code(), summary: fault.message.clone(), detached: Vec::new() }
            }
        };
        let releaser = self.leave_ending(ending.detached.is_empty()).await;
        let made =
            self.run.journal.resources(&ResourceFilter { run: Some(self.record.id.clone()), ..Default::default() })?;
        let mut kept = self.run.journal.machines()?;
        kept.retain(|machine| machine.kept && machine.run == self.record.id);
        let code = match ending.detached.as_slice() {
            [] => self.certify(&made, &kept, ending.code),
            machines => self.tell_detached(machines, &made, ending.code),
        };
        // The end of the process reports data that could not be printed, and exits with this code.
        let code = if code == error::exit::OK && !ui::is_all_written() { error::exit::OUTSIDE } else { code };
        self.context.screen.settle();
        if let Some(trouble) = self.log.finish() {
            self.context.screen.message(&format!("warning: the run's log is incomplete: {trouble}"));
        }
        let record = match ending.detached.as_slice() {
            [_, ..] => RunRecord { state: RunState::Detached, summary: Some(ending.summary), ..self.record },
            [] => RunRecord {
                state: if releaser.is_some() { RunState::Releasing } else { RunState::Ended },
                ended_at: Some(self.context.now()),
                exit_code: Some(code),
                summary: Some(ending.summary),
                driver: releaser.unwrap_or(self.record.driver),
                ..self.record
            },
        };
        self.run.journal.update_run(&record)?;
        Ok(code)
    }

    /// Leaves the machines that end without this process to another one, where they may be left; gives that. Where there can be none,
    /// or the run goes on, this process sees to their end.
    async fn leave_ending(&self, may_leave: bool) -> Option<Driver> {
        if self.run.parting.ending().is_empty() {
            return None;
        }
        if may_leave {
            match self.context.start_release(&self.dir) {
                Ok(releaser) => return Some(releaser),
                Err(fault) => self.run.tell(TroubleEvent::from(&fault)),
            }
        }
        if let Err(fault) = part_with_the_rest(&self.run, &self.context.sites).await {
            self.run.tell(TroubleEvent::from(&fault));
        }
        None
    }

    /// Tells where the run's tasks go on and how to follow it, and which other resources of the run remain.
    fn tell_detached(&self, machines: &[Machine], made: &[Resource], code: i32) -> i32 {
        let id = &self.record.id;
        for machine in machines {
            let until = machine.kept.then_some(machine.expires_at);
            let typed = |verb: &str| self.context.to_type(&format!("runs {verb} {id}"));
            let (attach, cancel) = (typed("attach"), typed("cancel"));
            self.run.tell(RunEvent::Detached { machine: machine.id.clone(), until, attach, cancel });
        }
        let left = remainders(made, machines);
        let any = !left.is_empty();
        if any {
            self.run.tell(RunEvent::LeftBeside { left });
        }
        error::with_left(code, any)
    }

    /// Tells what is left behind, and gives the exit code with that taken into account. Resources that were kept on
    /// purpose do not count.
    fn certify(&self, made: &[Resource], kept: &[Machine], code: i32) -> i32 {
        for machine in kept {
            let down = self.context.to_type(&format!("machine down {}", machine.called()));
            let place = self.place.get().and_then(|place| quote::word(place).ok());
            let place = place.map(|place| format!(" {place}")).unwrap_or_default();
            let enter = self.context.to_type(&format!("machine ssh {}{place}", machine.called()));
            let (machine, until) = (machine.id.clone(), machine.expires_at);
            self.run.tell(RunEvent::MachineKept { machine, enter, until, down });
        }
        let ending = self.run.parting.ending();
        let (going, made_here): (Vec<&Resource>, Vec<&Resource>) =
            made.iter().partition(|row| row.is_open() && ending.contains(&row.machine));
        let left = remainders(made_here, kept);
        let any = !left.is_empty();
        let look = self.context.to_type(&format!("audit --run {}", self.record.id));
        if !going.is_empty() {
            self.run.tell(RunEvent::Releasing { machines: ending.into_iter().collect(), look: look.clone() });
        }
        let fixtures = made.iter().filter(|row| row.state == ResourceState::Kept).count();
        let id = &self.record.id;
        match (any, made.len()) {
            (false, _) if !kept.is_empty() || !going.is_empty() => {}
            (false, 0) => self.run.tell(RunEvent::NothingMade),
            (false, made) => {
                self.run.tell(RunEvent::Clean { made, kept: fixtures, look });
            }
            (true, made) => {
                let fix = self.context.to_type(&format!("audit --fix --run {id}"));
                self.run.tell(RunEvent::LeftBehind { made, left, fix });
            }
        }
        error::with_left(code, any)
    }
}

fn remainders<'a>(made: impl IntoIterator<Item = &'a Resource>, kept: &[Machine]) -> Vec<Remainder> {
    left_behind(made, kept).into_iter().map(Remainder::from).collect()
}

/// The open rows of `made` that belong to no machine of `kept`.
pub fn left_behind<'a>(made: impl IntoIterator<Item = &'a Resource>, kept: &[Machine]) -> Vec<&'a Resource> {
    let meant = |row: &Resource| kept.iter().any(|machine| machine.id == row.machine);
    made.into_iter().filter(|row| row.is_open() && !meant(row)).collect()
}
