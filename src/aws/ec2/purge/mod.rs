//! Finds and removes everything of ours in one region of an account, and in IAM, which has none. One file a kind, and a line
//! of `registry.rs`.
//!
//! Searches are in pages, removals in batches where the API has them and side by side within bounds where it has not, looks
//! by id in batches. What the server's filters give is checked once more here: what has neither the prefix nor a tag of ours
//! is never given, so never removed. What is absent: the waiting, which is `flow::purge`.

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
use model::purge::{Account, Item, Refusal};
use model::resource::ResourceKind;

use self::kind::Reach;
use self::registry::{LINES, Line, Scope};
use crate::ec2::clients::Clients;
use crate::ec2::tags::RowName;

/// One region of an account.
pub struct Ec2Account {
    clients: Arc<Clients>,
    region: String,
    reach: Reach,
}

impl Ec2Account {
    /// The region that the clients mean where none is named. Refused where there is no such region.
    pub async fn open(clients: Arc<Clients>) -> Result<Self, Fault> {
        clients.check_region().await?;
        let region = clients.region().to_owned();
        Ok(Self { reach: Reach::new(&clients, &region), region, clients })
    }
}

/// The line of a kind, or the fault of asking for what only other providers have.
fn registered(kind: ResourceKind) -> Result<&'static Line, Fault> {
    let nothing = || Fault::infrastructure(format!("a {} is nothing that EC2 has", kind.name()));
    registry::line(kind).ok_or_else(nothing)
}

#[async_trait]
impl Account for Ec2Account {
    fn place(&self) -> &str {
        &self.region
    }

    fn kinds(&self) -> Vec<ResourceKind> {
        LINES.iter().map(|line| line.kind).collect()
    }

    async fn row_name(&self, item: &Item) -> Result<Option<String>, Fault> {
        let Some(name) = &item.name else { return Ok(None) };
        let account = &self.clients.identity().await?.account;
        let name = match registered(item.kind)?.scope {
            Scope::Account => RowName::global(account, name),
            Scope::Region => RowName::regional(account, &self.region, name),
        };
        Ok(Some(name.to_string()))
    }

    async fn find(&self, kind: ResourceKind) -> Result<Vec<Item>, Fault> {
        registered(kind)?.how.find(&self.reach).await
    }

    async fn users(
        &self,
        kind: ResourceKind,
        ids: &[String],
        ending: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        match registered(kind)?.scope {
            Scope::Region => Ok(BTreeMap::new()),
            Scope::Account => {
                let profiles = identities::profiles_with(&self.reach.iam, kind, ids).await?;
                users::of_profiles(&self.clients, &profiles, ending).await
            }
        }
    }

    fn batch(&self, kind: ResourceKind) -> usize {
        registered(kind).map_or(1, |line| line.batch)
    }

    async fn remove(&self, kind: ResourceKind, ids: &[String]) -> Vec<Refusal> {
        match registered(kind) {
            Ok(line) => line.how.remove(&self.reach, ids).await,
            Err(fault) => ids.iter().map(|id| Refusal { id: id.clone(), reason: fault.line() }).collect(),
        }
    }

    async fn there(&self, kind: ResourceKind, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        registered(kind)?.how.there(&self.reach, ids).await
    }
}
