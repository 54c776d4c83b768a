//! The role that lets Systems Manager reach a machine, in an instance profile that hands it to the machine.
//!
//! Both are reconciled by content: trust, policy, and the role's place in the profile. Deliberately absent: waiting
//! until all of AWS knows them. Calls that need them, including the launch, are repeated while they are not known yet
//! ([`propagation`]).

use aws_sdk_iam::types::Role;
use model::event::AccountEvent;
use model::fault::Fault;
use model::resource::ResourceKind;
use serde_json::{Value, json};

use crate::ec2::propagation;
use crate::ec2::shared::SharedAccount;
use crate::ec2::tags::{self, INSTANCE_PROFILE, ROLE};
use crate::ec2::trouble::{self, Class};

/// AWS's own policy for the agent of Systems Manager. It lets a machine read every parameter of the account, including
/// secrets, so it is not attached to the role; it is the role's boundary, which limits every policy that anybody gives
/// the role.
pub(crate) const BOUNDARY: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

/// The name of the role's own policy.
pub(crate) const POLICY: &str = "hg-automation-run-command";

/// The permissions that the agent needs to take commands: to register itself, to fetch commands and to answer them.
fn policy() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": [
                "ec2messages:AcknowledgeMessage",
                "ec2messages:DeleteMessage",
                "ec2messages:FailMessage",
                "ec2messages:GetEndpoint",
                "ec2messages:GetMessages",
                "ec2messages:SendReply",
                "ssm:ListAssociations",
                "ssm:ListInstanceAssociations",
                "ssm:UpdateInstanceInformation",
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ],
            "Resource": "*",
        }],
    })
}

/// The trust policy: only EC2 may assume the role, for its machines.
fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }],
    })
}

/// The role and the profile as IAM has them.
#[derive(Debug, Default, PartialEq, Eq)]
struct KnownRole {
    /// The trust policy, as IAM returns it; `None` if there is no role.
    trust: Option<String>,
    /// The ARN of the role's permissions boundary.
    boundary: Option<String>,
    /// The role's inline policy of our name, as IAM returns it.
    policy: Option<String>,
    /// The ARNs of the managed policies that are attached to the role.
    attached: Vec<String>,
    /// The roles in the profile, at most one; `None` if there is no profile.
    profile: Option<Vec<String>>,
}

/// One change.
#[derive(Debug, PartialEq, Eq)]
enum RoleStep {
    MakeRole,
    MendTrust,
    Bound,
    PutPolicy,
    /// Detaches the policy that lets a machine read parameters; earlier builds attached it.
    Detach,
    MakeProfile,
    /// Takes another role out of the profile.
    TakeOut(String),
    PutIn,
}

/// The steps that make role and profile what they should be, in order.
fn steps(known: &KnownRole) -> Vec<RoleStep> {
    let mut steps = Vec::new();
    match &known.trust {
        None => steps.push(RoleStep::MakeRole),
        Some(found) if !is_same(found, &trust()) => steps.push(RoleStep::MendTrust),
        Some(_) => {}
    }
    if known.trust.is_some() && known.boundary.as_deref() != Some(BOUNDARY) {
        steps.push(RoleStep::Bound);
    }
    if !known.policy.as_deref().is_some_and(|found| is_same(found, &policy())) {
        steps.push(RoleStep::PutPolicy);
    }
    if known.attached.iter().any(|arn| arn == BOUNDARY) {
        steps.push(RoleStep::Detach);
    }
    match &known.profile {
        None => steps.extend([RoleStep::MakeProfile, RoleStep::PutIn]),
        Some(roles) if roles.iter().any(|role| role == ROLE) => {}
        Some(roles) => {
            steps.extend(roles.iter().map(|role| RoleStep::TakeOut(role.clone())));
            steps.push(RoleStep::PutIn);
        }
    }
    steps
}

/// Whether a document, which IAM returns percent-encoded, equals `wanted`.
fn is_same(found: &str, wanted: &Value) -> bool {
    serde_json::from_str::<Value>(&decoded(found)).is_ok_and(|found| found == *wanted)
}

/// `text` with its percent escapes resolved; anything that is not an escape stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes sure that role and profile exist and are what they should be; returns the profile's name.
pub(crate) async fn reconcile(account: &SharedAccount<'_>) -> Result<String, Fault> {
    let iam = account.clients.iam();
    let known = read_state(&iam).await?;
    let beyond: Vec<&str> = known.attached.iter().map(String::as_str).filter(|arn| *arn != BOUNDARY).collect();
    if !beyond.is_empty() {
        let policies = beyond.into_iter().map(str::to_owned).collect();
        account.teller.tell(AccountEvent::RoleAllowsMore { role: ROLE.to_owned(), policies });
    }
    for step in steps(&known) {
        apply(account, &iam, &step).await?;
    }
    Ok(INSTANCE_PROFILE.to_owned())
}

