//! A look at the journal while somebody types: nothing is made or changed for it, nobody is waited for, and what cannot be read is not there.

use std::path::Path;
use std::time::Duration;

use model::machine::Machine;
use model::run::RunRecord;
use rusqlite::{Connection, OpenFlags, Row, params};

use crate::journal::rows;

/// How long another process may be in the way.
const PATIENCE: Duration = Duration::from_millis(20);

/// The newest runs of the state directory `root`, newest first.
pub fn runs(root: &Path, limit: u32) -> Vec<RunRecord> {
    list(root, &format!("SELECT {} FROM runs ORDER BY seq DESC LIMIT ?1", rows::RUN), limit, rows::run)
}

/// Its machines, those that were handed over last first.
pub fn machines(root: &Path, limit: u32) -> Vec<Machine> {
    list(root, "SELECT data FROM machines ORDER BY seq DESC LIMIT ?1", limit, |row| rows::from_json(row, 0))
}

fn list<T>(root: &Path, sql: &str, limit: u32, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let listed = || -> rusqlite::Result<Vec<T>> {
        let connection = open(&root.join("journal.db"))?;
        let mut statement = connection.prepare(sql)?;
        // A row of a newer build does not hide the others.
        Ok(statement.query_map(params![limit], read)?.filter_map(Result::ok).collect())
    };
    listed().unwrap_or_default()
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let name = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    // Without a log beside it the file is whole, and can be read without the files that SQLite would make.
    let is_whole = !path.with_file_name("journal.db-wal").exists();
    let address = format!("file:{name}?mode=ro{}", if is_whole { "&immutable=1" } else { "" });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(address, flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use model::base::id::RunId;
    use model::journal::RunJournal;
    use model::run::{Driver, RunState};

    use super::*;
    use crate::dir::StateDir;

    fn record(id: &RunId) -> RunRecord {
        RunRecord {
            id: id.clone(),
            command: "run".into(),
            arguments: Vec::new(),
            owner: "me@here".into(),
            driver: Driver { pid: 1, started: 1, boot: "another".into() },
            state: RunState::Ended,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            exit_code: None,
            summary: None,
        }
    }

    #[test]
    fn a_look_sees_what_is_written_and_leaves_no_trace() {
        let home = tempfile::tempdir().unwrap();
        // Signs that mean something in an address.
        let root = home.path().join("a?b#c%20d");
        assert_eq!((runs(&root, 9).len(), machines(&root, 9).len()), (0, 0));
        assert!(!root.exists());
        let state = StateDir::open(&root).unwrap();
        let journal = state.journal().unwrap();
        let ids: Vec<RunId> = (0..3).map(|_| RunId::new(Timestamp::UNIX_EPOCH)).collect();
        ids.iter().for_each(|id| journal.store_run(&record(id)).unwrap());
        let seen = || runs(&root, 2).into_iter().map(|run| run.id).collect::<Vec<_>>();
        let newest = [ids[2].clone(), ids[1].clone()];
        assert_eq!(seen(), newest, "while another process has it open");
        drop(journal);
        let files = || {
            let mut names: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = files();
        assert_eq!(seen(), newest);
        assert_eq!(files(), before);
        std::fs::write(root.join("journal.db"), "no database").unwrap();
        assert!(seen().is_empty());
    }
}
