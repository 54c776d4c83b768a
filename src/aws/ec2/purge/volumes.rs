//! Volumes: most go with their instance, so only the remaining ones are deleted.

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Volume};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::each;
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::trouble;

/// How many volumes a page holds; the API's own limit.
const PAGE: i32 = 500;

/// Volumes.
pub(super) struct Volumes;

#[async_trait]
impl PurgeKind for Volumes {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find(&reach.ec2_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        delete(&reach.ec2, &reach.ec2_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        remaining(&reach.ec2, ids).await
    }
}

async fn find(ec2: &Client) -> Result<Vec<PurgeItem>, Fault> {
    search::everywhere(|search| async { Ok(list(ec2, search).await?.iter().filter_map(item).collect()) }).await
}

/// The volumes that match a filter, whoever owns them.
pub(crate) async fn list(ec2: &Client, search: Filter) -> Result<Vec<Volume>, Fault> {
    let pages = ec2.describe_volumes().filters(search).into_paginator().page_size(PAGE);
    pages.items().send().try_collect().await.map_err(|error| trouble::fault("list the volumes", error))
}

fn state(volume: &Volume) -> String {
    volume.state().map_or("", |state| state.as_str()).to_owned()
}

fn item(volume: &Volume) -> Option<PurgeItem> {
    let item = search::item(ResourceKind::Volume, volume.volume_id(), None, volume.tags())?;
    Some(PurgeItem { created_at: search::time(volume.create_time()), state: state(volume), ..item })
}

async fn delete(look: &Client, ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    let left = search::left_of(ids, remaining(look, ids).await);
    each(&left, |id| async move {
        ec2.delete_volume().volume_id(id).send().await?;
        Ok(())
    })
    .await
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "volume-id", |filter| async {
        let found = list(ec2, filter).await?;
        Ok(found.iter().filter_map(|volume| Some((volume.volume_id()?.to_owned(), state(volume)))).collect())
    })
    .await
}
