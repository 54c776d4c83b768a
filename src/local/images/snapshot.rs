//! The state of a machine that is up becomes an image: a copy of the files that it has changed, made while it stands still, is a layer on top
//! of those that it was booted from.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Duration;

use jiff::Timestamp;
use model::base::deadline::Deadline;
use model::event::{StepEvent, Teller};
use model::fault::Fault;
use model::image::{Fingerprint, ImageRecord, LayerPlan, LayerRecipe, LayerRecord, SnapshotOrder};
use model::machine::Machine;
use model::provider::TakenSnapshot;
use model::resource::ResourceKind;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::folders::{MachineFolder, PAUSE};
use crate::images::{LocalImages, layers};
use crate::spec::{Spec, SpecKind, read_json, write_atomically, write_json};
use crate::trouble::{Doing, Trouble};
use crate::{blocking, computer, make_folder, proc};

/// The name of the layer.
const LAYER: &str = "snapshot";

/// The most layers of an image: one overlay cannot name many more, and a set-up may come on top.
const MOST_LAYERS: usize = 44;

/// How long a guard may take to pause its machine: longer than it tries.
const PAUSE_LIMIT: Duration = Duration::from_secs(20);

/// The longest reason of a guard, bytes.
const REASON_CAP: u64 = 4096;

/// A machine that stands still for as long as this lives.
struct Pause(UnixStream);

impl Pause {
    /// Has the guard of the machine in `folder` pause it.
    async fn begin(folder: &MachineFolder) -> Result<Self, Fault> {
        let failed = || Fault::infrastructure("the machine cannot be paused");
        let deadline = Deadline::after(PAUSE_LIMIT, "the machine to stand still");
        let asked = async {
            // The path may be too long for a socket's address.
            let directory = std::fs::File::open(folder.path())?;
            let mut guard = UnixStream::connect(format!("/proc/self/fd/{}/{PAUSE}", directory.as_raw_fd())).await?;
            let mut answer = [0];
            guard.read_exact(&mut answer).await?;
            let mut reason = String::new();
            if answer != *b"+" {
                (&mut guard).take(REASON_CAP).read_to_string(&mut reason).await?;
            }
            Ok::<_, std::io::Error>((guard, answer == *b"+", reason))
        };
        match deadline.bound(asked).await? {
            Ok((guard, true, _)) => Ok(Self(guard)),
            Ok((_, false, reason)) => Err(failed().because(reason)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(failed()
                .because("its guard is of an older build of the tool, and knows no pause")
                .hint("Make another machine with `automation machine up`.")),
            Err(error) => Err(failed().because(error)),
        }
    }

    /// Lets the machine go on. Fails where it has moved meanwhile, because its guard has ended or given up.
    fn end(self) -> Result<(), Fault> {
        let mut byte = [0];
        match self.0.try_read(&mut byte) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            _ => Err(Fault::infrastructure("the machine ended, or went on, while its files were copied")),
        }
    }
}

impl LocalImages {
    /// Refuses a machine whose state cannot be had.
    pub(super) fn vet_state(&self, machine: &Machine) -> Result<(), Trouble> {
        let folder = self.folders.machine(&machine.id);
        if proc::guards_of(&folder.spec())?.is_empty() {
            return Err(Trouble::new(format!("machine `{}` has ended", machine.id))
                .hint("`automation machine list` shows those that live."));
        }
        let layers = self.layers_of(&folder)?;
        if layers.len() >= MOST_LAYERS {
            let text = format!(
                "machine `{}` boots from {} layers, and an image has at most {MOST_LAYERS}",
                machine.id,
                layers.len()
            );
            return Err(Trouble::new(text)
                .hint("Begin again from an image that was not made of a machine that was made of a machine."));
        }
        Ok(())
    }

    /// The layers that the machine in `folder` boots from, lowest first.
    fn layers_of(&self, folder: &MachineFolder) -> Result<Vec<Fingerprint>, Trouble> {
        match read_json::<Spec>(&folder.spec())?.kind {
            SpecKind::Machine(machine) => Ok(machine.layers),
            SpecKind::Sandbox(_) => Err(Trouble::new("a sandbox has no state that could be an image")),
        }
    }

    /// Makes the image.
    pub(super) async fn take_state(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault> {
        self.vet_state(order.machine)?;
        let from = self.folders.machine(&order.machine.id);
        let below = self.layers_of(&from)?;
        let folder = make_folder(&self.folders, taken.id)?;
        let place = folder.path().display().to_string();
        (taken.confirm)(ResourceKind::Rootfs, &place, &place)?;
        let began = std::time::Instant::now();
        let layer = LayerPlan {
            name: LAYER.to_owned(),
            description: format!("The state of {}", order.machine.id),
            recipe: LayerRecipe::Taken,
            fingerprint: Fingerprint::random(),
        };
        // Whoever removes the copy of a maker that died removes the layer as well, until an image has it.
        write_atomically(&folder.layer(), layer.fingerprint.0.as_bytes()).doing(|| "write down the layer's name")?;
        self.copy_state(order.machine, &folder, teller).await?;
        let (store, machine) = (self.duplicate(), taken.id.clone());
        let record = blocking(move || store.keep(&layer, &machine, began.elapsed())).await??;
        Ok(self.write_state(order, &below, record)?)
    }

    /// Copies what the machine has changed while it stands still.
    async fn copy_state(&self, machine: &Machine, to: &MachineFolder, teller: &Teller) -> Result<(), Fault> {
        let pause = Pause::begin(&self.folders.machine(&machine.id)).await?;
        let told = |done: u64| teller.tell(StepEvent::Moved { done, total: None });
        let copied = self.files.copy(&machine.id, to.path(), &told).await;
        pause.end()?;
        Ok(copied.doing(|| format!("copy the files of machine `{}`", machine.id))?)
    }

    /// Writes the image down: the layers `below`, and the one that was `made`.
    fn write_state(
        &self,
        order: &SnapshotOrder<'_>,
        below: &[Fingerprint],
        made: LayerRecord,
    ) -> Result<ImageRecord, Trouble> {
        let read = |layer: &Fingerprint| read_json(&self.folders.layer(layer).join(layers::RECORD));
        let mut all = below.iter().map(read).collect::<Result<Vec<LayerRecord>, Trouble>>()?;
        let fingerprint = made.fingerprint.clone();
        all.push(made);
        let record = ImageRecord {
            name: order.name.to_string(),
            distro: order.distro.to_owned(),
            fingerprint: fingerprint.clone(),
            layers: all,
            created_at: Timestamp::now(),
            owner: None,
            locator: None,
            snapshot: Some(order.of()),
        };
        computer::make_private_folder(&self.folders.records())?;
        write_json(&self.record_path(&fingerprint)?, &record)?;
        Ok(record)
    }
}
