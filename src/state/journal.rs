//! The journal in SQLite: write-ahead log, every commit on the disk before a method returns.
//!
//! The database file is opened by SQLite alone, and never by other code of this process: closing any other descriptor of
//! it would drop SQLite's locks (POSIX locks belong to the process, not to the descriptor).

mod error;
pub mod glance;
mod machines;
mod resources;
mod rows;
mod runs;
mod schema;
#[cfg(test)]
mod tests;
mod unopened;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::base::id::RunId;
use model::fault::Fault;
use rusqlite::{Connection, Transaction, TransactionBehavior};

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
    /// Opens `path`, making it when it is missing. The caller makes sure that one process at a time does this.
    ///
    /// Fails with a [`Fault`] of kind outside when the file is damaged, comes from a newer build, or cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        Self::open_for(path, schema::Access::Shared)
    }

    /// Opens it without the files that SQLite shares between processes, for which a full disk has no room. Nobody else
    /// can use the journal meanwhile.
    pub(super) fn open_alone(path: &Path) -> Result<Self, Fault> {
        Self::open_for(path, schema::Access::Alone)
    }

    /// An empty one for a look at a directory that is not there; `path` is where it would be.
    pub(super) fn of_nothing(path: &Path) -> Result<Self, Fault> {
        let connection = schema::open_in_memory().map_err(|problem| problem.fault(path))?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    fn open_for(path: &Path, by: schema::Access) -> Result<Self, Fault> {
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
        self.retry_while_busy(doing, || work(&connection))
    }

    /// One transaction: all of `work` or nothing, on the disk when this returns.
    fn write<T>(&self, doing: &str, work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        self.retry_while_busy(doing, || {
            // Takes the write lock at once: a lock that is taken later can be refused without any waiting.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    /// Repeats `work` while another process is in the way. A transaction that failed changed nothing.
    fn retry_while_busy<T>(&self, doing: &str, mut work: impl FnMut() -> rusqlite::Result<T>) -> Result<T, Fault> {
        let end = Instant::now() + BUSY;
        loop {
            match work() {
                Err(problem) if error::is_busy(&problem) && Instant::now() < end => std::thread::sleep(BUSY_POLL),
                done => return done.map_err(|problem| error::fault(&self.path, doing, problem)),
            }
        }
    }

    /// Fails if an update changed no row.
    fn require_row(&self, count: usize, what: &str, id: &str) -> Result<(), Fault> {
        if count > 0 {
            return Ok(());
        }
        Err(Fault::infrastructure(format!("the journal `{}` holds no {what} `{id}`", self.path.display())))
    }
}