async fn read_state(iam: &aws_sdk_iam::Client) -> Result<KnownRole, Fault> {
    let role = async {
        match iam.get_role().role_name(ROLE).send().await {
            Ok(found) => Ok(found.role),
            Err(error) if trouble::class(&error) == Class::NotFound => Ok(None),
            Err(error) => Err(trouble::fault(&format!("look at the role `{ROLE}`"), error)),
        }
    };
    let policy = async {
        match iam.get_role_policy().role_name(ROLE).policy_name(POLICY).send().await {
            Ok(found) => Ok(Some(found.policy_document)),
            Err(error) if trouble::class(&error) == Class::NotFound => Ok(None),
            Err(error) => Err(trouble::fault(&format!("look at the policy of the role `{ROLE}`"), error)),
        }
    };
    let attached = async {
        let pages = iam.list_attached_role_policies().role_name(ROLE).into_paginator().items().send();
        match pages.collect::<Result<Vec<_>, _>>().await {
            Ok(found) => Ok(found.into_iter().filter_map(|policy| policy.policy_arn).collect()),
            Err(error) if trouble::class(&error) == Class::NotFound => Ok(Vec::new()),
            Err(error) => Err(trouble::fault(&format!("list the policies of the role `{ROLE}`"), error)),
        }
    };
    let profile = async {
        match iam.get_instance_profile().instance_profile_name(INSTANCE_PROFILE).send().await {
            Ok(found) => Ok(found.instance_profile.map(|profile| names(profile.roles()))),
            Err(error) if trouble::class(&error) == Class::NotFound => Ok(None),
            Err(error) => Err(trouble::fault(&format!("look at the instance profile `{INSTANCE_PROFILE}`"), error)),
        }
    };
    let (role, policy, attached, profile) = futures_util::future::try_join4(role, policy, attached, profile).await?;
    let boundary = role.as_ref().and_then(|role| role.permissions_boundary()?.permissions_boundary_arn.clone());
    let trust = role.map(|role| role.assume_role_policy_document.unwrap_or_default());
    Ok(KnownRole { trust, boundary, policy, attached, profile })
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| role.role_name.clone()).collect()
}

async fn apply(account: &SharedAccount<'_>, iam: &aws_sdk_iam::Client, step: &RoleStep) -> Result<(), Fault> {
    match step {
        RoleStep::MakeRole => make_role(account, iam).await,
        RoleStep::MendTrust => {
            let call = iam.update_assume_role_policy().role_name(ROLE).policy_document(trust().to_string());
            let doing = format!("mend who may take the role `{ROLE}`");
            propagation::retry_until_known(|| call.clone().send())
                .await
                .map_err(|error| trouble::fault(&doing, error))
                .map(drop)
        }
        RoleStep::Bound => {
            let call = iam.put_role_permissions_boundary().role_name(ROLE).permissions_boundary(BOUNDARY);
            let doing = format!("bound what the role `{ROLE}` may be allowed");
            propagation::retry_until_known(|| call.clone().send())
                .await
                .map_err(|error| trouble::fault(&doing, error))
                .map(drop)
        }
        RoleStep::PutPolicy => {
            let call = iam.put_role_policy().role_name(ROLE).policy_name(POLICY).policy_document(policy().to_string());
            let doing = format!("give the role `{ROLE}` its policy");
            propagation::retry_until_known(|| call.clone().send())
                .await
                .map_err(|error| trouble::fault(&doing, error))
                .map(drop)
        }
        RoleStep::Detach => {
            let call = iam.detach_role_policy().role_name(ROLE).policy_arn(BOUNDARY);
            match call.send().await {
                Err(error) if trouble::class(&error) != Class::NotFound => {
                    Err(trouble::fault(&format!("take a policy away from the role `{ROLE}`"), error))
                }
                _ => Ok(()),
            }
        }
        RoleStep::MakeProfile => make_profile(account, iam).await,
        RoleStep::TakeOut(role) => {
            let call = iam.remove_role_from_instance_profile();
            let call = call.instance_profile_name(INSTANCE_PROFILE).role_name(role);
            let doing = format!("take the role `{role}` out of the instance profile `{INSTANCE_PROFILE}`");
            call.send().await.map_err(|error| trouble::fault(&doing, error)).map(drop)
        }
        RoleStep::PutIn => put_in(iam).await,
    }
}

