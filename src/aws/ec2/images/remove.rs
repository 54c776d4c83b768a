//! Removing images: the AMI first, then its snapshots, which nothing else would find again.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Image, InstanceStateName};
use jiff::Timestamp;
use model::base::deadline::{Deadline, Pace};
use model::fault::{Fault, Leftovers};
use model::image::Fingerprint;

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::images::{Ec2Images, own_images, record};
use crate::ec2::tags;
use crate::ec2::trouble::{self, Class};

/// How long an image and its snapshots may take to go away.
const LIMIT: Duration = Duration::from_secs(120);

/// The first and the longest pause between two polls.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The states of a machine that uses its image.
const LIVE: [InstanceStateName; 4] =
    [InstanceStateName::Pending, InstanceStateName::Running, InstanceStateName::Stopping, InstanceStateName::Stopped];

impl Ec2Images {
    /// For each of the images `ids` that is in use, one live machine that uses it.
    pub(super) async fn machines_of(&self, ids: &[String]) -> Result<BTreeMap<String, String>, Fault> {
        let live = filters::match_any("instance-state-name", &LIVE);
        let mut users = BTreeMap::new();
        for ids in ids.chunks(filters::VALUES) {
            let of = filters::match_any("image-id", ids);
            let call = self.ec2().describe_instances().filters(of).filters(live.clone()).max_results(1000);
            let mut pages = call.into_paginator().items().send();
            while let Some(reservation) = pages.next().await {
                let doing = || "find the machines that use an image";
                let reservation = reservation.map_err(|error| trouble::fault(doing(), error))?;
                for instance in reservation.instances() {
                    let machine = tags::value(instance.tags(), tags::MACHINE).or(instance.instance_id());
                    if let (Some(image), Some(machine)) = (instance.image_id(), machine) {
                        users.insert(image.to_owned(), machine.to_owned());
                    }
                }
            }
        }
        Ok(users)
    }

    /// Removes the images of this fingerprint with their snapshots; it is not an error if there are none.
    pub(super) async fn remove(&self, fingerprint: &Fingerprint, of_any_owner: bool) -> Result<(), Fault> {
        let images = self.of(fingerprint).await?;
        let ids: Vec<String> = images.iter().filter_map(Image::image_id).map(str::to_owned).collect();
        let users = self.machines_of(&ids).await?;
        for image in &images {
            let user = users.get(image.image_id().unwrap_or_default());
            self.check_removable(image, user, of_any_owner)?;
        }
        for image in &images {
            deregister(&self.clients, &self.region, image).await?;
        }
        Ok(())
    }

    /// Refuses to remove an image that belongs to another owner or is in use.
    fn check_removable(&self, image: &Image, user: Option<&String>, of_any_owner: bool) -> Result<(), Fault> {
        let id = image.image_id().unwrap_or_default();
        let owner = tags::owner(image.tags());
        if !of_any_owner && owner != Some(self.reader.owner.as_str()) {
            let whose =
                owner.map_or_else(|| "nobody is named as its owner".to_owned(), |o| format!("it belongs to `{o}`"));
            let fault = Fault::outside(format!("the image `{id}` is not yours: {whose}"));
            return Err(fault.hint("`--any-owner` removes it all the same."));
        }
        match user {
            Some(machine) => Err(Fault::outside(format!("the image `{id}` is in use by machine `{machine}`"))
                .hint(format!("End the machine first: `automation machine down {machine}`."))),
            None => Ok(()),
        }
    }

