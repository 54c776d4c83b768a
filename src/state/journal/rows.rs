//! Rows to values and back.

use std::str::FromStr;

use jiff::Timestamp;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::ProviderKind;
use model::resource::{Resource, ResourceKind, ResourceState};
use model::run::{Driver, RunRecord, RunState};
use rusqlite::Row;
use rusqlite::types::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

type Result<T> = rusqlite::Result<T>;

/// The columns that [`run`] reads.
pub(super) const RUN: &str = "id, command, arguments, owner, driver_pid, driver_started, driver_boot, state, \
                              started_at, ended_at, exit_code, summary";

/// A time as RFC 3339 text with nine digits, so that text sorts as time.
pub(super) fn time(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// A value as JSON text.
pub(super) fn json<T: Serialize>(value: &T) -> std::result::Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::infrastructure("cannot write JSON").because(error))
}

/// A column of JSON text.
pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

/// A column of text that a type parses.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| unreadable(column, error))
}

fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error| unreadable(column, error))).transpose()
}

/// A column of text that names a member of `all`.
fn named<T: Copy>(row: &Row<'_>, column: usize, all: &[T], name: fn(T) -> &'static str) -> Result<T> {
    let text: String = row.get(column)?;
    all.iter()
        .copied()
        .find(|member| name(*member) == text)
        .ok_or_else(|| unreadable(column, std::io::Error::other(format!("`{text}` is not known to this build"))))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// The statement that reads what `filter` asks for; its parameters are the run and the machine, where given.
///
/// The states stand in the text, not in a parameter: only then does SQLite use the index of open rows. Each
/// machine belongs to one run, so its index answers alone, and the unary plus keeps the other from being chosen.
pub(super) fn resources_query(filter: &ResourceFilter) -> String {
    let mut clauses = Vec::new();
    if filter.run.is_some() {
        clauses.push(if filter.machine.is_some() { "+run = ?1" } else { "run = ?1" });
    }
    if filter.machine.is_some() {
        clauses.push(if filter.run.is_some() { "machine = ?2" } else { "machine = ?1" });
    }
    if filter.open {
        clauses.push("state NOT IN ('gone', 'kept', 'forgotten')");
    }
    let condition = if clauses.is_empty() { String::new() } else { format!("WHERE {}", clauses.join(" AND ")) };
    format!(
        "SELECT id, run, machine, provider, kind, name, locator, state, planned_at, gone_at, note
         FROM resources {condition} ORDER BY seq"
    )
}

pub(super) fn resource(row: &Row<'_>) -> Result<Resource> {
    use ResourceState::{Forgotten, Gone, Kept, Planned, Present};
    let states = [Planned, Present, Kept, Gone, Forgotten];
    Ok(Resource {
        id: parsed(row, 0)?,
        run: parsed(row, 1)?,
        machine: parsed(row, 2)?,
        provider: named(row, 3, &ProviderKind::ALL, ProviderKind::name)?,
        kind: named(row, 4, &ResourceKind::ALL, ResourceKind::name)?,
        name: row.get(5)?,
        locator: row.get(6)?,
        state: named(row, 7, &states, state_name)?,
        planned_at: parsed(row, 8)?,
        gone_at: optional_time(row, 9)?,
        note: row.get(10)?,
    })
}

pub(super) fn run(row: &Row<'_>) -> Result<RunRecord> {
    let started: i64 = row.get(5)?;
    Ok(RunRecord {
        id: parsed(row, 0)?,
        command: row.get(1)?,
        arguments: from_json(row, 2)?,
        owner: row.get(3)?,
        driver: Driver { pid: row.get(4)?, started: started.unsigned_abs(), boot: row.get(6)? },
        state: named(row, 7, &RUN_STATES, run_state_name)?,
        started_at: parsed(row, 8)?,
        ended_at: optional_time(row, 9)?,
        exit_code: row.get(10)?,
        summary: row.get(11)?,
    })
}

/// The states of a run.
const RUN_STATES: [RunState; 4] = [RunState::Running, RunState::Detached, RunState::Releasing, RunState::Ended];

/// The name of a run's state in the database.
pub(super) fn run_state_name(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Detached => "detached",
        RunState::Releasing => "releasing",
        RunState::Ended => "ended",
    }
}

/// The name of a state in the database.
fn state_name(state: ResourceState) -> &'static str {
    match state {
        ResourceState::Planned => "planned",
        ResourceState::Present => "present",
        ResourceState::Kept => "kept",
        ResourceState::Gone => "gone",
        ResourceState::Forgotten => "forgotten",
    }
}
