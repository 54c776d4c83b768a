//! Finds and removes all our resources in one region of an account, and in IAM, which has no regions. Each kind has a
//! file and a line of `registry.rs`.
//!
//! Searches are in pages, removals in batches where the API has them and side by side within bounds where it has not,
//! look-ups by id in batches. The results of the server's filters are checked once more here: a resource with neither
//! our prefix nor our tags is never returned, and so never removed. Deliberately absent: the waiting (`flow::purge`).

mod each;
mod identities;
mod images;
pub(super) mod instances;
pub(super) mod interfaces;
mod key_pairs;
mod kind;
mod registry;
mod search;
mod security_groups;
mod snapshots;
mod spot_requests;
mod users;
pub(super) mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use model::fault::Fault;
use model::purge::{Account, PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use self::kind::Reach;
use self::registry::{KindScope, LINES, RegistryLine};
use crate::ec2::clients::Clients;
use crate::ec2::tags::RowName;

/// One region of an account.
pub struct Ec2Account {
    clients: Arc<Clients>,
    region: String,
    reach: Reach,
}

impl Ec2Account {
    /// The account in the default region of the clients; a region that does not exist is refused.
    pub async fn open(clients: Arc<Clients>) -> Result<Self, Fault> {
        clients.check_region().await?;
        let region = clients.region().to_owned();
        Ok(Self { reach: Reach::new(&clients, &region), region, clients })
    }
}

/// The line of a kind, or the fault of asking for a kind that only other providers have.
fn registered(kind: ResourceKind) -> Result<&'static RegistryLine, Fault> {
    let unknown = || Fault::infrastructure(format!("EC2 has no resources of the kind `{}`", kind.name()));
    registry::line(kind).ok_or_else(unknown)
}

#[async_trait]
impl Account for Ec2Account {
    fn place(&self) -> &str {
        &self.region
    }

    fn kinds(&self) -> Vec<ResourceKind> {
        LINES.iter().map(|line| line.kind).collect()
    }

    async fn row_name(&self, item: &PurgeItem) -> Result<Option<String>, Fault> {
        let Some(name) = &item.name else { return Ok(None) };
        let account = &self.clients.identity().await?.account;
        let name = match registered(item.kind)?.scope {
            KindScope::Account => RowName::global(account, name),
            KindScope::Region => RowName::regional(account, &self.region, name),
        };
        Ok(Some(name.to_string()))
    }

    async fn find(&self, kind: ResourceKind) -> Result<Vec<PurgeItem>, Fault> {
        registered(kind)?.how.find(&self.reach).await
    }

    async fn users(
        &self,
        kind: ResourceKind,
        ids: &[String],
        ending: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        match registered(kind)?.scope {
            KindScope::Region => Ok(BTreeMap::new()),
            KindScope::Account => {
                let profiles = identities::profiles_with(&self.reach.iam, kind, ids).await?;
                users::of_profiles(&self.clients, &profiles, ending).await
            }
        }
    }

    fn batch(&self, kind: ResourceKind) -> usize {
        registered(kind).map_or(1, |line| line.batch)
    }

    async fn remove(&self, kind: ResourceKind, ids: &[String]) -> Vec<RemovalRefusal> {
        match registered(kind) {
            Ok(line) => line.how.remove(&self.reach, ids).await,
            Err(fault) => ids.iter().map(|id| RemovalRefusal { id: id.clone(), reason: fault.line() }).collect(),
        }
    }

    async fn remaining(&self, kind: ResourceKind, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        registered(kind)?.how.remaining(&self.reach, ids).await
    }
}
