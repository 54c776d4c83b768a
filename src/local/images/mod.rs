//! Images of local machines: stacks of layers in `images/` of the state directory.

mod bootstrap;
pub(super) mod copy;
pub(super) mod layers;
mod lock;
pub mod mirrors;
pub(super) mod room;
mod snapshot;
mod tools;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bootstrap::Bootstrap;
use jiff::Timestamp;
use model::base::id::MachineId;
use model::event::{Awaited, ImageEvent, Teller};
use model::fault::{Fault, FaultKind};
use model::image::{Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecipe, LayerRecord, SnapshotOrder};
use model::machine::Machine;
use model::provider::{Confirm, ImageStore, Ledger, MadeLayer, TakenSnapshot};
use model::resource::{PlannedResource, ResourceKind};

use crate::files::{Action, FileWorker};
use crate::folders::{Folders, entries};
use crate::spec::{read_json, write_atomically, write_json};
use crate::trouble::{Doing, Trouble};
use crate::{LocalConfig, blocking, computer, hold, launch, make_folder, names, proc, release};

/// Keeps layers and images of local machines.
pub struct LocalImages {
    config: LocalConfig,
    folders: Folders,
    files: FileWorker,
}

impl LocalImages {
    /// The images in `config.state`. Makes nothing yet.
    pub fn new(config: LocalConfig) -> Self {
        let folders = Folders::new(&config.state);
        let files = FileWorker { state: folders.state().to_owned(), executable: config.executable.clone() };
        Self { folders, files, config }
    }

    /// Makes a layer of a machine's files. Each step but the last leaves them where `release` finds them.
    fn keep(&self, layer: &LayerPlan, machine: &MachineId, took: Duration) -> Result<LayerRecord, Fault> {
        layers::check(&layer.fingerprint)?;
        let (folders, folder) = (&self.folders, self.folders.machine(machine));
        if !proc::guards_of(&folder.spec())?.is_empty() {
            let text = format!("machine `{machine}` still runs; its files cannot become a layer yet");
            return Err(Trouble::new(text).into());
        }
        // The lock keeps others from clearing the files away, however long this takes.
        let _held = hold::lock_shared(folder.path())
            .ok_or_else(|| Trouble::new(format!("the files of machine `{machine}` are gone: its lease was over")))?;
        let place = folders.layer(&layer.fingerprint);
        if layers::is_present(folders, &layer.fingerprint) {
            return Ok(read_json(&place.join(layers::RECORD))?);
        }
        let passage = folders.staging().join(machine.as_str());
        computer::make_private_folder(&passage)?;
        let _passing = hold::lock_shared(&passage);
        computer::make_private_folder(&folders.layers())?;
        let root = passage.join("fs");
        std::fs::rename(folder.upper(), &root).doing(|| format!("move `{}`", folder.upper().display()))?;
        let sealing = if layer.recipe == LayerRecipe::Taken { Action::SealSnapshot } else { Action::Seal };
        let bytes =
            self.files.apply(&sealing, &passage).doing(|| format!("seal the layer in `{}`", passage.display()))?;
        let record = LayerRecord {
            name: layer.name.clone(),
            fingerprint: layer.fingerprint.clone(),
            created_at: Timestamp::now(),
            seconds: took.as_secs(),
            bytes,
        };
        write_json(&passage.join(layers::RECORD), &record)?;
        layers::sync(&passage)?;
        if place.exists() {
            // The rest of a layer that has lost its record would be in the way.
            self.remove_taken_out(&place)?;
        }
        std::fs::rename(&passage, &place).doing(|| format!("make the layer `{}`", place.display()))?;
        layers::sync(&folders.layers())?;
        Ok(record)
    }

