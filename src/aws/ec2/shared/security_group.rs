//! The security groups: our rules let in port 22 from the caller's addresses and nothing else; the group of machines
//! without SSH lets in nothing at all.
//!
//! They are reconciled by content: the next run completes a group that was made and got no rule. [`super::rules`]
//! decides about the changes.

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroup, SecurityGroupRule};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use model::event::AccountEvent;
use model::fault::Fault;
use model::resource::ResourceKind;

use crate::ec2::filters;
use crate::ec2::shared::SharedAccount;
use crate::ec2::shared::rules::{self, Changes, IngressRule, PORT};
use crate::ec2::trouble::{self, Class};
use crate::ec2::{propagation, tags};

/// How much longer a rule stays than the machine that it was made for, so that the next machines of the day need no
/// change.
const SPARE: SignedDuration = SignedDuration::from_hours(24);

/// How many groups or rules a page holds; the API's own limit.
const PAGE: i32 = 1000;

/// The access that a group is to give.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedAccess<'a> {
    /// The ranges to let in.
    pub ranges: &'a [IpNet],
    /// The time.
    pub now: Timestamp,
    /// Until when at least they are let in.
    pub until: Timestamp,
}

/// Makes sure that the group `name` exists in the default network and lets the caller in; returns its id.
pub(crate) async fn reconcile(
    account: &SharedAccount<'_>,
    name: &str,
    wanted: WantedAccess<'_>,
) -> Result<String, Fault> {
    let (network, known) = futures_util::future::try_join(default_network(account), list(account, name)).await?;
    let id = find_or_make(account, &known, name, &network).await?;
    let rules = list_rules(account, &id).await?;
    mend(account, name, &id, rules, wanted).await?;
    Ok(id)
}

async fn find_or_make(
    account: &SharedAccount<'_>,
    known: &[KnownGroup],
    name: &str,
    network: &str,
) -> Result<String, Fault> {
    // A group of the same name may be in another network, where our machines are not.
    match known.iter().find(|group| group.name == name && group.network == network) {
        Some(group) => Ok(group.id.clone()),
        None => make(account, name, network).await,
    }
}

#[derive(Debug)]
struct KnownGroup {
    id: String,
    name: String,
    network: String,
}

impl KnownGroup {
    fn of(group: SecurityGroup) -> Option<Self> {
        Some(Self { id: group.group_id?, name: group.group_name?, network: group.vpc_id? })
    }
}

/// The default network of the region, which machines are launched into.
async fn default_network(account: &SharedAccount<'_>) -> Result<String, Fault> {
    let call = account.ec2.describe_vpcs().filters(filters::match_value("is-default", "true"));
    let answer = call.send().await.map_err(|error| trouble::fault("look for the default VPC", error))?;
    answer.vpcs().iter().find_map(|network| network.vpc_id.clone()).ok_or_else(|| {
        Fault::outside(format!("the region `{}` of the account has no default VPC", account.region))
            .hint("Make one with `aws ec2 create-default-vpc`, or choose another `--aws-region`.")
    })
}

async fn list(account: &SharedAccount<'_>, name: &str) -> Result<Vec<KnownGroup>, Fault> {
    let call =
        account.ec2.describe_security_groups().filters(filters::match_value("group-name", name)).max_results(PAGE);
    let found: Result<Vec<SecurityGroup>, _> = call.into_paginator().items().send().collect().await;
    let found = found.map_err(|error| trouble::fault(&format!("look for the security group `{name}`"), error))?;
    Ok(found.into_iter().filter_map(KnownGroup::of).collect())
}

async fn make(account: &SharedAccount<'_>, name: &str, network: &str) -> Result<String, Fault> {
    let row = account.plan(ResourceKind::SecurityGroup, name)?;
    let mut group_tags = tags::shared_tags(account.owner);
    group_tags.push(tags::tag(tags::NAME, name));
    let call = account
        .ec2
        .create_security_group()
        .group_name(name)
        .description(match name != tags::MANAGED_GROUP {
            true => "Ephemeral machines of hg-automation: port 22 from their users only",
            false => "Ephemeral machines of hg-automation without SSH: nothing is let in",
        })
        .vpc_id(network)
        .tag_specifications(tags::specification(ResourceType::SecurityGroup, &group_tags));
    let id = match call.send().await {
        Ok(made) => made.group_id.unwrap_or_default(),
        // Another run made it meanwhile, or an answer was lost and the call was made again.
        Err(error) if trouble::class(&error) == Class::Duplicate => {
            let known = list(account, name).await?;
            known.into_iter().find(|group| group.network == network).map(|group| group.id).unwrap_or_default()
        }
        Err(error) => return Err(trouble::fault(&format!("make the security group `{name}`"), error)),
    };
    if id.is_empty() {
        return Err(Fault::infrastructure(format!("the security group `{name}` was made and cannot be found")));
    }
    account.ledger.mark_kept(&row, &id)?;
    Ok(id)
}

