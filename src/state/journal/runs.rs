//! The rows of runs.

use model::base::id::RunId;
use model::fault::Fault;
use model::journal::RunJournal;
use model::run::RunRecord;
use rusqlite::{OptionalExtension, named_params, params};

use crate::journal::{SqliteJournal, rows};

impl RunJournal for SqliteJournal {
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

    fn forget_run(&self, id: &RunId) -> Result<(), Fault> {
        let needed: i64 = self.write("remove a run from", |transaction| {
            let needed = transaction.query_row(
                "SELECT (SELECT count(*) FROM resources WHERE run = ?1 AND state NOT IN ('gone', 'forgotten'))
                      + (SELECT count(*) FROM machines WHERE run = ?1)",
                params![id.as_str()],
                |row| row.get(0),
            )?;
            if needed == 0 {
                transaction.execute("DELETE FROM resources WHERE run = ?1", params![id.as_str()])?;
                transaction.execute("DELETE FROM runs WHERE id = ?1", params![id.as_str()])?;
            }
            Ok(needed)
        })?;
        if needed == 0 {
            return Ok(());
        }
        Err(Fault::usage(format!("run `{id}` has a machine or a resource that is not gone")))
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
        self.require_row(count, "run", run.id.as_str())
    }
}
