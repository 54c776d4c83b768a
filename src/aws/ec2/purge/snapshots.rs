//! Snapshots: those with our prefix or one of our tags, and those that EC2 made for one of our images, which carry no
//! tag if the predecessor of this tool made the image.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Snapshot};
use futures_util::future::{try_join, try_join_all};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::each;
use super::kind::{PurgeKind, Reach};
use super::{images, search};
use crate::ec2::filters;
use crate::ec2::trouble;

/// Snapshots.
pub(super) struct Snapshots;

#[async_trait]
impl PurgeKind for Snapshots {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find(&reach.ec2_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        delete(&reach.ec2_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        remaining(&reach.ec2, ids).await
    }
}

async fn find(ec2: &Client) -> Result<Vec<PurgeItem>, Fault> {
    let tagged = try_join_all(
        search::searches()
            .into_iter()
            .map(|search| async { Ok::<_, Fault>(list(ec2, search).await?.iter().filter_map(item).collect()) }),
    );
    let (tagged, images) = try_join(tagged, images::with_snapshots(ec2)).await?;
    let mut found = search::merged(tagged);
    let known: BTreeSet<String> = found.iter().map(|item| item.id.clone()).collect();
    let of_image: BTreeMap<&str, &PurgeItem> = images
        .iter()
        .flat_map(|(image, ids)| ids.iter().map(move |id| (id.as_str(), image)))
        .filter(|(id, _)| !known.contains(*id))
        .collect();
    let missing: Vec<&str> = of_image.keys().copied().collect();
    for chunk in missing.chunks(filters::VALUES) {
        for snapshot in list(ec2, filters::match_any("snapshot-id", chunk)).await? {
            let image = snapshot.snapshot_id().and_then(|id| of_image.get(id));
            found.extend(image.and_then(|image| part_of(&snapshot, image)));
        }
    }
    Ok(found)
}

async fn list(ec2: &Client, search: Filter) -> Result<Vec<Snapshot>, Fault> {
    let pages = ec2.describe_snapshots().owner_ids("self").filters(search).into_paginator().page_size(search::PAGE);
    pages.items().send().try_collect().await.map_err(|error| trouble::fault("list the snapshots", error))
}

fn state(snapshot: &Snapshot) -> String {
    snapshot.state().map_or("", |state| state.as_str()).to_owned()
}

fn item(snapshot: &Snapshot) -> Option<PurgeItem> {
    let item = search::item(ResourceKind::Snapshot, snapshot.snapshot_id(), None, snapshot.tags())?;
    Some(PurgeItem { created_at: search::time(snapshot.start_time()), state: state(snapshot), ..item })
}

/// A snapshot without our prefix and tags is a part of `image` only if EC2 says in its description that it was made for
/// it: an image can also be registered from a snapshot that somebody keeps for another purpose.
fn part_of(snapshot: &Snapshot, image: &PurgeItem) -> Option<PurgeItem> {
    let made_for_it = snapshot.description()?.split_whitespace().any(|word| word == image.id);
    made_for_it.then(|| PurgeItem {
        id: snapshot.snapshot_id().unwrap_or_default().to_owned(),
        kind: ResourceKind::Snapshot,
        name: image.name.clone(),
        owner: image.owner.clone(),
        why: format!("it was made for the image `{}`: {}", image.id, image.why),
        created_at: search::time(snapshot.start_time()),
        state: state(snapshot),
    })
}

async fn delete(ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    each(ids, |id| async move {
        ec2.delete_snapshot().snapshot_id(id).send().await?;
        Ok(())
    })
    .await
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "snapshot-id", |filter| async {
        let found = list(ec2, filter).await?;
        Ok(found.iter().filter_map(|snapshot| Some((snapshot.snapshot_id()?.to_owned(), state(snapshot)))).collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_without_a_mark_is_ours_only_when_it_was_made_for_our_image() {
        let image = PurgeItem {
            id: "ami-12".into(),
            kind: ResourceKind::MachineImage,
            name: Some("hg-linux-dev-debian12".into()),
            owner: Some("me@here".into()),
            why: "x".into(),
            created_at: None,
            state: String::new(),
        };
        let made = |description: &str| Snapshot::builder().snapshot_id("snap-1").description(description).build();
        let part = part_of(&made("Created by CreateImage(i-1) for ami-12"), &image).unwrap();
        assert_eq!((part.id.as_str(), part.owner.as_deref()), ("snap-1", Some("me@here")));
        for other in ["Created by CreateImage(i-1) for ami-123", "nightly backup", ""] {
            assert!(part_of(&made(other), &image).is_none(), "{other}");
        }
    }
}
