//! Removing resources: the machine first, then in the order of removal that all share, every one tried, every one checked
//! afterwards.
//!
//! The same path serves the end of a run, an interrupted run and the cleanup after a crash: it takes rows of the
//! journal, never the memory of the process that made them.

use jiff::Timestamp;
use model::base::deadline::Deadline;
use model::fault::Fault;
use model::journal::ResourceJournal;
use model::provider::Provider;
use model::resource::{Fate, Resource, ResourceKind};

/// Which part of a machine to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseScope {
    /// Everything that runs: processes, namespaces and the mounts that die with them. Files stay.
    Running,
    /// Everything.
    All,
}

fn is_in_scope(part: ReleaseScope, kind: ResourceKind) -> bool {
    match part {
        ReleaseScope::All => true,
        ReleaseScope::Running => matches!(kind, ResourceKind::Process | ResourceKind::Namespace | ResourceKind::Mount),
    }
}

/// `open` rows, oldest first as the journal gives them, in the order of their release: of one wave the latest planned first.
pub fn order(mut open: Vec<Resource>, part: ReleaseScope) -> Vec<Resource> {
    open.retain(|row| row.is_open() && is_in_scope(part, row.kind));
    // Ids do not give the order: those of one call are made in the same millisecond, and are random within it.
    open.reverse();
    // A machine goes even before what could make another: of one machine of ours, that ends with it, and a call for it could
    // fail while the machine runs on.
    open.sort_by_key(|row| (!row.kind.is_machine(), row.kind.wave()));
    open
}

/// Releases `rows` and closes those that were seen gone; gives those that stay, each with its reason as a note.
///
/// A journal that cannot be written does not stop a removal: every row is tried before that fault is given. On a full
/// disk the files that go away make room, so rows that could not be closed are tried once more at the end.
pub async fn release(
    provider: &dyn Provider,
    journal: &dyn ResourceJournal,
    rows: Vec<Resource>,
    part: ReleaseScope,
    now: &(dyn Fn() -> Timestamp + Send + Sync),
) -> Result<Vec<Resource>, Fault> {
    let (mut remaining, mut unwritten, mut trouble) = (Vec::new(), Vec::new(), None);
    for mut row in order(rows, part) {
        let deadline =
            Deadline::after(provider.release_limit(row.kind), format!("{} `{}` to go away", row.kind.name(), row.name));
        let reason = match deadline.bound(provider.release(&row)).await {
            Ok(Ok(Fate::Gone)) => {
                if journal.mark_gone(&row.id, now()).is_err() {
                    unwritten.push(row.id);
                }
                continue;
            }
            Ok(Ok(Fate::Kept(locator))) => {
                trouble = trouble.or(journal.mark_kept(&row.id, &locator).err());
                continue;
            }
            Ok(Ok(Fate::Remains(reason))) => reason,
            Ok(Err(fault)) => fault.line(),
            Err(expired) => expired.to_string(),
        };
        trouble = trouble.or(journal.note(&row.id, &reason).err());
        row.note = Some(reason);
        remaining.push(row);
    }
    for id in unwritten {
        trouble = trouble.or(journal.mark_gone(&id, now()).err());
    }
    trouble.map_or(Ok(remaining), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::base::id::{MachineId, ResourceId, RunId};
    use model::machine::ProviderKind;
    use model::resource::ResourceState;

    fn row(id: &str, kind: ResourceKind) -> Resource {
        let now = Timestamp::UNIX_EPOCH;
        Resource {
            id: id.parse::<ResourceId>().unwrap(),
            run: RunId::new(now),
            machine: "hg-1".parse::<MachineId>().unwrap(),
            provider: ProviderKind::Dummy,
            kind,
            name: id.into(),
            locator: None,
            state: ResourceState::Planned,
            planned_at: now,
            gone_at: None,
            note: None,
        }
    }

    #[test]
    fn processes_go_before_all_then_waves_and_of_one_wave_the_latest_first() {
        let rows = vec![
            row("9", ResourceKind::Rootfs),
            row("2", ResourceKind::Process),
            row("7", ResourceKind::Namespace),
            row("4", ResourceKind::Mount),
        ];
        let names = |part| order(rows.clone(), part).into_iter().map(|r| r.name).collect::<Vec<_>>();
        assert_eq!(names(ReleaseScope::All), ["2", "4", "7", "9"]);
        assert_eq!(names(ReleaseScope::Running), ["2", "4", "7"]);
    }
}