async fn make_role(account: &SharedAccount<'_>, iam: &aws_sdk_iam::Client) -> Result<(), Fault> {
    let row = account.plan_global(ResourceKind::Role, ROLE)?;
    let call = iam
        .create_role()
        .role_name(ROLE)
        .description("Lets Systems Manager reach ephemeral machines of hg-automation")
        .assume_role_policy_document(trust().to_string())
        .permissions_boundary(BOUNDARY)
        .set_tags(Some(tags::to_iam_tags(&tags::shared_tags(account.owner))));
    match call.send().await {
        Ok(_) => account.ledger.mark_kept(&row, ROLE),
        // Another run made it meanwhile.
        Err(error) if trouble::class(&error) == Class::Duplicate => account.ledger.mark_kept(&row, ROLE),
        Err(error) => Err(trouble::fault(&format!("make the role `{ROLE}`"), error)),
    }
}

async fn make_profile(account: &SharedAccount<'_>, iam: &aws_sdk_iam::Client) -> Result<(), Fault> {
    let row = account.plan_global(ResourceKind::InstanceProfile, INSTANCE_PROFILE)?;
    let call = iam
        .create_instance_profile()
        .instance_profile_name(INSTANCE_PROFILE)
        .set_tags(Some(tags::to_iam_tags(&tags::shared_tags(account.owner))));
    match call.send().await {
        Ok(_) => account.ledger.mark_kept(&row, INSTANCE_PROFILE),
        Err(error) if trouble::class(&error) == Class::Duplicate => account.ledger.mark_kept(&row, INSTANCE_PROFILE),
        Err(error) => Err(trouble::fault(&format!("make the instance profile `{INSTANCE_PROFILE}`"), error)),
    }
}

async fn put_in(iam: &aws_sdk_iam::Client) -> Result<(), Fault> {
    let call = iam.add_role_to_instance_profile().instance_profile_name(INSTANCE_PROFILE).role_name(ROLE);
    let Err(error) = propagation::retry_until_known(|| call.clone().send()).await else { return Ok(()) };
    // A profile holds one role. Another run may have added ours meanwhile, which is checked rather than assumed.
    if trouble::class(&error) == Class::Quota && read_state(iam).await?.profile.is_some_and(|roles| roles == [ROLE]) {
        return Ok(());
    }
    Err(trouble::fault(&format!("put the role `{ROLE}` into the instance profile `{INSTANCE_PROFILE}`"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(document: &Value) -> String {
        document.to_string().replace('{', "%7B").replace('"', "%22").replace(':', "%3A")
    }

    fn whole() -> KnownRole {
        KnownRole {
            trust: Some(encoded(&trust())),
            boundary: Some(BOUNDARY.into()),
            policy: Some(encoded(&policy())),
            attached: vec![],
            profile: Some(vec![ROLE.into()]),
        }
    }

    #[test]
    fn what_is_whole_is_left() {
        assert_eq!(steps(&whole()), []);
        let more = KnownRole { attached: vec!["arn:aws:iam::aws:policy/Other".into()], ..whole() };
        assert_eq!(steps(&more), []);
    }

    #[test]
    fn what_was_cut_off_between_any_two_calls_is_mended() {
        assert_eq!(
            steps(&KnownRole::default()),
            [RoleStep::MakeRole, RoleStep::PutPolicy, RoleStep::MakeProfile, RoleStep::PutIn]
        );
        assert_eq!(steps(&KnownRole { policy: None, ..whole() }), [RoleStep::PutPolicy]);
        assert_eq!(steps(&KnownRole { profile: Some(vec![]), ..whole() }), [RoleStep::PutIn]);
        assert_eq!(steps(&KnownRole { profile: None, ..whole() }), [RoleStep::MakeProfile, RoleStep::PutIn]);
        let other = KnownRole { profile: Some(vec!["x".into()]), ..whole() };
        assert_eq!(steps(&other), [RoleStep::TakeOut("x".into()), RoleStep::PutIn]);
    }

    #[test]
    fn a_role_of_an_earlier_build_loses_what_it_need_not_have() {
        let earlier = KnownRole { boundary: None, policy: None, attached: vec![BOUNDARY.into()], ..whole() };
        assert_eq!(steps(&earlier), [RoleStep::Bound, RoleStep::PutPolicy, RoleStep::Detach]);
        assert_eq!(steps(&KnownRole { policy: Some(encoded(&trust())), ..whole() }), [RoleStep::PutPolicy]);
        assert!(!policy().to_string().contains("Parameter"), "a machine reads no secrets of its account");
    }

    #[test]
    fn a_role_that_others_may_take_is_mended() {
        let open = trust().to_string().replace("ec2.amazonaws.com", "lambda.amazonaws.com");
        assert_eq!(steps(&KnownRole { trust: Some(open), ..whole() }), [RoleStep::MendTrust]);
        assert_eq!(steps(&KnownRole { trust: Some("{".into()), ..whole() }), [RoleStep::MendTrust]);
        assert_eq!(decoded("%7B%22a%22%3A 1%7D%zz%"), "{\"a\": 1}%zz%");
    }
}
