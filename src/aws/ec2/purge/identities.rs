//! Roles and instance profiles, which belong to the account and not to a region. IAM cannot search by name: all are listed,
//! in pages, and ours are selected here by their names; the tags only name the owner.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::{InstanceProfile, Role, Tag};
use futures_util::future::join_all;
use model::fault::Fault;
use model::purge::{PurgeItem, RemovalRefusal, names_somebody};
use model::resource::ResourceKind;

use super::each::{Denied, each};
use super::kind::{PurgeKind, Reach};
use super::search;
use crate::ec2::tags;
use crate::ec2::trouble::{self, Class};

/// Instance profiles.
pub(super) struct Profiles;

#[async_trait]
impl PurgeKind for Profiles {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find_profiles(&reach.iam_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        delete_profiles(&reach.iam_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        there_profiles(&reach.iam, ids).await
    }
}

/// Roles.
pub(super) struct Roles;

#[async_trait]
impl PurgeKind for Roles {
    async fn find(&self, reach: &Reach) -> Result<Vec<PurgeItem>, Fault> {
        find_roles(&reach.iam_preflight).await
    }

    async fn remove(&self, reach: &Reach, ids: &[String]) -> Vec<RemovalRefusal> {
        delete_roles(&reach.iam_deletes, ids).await
    }

    async fn remaining(&self, reach: &Reach, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
        there_roles(&reach.iam, ids).await
    }
}

fn owner(marks: &[Tag]) -> Option<String> {
    let named = marks.iter().find(|tag| tag.key() == tags::OWNER).map(|tag| tag.value().to_owned());
    named.filter(|owner| names_somebody(owner))
}

async fn all_profiles(iam: &Client) -> Result<Vec<InstanceProfile>, Fault> {
    let pages = iam.list_instance_profiles().into_paginator().page_size(search::PAGE).items();
    pages.send().try_collect().await.map_err(|error| trouble::fault("list the instance profiles", error))
}

async fn profiles(iam: &Client) -> Result<Vec<InstanceProfile>, Fault> {
    let all = all_profiles(iam).await?;
    Ok(all.into_iter().filter(|profile| tags::is_ours(Some(profile.instance_profile_name()), [])).collect())
}

async fn roles(iam: &Client) -> Result<Vec<Role>, Fault> {
    let pages = iam.list_roles().into_paginator().page_size(search::PAGE).items();
    let all: Vec<Role> = pages.send().try_collect().await.map_err(|error| trouble::fault("list the roles", error))?;
    Ok(all.into_iter().filter(|role| tags::is_ours(Some(role.role_name()), [])).collect())
}

async fn find_profiles(iam: &Client) -> Result<Vec<PurgeItem>, Fault> {
    let items = profiles(iam).await?.into_iter().map(|profile| async move {
        let name = profile.instance_profile_name();
        // A user who cannot read the tags sees the profile without its owner.
        let shown = iam.get_instance_profile().instance_profile_name(name).send().await.ok();
        let whole = shown.and_then(|answer| answer.instance_profile);
        let owner = whole.and_then(|profile| owner(profile.tags()));
        PurgeItem {
            id: name.to_owned(),
            kind: ResourceKind::InstanceProfile,
            name: Some(name.to_owned()),
            why: search::why(owner.as_deref(), []),
            owner,
            created_at: search::time(Some(profile.create_date())),
            state: String::new(),
        }
    });
    Ok(join_all(items).await)
}

async fn find_roles(iam: &Client) -> Result<Vec<PurgeItem>, Fault> {
    let items = roles(iam).await?.into_iter().map(|role| async move {
        let name = role.role_name();
        // A user who cannot read the tags sees the role without its owner.
        let marks = iam.list_role_tags().role_name(name).send().await;
        let owner = marks.ok().and_then(|answer| owner(answer.tags()));
        PurgeItem {
            id: name.to_owned(),
            kind: ResourceKind::Role,
            name: Some(name.to_owned()),
            why: search::why(owner.as_deref(), []),
            owner,
            created_at: search::time(Some(role.create_date())),
            state: String::new(),
        }
    });
    Ok(join_all(items).await)
}

/// The ARNs of the profiles through which machines use the profiles or roles `ids`, each with that id.
pub(crate) async fn profiles_with(
    iam: &Client,
    kind: ResourceKind,
    ids: &[String],
) -> Result<Vec<(String, String)>, Fault> {
    let all = all_profiles(iam).await?;
    let of = |id: &String, profile: &InstanceProfile| match kind {
        ResourceKind::Role => profile.roles().iter().any(|role| role.role_name() == id),
        _ => profile.instance_profile_name() == id,
    };
    let with = |id: &String| -> Vec<String> {
        all.iter().filter(|profile| of(id, profile)).map(|profile| profile.arn().to_owned()).collect()
    };
    Ok(ids.iter().flat_map(|id| with(id).into_iter().map(|arn| (arn, id.clone()))).collect())
}

/// Turns a refusal of a missing resource into `Ok`.
fn unless_missing<T>(result: Result<T, Denied>) -> Result<(), Denied> {
    match result {
        Err(denied) if denied.class != Class::NotFound => Err(denied),
        _ => Ok(()),
    }
}

async fn delete_profiles(iam: &Client, names: &[String]) -> Vec<RemovalRefusal> {
    each(names, |name| async move {
        let profile = iam.get_instance_profile().instance_profile_name(&name).send().await?;
        let roles = profile.instance_profile.map(|profile| profile.roles).unwrap_or_default();
        for role in roles {
            let remove = iam.remove_role_from_instance_profile().instance_profile_name(&name);
            unless_missing(remove.role_name(role.role_name()).send().await.map_err(Denied::from))?;
        }
        iam.delete_instance_profile().instance_profile_name(&name).send().await?;
        Ok(())
    })
    .await
}

async fn delete_roles(iam: &Client, names: &[String]) -> Vec<RemovalRefusal> {
    each(names, |name| async move {
        let attached = iam.list_attached_role_policies().role_name(&name).into_paginator().items();
        for policy in attached.send().try_collect().await? {
            let Some(arn) = policy.policy_arn() else { continue };
            let detach = iam.detach_role_policy().role_name(&name).policy_arn(arn);
            unless_missing(detach.send().await.map_err(Denied::from))?;
        }
        let own = iam.list_role_policies().role_name(&name).into_paginator().items();
        for policy in own.send().try_collect().await? {
            let delete = iam.delete_role_policy().role_name(&name).policy_name(policy);
            unless_missing(delete.send().await.map_err(Denied::from))?;
        }
        iam.delete_role().role_name(&name).send().await?;
        Ok(())
    })
    .await
}

fn wanted<'a>(names: impl Iterator<Item = &'a str>, ids: &[String]) -> Vec<(String, String)> {
    let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    names.filter(|name| ids.contains(name)).map(|name| (name.to_owned(), String::new())).collect()
}

async fn there_profiles(iam: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    let left = profiles(iam).await?;
    Ok(wanted(left.iter().map(InstanceProfile::instance_profile_name), ids))
}

async fn there_roles(iam: &Client, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
    let left = roles(iam).await?;
    Ok(wanted(left.iter().map(Role::role_name), ids))
}
