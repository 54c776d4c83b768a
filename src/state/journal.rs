//! The journal in SQLite: write-ahead log, every commit on the disk before a method returns.
//!
//! The database file is opened by SQLite alone, and never by other code of this process: closing any other descriptor of
//! it would drop SQLite's locks (POSIX locks belong to the process, not to the descriptor).

mod error;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod unopened;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::fault::{Fault, FaultKind};
use model::journal::{Journal, ResourceFilter};
use model::machine::{Machine, ProviderKind};
use model::resource::{PlannedResource, Resource};
use model::run::RunRecord;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params, params};

pub use unopened::Unopened;

/// How long to wait for another process that writes at this moment. A write takes milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// How soon to ask again where SQLite itself does not wait (recovery after a kill, the last close).
const BUSY_POLL: Duration = Duration::from_millis(5);

/// The journal of a state directory.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl SqliteJournal {
    /// Opens `path`, making it when it is missing. The caller sees to it that one process at a time does this.
    ///
    /// Fails with a [`Fault`] of kind outside when the file is damaged, of a newer build, or cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        Self::open_for(path, schema::Use::Shared)
    }

    /// The same without the files that SQLite shares between processes, for which a full disk has no room. Nobody else can
    /// use the journal meanwhile.
    pub(super) fn open_alone(path: &Path) -> Result<Self, Fault> {
        Self::open_for(path, schema::Use::Alone)
    }

    fn open_for(path: &Path, by: schema::Use) -> Result<Self, Fault> {
        let connection = schema::open(path, BUSY, by).map_err(|problem| problem.fault(path))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file and looks for damage; takes time in proportion to its size.
    pub fn check(&self) -> Result<(), Fault> {
        let verdict: String =
            self.read("check", |connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
        if verdict == "ok" { Ok(()) } else { Err(error::damaged(&self.path, &verdict)) }
    }

    /// The ids of all runs, newest first.
    pub fn run_ids(&self) -> Result<Vec<RunId>, Fault> {
        self.read("read", |connection| {
            let mut statement = connection.prepare("SELECT id FROM runs ORDER BY seq DESC")?;
            statement.query_map([], |row| rows::parsed(row, 0))?.collect()
        })
    }

    fn read<T>(&self, doing: &str, work: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        self.patiently(doing, || work(&connection))
    }

    /// One transaction: all of `work` or nothing, on the disk when this returns.
    fn write<T>(&self, doing: &str, work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        self.patiently(doing, || {
            // Takes the write lock at once: a lock that is taken later can be refused without any waiting.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Repeats `work` while another process is in the way. A transaction that failed left nothing.
    fn patiently<T>(&self, doing: &str, mut work: impl FnMut() -> rusqlite::Result<T>) -> Result<T, Fault> {
        let end = Instant::now() + BUSY;
        loop {
            match work() {
                Err(problem) if error::is_busy(&problem) && Instant::now() < end => std::thread::sleep(BUSY_POLL),
                done => return done.map_err(|problem| error::fault(&self.path, doing, problem)),
            }
        }
    }

    /// Fails when an update met no row.
    fn met(&self, count: usize, what: &str, id: &str) -> Result<(), Fault> {
        if count > 0 {
            return Ok(());
        }
        Err(Fault::infrastructure(format!("the journal `{}` holds no {what} `{id}`", self.path.display())))
    }
}

impl Journal for SqliteJournal {
    fn plan(
        &self,
        run: &RunId,
        provider: ProviderKind,
        resources: &[PlannedResource],
        now: Timestamp,
    ) -> Result<Vec<ResourceId>, Fault> {
        let ids: Vec<ResourceId> = resources.iter().map(|_| ResourceId::random()).collect();
        self.write("write resources into", |transaction| {
            let mut insert = transaction.prepare(
                "INSERT INTO resources (id, run, machine, provider, kind, name, state, planned_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'planned', ?7)",
            )?;
            for (id, resource) in ids.iter().zip(resources) {
                insert.execute(params![
                    id.as_str(),
                    run.as_str(),
                    resource.machine.as_str(),
                    provider.name(),
                    resource.kind.name(),
                    resource.name,
                    rows::time(now),
                ])?;
            }
            Ok(())
        })?;
        Ok(ids)
    }

    fn present(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        // A row that was closed is opened again: what is seen to exist is not gone, whatever was seen before.
        let count = self.write("write a resource into", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'present', locator = ?2, gone_at = NULL WHERE id = ?1",
                params![id.as_str(), locator],
            )
        })?;
        self.met(count, "resource", id.as_str())
    }

    fn kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        let count = self.write("write a resource into", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'kept', locator = ?2, gone_at = NULL WHERE id = ?1",
                params![id.as_str(), locator],
            )
        })?;
        self.met(count, "resource", id.as_str())
    }

    fn gone(&self, id: &ResourceId, at: Timestamp) -> Result<(), Fault> {
        let count = self.write("close a resource in", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'gone', gone_at = coalesce(gone_at, ?2) WHERE id = ?1",
                params![id.as_str(), rows::time(at)],
            )
        })?;
        self.met(count, "resource", id.as_str())
    }

    fn forgotten(&self, id: &ResourceId, note: &str) -> Result<(), Fault> {
        let count = self.write("write a resource into", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'forgotten', note = ?2 WHERE id = ?1 AND state <> 'gone'",
                params![id.as_str(), note],
            )
        })?;
        self.met(count, "open resource", id.as_str())
    }

    fn note(&self, id: &ResourceId, note: &str) -> Result<(), Fault> {
        let count = self.write("write a note into", |transaction| {
            transaction.execute(
                "UPDATE resources SET note = CASE state WHEN 'gone' THEN note ELSE ?2 END WHERE id = ?1",
                params![id.as_str(), note],
            )
        })?;
        self.met(count, "resource", id.as_str())
    }

    fn resources(&self, filter: &ResourceFilter) -> Result<Vec<Resource>, Fault> {
        let sql = rows::resources_query(filter);
        let values: Vec<&str> =
            [filter.run.as_ref().map(RunId::as_str), filter.machine.as_ref().map(MachineId::as_str)]
                .into_iter()
                .flatten()
                .collect();
        self.read("read resources from", |connection| {
            let mut statement = connection.prepare(&sql)?;
            statement.query_map(rusqlite::params_from_iter(&values), rows::resource)?.collect()
        })
    }

    fn store_machine(&self, machine: &Machine) -> Result<(), Fault> {
        let data = rows::json(machine)?;
        self.write("write a machine into", |transaction| {
            transaction.execute(
                "INSERT INTO machines (id, run, data) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET run = excluded.run, data = excluded.data",
                params![machine.id.as_str(), machine.run.as_str(), data],
            )
        })?;
        Ok(())
    }

    fn forget_machine(&self, id: &MachineId) -> Result<(), Fault> {
        let open: i64 = self.write("forget a machine in", |transaction| {
            let open = transaction.query_row(
                "SELECT count(*) FROM resources WHERE machine = ?1 AND state NOT IN ('gone', 'kept', 'forgotten')",
                params![id.as_str()],
                |row| row.get(0),
            )?;
            if open == 0 {
                transaction.execute("DELETE FROM machines WHERE id = ?1", params![id.as_str()])?;
            }
            Ok(open)
        })?;
        if open == 0 {
            return Ok(());
        }
        Err(Fault::new(FaultKind::LeftBehind, format!("machine `{id}` still has {open} resources in the journal")))
    }

    fn machines(&self) -> Result<Vec<Machine>, Fault> {
        self.read("read machines from", |connection| {
            let mut statement = connection.prepare("SELECT data FROM machines ORDER BY seq DESC")?;
            statement.query_map([], |row| rows::from_json(row, 0))?.collect()
        })
    }

    fn store_run(&self, run: &RunRecord) -> Result<(), Fault> {
        self.put_run(
            run,
            "INSERT INTO runs (id, command, arguments, owner, driver_pid, driver_started, driver_boot, state,
                               started_at, ended_at, exit_code, summary)
             VALUES (:id, :command, :arguments, :owner, :pid, :started, :boot, :state,
                     :started_at, :ended_at, :exit_code, :summary)",
        )
    }

    fn update_run(&self, run: &RunRecord) -> Result<(), Fault> {
        self.put_run(
            run,
            "UPDATE runs SET command = :command, arguments = :arguments, owner = :owner, driver_pid = :pid,
                             driver_started = :started, driver_boot = :boot, state = :state,
                             started_at = :started_at, ended_at = :ended_at, exit_code = :exit_code,
                             summary = :summary
             WHERE id = :id",
        )
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("read runs from", |connection| {
            let sql = format!("SELECT {} FROM runs ORDER BY seq DESC LIMIT ?1", rows::RUN);
            connection.prepare(&sql)?.query_map(params![limit], rows::run)?.collect()
        })
    }

    fn run(&self, id: &RunId) -> Result<Option<RunRecord>, Fault> {
        self.read("read a run from", |connection| {
            let sql = format!("SELECT {} FROM runs WHERE id = ?1", rows::RUN);
            connection.query_row(&sql, params![id.as_str()], rows::run).optional()
        })
    }
}

impl SqliteJournal {
    fn put_run(&self, run: &RunRecord, sql: &str) -> Result<(), Fault> {
        let arguments = rows::json(&run.arguments)?;
        let count = self.write("write a run into", |transaction| {
            transaction.execute(
                sql,
                named_params! {
                    ":id": run.id.as_str(),
                    ":command": run.command,
                    ":arguments": arguments,
                    ":owner": run.owner,
                    ":pid": run.driver.pid,
                    ":started": i64::try_from(run.driver.started).unwrap_or(i64::MAX),
                    ":boot": run.driver.boot,
                    ":state": rows::run_state_name(run.state),
                    ":started_at": rows::time(run.started_at),
                    ":ended_at": run.ended_at.map(rows::time),
                    ":exit_code": run.exit_code,
                    ":summary": run.summary,
                },
            )
        })?;
        self.met(count, "run", run.id.as_str())
    }
}
