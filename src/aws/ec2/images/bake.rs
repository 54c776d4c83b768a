//! Making an image that other machines boot from, of a machine on which all steps have run.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{Filter, Image, Instance, InstanceStateName, ResourceType};
use model::base::deadline::{Deadline, Pace};
use model::base::id::MachineId;
use model::event::{ImageEvent, Teller};
use model::fault::Fault;
use model::image::{Fingerprint, ImageRecord};
use model::provider::{Ledger, MadeLayer};
use model::resource::{Fate, PlannedResource, Resource, ResourceKind};

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::images::record::{self, ImageStatus, ami_name, status};
use crate::ec2::images::{Ec2Images, own_images, remove};
use crate::ec2::platform::facts;
use crate::ec2::tags::{self, RowName};
use crate::ec2::trouble::{self, Class};

/// How long a new image may be unknown to the call that describes it.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(60);

/// How many times, a second apart, an image is looked for whose creation was interrupted or whose answer was lost.
const LOOKUP_TRIES: u32 = 4;

/// The longest name of an image, in characters.
const AMI_NAME_CAP: usize = 128;

/// The first and the longest pause between two polls.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How long a wait is silent before it reports that it still waits.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The result of a call that makes an image.
enum Creation {
    /// It is being made and has this id.
    Ours(String),
    /// There already is an image of this name.
    NameTaken,
}

/// The result of the attempt to have an image of a name.
enum NamedImage {
    /// There is an image that may be used; it has this id.
    Usable(String),
    /// The image of this name belongs to a person who is not trusted.
    Anothers(Box<Image>),
}

/// The name for an image of `owner` if the usual name is taken by another person.
fn own_name(name: &str, owner: &str) -> String {
    format!("{name}-{}", tags::to_name(owner)).chars().take(AMI_NAME_CAP).collect()
}

/// The name of a row for the snapshot number `at` of an image: snapshots have no names of their own.
pub(super) fn part_name(image: &str, at: usize) -> String {
    format!("{image}-{at}")
}

/// Whether an image can no longer be made of the instance.
fn has_ended(instance: &Instance) -> bool {
    let state = instance.state().and_then(|state| state.name());
    matches!(state, Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown))
}

