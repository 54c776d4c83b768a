//! Parting with a machine: the run sees to its end itself, or leaves that to another process once it is sure that the machine ends.

use model::base::id::MachineId;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::resource::Resource;

use crate::lease::release_machine;
use crate::release::ReleaseScope;
use crate::run::Run;
use crate::site::{Site, Sites};

/// Whether the machine is told to end, so that its end can be left to another process: a provider that takes no such word, or refuses
/// it, has to be waited for.
async fn is_told_to_end(run: &Run, site: &Site, machine: &MachineId) -> Result<bool, Fault> {
    let Some(ending) = site.provider.abilities().ending else { return Ok(false) };
    let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
    let rows: Vec<Resource> = run.journal.resources(&filter)?.into_iter().filter(|row| row.kind.is_machine()).collect();
    let told = ending.end_all(&rows).await;
    Ok(!rows.is_empty() && rows.iter().all(|row| told.contains(&row.id)))
}

/// Ends the machine and removes all that belongs to it; gives the resources that remain, or none where the rest is left to another
/// process.
pub(super) async fn part(run: &Run, site: &Site, machine: &MachineId) -> Result<Option<Vec<Resource>>, Fault> {
    let releasing = release_machine(run, site, machine, ReleaseScope::All);
    let left = match run.parting.patience() {
        Some(patience) if is_told_to_end(run, site, machine).await? => {
            match tokio::time::timeout(patience, releasing).await {
                Ok(left) => left?,
                Err(_) => {
                    run.parting.leave(machine);
                    return Ok(None);
                }
            }
        }
        _ => releasing.await?,
    };
    if left.is_empty() {
        run.journal.forget_machine(machine)?;
    }
    Ok(Some(left))
}

/// Sees to the end of the machines that were to end without the run; gives the resources that remain of them.
pub async fn part_with_the_rest(run: &Run, sites: &dyn Sites) -> Result<Vec<Resource>, Fault> {
    let (ending, mut remaining) = (run.parting.ending(), Vec::new());
    for machine in run.journal.machines()?.into_iter().filter(|machine| ending.contains(&machine.id)) {
        let site = sites.site(machine.provider).await?;
        let left = release_machine(run, &site, &machine.id, ReleaseScope::All).await?;
        if left.is_empty() {
            run.journal.forget_machine(&machine.id)?;
        }
        remaining.extend(left);
    }
    run.parting.settle();
    Ok(remaining)
}
