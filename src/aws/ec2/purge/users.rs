//! The machines that use profiles and roles, which IAM would delete all the same: in every region, because IAM has no
//! regions.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::Instance;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use model::fault::Fault;

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::{instances, tags};

/// How many regions are asked at once.
const AT_ONCE: usize = 8;

/// The states in which an instance still uses its profile, or will when it is started again.
const LIVE: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// The resources that machines outside of `ending` use, each with one such machine. `profiles` are pairs of a profile's
/// ARN and the resource that is used through it.
pub(crate) async fn of_profiles(
    clients: &Clients,
    profiles: &[(String, String)],
    ending: &BTreeSet<String>,
) -> Result<BTreeMap<String, String>, Fault> {
    if profiles.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked = clients.regions().await?.into_iter().map(|region| in_region(clients, region, profiles).boxed());
    let found: Vec<Vec<(Instance, String)>> = futures_util::stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    let mut users = BTreeMap::new();
    for (instance, region) in found.into_iter().flatten() {
        let arn = instance.iam_instance_profile().and_then(|profile| profile.arn()).unwrap_or_default();
        let id = instance.instance_id().unwrap_or_default();
        for (_, used) in profiles.iter().filter(|(known, _)| known == arn && !ending.contains(id)) {
            users.entry(used.clone()).or_insert_with(|| user(&instance, &region));
        }
    }
    Ok(users)
}

async fn in_region(
    clients: &Clients,
    region: String,
    profiles: &[(String, String)],
) -> Result<Vec<(Instance, String)>, Fault> {
    let arns: BTreeSet<&str> = profiles.iter().map(|(arn, _)| arn.as_str()).collect();
    let mut found = Vec::new();
    for arns in arns.into_iter().collect::<Vec<_>>().chunks(filters::VALUES) {
        let filters =
            [filters::match_any("iam-instance-profile.arn", arns), filters::match_any("instance-state-name", &LIVE)];
        found.extend(instances::find_all(&clients.ec2(&region), filters.to_vec()).await?);
    }
    Ok(found.into_iter().map(|instance| (instance, region.clone())).collect())
}

fn user(instance: &Instance, region: &str) -> String {
    let owner = tags::owner(instance.tags());
    let whose = owner.map(|owner| format!(" of `{owner}`")).unwrap_or_default();
    format!("the machine `{}`{whose} in {region} uses it", instance.instance_id().unwrap_or_default())
}