impl Ec2Images {
    /// Makes an image of the machine and waits until it can be booted from.
    pub(super) async fn bake(
        &self,
        made: &MadeLayer<'_>,
        ledger: &dyn Ledger,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault> {
        let instance = self.instance_of(made).await?;
        let name = ami_name(&made.plan.name, &made.layer.fingerprint);
        if let Some(record) = self.bake_as(&name, made, &instance, ledger, teller).await? {
            return Ok(record);
        }
        // A person who is not trusted has the name.
        let own = own_name(&name, &self.reader.owner);
        let record = self.bake_as(&own, made, &instance, ledger, teller).await?;
        record.ok_or_else(|| Fault::outside(format!("another person's image has the name `{own}`")))
    }

    /// Makes an image of this name; `None` if a person who is not trusted has the name.
    async fn bake_as(
        &self,
        name: &str,
        made: &MadeLayer<'_>,
        instance: &str,
        ledger: &dyn Ledger,
        teller: &Teller,
    ) -> Result<Option<ImageRecord>, Fault> {
        let account = &self.clients.identity().await?.account;
        let planned = |kind, name: String| PlannedResource {
            machine: made.machine.clone(),
            kind,
            name: RowName::regional(account, &self.region, name).to_string(),
        };
        let row = ledger.plan(&planned(ResourceKind::MachineImage, name.to_owned()))?;
        // This row is for the machine's only disk; further snapshots have no name before they are seen.
        let first = ledger.plan(&planned(ResourceKind::Snapshot, part_name(name, 0)))?;
        let keep = |image: &Image| {
            ledger.mark_kept(&row, image.image_id().unwrap_or_default())?;
            for (at, snapshot) in record::snapshots(image).iter().enumerate() {
                match at {
                    0 => ledger.mark_kept(&first, snapshot)?,
                    _ => ledger
                        .mark_kept(&ledger.plan(&planned(ResourceKind::Snapshot, part_name(name, at)))?, snapshot)?,
                }
            }
            Ok::<(), Fault>(())
        };
        let id = match self.make(made, instance, name).await? {
            NamedImage::Usable(id) => id,
            // An image of that name exists, so the rows are true whoever made it.
            NamedImage::Anothers(image) => return keep(&image).map(|()| None),
        };
        let image = self.until_whole(&id, facts(made.plan.platform).image_limit, teller).await?;
        keep(&image)?;
        let lacks = || Fault::infrastructure(format!("the image `{id}` lacks its tags"));
        record::record(&image).ok_or_else(lacks).map(Some)
    }

    /// The instance of the machine. It is not stopped: EC2 itself shuts it down for the snapshot and starts it again, and then
    /// it ends by itself like any other; a stopped instance would stay for ever if this process died now.
    async fn instance_of(&self, made: &MadeLayer<'_>) -> Result<String, Fault> {
        self.instance_named(made.machine).await
    }

    /// The living instance of a machine.
    pub(super) async fn instance_named(&self, machine: &MachineId) -> Result<String, Fault> {
        let found = self.instance(filters::match_tag(tags::MACHINE, machine.as_str())).await?;
        let living = found.filter(|instance| !has_ended(instance));
        living.and_then(|instance| instance.instance_id).ok_or_else(|| {
            Fault::infrastructure(format!(
                "the machine `{machine}` is not there any more, so no image can be made of it"
            ))
            .hint("Its lease may have run out: give a longer `--grace`.")
        })
    }

    /// The instance that matches `wanted`; a terminated one only if there is no other.
    async fn instance(&self, wanted: Filter) -> Result<Option<Instance>, Fault> {
        let answer = self.ec2().describe_instances().filters(wanted).send().await;
        let answer =
            answer.map_err(|error| trouble::fault(&format!("look at machines of `{}`", self.region), error))?;
        let instances =
            answer.reservations.unwrap_or_default().into_iter().flat_map(|r| r.instances.unwrap_or_default());
        Ok(instances.min_by_key(has_ended))
    }

    /// Makes the call that begins the image.
    async fn create(&self, made: &MadeLayer<'_>, instance: &str, name: &str) -> Result<Creation, Fault> {
        let of = tags::ImageTags {
            name: &format!("{}{}", tags::PREFIX, made.plan.name),
            fingerprint: &made.layer.fingerprint.0,
            owner: &self.reader.owner,
            distro: &made.plan.distro,
            state_id: &self.state_id,
        };
        let mut tags = of.tags();
        tags.push(tags::tag(tags::SECONDS, &made.took.as_secs().to_string()));
        tags.push(tags::tag(tags::MACHINE, made.machine.as_str()));
        let answer = self
            .ec2()
            .create_image()
            .instance_id(instance)
            .name(name)
            .description(format!("{} {}", made.plan.name, made.layer.fingerprint.short()))
            .tag_specifications(tags::specification(ResourceType::Image, &tags))
            .tag_specifications(tags::specification(ResourceType::Snapshot, &tags))
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let id = answer.image_id;
                id.map(Creation::Ours).ok_or_else(|| Fault::infrastructure(format!("the image `{name}` has no id")))
            }
            Err(error) if trouble::class(&error) == Class::Duplicate => Ok(Creation::NameTaken),
            Err(error) => Err(trouble::fault(&format!("make the image `{name}` of `{instance}`"), error)),
        }
    }

    /// Makes the image `name`, or takes the one that already has this name: somebody else was faster, or the answer to
    /// our own call was lost. A failed image of our own is in the way and is removed.
    async fn make(&self, made: &MadeLayer<'_>, instance: &str, name: &str) -> Result<NamedImage, Fault> {
        if let Creation::Ours(id) = self.create(made, instance, name).await? {
            return Ok(NamedImage::Usable(id));
        }
        let found = self.find_named(name, &made.layer.fingerprint).await?;
        if !self.reader.accepts(&found) {
            return Ok(NamedImage::Anothers(Box::new(found)));
        }
        let owner = tags::owner(found.tags());
        if matches!(status(&found), ImageStatus::Failed(_)) && owner == Some(self.reader.owner.as_str()) {
            remove::deregister(&self.clients, &self.region, &found).await?;
            if let Creation::Ours(id) = self.create(made, instance, name).await? {
                return Ok(NamedImage::Usable(id));
            }
        }
        Ok(NamedImage::Usable(found.image_id().unwrap_or_default().to_owned()))
    }

    /// The image that already has the name. If our own call made it a moment ago and the answer was lost, it may not be
    /// listed at once, so it is looked for several times.
    async fn find_named(&self, name: &str, fingerprint: &Fingerprint) -> Result<Image, Fault> {
        let mut found = Vec::new();
        for look in 0..LOOKUP_TRIES {
            if look > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            found = self.list_matching(vec![filters::match_value("name", name)]).await?;
            if !found.is_empty() {
                break;
            }
        }
        let other = found.first().and_then(Image::image_id).unwrap_or("one that is not shown").to_owned();
        let ours = |image: &Image| tags::value(image.tags(), tags::FINGERPRINT) == Some(&fingerprint.0);
        found.into_iter().find(ours).ok_or_else(|| {
            Fault::outside(format!("cannot make the image `{name}`: another one has this name ({other})"))
                .hint("It lacks our fingerprint: deregister or rename it, then try again.")
        })
    }

    /// Waits until machines can boot from the image.
    pub(super) async fn until_whole(&self, id: &str, limit: Duration, teller: &Teller) -> Result<Image, Fault> {
        let deadline = Deadline::after(limit, format!("the image `{id}` to be available"));
        deadline.bound(self.poll(id, teller)).await?
    }

    async fn poll(&self, id: &str, teller: &Teller) -> Result<Image, Fault> {
        let (began, mut reported_at) = (Instant::now(), Instant::now());
        let mut pace = Pace::new(PAUSES);
        teller.tell(ImageEvent::Waiting { id: id.to_owned() });
        loop {
            let image = find_by_id(&self.clients, &self.region, id).await?;
            match image.as_ref().map_or(ImageStatus::Gone, status) {
                ImageStatus::Available => return image.ok_or_else(|| gone_fault(id)),
                ImageStatus::Failed(reason) => {
                    return Err(Fault::infrastructure(format!("the image `{id}` failed")).because(reason));
                }
                // A new image may be unknown for a moment.
                ImageStatus::Gone if began.elapsed() > UNKNOWN_LIMIT => return Err(gone_fault(id)),
                ImageStatus::Gone | ImageStatus::Pending => {}
            }
            if reported_at.elapsed() >= REPORT_INTERVAL {
                teller.tell(ImageEvent::Pending { id: id.to_owned(), waited: began.elapsed() });
                reported_at = Instant::now();
            }
            pace.pause().await;
        }
    }
}

