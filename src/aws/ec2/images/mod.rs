//! Images of an account: AMIs with the tag [`tags::FINGERPRINT`], each with its snapshots.
//!
//! The lowest layer is a distribution's own image, so it always exists; one machine makes all layers above it, which
//! are kept as one AMI. Its owner and the people who trust the owner boot from it; only its owner removes it, unless
//! asked otherwise.
//!
//! Deliberately absent: a lock for the whole account. Two people who bake the same image at the same time meet at its
//! name, which is unique in the account: the second person uses the image of the first if that one is trusted, and else
//! makes another one under a name of their own.

mod bake;
mod record;
mod remove;
mod snapshot;
mod trust;

pub use bake::fate;
pub use trust::{ImageUser, Trust};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, Image, ImageState};
use jiff::Timestamp;
use model::base::id::MachineId;
use model::event::{ImageEvent, Teller, TroubleEvent};
use model::fault::Fault;
use model::image::{Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecord, SnapshotOrder};
use model::machine::Machine;
use model::provider::{Confirm, ImageStore, Ledger, MadeLayer, TakenSnapshot};
use model::resource::PlannedResource;
use record::ImageStatus;

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::{tags, trouble};

/// How long an image that another process has begun may take: as long as that of any platform.
const WAIT_LIMIT: Duration = Duration::from_secs(5400);

/// How many images one page may hold; the API's own limit.
const PAGE: i32 = 1000;

/// The account's own images whose `attribute` is `value`. A filter that matches nothing is not an error, unlike an
/// unknown id.
async fn own_images(clients: &Clients, region: &str, attribute: &str, value: &str) -> Result<Vec<Image>, Fault> {
    let filter = filters::match_value(attribute, value);
    let answer = clients.ec2(region).describe_images().owners("self").filters(filter).send().await;
    let answer = answer.map_err(|error| trouble::fault(&format!("look at the image `{value}`"), error))?;
    Ok(answer.images.unwrap_or_default())
}

/// Keeps the images of one person in one region.
pub struct Ec2Images {
    clients: Arc<Clients>,
    region: String,
    reader: ImageUser,
    state_id: String,
    /// One lock for each image that this process makes.
    making: Mutex<HashMap<Fingerprint, Arc<tokio::sync::Mutex<()>>>>,
    /// The images that this process has made or found; a listing may not show them yet.
    made: Mutex<BTreeMap<Fingerprint, ImageRecord>>,
}

impl Ec2Images {
    /// The images that `reader`, whose state directory has the id `state_id`, may use, make and remove in `region`.
    /// Makes no call yet.
    pub fn new(clients: Arc<Clients>, region: &str, reader: ImageUser, state_id: &str) -> Self {
        Self {
            clients,
            region: region.to_owned(),
            reader,
            state_id: state_id.to_owned(),
            making: Mutex::default(),
            made: Mutex::default(),
        }
    }

    fn ec2(&self) -> aws_sdk_ec2::Client {
        self.clients.ec2(&self.region)
    }

    /// The account's own images that match `filters`, in any state.
    async fn list_matching(&self, filters: Vec<Filter>) -> Result<Vec<Image>, Fault> {
        let call = self.ec2().describe_images().owners("self").set_filters(Some(filters)).max_results(PAGE);
        let mut pages = call.into_paginator().items().send();
        let mut images = Vec::new();
        while let Some(image) = pages.next().await {
            let doing = || format!("list the images of `{}`", self.region);
            images.push(image.map_err(|error| trouble::fault(&doing(), error))?);
        }
        Ok(images)
    }

    /// The images of this fingerprint, in any state.
    async fn of(&self, fingerprint: &Fingerprint) -> Result<Vec<Image>, Fault> {
        self.list_matching(vec![filters::match_tag(tags::FINGERPRINT, &fingerprint.0)]).await
    }

    /// Refuses the state of a machine that only people have whose images are not used.
    fn refuse_untrusted(&self, plan: &ImagePlan, found: &[Image]) -> Result<(), Fault> {
        match self.reader.untrusted_owners(found).as_slice() {
            [] => Ok(()),
            others => Err(Fault::outside(format!(
                "the image `{}` is of {}, whose images are not used",
                plan.name,
                others.join(", ")
            ))
            .hint("`--trust-images-of OWNER` boots from another person's.")),
        }
    }

    fn recall(&self, fingerprint: &Fingerprint) -> Option<ImageRecord> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(fingerprint).cloned()
    }

    fn remember(&self, record: ImageRecord) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(record.fingerprint.clone(), record);
    }

    fn forget(&self, fingerprint: &Fingerprint) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(fingerprint);
    }
}

/// Refuses the plan of an image that does not start from an image of the cloud.
fn check(plan: &ImagePlan) -> Result<(), Fault> {
    match plan.cloud().is_some() || plan.is_of_snapshot() {
        true => Ok(()),
        false => Err(Fault::infrastructure(format!("`{}` is not a plan for Amazon EC2", plan.name))),
    }
}

#[async_trait]
impl ImageStore for Ec2Images {
    fn keeps_whole(&self) -> bool {
        true
    }

    async fn count_present(&self, plan: &ImagePlan) -> Result<usize, Fault> {
        check(plan)?;
        let fingerprint = plan.fingerprint();
        if self.recall(&fingerprint).is_none() {
            let found = self.of(&fingerprint).await?;
            if let Some(record) = self.reader.choose(&found).and_then(record::record) {
                self.remember(record);
            } else if plan.is_of_snapshot() {
                self.refuse_untrusted(plan, &found)?;
                return Ok(0);
            }
        }
        // The base is the distribution's own image and always exists.
        Ok(if self.recall(&fingerprint).is_some() { plan.layers.len() } else { 1 })
    }

