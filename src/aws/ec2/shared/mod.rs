//! The resources that all machines of an account share: key pair, security groups, role and instance profile.
//!
//! They are made when they are missing, written down before, and kept: no run removes them. They are reconciled by content
//! and not by existence, so that the next run completes what a killed run left half-made.

pub(crate) mod key_pair;
pub(crate) mod role;
pub(crate) mod rules;
pub(crate) mod security_group;

use ipnet::IpNet;
use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId};
use model::event::Teller;
use model::fault::Fault;
use model::machine::Platform;
use model::provider::Ledger;
use model::resource::{PlannedResource, ResourceKind};

use crate::ec2::clients::Clients;
use crate::ec2::platform::facts;
use crate::ec2::tags::{self, RowName};

/// An account in a region, the person and machine that use it, and the ledger for new resources.
pub(crate) struct SharedAccount<'a> {
    /// The clients.
    pub clients: &'a Clients,
    /// EC2 of the region.
    pub ec2: &'a aws_sdk_ec2::Client,
    /// The account's twelve digits.
    pub id: &'a str,
    /// The region.
    pub region: &'a str,
    /// The person who runs the tool.
    pub owner: &'a str,
    /// The machine that needs the resources.
    pub machine: &'a MachineId,
    /// The ledger in which resources are written down.
    pub ledger: &'a dyn Ledger,
    /// The teller that warnings are reported to.
    pub teller: &'a Teller,
}

impl SharedAccount<'_> {
    fn plan(&self, kind: ResourceKind, name: &str) -> Result<ResourceId, Fault> {
        self.write_down(kind, &RowName::regional(self.id, self.region, name))
    }

    fn plan_global(&self, kind: ResourceKind, name: &str) -> Result<ResourceId, Fault> {
        self.write_down(kind, &RowName::global(self.id, name))
    }

    fn write_down(&self, kind: ResourceKind, name: &RowName) -> Result<ResourceId, Fault> {
        self.ledger.plan(&PlannedResource { machine: self.machine.clone(), kind, name: name.to_string() })
    }
}

/// The needs of a machine from its account.
#[derive(Debug, Clone)]
pub(crate) struct AccountNeeds {
    /// Its operating system.
    pub platform: Platform,
    /// Whether Systems Manager reaches it: it needs a role and an instance profile instead of a key pair and an open
    /// port.
    pub managed: bool,
    /// The ranges from which it may be reached; empty for a managed machine.
    pub ranges: Vec<IpNet>,
    /// The time.
    pub now: Timestamp,
    /// Until when it needs them.
    pub until: Timestamp,
}

/// The reconciled resources, whether they were found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedResources {
    /// The name of our key pair, where machines are reached by SSH and EC2 hands the key to them.
    pub key_pair: Option<String>,
    /// The id of the security group.
    pub group: String,
    /// The name of the instance profile, where machines are managed.
    pub profile: Option<String>,
    /// Until when at least the security group lets the caller in.
    pub until: Timestamp,
}

/// Makes sure that the account has the resources that are needed, and no more than those.
pub(crate) async fn reconcile(
    account: &SharedAccount<'_>,
    public_key: &str,
    needs: &AccountNeeds,
) -> Result<SharedResources, Fault> {
    let facts = facts(needs.platform);
    let name = if needs.managed { tags::MANAGED_GROUP } else { facts.group };
    let wanted = security_group::WantedAccess { ranges: &needs.ranges, now: needs.now, until: needs.until };
    let key_pair = async {
        match facts.key_pair && !needs.managed {
            true => key_pair::reconcile(account, public_key).await.map(Some),
            false => Ok(None),
        }
    };
    let profile = async {
        match needs.managed {
            true => role::reconcile(account).await.map(Some),
            false => Ok(None),
        }
    };
    let group = security_group::reconcile(account, name, wanted);
    let (key_pair, group, profile) = futures_util::future::try_join3(key_pair, group, profile).await?;
    Ok(SharedResources { key_pair, group, profile, until: needs.until })
}