fn gone_fault(id: &str) -> Fault {
    Fault::infrastructure(format!("the image `{id}` is not there any more"))
        .hint("Somebody of this account removed it; try again.")
}

/// The image `id`; `None` if EC2 does not know it.
async fn find_by_id(clients: &Clients, region: &str, id: &str) -> Result<Option<Image>, Fault> {
    match clients.ec2(region).describe_images().image_ids(id).send().await {
        Ok(answer) => Ok(answer.images.unwrap_or_default().into_iter().next()),
        Err(error) => match trouble::class(&error) {
            Class::NotFound => Ok(None),
            _ => Err(trouble::fault(&format!("look at the image `{id}`"), error)),
        },
    }
}

/// The fate of the image or snapshot of a row that is still open, because a bake was interrupted between making it and
/// seeing it complete. An image that is or will be complete is kept, for the machine was baked to the end; a failed one
/// is removed. `row` must belong to the account of the credentials.
///
/// # Errors
///
/// A row name that cannot be read; the fault of a call.
pub async fn fate(clients: &Clients, row: &Resource) -> Result<Fate, Fault> {
    let place: RowName =
        row.name.parse().map_err(|error: tags::InvalidRowName| Fault::infrastructure(error.to_string()))?;
    let region = place.region.as_deref().unwrap_or(clients.region());
    if row.kind == ResourceKind::Snapshot {
        let Some(id) = &row.locator else { return snapshot_fate(clients, region, row, &place.name).await };
        let existing = remove::existing_snapshots(clients, region, std::slice::from_ref(id)).await?;
        return Ok(if existing.is_empty() { Fate::Gone } else { Fate::Kept(id.clone()) });
    }
    let Some(image) = find_by_name(clients, region, &place.name).await? else { return Ok(Fate::Gone) };
    let id = image.image_id().unwrap_or_default().to_owned();
    match status(&image) {
        // Nobody was told of the state of a machine whose making was cut off.
        ImageStatus::Available | ImageStatus::Pending if record::is_of_state(&image) => {
            remove::deregister(clients, region, &image).await?;
            Ok(Fate::Gone)
        }
        ImageStatus::Available | ImageStatus::Pending => Ok(Fate::Kept(id)),
        ImageStatus::Gone => Ok(Fate::Gone),
        ImageStatus::Failed(_) => {
            remove::deregister(clients, region, &image).await?;
            Ok(Fate::Gone)
        }
    }
}

/// The fate of a snapshot whose id was never reported: it is kept if its image exists, and removed otherwise.
async fn snapshot_fate(clients: &Clients, region: &str, row: &Resource, name: &str) -> Result<Fate, Fault> {
    let image = match name.rsplit_once('-') {
        Some((image, _)) => find_by_name(clients, region, image).await?,
        None => None,
    };
    if let Some(id) = image.as_ref().and_then(|image| record::snapshots(image).into_iter().next()) {
        return Ok(Fate::Kept(id));
    }
    let of_machine = filters::match_tag(tags::MACHINE, row.machine.as_str());
    let answer = clients.ec2(region).describe_snapshots().owner_ids("self").filters(of_machine).send().await;
    let answer = answer.map_err(|error| trouble::fault("look for the snapshot of an image", error))?;
    let left: Vec<String> = answer.snapshots().iter().filter_map(|it| it.snapshot_id.clone()).collect();
    match (image, left.into_iter().next()) {
        (Some(_), Some(id)) => Ok(Fate::Kept(id)),
        (None, Some(id)) => remove::delete_snapshots(clients, region, &[id]).await.map(|()| Fate::Gone),
        (_, None) => Ok(Fate::Gone),
    }
}

/// The image of this name. The call that makes it may have been interrupted on its way, so that the image appears late:
/// it is looked for several times before it counts as missing.
async fn find_by_name(clients: &Clients, region: &str, name: &str) -> Result<Option<Image>, Fault> {
    for look in 0..LOOKUP_TRIES {
        if look > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if let Some(image) = own_images(clients, region, "name", name).await?.into_iter().next() {
            return Ok(Some(image));
        }
    }
    Ok(None)
}
