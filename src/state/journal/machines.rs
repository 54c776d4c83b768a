//! The rows of machines.

use model::base::id::MachineId;
use model::fault::{Fault, FaultKind};
use model::journal::MachineJournal;
use model::machine::Machine;
use rusqlite::params;

use crate::journal::{SqliteJournal, rows};

impl MachineJournal for SqliteJournal {
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
}
