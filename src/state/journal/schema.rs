//! Opening the database and bringing its schema up to date.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use model::fault::Fault;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::file;
use crate::journal::{BUSY_POLL, error};

/// The steps that bring a database from one schema to the next. Steps are only ever added; the schema's number is their
/// count.
const MIGRATIONS: [&str; 5] = [FIRST, KEPT, DETACHED, FORGOTTEN, RELEASING];

pub(super) const FIRST: &str = "
CREATE TABLE runs (
    seq            INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    command        TEXT NOT NULL,
    arguments      TEXT NOT NULL, -- a JSON array
    owner          TEXT NOT NULL,
    driver_pid     INTEGER NOT NULL,
    driver_started INTEGER NOT NULL,
    driver_boot    TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('running', 'ended')),
    started_at     TEXT NOT NULL,
    ended_at       TEXT,
    exit_code      INTEGER,
    summary        TEXT
) STRICT;
CREATE TABLE machines (
    seq  INTEGER PRIMARY KEY,
    id   TEXT NOT NULL UNIQUE,
    run  TEXT NOT NULL REFERENCES runs (id),
    data TEXT NOT NULL -- the machine as JSON
) STRICT;
CREATE TABLE resources (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    run        TEXT NOT NULL REFERENCES runs (id),
    machine    TEXT NOT NULL,
    provider   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    locator    TEXT,
    state      TEXT NOT NULL CHECK (state IN ('planned', 'present', 'gone')),
    planned_at TEXT NOT NULL,
    gone_at    TEXT,
    note       TEXT,
    CHECK ((state = 'gone') = (gone_at IS NOT NULL))
) STRICT;
CREATE INDEX resources_of_run ON resources (run, seq);
CREATE INDEX resources_of_machine ON resources (machine, seq);
CREATE INDEX resources_open ON resources (seq) WHERE state <> 'gone';
";

/// Adds resources that are meant to outlive their run. SQLite can change a check only by way of a new table.
pub(super) const KEPT: &str = "
CREATE TABLE resources_with_kept (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    run        TEXT NOT NULL REFERENCES runs (id),
    machine    TEXT NOT NULL,
    provider   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    locator    TEXT,
    state      TEXT NOT NULL CHECK (state IN ('planned', 'present', 'kept', 'gone')),
    planned_at TEXT NOT NULL,
    gone_at    TEXT,
    note       TEXT,
    CHECK ((state = 'gone') = (gone_at IS NOT NULL))
) STRICT;
INSERT INTO resources_with_kept SELECT * FROM resources;
DROP TABLE resources;
ALTER TABLE resources_with_kept RENAME TO resources;
CREATE INDEX resources_of_run ON resources (run, seq);
CREATE INDEX resources_of_machine ON resources (machine, seq);
CREATE INDEX resources_open ON resources (seq) WHERE state NOT IN ('gone', 'kept');
";

/// Adds runs whose task goes on without a driver. The rows of other tables name runs by their id, which stays.
const DETACHED: &str = "
CREATE TABLE runs_with_detached (
    seq            INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    command        TEXT NOT NULL,
    arguments      TEXT NOT NULL, -- a JSON array
    owner          TEXT NOT NULL,
    driver_pid     INTEGER NOT NULL,
    driver_started INTEGER NOT NULL,
    driver_boot    TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('running', 'detached', 'ended')),
    started_at     TEXT NOT NULL,
    ended_at       TEXT,
    exit_code      INTEGER,
    summary        TEXT
) STRICT;
INSERT INTO runs_with_detached SELECT * FROM runs;
DROP TABLE runs;
ALTER TABLE runs_with_detached RENAME TO runs;
";