/// The inbound rules of the group `id`.
async fn list_rules(account: &SharedAccount<'_>, id: &str) -> Result<Vec<IngressRule>, Fault> {
    let call =
        account.ec2.describe_security_group_rules().filters(filters::match_value("group-id", id)).max_results(PAGE);
    let found =
        propagation::retry_until_known(|| call.clone().into_paginator().items().send().collect::<Result<Vec<_>, _>>())
            .await;
    let found: Vec<SecurityGroupRule> =
        found.map_err(|error| trouble::fault("list the rules of our security group", error))?;
    Ok(found.iter().filter(|rule| rule.group_id() == Some(id)).filter_map(IngressRule::of).collect())
}

async fn mend(
    account: &SharedAccount<'_>,
    name: &str,
    id: &str,
    rules: Vec<IngressRule>,
    wanted: WantedAccess<'_>,
) -> Result<(), Fault> {
    let changes = rules::changes(&rules, wanted.ranges, account.owner, wanted.now, wanted.until);
    if !changes.wide.is_empty() {
        let (group, rules) = (name.to_owned(), changes.wide.clone());
        account.teller.tell(AccountEvent::GroupLetsInMore { group, port: PORT, rules });
    }
    // The caller is let in first, so that nobody is shut out when the rest fails.
    allow(account, name, id, &changes, wanted.until).await?;
    extend(account, name, &changes, wanted.until).await?;
    revoke(account, name, id, &changes).await
}

/// Lets all ranges in with one call. If another run has made one of the rules meanwhile, that call makes none of them,
/// and the ranges are let in one by one.
async fn allow(
    account: &SharedAccount<'_>,
    name: &str,
    id: &str,
    changes: &Changes,
    until: Timestamp,
) -> Result<(), Fault> {
    if changes.add.is_empty() || allow_ranges(account, name, id, &changes.add, until).await? {
        return Ok(());
    }
    for range in &changes.add {
        allow_ranges(account, name, id, std::slice::from_ref(range), until).await?;
    }
    Ok(())
}

/// Lets `ranges` in; `false` if one of them was let in already.
async fn allow_ranges(
    account: &SharedAccount<'_>,
    name: &str,
    id: &str,
    ranges: &[IpNet],
    until: Timestamp,
) -> Result<bool, Fault> {
    let described = rules::description(account.owner);
    let mut permission = IpPermission::builder().ip_protocol("tcp").from_port(PORT.into()).to_port(PORT.into());
    for range in ranges {
        let text = range.to_string();
        permission = if range.addr().is_ipv4() {
            permission.ip_ranges(IpRange::builder().cidr_ip(text).description(&described).build())
        } else {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(text).description(&described).build())
        };
    }
    let mut rule_tags = tags::shared_tags(account.owner);
    rule_tags.push(tags::tag(tags::EXPIRES, &tags::time(until + SPARE)));
    let call = account
        .ec2
        .authorize_security_group_ingress()
        .group_id(id)
        .ip_permissions(permission.build())
        .tag_specifications(tags::specification(ResourceType::SecurityGroupRule, &rule_tags));
    match propagation::retry_until_known(|| call.clone().send()).await {
        Ok(_) => Ok(true),
        Err(error) if trouble::class(&error) == Class::Duplicate => Ok(false),
        Err(error) => {
            let shown: Vec<String> = ranges.iter().map(IpNet::to_string).collect();
            Err(trouble::fault(&format!("let {} into the security group `{name}`", shown.join(", ")), error))
        }
    }
}

async fn extend(account: &SharedAccount<'_>, name: &str, changes: &Changes, until: Timestamp) -> Result<(), Fault> {
    if changes.extend.is_empty() {
        return Ok(());
    }
    let end = tags::tag(tags::EXPIRES, &tags::time(until + SPARE));
    let call = account.ec2.create_tags().set_resources(Some(changes.extend.clone())).tags(end);
    let doing = || format!("extend the rules of the security group `{name}`");
    call.send().await.map_err(|error| trouble::fault(&doing(), error)).map(drop)
}

async fn revoke(account: &SharedAccount<'_>, name: &str, id: &str, changes: &Changes) -> Result<(), Fault> {
    if changes.revoke.is_empty() {
        return Ok(());
    }
    let ids = Some(changes.revoke.clone());
    let call = account.ec2.revoke_security_group_ingress().group_id(id).set_security_group_rule_ids(ids);
    match call.send().await {
        Ok(_) => Ok(()),
        // Another run of the same owner removed it meanwhile.
        Err(error) if trouble::class(&error) == Class::NotFound => Ok(()),
        Err(error) => Err(trouble::fault(&format!("remove old rules of the security group `{name}`"), error)),
    }
}
