//! Keeping a layer where nothing beside it may be made.

use std::time::Duration;

use model::base::id::{MachineId, ResourceId};
use model::event::Teller;
use model::fault::Fault;
use model::image::{ImagePlan, LayerPlan, LayerRecord};
use model::provider::{ImageStore, Ledger, MadeLayer};
use model::resource::PlannedResource;

/// Takes nothing.
pub struct NoLedger;

impl Ledger for NoLedger {
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault> {
        panic!("nothing is to be made beside the machine, but {resource:?}");
    }

    fn mark_kept(&self, _: &ResourceId, locator: &str) -> Result<(), Fault> {
        panic!("nothing is to be kept, but {locator}");
    }
}

/// Keeps `layer` as the only one of an image.
pub async fn commit(
    store: &dyn ImageStore,
    layer: &LayerPlan,
    machine: &MachineId,
    took: Duration,
) -> Result<LayerRecord, Fault> {
    let plan = ImagePlan {
        name: "tried".into(),
        platform: model::machine::Platform::Linux,
        baked_on: model::machine::Platform::Linux,
        distro: "tried".into(),
        values: std::collections::BTreeMap::new(),
        layers: vec![layer.clone()],
    };
    store.commit(&MadeLayer { plan: &plan, layer, machine, took }, &NoLedger, &Teller::silent()).await
}
