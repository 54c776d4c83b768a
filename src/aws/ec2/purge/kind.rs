//! The interface to the resources of one kind: each kind has a file, and a line in the registry.

use async_trait::async_trait;
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};

use crate::ec2::clients::Clients;

/// The clients by which one region of an account is asked, and IAM, which has none.
pub(super) struct Reach {
    /// EC2.
    pub ec2: aws_sdk_ec2::Client,
    /// EC2, for the first question of a command.
    pub ec2_preflight: aws_sdk_ec2::Client,
    /// EC2, for many removals at once.
    pub ec2_deletes: aws_sdk_ec2::Client,
    /// IAM.
    pub iam: aws_sdk_iam::Client,
    /// IAM, for the first question of a command.
    pub iam_preflight: aws_sdk_iam::Client,
    /// IAM, for many removals at once.
    pub iam_deletes: aws_sdk_iam::Client,
}

impl Reach {
    /// The clients for `region`.
    pub(super) fn new(clients: &Clients, region: &str) -> Self {
        Self {
            ec2: clients.ec2(region),
            ec2_preflight: clients.ec2_preflight(region),
            ec2_deletes: clients.ec2_deletes(region),
            iam: clients.iam(),
            iam_preflight: clients.iam_preflight(),
            iam_deletes: clients.iam_deletes(),
        }
    }
}

/// The search for the resources of one kind, and their removal.
#[async_trait]
pub(super) trait PurgeKind: Sync {
    /// Finds all resources of ours that exist or are still going away; never one that is not ours.
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault>;

    /// Asks for the removal of the resources `ids`; gives the refusals. A resource that does not exist is not refused.
    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal>;

    /// The resources among `ids` that still exist, each with its state.
    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault>;
}