/// Adds resources that a person gave up.
const FORGOTTEN: &str = "
CREATE TABLE resources_with_forgotten (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    run        TEXT NOT NULL REFERENCES runs (id),
    machine    TEXT NOT NULL,
    provider   TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    locator    TEXT,
    state      TEXT NOT NULL CHECK (state IN ('planned', 'present', 'kept', 'gone', 'forgotten')),
    planned_at TEXT NOT NULL,
    gone_at    TEXT,
    note       TEXT,
    CHECK ((state = 'gone') = (gone_at IS NOT NULL))
) STRICT;
INSERT INTO resources_with_forgotten SELECT * FROM resources;
DROP TABLE resources;
ALTER TABLE resources_with_forgotten RENAME TO resources;
CREATE INDEX resources_of_run ON resources (run, seq);
CREATE INDEX resources_of_machine ON resources (machine, seq);
CREATE INDEX resources_open ON resources (seq) WHERE state NOT IN ('gone', 'kept', 'forgotten');
";

/// Adds runs that have come to their end while their machines are ending.
const RELEASING: &str = "
CREATE TABLE runs_with_releasing (
    seq            INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    command        TEXT NOT NULL,
    arguments      TEXT NOT NULL, -- a JSON array
    owner          TEXT NOT NULL,
    driver_pid     INTEGER NOT NULL,
    driver_started INTEGER NOT NULL,
    driver_boot    TEXT NOT NULL,
    state          TEXT NOT NULL CHECK (state IN ('running', 'detached', 'releasing', 'ended')),
    started_at     TEXT NOT NULL,
    ended_at       TEXT,
    exit_code      INTEGER,
    summary        TEXT
) STRICT;
INSERT INTO runs_with_releasing SELECT * FROM runs;
DROP TABLE runs;
ALTER TABLE runs_with_releasing RENAME TO runs;
";

/// Why a database could not be opened.
pub(super) enum Problem {
    File(std::io::Error),
    Sqlite(rusqlite::Error),
    Newer(i64),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Problem {
    pub(super) fn fault(self, path: &Path) -> Fault {
        match self {
            Self::File(error) => file::fault("make the journal", path, error),
            Self::Sqlite(problem) => error::fault(path, "open", problem),
            Self::Newer(found) => Fault::outside(format!(
                "the journal `{}` has schema {found}, and this build knows schemas up to {}",
                path.display(),
                MIGRATIONS.len()
            ))
            .hint("Use the newer build that wrote it, or name another directory with `--state-path`."),
        }
    }
}

/// Who may use a database beside the process that opens it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody. SQLite needs room for an index that the processes share, in a file beside the database.
    Shared,
    /// Nobody else meanwhile: the index is in memory, so that a full disk can be read from.
    Alone,
}

/// Opens the database, making it when it is missing, and waits up to `limit` for others.
pub(super) fn open(path: &Path, limit: Duration, by: Access) -> Result<Connection, Problem> {
    make(path).map_err(Problem::File)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let end = Instant::now() + limit;
    loop {
        let opened = Connection::open_with_flags(path, flags).map_err(Problem::from).and_then(|mut connection| {
            prepare(&mut connection, limit, by)?;
            Ok(connection)
        });
        match opened {
            // The first opener after a kill recovers the log, and the last to close tidies it; SQLite's own timeout
            // waits for neither.
            Err(Problem::Sqlite(problem)) if error::is_busy(&problem) && Instant::now() < end => {
                std::thread::sleep(BUSY_POLL);
            }
            done => return done,
        }
    }
}

/// Opens a database that is nowhere but in this process.
pub(super) fn open_in_memory() -> Result<Connection, Problem> {
    let mut connection = Connection::open_in_memory()?;
    prepare(&mut connection, Duration::ZERO, Access::Alone)?;
    Ok(connection)
}

/// Makes an empty file of mode 0600, whose mode SQLite gives to the files beside it.
fn make(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().and_then(|()| file::sync_parent(path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn prepare(connection: &mut Connection, limit: Duration, by: Access) -> Result<(), Problem> {
    connection.busy_timeout(limit)?;
    if by == Access::Alone {
        // Before the first look into the database, or SQLite makes the file beside it first.
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    }
    // Before anything is written: a newer database stays untouched.
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(Problem::Newer(found));
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if found < known {
        // A step may replace a table that others refer to, so references are not checked meanwhile.
        connection.pragma_update(None, "foreign_keys", false)?;
        migrate(connection)?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), Problem> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}
