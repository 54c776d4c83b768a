//! Security groups. A group in use stays, and its user is reported; rules by which groups that are being removed refer
//! to each other are revoked first.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, SecurityGroup, SecurityGroupRule};
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal};
use model::resource::ResourceKind;

use super::each::{Denied, each};
use super::kind::{PurgeKind, Reach};
use super::{interfaces, search};
use crate::ec2::filters;
use crate::ec2::trouble::{self, Class};

/// Security groups.
pub(super) struct SecurityGroups;

#[async_trait]
impl PurgeKind for SecurityGroups {
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

async fn list(ec2: &Client, search: Option<Filter>) -> Result<Vec<SecurityGroup>, Fault> {
    let request = ec2.describe_security_groups().set_filters(search.map(|search| vec![search]));
    let pages = request.into_paginator().page_size(search::PAGE).items();
    pages.send().try_collect().await.map_err(|error| trouble::fault("list the security groups", error))
}

fn item(group: &SecurityGroup) -> Option<PurgeItem> {
    search::item(ResourceKind::SecurityGroup, group.group_id(), group.group_name(), group.tags())
}

async fn delete(ec2: &Client, ids: &[String]) -> Vec<RemovalRefusal> {
    let mutual = tokio::sync::OnceCell::new();
    each(ids, |id| {
        let mutual = &mutual;
        async move {
            let Err(error) = ec2.delete_security_group().group_id(&id).send().await else { return Ok(()) };
            let denied = Denied::from(error);
            if denied.class != Class::Dependency {
                return Err(denied);
            }
            if let Some(user) = user_of(ec2, &id).await {
                // It is not worth waiting: an interface that is attached now belongs to an instance that was not ended.
                return Err(Denied { class: Class::Other, reason: format!("{}; {user}", denied.reason) });
            }
            mutual.get_or_init(|| revoke_mutual(ec2, ids)).await;
            Err(denied)
        }
    })
    .await
}

/// The instance that uses a group, in words, if there is one.
async fn user_of(ec2: &Client, group: &str) -> Option<String> {
    let users = interfaces::list(ec2, filters::match_value("group-id", group)).await.ok()?;
    users.iter().find_map(|interface| {
        let instance = interface.attachment()?.instance_id()?;
        Some(format!("`{instance}` uses it by `{}`", interface.network_interface_id()?))
    })
}

/// Revokes the rules by which one of `groups` refers to another; a failure shows when the group is deleted.
async fn revoke_mutual(ec2: &Client, groups: &[String]) {
    let mut rules = Vec::new();
    for chunk in groups.chunks(filters::VALUES) {
        let values: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let request = ec2.describe_security_group_rules().filters(filters::match_any("group-id", &values));
        let found = request.into_paginator().page_size(search::PAGE).items().send().try_collect().await;
        rules.extend(found.unwrap_or_default());
    }
    for ((group, egress), ids) in mutual(&rules, groups) {
        let _ = match egress {
            true => {
                let revoke = ec2.revoke_security_group_egress().group_id(group);
                revoke.set_security_group_rule_ids(Some(ids)).send().await.map(drop).map_err(drop)
            }
            false => {
                let revoke = ec2.revoke_security_group_ingress().group_id(group);
                revoke.set_security_group_rule_ids(Some(ids)).send().await.map(drop).map_err(drop)
            }
        };
    }
}

/// The ids of the rules of `groups` that refer to another of `groups`, by group and direction (true for egress).
fn mutual(rules: &[SecurityGroupRule], groups: &[String]) -> BTreeMap<(String, bool), Vec<String>> {
    let going: BTreeSet<&str> = groups.iter().map(String::as_str).collect();
    let mut found: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for rule in rules {
        let other = rule.referenced_group_info().and_then(|info| info.group_id());
        let (Some(own), Some(other), Some(id)) = (rule.group_id(), other, rule.security_group_rule_id()) else {
            continue;
        };
        if own != other && going.contains(own) && going.contains(other) {
            found.entry((own.to_owned(), rule.is_egress().unwrap_or(false))).or_default().push(id.to_owned());
        }
    }
    found
}

async fn remaining(ec2: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    search::in_chunks(ids, "group-id", |filter| async {
        let found = list(ec2, Some(filter)).await?;
        Ok(found.iter().filter_map(|group| Some((group.group_id()?.to_owned(), String::new()))).collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::ReferencedSecurityGroup;

    use super::*;

    #[test]
    fn only_rules_between_groups_that_go_are_revoked() {
        let rule = |id: &str, own: &str, other: Option<&str>, egress: bool| {
            let other = other.map(|other| ReferencedSecurityGroup::builder().group_id(other).build());
            SecurityGroupRule::builder()
                .security_group_rule_id(id)
                .group_id(own)
                .is_egress(egress)
                .set_referenced_group_info(other)
                .build()
        };
        let rules = [
            rule("mutual", "sg-1", Some("sg-2"), false),
            rule("out", "sg-2", Some("sg-1"), true),
            rule("own", "sg-1", Some("sg-1"), false),
            rule("address", "sg-1", None, false),
            rule("to-a-stranger", "sg-1", Some("sg-9"), false),
            rule("of-a-stranger", "sg-9", Some("sg-1"), false),
        ];
        let found = mutual(&rules, &["sg-1".to_owned(), "sg-2".to_owned()]);
        let expected = [
            (("sg-1".to_owned(), false), vec!["mutual".to_owned()]),
            (("sg-2".to_owned(), true), vec!["out".to_owned()]),
        ];
        assert_eq!(found, BTreeMap::from(expected));
    }
}