    /// Moves a layer out of its place, which takes no time, and then removes its files, which may take long. With
    /// `dry_run` it ends before the first of that.
    fn discard(&self, fingerprint: &Fingerprint, dry_run: bool) -> Result<(), Fault> {
        layers::check(fingerprint)?;
        let _lock = match lock::try_lock(&self.folders.locks(), &fingerprint.0) {
            Ok(None) => {
                return Err(Trouble::new(format!("the layer `{}` is being made", fingerprint.short()))
                    .hint("Wait until the bake is over, then try again.")
                    .into());
            }
            // A process that makes a layer makes the lock's file first. Where that cannot be made, as on a full disk,
            // and does not exist, nobody makes the layer.
            Err(_) if !self.folders.locks().join(&fingerprint.0).exists() => None,
            held => held?,
        };
        if let Some(machine) = layers::user_of(&self.folders, fingerprint)? {
            return Err(Trouble::new(format!("the layer `{}` is in use by machine `{machine}`", fingerprint.short()))
                .hint(format!("End the machine first: `automation machine down {machine}`."))
                .into());
        }
        let place = self.folders.layer(fingerprint);
        if place.exists() && !dry_run {
            let passage = self.folders.staging();
            let out = passage.join(format!("{fingerprint}{}", layers::REMOVED));
            // An earlier removal of a layer of this fingerprint may have been cut off.
            self.remove_taken_out(&out)?;
            let moved = computer::make_private_folder(&passage).is_ok() && std::fs::rename(&place, &out).is_ok();
            if !moved {
                // A full disk may have no room for another name. Without its record the folder is not a layer any more
                // either.
                remove_file(&place.join(layers::RECORD))?;
            }
            self.remove_taken_out(if moved { &out } else { &place })?;
        }
        Ok(())
    }

    /// Removes the folders that have no record: layers that were moved out of their place, layers whose record is gone
    /// (`rm -rf` of an ordinary user removes it and leaves the rest), the folders of killed probes. Nobody uses such a
    /// folder, so several processes may remove it at once. A folder that cannot be removed does not stop the removal of
    /// the others.
    fn sweep_unknown(&self, dry_run: bool) -> Result<usize, Fault> {
        let mut unknown = Vec::new();
        for entry in entries(&self.folders.staging())? {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Other names were not given by us.
            if !layers::is_staging_name(&name) {
                continue;
            }
            let probe = name.strip_prefix(layers::PROBE).map(|pid| pid.parse().unwrap_or_default());
            let in_use = match probe {
                Some(pid) => proc::identify(pid).is_some(),
                None if name.ends_with(layers::REMOVED) => false,
                // A layer that is being added has the name of its machine, and the process that adds it holds its lock.
                None => name.parse().map_or(true, |machine| self.folders.machine(&machine).path().exists()),
            };
            if !in_use && (name.ends_with(layers::REMOVED) || hold::lock_exclusive(&entry.path()).is_some()) {
                unknown.push(entry.path());
            }
        }
        // A layer is moved to its place with its record, so that a folder without a record is not one being added.
        let ours = |entry: &std::fs::DirEntry| entry.file_name().to_str().is_some_and(layers::is_layer_name);
        let layers = entries(&self.folders.layers())?.into_iter().filter(ours).map(|entry| entry.path());
        unknown.extend(layers.filter(|path| !path.join(layers::RECORD).exists()));
        let mut first_fault = None;
        for path in unknown.iter().filter(|_| !dry_run) {
            first_fault = first_fault.or(self.remove_taken_out(path).err());
        }
        first_fault.map_or(Ok(unknown.len()), Err)
    }

    fn remove_taken_out(&self, path: &Path) -> Result<(), Fault> {
        let removed = self.files.apply(&Action::Remove, path).doing(|| format!("remove `{}`", path.display()));
        removed.map(drop).map_err(|trouble| Fault::new(FaultKind::LeftBehind, trouble.message))
    }

    fn record_path(&self, fingerprint: &Fingerprint) -> Result<std::path::PathBuf, Trouble> {
        layers::check(fingerprint)?;
        Ok(self.folders.records().join(format!("{fingerprint}.json")))
    }

