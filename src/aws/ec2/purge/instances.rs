//! Instances: terminated by the thousand; a batch that is refused because of one of them is split until that one is
//! alone.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, Instance};
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::Denied;
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::filters;
use crate::ec2::tags;
use crate::ec2::trouble::{self, Class};

/// Every state but `terminated`: a terminated instance is still listed for an hour, but costs nothing.
const STATES: [&str; 5] = ["pending", "running", "shutting-down", "stopping", "stopped"];

/// Two searches, not three as for other kinds: a thousand instances make long pages.
fn searches() -> [Filter; 2] {
    let keys = format!("{}*", tags::KEY_PREFIX);
    [search::named(), filters::match_any("tag-key", &[&keys, tags::FINGERPRINT])]
}

/// Instances.
pub(super) struct Instances;

#[async_trait]
impl PurgeKind for Instances {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find(&reach.ec2_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        terminate(&reach.ec2_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        remaining(&reach.ec2, ids).await
    }
}

async fn find(ec2: &Client) -> Result<Vec<PurgeItem>, Fault> {
    let found = try_join_all(searches().into_iter().map(|filter| page_through(ec2, filter))).await?;
    Ok(search::merged(found))
}

async fn page_through(ec2: &Client, search: Filter) -> Result<Vec<PurgeItem>, Fault> {
    let states = filters::match_any("instance-state-name", &STATES);
    let request = ec2.describe_instances().filters(states).filters(search);
    let mut pages = request.into_paginator().page_size(search::PAGE).send();
    let mut items = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| trouble::fault("list the instances", error))?;
        let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
        items.extend(instances.filter_map(item));
    }
    Ok(items)
}

fn item(instance: &Instance) -> Option<PurgeItem> {
    let state = instance.state().and_then(|state| state.name()).map_or("", |name| name.as_str()).to_owned();
    let live = STATES.contains(&state.as_str());
    let created_at = search::time(instance.launch_time());
    let item = search::item(ResourceKind::Instance, instance.instance_id(), None, instance.tags())?;
    live.then_some(PurgeItem { created_at, state, ..item })
}

pub(crate) async fn terminate(ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    split(ec2, ids).await
}

fn split<'a>(ec2: &'a Client, ids: &'a [String]) -> BoxFuture<'a, Vec<RemovalRefusal>> {
    async move {
        let Err(error) = ec2.terminate_instances().set_instance_ids(Some(ids.to_vec())).send().await else {
            return Vec::new();
        };
        let denied = Denied::from(error);
        if ids.len() > 1 && is_of_one(denied.class) {
            let (left, right) = ids.split_at(ids.len() / 2);
            let (mut left, right) = futures_util::future::join(split(ec2, left), split(ec2, right)).await;
            left.extend(right);
            return left;
        }
        if denied.class == Class::NotFound {
            return Vec::new();
        }
        ids.iter().map(|id| RemovalRefusal { id: id.clone(), reason: denied.reason.clone() }).collect()
    }
    .boxed()
}

/// Whether one instance of many can be the reason for the refusal: it is unknown, protected, or another user's.
fn is_of_one(class: Class) -> bool {
    matches!(class, Class::NotFound | Class::Permission | Class::Dependency | Class::Unsupported | Class::Other)
}

/// Uses the same searches, not the ids: the number of calls stays small when there are many instances.
async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let live = find(ec2).await?.into_iter().filter(|item| wanted.contains(item.id.as_str()));
    Ok(live.map(|item| (item.id, item.state)).collect())
}
