//! The layers of local machines for an image's id: bases made from the definition `linux-dev`, the stand-in of
//! `windows-standin` for images that have Windows, and images baked on them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connection::ssh::SshConnector;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use local::images::LocalImages;
use local::{LocalConfig, LocalProvider};
use model::base::id::{MachineId, ResourceId, RunId};
use model::event::Teller;
use model::fault::Fault;
use model::image::{BASE_REVISION, Fingerprint, ImagePlan, LayerPlan, LayerRecipe, SnapshotOrder};
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::{ImageStore, Ledger, MadeLayer, Provider, TakenSnapshot};
use model::resource::{Fate, PlannedResource, Resource, ResourceKind, ResourceState};
use project::image::{BaseChoice, ImageChoice};
use sha2::{Digest, Sha256};

use super::super::seeds;
use super::standin;

/// How long the guard of a bootstrap lives without the emulator.
const GRACE: Duration = Duration::from_secs(60);

/// The packages of a distribution's own image that the emulator and the first step of a bake need. All other packages
/// of `linux-dev` are installed by the step, as on AWS.
const PACKAGES: [&str; 8] =
    ["ca-certificates", "iproute2", "kmod", "mount", "openssh-server", "procps", "python3", "sudo"];

/// The layers of images.
pub(crate) struct Bases {
    /// Where bases are kept for the next time.
    shared: LocalConfig,
    /// Where the emulator's machines live.
    own: LocalConfig,
    baked: Mutex<BTreeMap<String, Baked>>,
}

/// An image that was made of an instance.
#[derive(Debug, Clone)]
struct Baked {
    layers: Vec<Fingerprint>,
    platform: Platform,
}

/// A ledger that writes nothing down: an emulator removes what it makes, and its machines end with it.
pub(crate) struct NoLedger;

impl Ledger for NoLedger {
    fn plan(&self, _: &PlannedResource) -> Result<ResourceId, Fault> {
        Ok(ResourceId::random())
    }

    fn mark_kept(&self, _: &ResourceId, _: &str) -> Result<(), Fault> {
        Ok(())
    }
}

/// The row that a journal would hold.
pub(crate) fn row(planned: PlannedResource) -> Resource {
    let now = Timestamp::now();
    Resource {
        id: ResourceId::random(),
        run: RunId::new(now),
        machine: planned.machine,
        provider: ProviderKind::Local,
        kind: planned.kind,
        name: planned.name,
        locator: None,
        state: ResourceState::Planned,
        planned_at: now,
        gone_at: None,
        note: None,
    }
}

/// Releases the planned resources in reverse order; the error is the first reason why one stays.
pub(crate) async fn release(provider: &LocalProvider, planned: Vec<PlannedResource>) -> Result<(), Fault> {
    for planned in planned.into_iter().rev() {
        let name = planned.name.clone();
        if let Fate::Remains(why) = provider.release(&row(planned)).await? {
            return Err(Fault::infrastructure(format!("`{name}` stays")).because(why));
        }
    }
    Ok(())
}

impl Bases {
    /// Keeps bases in the state directory of `shared`, and machines in that of `own`.
    pub(crate) fn new(shared: LocalConfig, own: LocalConfig) -> Self {
        Self { shared, own, baked: Mutex::default() }
    }

    fn baked(&self) -> MutexGuard<'_, BTreeMap<String, Baked>> {
        self.baked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The system of an image's machines.
    pub(crate) fn platform(&self, image: &str) -> Platform {
        match (self.baked().get(image), seeds::base(image)) {
            (Some(baked), _) => baked.platform,
            (None, Some(base)) if base.platform.is_some() => Platform::Windows,
            (None, _) => Platform::Linux,
        }
    }

    /// The layers of an image, lowest first; missing ones are made now.
    pub(crate) async fn layers(&self, image: &str) -> Result<Vec<Fingerprint>, Fault> {
        if let Some(baked) = self.baked().get(image) {
            return Ok(baked.layers.clone());
        }
        let base = seeds::base(image)
            .ok_or_else(|| Fault::outside(format!("no machine can be made of the image `{image}`")))?;
        let plan = match base.platform {
            None => base_plan(base.distro)?,
            Some(_) => standin::plan()?,
        };
        for (below, layer) in plan.layers.iter().enumerate() {
            self.provide(&plan, below, layer).await?;
        }
        Ok(plan.chain(plan.layers.len()))
    }