    /// Removes the snapshots whose image was removed without them; returns how many there are.
    pub(super) async fn sweep_snapshots(&self, dry_run: bool) -> Result<usize, Fault> {
        let images = self.list_matching(vec![filters::match_tag_key(tags::FINGERPRINT)]).await?;
        let call = self.ec2().describe_snapshots().owner_ids("self").max_results(1000);
        let call = call.filters(filters::match_tag_key(tags::FINGERPRINT));
        let call = call.filters(filters::match_tag(tags::OWNER, &self.reader.owner));
        let mut pages = call.into_paginator().items().send();
        let mut snapshots = Vec::new();
        while let Some(snapshot) = pages.next().await {
            let doing = || format!("list the snapshots of `{}`", self.region);
            snapshots.push(snapshot.map_err(|error| trouble::fault(&doing(), error))?);
        }
        let orphans = record::orphans(&snapshots, &images, &self.reader.owner, Timestamp::now());
        if !dry_run {
            delete_snapshots(&self.clients, &self.region, &orphans).await?;
        }
        Ok(orphans.len())
    }
}

/// Deregisters an image and deletes its snapshots; returns after both were seen gone.
pub(super) async fn deregister(clients: &Clients, region: &str, image: &Image) -> Result<(), Fault> {
    let Some(id) = image.image_id() else { return Ok(()) };
    let snapshots = record::snapshots(image);
    let call = clients.ec2_deletes(region).deregister_image().image_id(id);
    match call.delete_associated_snapshots(true).send().await {
        Ok(_) => {}
        Err(error) if trouble::class(&error) == Class::NotFound => {}
        Err(error) => return Err(trouble::fault(&format!("deregister the image `{id}`"), error)),
    }
    let deadline = Deadline::after(LIMIT, format!("the image `{id}` to go away"));
    deadline.bound(until_gone(clients, region, id)).await??;
    delete_snapshots(clients, region, &snapshots).await
}

async fn until_gone(clients: &Clients, region: &str, id: &str) -> Result<(), Fault> {
    let mut pace = Pace::new(PAUSES);
    loop {
        let images = own_images(clients, region, "image-id", id).await?;
        if images.iter().all(|image| record::status(image) == record::ImageStatus::Gone) {
            return Ok(());
        }
        pace.pause().await;
    }
}

/// Deletes snapshots and returns after they were seen gone. Those that deregistering has already deleted are skipped;
/// those that an image that is going away still uses are tried again.
pub(super) async fn delete_snapshots(clients: &Clients, region: &str, ids: &[String]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    let left = std::sync::Mutex::new(ids.to_vec());
    let work = async {
        let mut pace = Pace::new(PAUSES);
        loop {
            let existing = existing_snapshots(clients, region, ids).await?;
            if existing.is_empty() {
                return Ok(());
            }
            left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone_from(&existing);
            for id in &existing {
                delete_snapshot(clients, region, id).await?;
            }
            pace.pause().await;
        }
    };
    let deadline = Deadline::after(LIMIT, format!("the snapshots {} to go away", ids.join(", ")));
    let done = deadline.bound(work).await.map_err(Fault::from).and_then(|done| done);
    done.map_err(|fault| {
        let left = left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        fault.with_leftovers(Leftovers::Named(left))
    })
}

async fn delete_snapshot(clients: &Clients, region: &str, id: &str) -> Result<(), Fault> {
    match clients.ec2_deletes(region).delete_snapshot().snapshot_id(id).send().await {
        Ok(_) => Ok(()),
        Err(error) => match trouble::class(&error) {
            Class::NotFound | Class::Dependency => Ok(()),
            _ => Err(trouble::fault(&format!("delete the snapshot `{id}`"), error)),
        },
    }
}

/// The snapshots among `ids` that exist.
pub(super) async fn existing_snapshots(clients: &Clients, region: &str, ids: &[String]) -> Result<Vec<String>, Fault> {
    let mut existing = Vec::new();
    for ids in ids.chunks(filters::VALUES) {
        let of = filters::match_any("snapshot-id", ids);
        let answer = clients.ec2(region).describe_snapshots().owner_ids("self").filters(of).send().await;
        let answer = answer.map_err(|error| trouble::fault("look at the snapshots of an image", error))?;
        existing.extend(answer.snapshots().iter().filter_map(|snapshot| snapshot.snapshot_id()).map(str::to_owned));
    }
    Ok(existing)
}
