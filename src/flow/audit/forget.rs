//! Giving up on things that are out of reach for good.

use model::fault::Fault;
use model::resource::ObservedResource;

use crate::audit::fix::close_dead_runs;
use crate::audit::remaining::{Remaining, row_of};
use crate::audit::{Finding, Standing};
use crate::look::Estate;

/// Why a finding is not forgotten: it can really be removed, or may still be wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgetRefusal {
    /// A living run uses it.
    InUse,
    /// It was kept on purpose, and its expiry is ahead.
    Kept,
    /// It was seen.
    Seen,
}

/// The reason not to forget `finding`, if there is one.
pub fn refusal(remaining: &Remaining, finding: &Finding) -> Option<ForgetRefusal> {
    let same = |seen: &ObservedResource| seen.kind == finding.kind && seen.name == finding.name;
    match finding.standing {
        Standing::InUse | Standing::Releasing => Some(ForgetRefusal::InUse),
        Standing::Kept => Some(ForgetRefusal::Kept),
        _ => remaining.observed.iter().any(same).then_some(ForgetRefusal::Seen),
    }
}

/// Gives up `meant`, none of which is refused: they no longer count as left behind, and their rows say who gave them
/// up.
pub fn forget(estate: &Estate<'_>, meant: &[Finding]) -> Result<(), Fault> {
    for finding in meant {
        let Some(row) = row_of(estate, finding)? else { continue };
        let last = row.note.as_ref().map(|note| format!("; before that: {note}")).unwrap_or_default();
        let note = format!("forgotten by {} at {:.0}, not seen gone{last}", estate.owner, estate.teller.now());
        estate.journal.mark_forgotten(&row.id, &note)?;
    }
    estate.forget_machines(meant.iter().map(|finding| &finding.machine))?;
    for run in meant.iter().filter_map(|finding| finding.run.as_ref()) {
        close_dead_runs(estate, Some(run))?;
    }
    Ok(())
}