    fn records(&self) -> Result<Vec<ImageRecord>, Trouble> {
        records(&self.folders)
    }

    fn duplicate(&self) -> Self {
        Self::new(self.config.clone())
    }
}

#[async_trait]
impl ImageStore for LocalImages {
    fn keeps_whole(&self) -> bool {
        false
    }

    async fn count_present(&self, plan: &ImagePlan) -> Result<usize, Fault> {
        let present = |layer: &&LayerPlan| layers::is_present(&self.folders, &layer.fingerprint);
        Ok(plan.layers.iter().take_while(present).count())
    }

    fn prepare(&self, missing: &[LayerPlan]) -> Result<(), Fault> {
        room::check(self.folders.state(), missing)?;
        let makes_base = missing.iter().any(|layer| matches!(layer.recipe, LayerRecipe::Base(_)));
        if let Some(keyring) = self.config.keyring.as_ref().filter(|_| makes_base) {
            tools::check_keyring(keyring)?;
        }
        Ok(())
    }

    async fn lock(&self, layer: &Fingerprint, teller: &Teller) -> Result<Box<dyn Send + Sync>, Fault> {
        layers::check(layer)?;
        let awaited = Awaited::Layer(layer.clone());
        Ok(Box::new(lock::lock(&self.folders.locks(), &layer.0, &awaited, teller).await?))
    }

    fn plan_base(&self, machine: &MachineId) -> Vec<PlannedResource> {
        use ResourceKind::{Mount, Namespace, Process, Rootfs};
        names::plan(&self.folders, machine, &[Rootfs, Process, Namespace, Mount])
    }

    async fn make_base(
        &self,
        layer: &LayerPlan,
        machine: &MachineId,
        grace: Duration,
        confirm: Confirm<'_>,
        teller: &Teller,
    ) -> Result<(), Fault> {
        let LayerRecipe::Base(base) = &layer.recipe else {
            return Err(Fault::infrastructure(format!("the step `{}` makes no base", layer.name)));
        };
        let ids = self.config.ids(machine)?;
        let tools = tools::provide(&self.folders, &base.family, self.config.keyring.as_deref(), teller).await?;
        let chosen = mirrors::choose(base, &self.config.mirrors);
        let environment = self.config.environment.clone();
        let proxies = blocking(move || mirrors::proxies(&environment)).await?;
        let folder = make_folder(&self.folders, machine)?;
        let tools = tools.with_keys_copied(&folder, self.config.keyring.as_deref())?;
        let bootstrap = Bootstrap { base, mirrors: &chosen, tools: &tools };
        let place = folder.path().display().to_string();
        confirm(ResourceKind::Rootfs, &place, &place)?;
        let options = bootstrap::apt_options(&proxies);
        write_atomically(&folder.apt_conf(), options.as_bytes()).doing(|| "write the configuration of `apt`")?;
        let sandbox = bootstrap.sandbox(&self.folders.tools());
        let spec = bootstrap::specify(self.folders.state(), machine, sandbox, ids, grace);
        teller.tell(ImageEvent::PackagesFrom { mirror: mirrors::without_userinfo(&chosen.main) });
        let mut launched = launch::launch(&self.config, &spec)?;
        launched.wait_until_ready(&|kind| names::resource_name(&self.folders, machine, kind), confirm).await?;
        bootstrap.watch(&mut launched, &folder, grace, teller).await?;
        let ended = folder.clone();
        if let Some(reason) = blocking(move || release::end_machine(&ended)).await? {
            return Err(Fault::infrastructure(reason));
        }
        bootstrap.furnish(&folder.upper())?;
        Ok(())
    }

    async fn commit(&self, made: &MadeLayer<'_>, _: &dyn Ledger, _: &Teller) -> Result<LayerRecord, Fault> {
        let (store, layer, machine, took) = (self.duplicate(), made.layer.clone(), made.machine.clone(), made.took);
        Ok(blocking(move || store.keep(&layer, &machine, took)).await??)
    }

