//! Key pairs, which the API lists on one page: there are at most some thousands. A name is unique in a region and
//! serves as the id here, because permissions to delete a key pair go by the name.

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, KeyPairInfo};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::each;
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::trouble;

/// Key pairs.
pub(super) struct KeyPairs;

#[async_trait]
impl PurgeKind for KeyPairs {
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
    Ok(list(ec2, None).await?.iter().filter_map(item).collect())
}

async fn list(ec2: &Client, search: Option<Filter>) -> Result<Vec<KeyPairInfo>, Fault> {
    let answer = ec2.describe_key_pairs().set_filters(search.map(|search| vec![search])).send().await;
    let answer = answer.map_err(|error| trouble::fault("list the key pairs", error))?;
    Ok(answer.key_pairs.unwrap_or_default())
}

fn item(pair: &KeyPairInfo) -> Option<PurgeItem> {
    let item = search::item(ResourceKind::KeyPair, pair.key_name(), pair.key_name(), pair.tags())?;
    Some(PurgeItem { created_at: search::time(pair.create_time()), ..item })
}

async fn delete(ec2: &Client, names: &[String]) -> Vec<RemovalRefusal> {
    each(names, |name| async move {
        ec2.delete_key_pair().key_name(name).send().await?;
        Ok(())
    })
    .await
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "key-name", |filter| async {
        let found = list(ec2, Some(filter)).await?;
        Ok(found.iter().filter_map(|pair| Some((pair.key_name()?.to_owned(), String::new()))).collect())
    })
    .await
}
