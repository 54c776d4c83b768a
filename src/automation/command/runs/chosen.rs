//! The run that a user names.

use model::base::id::RunId;
use model::fault::Fault;
use model::run::RunRecord;
use state::process::is_running;
use state::runs::resolve;

use crate::command::run::RUN;
use crate::command::testing::COMMANDS;
use crate::compose::Context;

/// The run that `text` names: an id, its beginning, or `latest`, the latest that has tests or a user's command, where one that still goes
/// on comes before those that have ended. Runs that made a machine or baked an image do not count.
pub(crate) fn choose_run(context: &Context, text: &str) -> Result<RunRecord, Fault> {
    choose(context, text, has_task, "tests or a command")
}

/// The same, but refuses a run that has neither: there is nothing to follow.
pub(crate) fn choose_task_run(context: &Context, text: &str) -> Result<RunRecord, Fault> {
    let record = choose_run(context, text)?;
    require(context, record, has_task, "tests or a command")
}

/// The same for runs with tests: others have no results.
pub(crate) fn choose_test_run(context: &Context, text: &str) -> Result<RunRecord, Fault> {
    let record = choose(context, text, has_tests, "tests")?;
    require(context, record, has_tests, "tests")
}

/// Whether a run is of a kind.
type IsMeant = fn(&Context, &RunRecord) -> bool;

fn choose(context: &Context, text: &str, is_meant: IsMeant, what: &str) -> Result<RunRecord, Fault> {
    let mut records = context.journal.runs(usize::MAX)?;
    let machines = context.journal.machines()?;
    let known: Vec<RunId> = records.iter().map(|record| record.id.clone()).collect();
    let is_going_on = |record: &RunRecord| is_running(record, &machines, context.now());
    let latest = latest(&records, |record| is_meant(context, record), is_going_on);
    let latest = latest.map(|record| record.id.clone());
    if text == "latest" && latest.is_none() && !known.is_empty() {
        return Err(Fault::usage(format!("there are no runs with {what} yet"))
            .hint("`automation runs list` shows the runs there are."));
    }
    if text == "latest"
        && let Some(taken) = &latest
        && let Some(newer) = records.iter().find(|record| is_meant(context, record)).filter(|one| one.id != *taken)
    {
        let text = format!("`latest` is run {taken}, which goes on; the newer run {} does not.", newer.id);
        context.screen.message(&text);
    }
    let id = resolve(&known, latest.as_ref(), text)?;
    let at = records.iter().position(|record| record.id == id);
    at.map(|at| records.swap_remove(at)).ok_or_else(|| Fault::usage(format!("the journal has no run `{id}`")))
}

fn require(context: &Context, record: RunRecord, is_meant: IsMeant, what: &str) -> Result<RunRecord, Fault> {
    if is_meant(context, &record) {
        return Ok(record);
    }
    let list = context.to_type("runs list");
    Err(Fault::usage(format!("run `{}` has no {what}: it is one of `{}`", record.id, record.command))
        .hint(format!("`{list}` shows the runs there are; without an id the latest with {what} is meant.")))
}

/// Whether a run is one with tests or with a user's command.
pub(super) fn has_task(context: &Context, record: &RunRecord) -> bool {
    record.command == RUN || has_tests(context, record)
}

/// Whether a run is one with tests: by its command, which is known before any test began, or by the tasks in its
/// folder.
pub(crate) fn has_tests(context: &Context, record: &RunRecord) -> bool {
    let name = record.command.as_str();
    COMMANDS.contains(&name) || name != RUN && context.state.run(&record.id).is_ok_and(|dir| dir.has_tasks())
}

/// The run that `latest` names among `records`, newest first.
fn latest(
    records: &[RunRecord],
    is_meant: impl Fn(&RunRecord) -> bool,
    is_going_on: impl Fn(&RunRecord) -> bool,
) -> Option<&RunRecord> {
    let meant = || records.iter().filter(|record| is_meant(record));
    meant().find(|record| is_going_on(record)).or_else(|| meant().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::run::{Driver, RunState};

    fn record(id: &str, command: &str) -> RunRecord {
        RunRecord {
            id: id.parse().unwrap(),
            command: command.into(),
            arguments: vec![],
            owner: "ann@example".into(),
            driver: Driver { pid: 1, started: 1, boot: "b".into() },
            state: RunState::Ended,
            started_at: "2026-11-20T12:00:00Z".parse().unwrap(),
            ended_at: None,
            exit_code: None,
            summary: None,
        }
    }

    #[test]
    fn the_latest_run_has_tests_and_one_that_goes_on_comes_first() {
        let records = [
            record("r-5", "machine up"),
            record("r-4", COMMANDS[1]),
            record("r-3", "image build"),
            record("r-2", COMMANDS[0]),
            record("r-1", COMMANDS[0]),
        ];
        let has_tests = |record: &RunRecord| COMMANDS.contains(&record.command.as_str());
        let found = |going: &[&str]| {
            latest(&records, has_tests, |record| going.contains(&record.id.as_str()))
                .map(|record| record.id.to_string())
        };
        assert_eq!(found(&[]).as_deref(), Some("r-4"));
        assert_eq!(found(&["r-5", "r-3"]).as_deref(), Some("r-4"), "machines and images are none");
        assert_eq!(found(&["r-2", "r-1"]).as_deref(), Some("r-2"));
        assert!(latest(&records[..1], has_tests, |_| true).is_none());
    }
}
