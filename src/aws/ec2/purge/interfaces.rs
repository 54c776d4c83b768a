//! Network interfaces: most go with their instance, so only the remaining ones are deleted.

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, NetworkInterface};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::each;
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::trouble;

/// Network interfaces.
pub(super) struct Interfaces;

#[async_trait]
impl PurgeKind for Interfaces {
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

/// The interfaces that match a filter, whoever owns them.
pub(crate) async fn list(ec2: &Client, search: Filter) -> Result<Vec<NetworkInterface>, Fault> {
    let pages = ec2.describe_network_interfaces().filters(search).into_paginator().page_size(search::PAGE);
    pages.items().send().try_collect().await.map_err(|error| trouble::fault("list the network interfaces", error))
}

fn state(interface: &NetworkInterface) -> String {
    interface.status().map_or("", |status| status.as_str()).to_owned()
}

fn item(interface: &NetworkInterface) -> Option<PurgeItem> {
    let id = interface.network_interface_id();
    let item = search::item(ResourceKind::NetworkInterface, id, None, interface.tag_set())?;
    // EC2 does not report the age of an interface; one that came with an instance is as old as its attachment.
    let created_at = search::time(interface.attachment().and_then(|attachment| attachment.attach_time()));
    Some(PurgeItem { created_at, state: state(interface), ..item })
}

async fn delete(look: &Client, ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    let left = search::left_of(ids, remaining(look, ids).await);
    each(&left, |id| async move {
        ec2.delete_network_interface().network_interface_id(id).send().await?;
        Ok(())
    })
    .await
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "network-interface-id", |filter| async {
        let found = list(ec2, filter).await?;
        Ok(found.iter().filter_map(|eni| Some((eni.network_interface_id()?.to_owned(), state(eni)))).collect())
    })
    .await
}