    async fn expected_seconds(&self, plan: &ImagePlan) -> BTreeMap<String, u64> {
        // Records that cannot be read give no estimate; the error is reported where the records are needed.
        plan.expected_seconds(self.records().unwrap_or_default())
    }

    async fn finish(&self, plan: &ImagePlan, now: Timestamp) -> Result<ImageRecord, Fault> {
        let path = self.record_path(&plan.fingerprint())?;
        let read = |layer: &LayerPlan| {
            layers::check(&layer.fingerprint)?;
            read_json::<LayerRecord>(&self.folders.layer(&layer.fingerprint).join(layers::RECORD))
        };
        let record = ImageRecord {
            name: plan.name.clone(),
            distro: plan.distro.clone(),
            fingerprint: plan.fingerprint(),
            layers: plan.layers.iter().map(read).collect::<Result<_, Trouble>>()?,
            created_at: now,
            owner: None,
            locator: None,
            snapshot: None,
        };
        computer::make_private_folder(&self.folders.records())?;
        write_json(&path, &record)?;
        Ok(record)
    }

    async fn vet_snapshot(&self, machine: &Machine) -> Result<(), Fault> {
        Ok(self.vet_state(machine)?)
    }

    fn plan_snapshot(&self, taken: &MachineId) -> Vec<PlannedResource> {
        names::plan(&self.folders, taken, &[ResourceKind::Rootfs])
    }

    async fn take_snapshot(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault> {
        self.take_state(order, taken, teller).await
    }

    async fn record(&self, fingerprint: &Fingerprint) -> Result<Option<ImageRecord>, Fault> {
        Ok(self.list().await?.into_iter().find(|record| record.fingerprint == *fingerprint))
    }

    async fn list(&self) -> Result<Vec<ImageRecord>, Fault> {
        Ok(self.records()?)
    }

    async fn layers(&self) -> Result<Vec<LayerRecord>, Fault> {
        Ok(layers::all(&self.folders)?)
    }

    /// Nobody: a machine boots from layers, so that the users of an image are known by its layers.
    async fn users(&self, _: &[ImageRecord]) -> Result<BTreeMap<Fingerprint, String>, Fault> {
        Ok(BTreeMap::new())
    }

    async fn remove_image(&self, fingerprint: &Fingerprint, _: bool) -> Result<(), Fault> {
        remove_file(&self.record_path(fingerprint)?)?;
        Ok(())
    }

    async fn remove_layer(&self, fingerprint: &Fingerprint, dry_run: bool) -> Result<(), Fault> {
        let (store, fingerprint) = (self.duplicate(), fingerprint.clone());
        Ok(blocking(move || store.discard(&fingerprint, dry_run)).await??)
    }

    async fn sweep(&self, dry_run: bool) -> Result<usize, Fault> {
        let store = self.duplicate();
        Ok(blocking(move || store.sweep_unknown(dry_run)).await??)
    }
}

/// The finished images, newest first.
fn records(folders: &Folders) -> Result<Vec<ImageRecord>, Trouble> {
    let mut records = Vec::new();
    for entry in entries(&folders.records())? {
        if entry.path().extension().is_some_and(|name| name == "json") {
            records.push(read_json::<ImageRecord>(&entry.path())?);
        }
    }
    records.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.name.cmp(&b.name)));
    Ok(records)
}

/// The finished images in the state directory `state`, newest first, for a shell that completes a word; none where they cannot be read.
pub fn glance(state: &Path) -> Vec<ImageRecord> {
    records(&Folders::new(state)).unwrap_or_default()
}

/// Removes a file; succeeds where there is none.
fn remove_file(path: &Path) -> Result<(), Trouble> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Trouble::new(format!("cannot remove `{}`: {error}", path.display())))
        }
        _ => Ok(()),
    }
}
