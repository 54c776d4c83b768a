//! Requests for spot instances that can still make an instance.

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, SpotInstanceRequest};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::Denied;
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::filters;
use crate::ec2::trouble::{self, Class};

/// The states from which a request can come back to life.
const STATES: [&str; 3] = ["open", "active", "disabled"];

/// Requests for spot instances.
pub(super) struct SpotRequests;

#[async_trait]
impl PurgeKind for SpotRequests {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find(&reach.ec2_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        cancel(&reach.ec2_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        remaining(&reach.ec2, ids).await
    }
}

async fn find(ec2: &Client) -> Result<Vec<PurgeItem>, Fault> {
    search::everywhere(|search| async { Ok(list(ec2, search).await?.iter().filter_map(item).collect()) }).await
}

async fn list(ec2: &Client, search: Filter) -> Result<Vec<SpotInstanceRequest>, Fault> {
    let states = filters::match_any("state", &STATES);
    let pages = ec2.describe_spot_instance_requests().filters(states).filters(search).into_paginator();
    let found = pages.page_size(search::PAGE).items().send().try_collect().await;
    found.map_err(|error| trouble::fault("list the spot requests", error))
}

fn state(request: &SpotInstanceRequest) -> String {
    request.state().map_or("", |state| state.as_str()).to_owned()
}

fn item(request: &SpotInstanceRequest) -> Option<PurgeItem> {
    let item = search::item(ResourceKind::SpotRequest, request.spot_instance_request_id(), None, request.tags())?;
    Some(PurgeItem { created_at: search::time(request.create_time()), state: state(request), ..item })
}

/// Cancels the requests in one call, or one by one if that is refused because of one of them.
async fn cancel(ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    let all = ec2.cancel_spot_instance_requests().set_spot_instance_request_ids(Some(ids.to_vec())).send().await;
    match all.map_err(Denied::from) {
        Ok(_) => Vec::new(),
        Err(denied) if ids.len() == 1 && denied.class != Class::NotFound => {
            vec![RemovalRefusal { id: ids[0].clone(), reason: denied.reason }]
        }
        Err(_) => {
            super::each::each(ids, |id| async move {
                ec2.cancel_spot_instance_requests().spot_instance_request_ids(id).send().await?;
                Ok(())
            })
            .await
        }
    }
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "spot-instance-request-id", |filter| async {
        let found = list(ec2, filter).await?;
        Ok(found.iter().filter_map(|r| Some((r.spot_instance_request_id()?.to_owned(), state(r)))).collect())
    })
    .await
}
