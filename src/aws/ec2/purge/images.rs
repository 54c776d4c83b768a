//! The account's own machine images. All are listed, and ours are selected here: a filter by tag would miss an image
//! that has only a name like ours.

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Image};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::each;
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::trouble;

/// Machine images.
pub(super) struct MachineImages;

#[async_trait]
impl PurgeKind for MachineImages {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find(&reach.ec2_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        deregister(&reach.ec2_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        remaining(&reach.ec2, ids).await
    }
}

async fn find(ec2: &Client) -> Result<Vec<PurgeItem>, Fault> {
    Ok(list(ec2, None).await?.iter().filter_map(item).collect())
}

/// Our images with the ids of the snapshots that each is made of.
pub(crate) async fn with_snapshots(ec2: &Client) -> Result<Vec<(PurgeItem, Vec<String>)>, Fault> {
    let snapshots = |image: &Image| {
        let disks = image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs());
        disks.filter_map(|disk| disk.snapshot_id()).map(str::to_owned).collect()
    };
    Ok(list(ec2, None).await?.iter().filter_map(|image| Some((item(image)?, snapshots(image)))).collect())
}

async fn list(ec2: &Client, search: Option<Filter>) -> Result<Vec<Image>, Fault> {
    let request = ec2.describe_images().owners("self").set_filters(search.map(|search| vec![search]));
    let pages = request.into_paginator().page_size(search::PAGE).items();
    pages.send().try_collect().await.map_err(|error| trouble::fault("list the machine images", error))
}

fn state(image: &Image) -> String {
    image.state().map_or("", |state| state.as_str()).to_owned()
}

fn item(image: &Image) -> Option<PurgeItem> {
    let item = search::item(ResourceKind::MachineImage, image.image_id(), image.name(), image.tags())?;
    let created_at = image.creation_date().and_then(|date| date.parse().ok());
    Some(PurgeItem { created_at, state: state(image), ..item })
}

/// Deregisters only the images: our snapshots are removed separately, because a snapshot may be somebody else's.
async fn deregister(ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    each(ids, |id| async move {
        ec2.deregister_image().image_id(id).send().await?;
        Ok(())
    })
    .await
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "image-id", |filter| async {
        let found = list(ec2, Some(filter)).await?;
        let live = found.iter().filter(|image| state(image) != "deregistered");
        Ok(live.filter_map(|image| Some((image.image_id()?.to_owned(), state(image)))).collect())
    })
    .await
}