    /// Nothing is known to fail before it is tried: the base is its distribution's, and layers need no room here.
    fn prepare(&self, _: &[LayerPlan]) -> Result<(), Fault> {
        Ok(())
    }

    /// Keeps other tasks of this process from making the image, and waits for an image that another process has begun.
    async fn lock(&self, layer: &Fingerprint, teller: &Teller) -> Result<Box<dyn Send + Sync>, Fault> {
        let lock = {
            let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(making.entry(layer.clone()).or_default())
        };
        let guard = lock.lock_owned().await;
        if self.recall(layer).is_none() {
            let found = self.of(layer).await?;
            let others = self.reader.untrusted_owners(&found);
            if !others.is_empty() && self.reader.choose(&found).is_none() {
                let owners = others.iter().map(ToString::to_string).collect();
                teller.tell(ImageEvent::OthersNotUsed { fingerprint: layer.clone(), owners });
            }
            let is_pending =
                |image: &&Image| record::status(image) == ImageStatus::Pending && self.reader.accepts(image);
            let pending = found.iter().find(is_pending);
            if let Some(id) = pending.and_then(Image::image_id) {
                // If that image fails, this process makes it, whoever began it.
                if let Err(fault) = self.until_whole(id, WAIT_LIMIT, teller).await {
                    teller.tell(TroubleEvent::from(&fault));
                }
            }
        }
        Ok(Box::new(guard))
    }

    fn plan_base(&self, _: &MachineId) -> Vec<PlannedResource> {
        Vec::new()
    }

    async fn make_base(
        &self,
        layer: &LayerPlan,
        _: &MachineId,
        _: Duration,
        _: Confirm<'_>,
        _: &Teller,
    ) -> Result<(), Fault> {
        let why = "on Amazon EC2 the base is the distribution's own image";
        Err(Fault::infrastructure(format!("cannot make the layer `{}`", layer.name)).because(why))
    }

    async fn commit(&self, made: &MadeLayer<'_>, ledger: &dyn Ledger, teller: &Teller) -> Result<LayerRecord, Fault> {
        check(made.plan)?;
        let record = self.bake(made, ledger, teller).await?;
        let layer = record.layers.first().cloned();
        self.remember(record);
        layer.ok_or_else(|| Fault::infrastructure(format!("the image of `{}` has no layer", made.plan.name)))
    }

    /// The tags of an AMI are its record, so there is nothing to write down.
    async fn finish(&self, plan: &ImagePlan, _: Timestamp) -> Result<ImageRecord, Fault> {
        check(plan)?;
        let fingerprint = plan.fingerprint();
        if let Some(record) = self.recall(&fingerprint) {
            return Ok(record);
        }
        let found = self.of(&fingerprint).await?;
        self.reader.choose(&found).and_then(record::record).ok_or_else(|| {
            Fault::infrastructure(format!("there is no image `{}` in `{}`", plan.name, self.region))
                .hint("`automation image list --provider ec2` shows what there is.")
        })
    }

    async fn vet_snapshot(&self, machine: &Machine) -> Result<(), Fault> {
        self.vet_disk(machine).await
    }

    /// Nothing: what is made has names only once its own is chosen.
    fn plan_snapshot(&self, _: &MachineId) -> Vec<PlannedResource> {
        Vec::new()
    }

    async fn take_snapshot(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault> {
        let record = self.take_disk(order, taken, teller).await?;
        self.remember(record.clone());
        Ok(record)
    }

    async fn record(&self, fingerprint: &Fingerprint) -> Result<Option<ImageRecord>, Fault> {
        Ok(self.recall(fingerprint))
    }

    /// Nothing: an image is stored as one layer, and its record holds no times of the steps that made it.
    async fn expected_seconds(&self, _: &ImagePlan) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    async fn list(&self) -> Result<Vec<ImageRecord>, Fault> {
        let filters = vec![
            filters::match_tag_key(tags::FINGERPRINT),
            filters::match_value("state", ImageState::Available.as_str()),
        ];
        let mut records: Vec<ImageRecord> =
            self.list_matching(filters).await?.iter().filter_map(record::record).collect();
        {
            let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            let missing = made.values().filter(|made| !records.iter().any(|known| known.locator == made.locator));
            let missing: Vec<ImageRecord> = missing.cloned().collect();
            records.extend(missing);
        }
        records.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.name.cmp(&b.name)));
        Ok(records)
    }

    /// Always empty: an account keeps whole images.
    async fn layers(&self) -> Result<Vec<LayerRecord>, Fault> {
        Ok(Vec::new())
    }

    async fn users(&self, images: &[ImageRecord]) -> Result<BTreeMap<Fingerprint, String>, Fault> {
        let ids = images.iter().filter_map(|image| Some((image.locator.clone()?, image.fingerprint.clone())));
        let ids: BTreeMap<String, Fingerprint> = ids.collect();
        let wanted: Vec<String> = ids.keys().cloned().collect();
        let users = self.machines_of(&wanted).await?;
        Ok(users.into_iter().filter_map(|(id, user)| Some((ids.get(&id)?.clone(), user))).collect())
    }

    async fn remove_image(&self, fingerprint: &Fingerprint, of_any_owner: bool) -> Result<(), Fault> {
        let removed = self.remove(fingerprint, of_any_owner).await;
        self.forget(fingerprint);
        removed
    }

    async fn remove_layer(&self, fingerprint: &Fingerprint, _: bool) -> Result<(), Fault> {
        let why = "an account keeps whole images, not layers";
        Err(Fault::infrastructure(format!("cannot remove the layer `{}`", fingerprint.short())).because(why))
    }

    async fn sweep(&self, dry_run: bool) -> Result<usize, Fault> {
        self.sweep_snapshots(dry_run).await
    }
}