    /// Makes a layer if it is missing, and links it into the emulator's own state directory. Those `below` it are there.
    async fn provide(&self, plan: &ImagePlan, below: usize, layer: &LayerPlan) -> Result<(), Fault> {
        let images = LocalImages::new(self.shared.clone());
        if images.count_present(plan).await? <= below {
            let _lock = images.lock(&layer.fingerprint, &Teller::silent()).await?;
            if images.count_present(plan).await? <= below {
                match below {
                    0 => self.make(&images, plan, layer).await?,
                    _ => standin::make(&self.shared, plan, below).await?,
                }
            }
        }
        let place = |config: &LocalConfig| -> PathBuf { config.state.join("images/layers").join(&layer.fingerprint.0) };
        let own = place(&self.own);
        if std::fs::symlink_metadata(&own).is_err() {
            let parent = self.own.state.join("images/layers");
            std::fs::create_dir_all(&parent)
                .and_then(|()| match std::os::unix::fs::symlink(place(&self.shared), &own) {
                    // Another instance of the same image was faster.
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                    done => done,
                })
                .map_err(|error| Fault::outside(format!("cannot write `{}`", own.display())).because(error))?;
        }
        Ok(())
    }

    async fn make(&self, images: &LocalImages, plan: &ImagePlan, layer: &LayerPlan) -> Result<(), Fault> {
        let machine = MachineId::random();
        let provider = LocalProvider::new(self.shared.clone());
        let made = images.make_base(layer, &machine, GRACE, &|_, _, _| Ok(()), &Teller::silent()).await;
        let kept = match made {
            Ok(()) => {
                let made = MadeLayer { plan, layer, machine: &machine, took: Duration::ZERO };
                images.commit(&made, &NoLedger, &Teller::silent()).await.map(drop)
            }
            Err(fault) => Err(fault),
        };
        release(&provider, images.plan_base(&machine)).await?;
        kept
    }

    /// Keeps the files of an ended machine as an image.
    pub(crate) async fn commit(
        &self,
        below: &[Fingerprint],
        platform: Platform,
        machine: &MachineId,
        image: &str,
    ) -> Result<(), Fault> {
        let fingerprint = hash(image);
        let layer = LayerPlan {
            name: image.to_owned(),
            description: String::new(),
            recipe: LayerRecipe::Script {
                text: String::new(),
                files: Vec::new(),
                env: Vec::new(),
                limit: Duration::ZERO,
            },
            fingerprint: fingerprint.clone(),
        };
        let plan = ImagePlan {
            name: image.to_owned(),
            platform,
            baked_on: platform,
            distro: String::new(),
            values: std::collections::BTreeMap::new(),
            layers: vec![layer.clone()],
        };
        let made = MadeLayer { plan: &plan, layer: &layer, machine, took: Duration::ZERO };
        LocalImages::new(self.own.clone()).commit(&made, &NoLedger, &Teller::silent()).await?;
        self.baked().insert(image.to_owned(), Baked { layers: [below, &[fingerprint]].concat(), platform });
        Ok(())
    }

    /// Keeps the files of a machine that goes on as an image.
    pub(crate) async fn take(
        &self,
        below: &[Fingerprint],
        platform: Platform,
        machine: &Machine,
        image: &str,
    ) -> Result<(), Fault> {
        let name = image.parse().map_err(|error| Fault::infrastructure("an image's id is no name").because(error))?;
        let order = SnapshotOrder { machine, name: &name, distro: "", values: &BTreeMap::new() };
        let (id, images) = (MachineId::random(), LocalImages::new(self.own.clone()));
        let confirm = |_: ResourceKind, _: &str, _: &str| Ok(());
        let connector = SshConnector::default();
        let run = RunId::new(Timestamp::now());
        let taken = TakenSnapshot { id: &id, run: &run, confirm: &confirm, ledger: &NoLedger, connector: &connector };
        let made = images.take_snapshot(&order, &taken, &Teller::silent()).await;
        release(&LocalProvider::new(self.own.clone()), images.plan_snapshot(&id)).await?;
        let layer = made?.fingerprint;
        self.baked().insert(image.to_owned(), Baked { layers: [below, &[layer]].concat(), platform });
        Ok(())
    }

    /// Removes baked images; bases stay for the next time.
    pub(crate) async fn clear(&self) {
        let images = LocalImages::new(self.own.clone());
        let baked = std::mem::take(&mut *self.baked());
        for baked in baked.values() {
            if let Some(layer) = baked.layers.last() {
                drop(images.remove_layer(layer, false).await);
            }
        }
    }
}

fn hash(text: &str) -> Fingerprint {
    Fingerprint(HEXLOWER.encode(&Sha256::digest(text.as_bytes())))
}

fn base_plan(distro: &str) -> Result<ImagePlan, Fault> {
    let choice = ImageChoice::new(BaseChoice::Userland, distro);
    let mut plan = project::image::load(None, "linux-dev")?.plan(&choice)?;
    plan.layers.truncate(1);
    let Some(LayerPlan { recipe: LayerRecipe::Base(base), fingerprint, .. }) = plan.layers.first_mut() else {
        return Err(Fault::infrastructure(format!("the definition of `{distro}` has no base")));
    };
    base.packages = PACKAGES.map(str::to_owned).to_vec();
    *fingerprint = hash(&format!("{BASE_REVISION} {base:?}"));
    Ok(plan)
}
