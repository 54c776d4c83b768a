//! The state of a machine that is up becomes an image of the user's own, by a name of the user's choice.

use model::base::id::MachineId;
use model::base::name::ImageName;
use model::fault::{Fault, FaultKind};
use model::image::{ImageRecord, SnapshotOrder};
use model::machine::Machine;
use model::provider::{ImageStore, TakenSnapshot};
use model::work::Work;

use crate::image::collect::{self, Collected, Collection, is_of_others};
use crate::image::remove::own_layers;
use crate::lease::{undo, until_stopped, write_down};
use crate::run::Run;
use crate::site::Site;

/// Refuses a machine whose state cannot become an image, and a name that is taken; gives the images of that name that the new one replaces.
/// `replace` lets it replace snapshots of `owner`, where images have owners at all.
pub async fn vet(
    store: &dyn ImageStore,
    machine: &Machine,
    name: &ImageName,
    replace: bool,
    owner: &str,
) -> Result<Vec<ImageRecord>, Fault> {
    let mut same = store.list().await?;
    same.retain(|record| record.name == name.as_str());
    for record in &same {
        if is_of_others(record, Some(owner)) {
            let whose = record.owner.as_deref().unwrap_or("somebody who is not named");
            return Err(Fault::usage(format!("`{name}` is the name of an image of {whose}")).hint("Give another name."));
        }
        if record.snapshot.is_none() {
            return Err(Fault::usage(format!("`{name}` is the name of an image that a definition made"))
                .hint("Give another name."));
        }
    }
    if let Some(record) = same.first().filter(|_| !replace) {
        return Err(Fault::usage(format!("there is an image `{name}`, made {:.0}", record.created_at))
            .hint("Give another name, or replace it with `--replace`."));
    }
    store.vet_snapshot(machine).await?;
    Ok(same)
}

/// Makes the image. What was begun is removed where that fails, and where the run is stopped.
pub async fn take(run: &Run, site: &Site, order: &SnapshotOrder<'_>) -> Result<ImageRecord, Fault> {
    let run = &run.on(&order.machine.id);
    let (store, kind) = (site.images.store().await?, site.provider.kind());
    let id = MachineId::random();
    let work = Work::TakingSnapshot { machine: order.machine.id.clone(), image: order.name.to_string() };
    let step = run.teller.begin(work);
    let confirm = write_down(run, kind, &store.plan_snapshot(&id))?;
    let ledger = run.ledger(kind);
    let connector = site.connector.as_ref();
    let taken = TakenSnapshot { id: &id, run: &run.id, confirm: &confirm, ledger: &ledger, connector };
    match until_stopped(run, store.take_snapshot(order, &taken, &run.teller)).await {
        Ok(record) => {
            // What is left is the folder that the copy was made in.
            let left = crate::lease::release_machine(run, site, &id, crate::release::ReleaseScope::All).await?;
            if !left.is_empty() {
                let fault = Fault::new(FaultKind::LeftBehind, "the image was made, and something of its making stays");
                return Err(fault.with_leftovers(crate::lease::name_left(&left)));
            }
            step.finish();
            Ok(record)
        }
        Err(fault) => Err(undo(run, site, &id, fault).await),
    }
}

/// Removes the images that a new one of their name has replaced, with the layers that no other image has; gives what became of each.
pub async fn remove_replaced(store: &dyn ImageStore, replaced: Vec<ImageRecord>) -> Result<Vec<Collected>, Fault> {
    if replaced.is_empty() {
        return Ok(Vec::new());
    }
    let layers = own_layers(&replaced, &store.list().await?, store.layers().await?);
    let mut done = Collection::default();
    for image in replaced {
        done.collected.push(collect::remove_image(store, image, false, false).await);
    }
    collect::remove_layers(store, layers, false, &mut done).await;
    Ok(done.collected)
}
