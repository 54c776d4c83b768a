//! Finds and removes all our resources in one region of an account, and in IAM, which has no regions. Each kind has a
//! file.
//!
//! Searches are in pages, removals in batches where the API has them and side by side within bounds where it has not,
//! look-ups by id in batches. The results of the server's filters are checked once more here: a resource with neither
//! our prefix nor our tags is never returned, and so never removed. Deliberately absent: the order of removal and the
//! waiting (`flow::purge`).

mod each;
mod identities;
mod images;
pub(super) mod instances;
pub(super) mod interfaces;
mod key_pairs;
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

use crate::ec2::clients::Clients;
use crate::ec2::tags::RowName;

/// How many instances one call ends; the API's own limit.
const INSTANCES_A_CALL: usize = 1000;

/// How many resources of the other kinds are removed between two checks whether the user wants to stop.
const OTHERS_A_BATCH: usize = 160;

/// One region of an account.
pub struct Ec2Account {
    clients: Arc<Clients>,
    region: String,
    ec2: aws_sdk_ec2::Client,
    ec2_at_door: aws_sdk_ec2::Client,
    ec2_deletes: aws_sdk_ec2::Client,
    iam: aws_sdk_iam::Client,
    iam_at_door: aws_sdk_iam::Client,
    iam_deletes: aws_sdk_iam::Client,
}

impl Ec2Account {
    /// The account in the default region of the clients; a region that does not exist is refused.
    pub async fn open(clients: Arc<Clients>) -> Result<Self, Fault> {
        clients.check_region().await?;
        let region = clients.region().to_owned();
        Ok(Self {
            ec2: clients.ec2(&region),
            ec2_at_door: clients.ec2_at_door(&region),
            ec2_deletes: clients.ec2_deletes(&region),
            iam: clients.iam(),
            iam_at_door: clients.iam_at_door(),
            iam_deletes: clients.iam_deletes(),
            region,
            clients,
        })
    }
}

#[async_trait]
impl Account for Ec2Account {
    fn place(&self) -> &str {
        &self.region
    }

    async fn row_name(&self, item: &Item) -> Result<Option<String>, Fault> {
        let Some(name) = &item.name else { return Ok(None) };
        let account = &self.clients.identity().await?.account;
        let name = match item.kind {
            ResourceKind::Role | ResourceKind::InstanceProfile => RowName::global(account, name),
            _ => RowName::regional(account, &self.region, name),
        };
        Ok(Some(name.to_string()))
    }

    async fn find(&self, kind: ResourceKind) -> Result<Vec<Item>, Fault> {
        match kind {
            ResourceKind::SpotRequest => spot_requests::find(&self.ec2_at_door).await,
            ResourceKind::Instance => instances::find(&self.ec2_at_door).await,
            ResourceKind::Volume => volumes::find(&self.ec2_at_door).await,
            ResourceKind::NetworkInterface => interfaces::find(&self.ec2_at_door).await,
            ResourceKind::MachineImage => images::find(&self.ec2_at_door).await,
            ResourceKind::Snapshot => snapshots::find(&self.ec2_at_door).await,
            ResourceKind::SecurityGroup => security_groups::find(&self.ec2_at_door).await,
            ResourceKind::KeyPair => key_pairs::find(&self.ec2_at_door).await,
            ResourceKind::InstanceProfile => identities::find_profiles(&self.iam_at_door).await,
            ResourceKind::Role => identities::find_roles(&self.iam_at_door).await,
            _ => Ok(Vec::new()),
        }
    }

    /// IAM lets a role and a profile be deleted while machines use them; EC2 itself refuses to delete resources in use.
    async fn users(
        &self,
        kind: ResourceKind,
        ids: &[String],
        ending: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        match kind {
            ResourceKind::InstanceProfile | ResourceKind::Role => {
                let profiles = identities::profiles_with(&self.iam, kind, ids).await?;
                users::of_profiles(&self.clients, &profiles, ending).await
            }
            _ => Ok(BTreeMap::new()),
        }
    }

    fn batch(&self, kind: ResourceKind) -> usize {
        if kind == ResourceKind::Instance { INSTANCES_A_CALL } else { OTHERS_A_BATCH }
    }

    async fn remove(&self, kind: ResourceKind, ids: &[String]) -> Vec<Refusal> {
        match kind {
            ResourceKind::SpotRequest => spot_requests::cancel(&self.ec2_deletes, ids).await,
            ResourceKind::Instance => instances::terminate(&self.ec2_deletes, ids).await,
            ResourceKind::Volume => volumes::delete(&self.ec2, &self.ec2_deletes, ids).await,
            ResourceKind::NetworkInterface => interfaces::delete(&self.ec2, &self.ec2_deletes, ids).await,
            ResourceKind::MachineImage => images::deregister(&self.ec2_deletes, ids).await,
            ResourceKind::Snapshot => snapshots::delete(&self.ec2_deletes, ids).await,
            ResourceKind::SecurityGroup => security_groups::delete(&self.ec2_deletes, ids).await,
            ResourceKind::KeyPair => key_pairs::delete(&self.ec2_deletes, ids).await,
            ResourceKind::InstanceProfile => identities::delete_profiles(&self.iam_deletes, ids).await,
            ResourceKind::Role => identities::delete_roles(&self.iam_deletes, ids).await,
            _ => Vec::new(),
        }
    }

    async fn there(&self, kind: ResourceKind, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        match kind {
            ResourceKind::SpotRequest => spot_requests::there(&self.ec2, ids).await,
            ResourceKind::Instance => instances::there(&self.ec2, ids).await,
            ResourceKind::Volume => volumes::there(&self.ec2, ids).await,
            ResourceKind::NetworkInterface => interfaces::there(&self.ec2, ids).await,
            ResourceKind::MachineImage => images::there(&self.ec2, ids).await,
            ResourceKind::Snapshot => snapshots::there(&self.ec2, ids).await,
            ResourceKind::SecurityGroup => security_groups::there(&self.ec2, ids).await,
            ResourceKind::KeyPair => key_pairs::there(&self.ec2, ids).await,
            ResourceKind::InstanceProfile => identities::there_profiles(&self.iam, ids).await,
            ResourceKind::Role => identities::there_roles(&self.iam, ids).await,
            _ => Ok(Vec::new()),
        }
    }
}
