//! The rows of resources.

use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::fault::Fault;
use model::journal::{ResourceFilter, ResourceJournal};
use model::machine::ProviderKind;
use model::resource::{PlannedResource, Resource};
use rusqlite::params;

use crate::journal::{SqliteJournal, rows};

impl ResourceJournal for SqliteJournal {
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

    fn mark_present(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        // A row that was closed is opened again: what is seen to exist is not gone, whatever was seen before.
        let count = self.write("write a resource into", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'present', locator = ?2, gone_at = NULL WHERE id = ?1",
                params![id.as_str(), locator],
            )
        })?;
        self.require_row(count, "resource", id.as_str())
    }

    fn mark_kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        let count = self.write("write a resource into", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'kept', locator = ?2, gone_at = NULL WHERE id = ?1",
                params![id.as_str(), locator],
            )
        })?;
        self.require_row(count, "resource", id.as_str())
    }

    fn mark_gone(&self, id: &ResourceId, at: Timestamp) -> Result<(), Fault> {
        let count = self.write("close a resource in", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'gone', gone_at = coalesce(gone_at, ?2) WHERE id = ?1",
                params![id.as_str(), rows::time(at)],
            )
        })?;
        self.require_row(count, "resource", id.as_str())
    }

    fn mark_forgotten(&self, id: &ResourceId, note: &str) -> Result<(), Fault> {
        let count = self.write("write a resource into", |transaction| {
            transaction.execute(
                "UPDATE resources SET state = 'forgotten', note = ?2 WHERE id = ?1 AND state <> 'gone'",
                params![id.as_str(), note],
            )
        })?;
        self.require_row(count, "open resource", id.as_str())
    }

    fn note(&self, id: &ResourceId, note: &str) -> Result<(), Fault> {
        let count = self.write("write a note into", |transaction| {
            transaction.execute(
                "UPDATE resources SET note = CASE state WHEN 'gone' THEN note ELSE ?2 END WHERE id = ?1",
                params![id.as_str(), note],
            )
        })?;
        self.require_row(count, "resource", id.as_str())
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
}
