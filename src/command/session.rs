//! One run from its first journal row to its certificate.

use std::sync::Arc;

use crate::base::id::RunId;
use crate::command::context::Context;
use crate::command::error;
use crate::command::signals;
use crate::flow::Stage;
use crate::model::event::{Event, NoSink, Sink};
use crate::model::fault::Fault;
use crate::model::journal::ResourceFilter;
use crate::model::machine::Machine;
use crate::model::resource::{Resource, ResourceState};
use crate::model::run::{RunRecord, RunState};
use crate::state::log::RunLog;
use crate::state::runs::RunDir;
use crate::ui::Screen;

/// A run that is under way: its record in the journal, its folder, its log, its signals.
pub struct Session {
    /// What it runs with.
    pub context: Context,
    /// What flows need.
    pub stage: Stage,
    /// Its folder.
    pub dir: RunDir,
    log: Arc<RunLog>,
    record: RunRecord,
}

/// What a command came to, before it is known whether something was left behind.
#[derive(Debug, Default)]
pub struct Ending {
    /// The exit code when nothing was left behind.
    pub code: i32,
    /// One line for `runs list`.
    pub summary: String,
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

impl Session {
    /// Writes the run down and begins it.
    pub async fn begin(context: Context, command: &str) -> Result<Self, Fault> {
        let id = RunId::new(context.now());
        let record = RunRecord {
            id: id.clone(),
            command: command.to_owned(),
            arguments: context.words.clone(),
            owner: context.owner.clone(),
            driver: crate::state::process::current()?,
            state: RunState::Running,
            started_at: context.now(),
            ended_at: None,
            exit_code: None,
            summary: None,
        };
        // What can be refused is refused before the run is written down: nobody would end its record.
        let mut stage = context.stage(id.clone(), Arc::new(NoSink)).await?;
        let dir = context.state.create_run(&id)?;
        let screen = Arc::clone(&context.screen);
        let warn = Box::new(move |text: &str| screen.event(Event::Warning(text.to_owned())));
        let log = Arc::new(RunLog::start(&dir, jiff::Timestamp::now, warn)?);
        let sink = Tee { screen: Arc::clone(&context.screen), log: Arc::clone(&log) };
        stage.sink = Arc::new(sink);
        context.journal.store_run(&record)?;
        signals::watch(stage.stop.clone(), context.to_type(&format!("audit --fix --run {id}")))?;
        Ok(Self { context, stage, dir, log, record })
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.record.id
    }

    /// Looks at what is left, closes the run's record and gives the exit code.
    pub async fn end(self, result: Result<Ending, Fault>) -> Result<i32, Fault> {
        let ending = match result {
            Ok(ending) => ending,
            Err(fault) => {
                let text = error::render(&fault);
                self.say(&text);
                Ending { code: error::exit_code(fault.kind), summary: fault.message.clone() }
            }
        };
        let made = self
            .stage
            .journal
            .resources(&ResourceFilter { run: Some(self.record.id.clone()), ..Default::default() })?;
        let kept = self.stage.journal.machines()?;
        let kept: Vec<Machine> = kept.into_iter().filter(|m| m.kept && m.run == self.record.id).collect();
        let code = self.certify(&made, &kept, ending.code);
        self.context.screen.settle();
        if let Some(trouble) = self.log.finish() {
            self.context.screen.message(&format!("warning: the run's log is not whole: {trouble}"));
        }
        let record = RunRecord {
            state: RunState::Ended,
            ended_at: Some(self.context.now()),
            exit_code: Some(code),
            summary: Some(ending.summary),
            ..self.record
        };
        self.stage.journal.update_run(&record)?;
        Ok(code)
    }

    /// Says it on the screen and in the log.
    pub fn say(&self, text: &str) {
        self.log.event(Event::Notice(text.to_owned()));
        self.context.screen.message(text);
    }

    /// Says what is left, and gives the exit code with that taken into account. What was kept on purpose is not left.
    fn certify(&self, made: &[Resource], kept: &[Machine], code: i32) -> i32 {
        for machine in kept {
            let id = &machine.id;
            let down = self.context.to_type(&format!("machine down {id}"));
            self.say(&format!("Kept {id} until {:.0}; `{down}` ends it.", machine.expires_at));
        }
        let open = left_behind(made, kept);
        let fixtures = made.iter().filter(|row| row.state == ResourceState::Kept).count();
        match (open.is_empty(), made.len()) {
            (true, _) if !kept.is_empty() => {}
            (true, 0) => self.say("Nothing was made, nothing is left behind."),
            (true, n) => self.say(&format!(
                "Nothing is left behind: {n} resources made, {}{} seen gone (`{}`).",
                if fixtures > 0 { format!("{fixtures} kept for later runs, ") } else { String::new() },
                n - fixtures,
                self.context.to_type(&format!("audit --run {}", self.record.id))
            )),
            (false, n) => {
                let names: Vec<String> = open.iter().map(|row| told(row)).collect();
                self.say(&format!(
                    "Left behind, {} of {n}:\n{}\nRemove them with `{}`.",
                    open.len(),
                    names.join("\n"),
                    self.context.to_type(&format!("audit --fix --run {}", self.record.id))
                ));
            }
        }
        error::with_left(code, !open.is_empty())
    }
}

fn told(row: &Resource) -> String {
    let why = row.note.as_deref().unwrap_or("not released yet");
    format!("  {} {}: {why}", row.kind.name(), row.name)
}

/// The open rows of `made` that belong to no machine of `kept`.
fn left_behind<'a>(made: &'a [Resource], kept: &[Machine]) -> Vec<&'a Resource> {
    let meant = |row: &Resource| kept.iter().any(|machine| machine.id == row.machine);
    made.iter().filter(|row| row.is_open() && !meant(row)).collect()
}
