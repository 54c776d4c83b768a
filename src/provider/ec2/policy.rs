//! The least permissions that each command needs, as an IAM policy.
//!
//! A [`Grant`] is one statement; a command is a list of grants. Where AWS can tell by tag or name what is ours, the statement
//! says so: what searches cannot be narrowed, what makes must put our tag on it, what ends or changes must find it there, or is
//! bound to the exact name of what is ours once in an account. With an owner, all but what people share is bound to that
//! owner's tag. A decision engine of the tests holds the table against the calls that the emulator saw.
//!
//! What is absent by default: anything that lets its holder end what carries no tag. What only has a name like ours can be told
//! by AWS from nothing else in part of the cases, so it is a statement of its own, which is asked for ([`Scope::untagged`]).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::provider::ec2::fixtures::role::BOUNDARY;

/// What a condition holds the call against.
#[derive(Clone, Copy)]
enum Is {
    /// One of these.
    Any(&'static [&'static str]),
    /// The owner that the policy is for; any, where it is for everybody.
    Owner,
}

/// Operator, key and values.
type Condition = (&'static str, &'static str, Is);

/// Who may do what to what, under which condition.
struct Grant {
    sid: &'static str,
    actions: &'static [&'static str],
    resources: &'static [&'static str],
    conditions: &'static [Condition],
}

/// For whom a policy is.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Whose things may be ended and changed; everybody's where nobody is named.
    pub owner: Option<String>,
    /// Whether what carries no tag of ours may be ended for its name.
    pub untagged: bool,
}

const ANY: &[&str] = &["*"];

/// The call puts the owner's tag on what it makes.
const MARKS: Condition = ("StringEquals", "aws:RequestTag/hg:owner", Is::Owner);

/// The thing carries the owner's tag.
const MARKED: Condition = ("StringEquals", "aws:ResourceTag/hg:owner", Is::Owner);

/// The thing carries the tag of anybody: people share it.
const SHARED: Condition = ("Null", "aws:ResourceTag/hg:owner", Is::Any(&["false"]));

/// The thing carries no owner's tag.
const UNMARKED: Condition = ("Null", "aws:ResourceTag/hg:owner", Is::Any(&["true"]));

const ROLES: &[&str] = &["arn:aws:iam::*:role/hg-ephemeral-ec2-role-1"];

const PROFILES: &[&str] = &["arn:aws:iam::*:instance-profile/hg-ephemeral-ec2-1"];

const ROLES_AND_PROFILES: &[&str] =
    &["arn:aws:iam::*:instance-profile/hg-ephemeral-ec2-1", "arn:aws:iam::*:role/hg-ephemeral-ec2-role-1"];

const IDENTITY: Grant =
    Grant { sid: "TellTheAccount", actions: &["sts:GetCallerIdentity"], resources: ANY, conditions: &[] };

const LOOK: Grant = Grant {
    sid: "LookAtMachines",
    actions: &[
        "ec2:DescribeInstances",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSpotInstanceRequests",
        "ec2:DescribeVolumes",
    ],
    resources: ANY,
    conditions: &[],
};

const LOOK_AROUND: Grant = Grant {
    sid: "LookAtWhatMachinesUse",
    actions: &[
        "ec2:DescribeImages",
        "ec2:DescribeKeyPairs",
        "ec2:DescribeSecurityGroupRules",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSnapshots",
    ],
    resources: ANY,
    conditions: &[],
};

const CHOOSE: Grant = Grant {
    sid: "ChooseMachines",
    actions: &[
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeSpotPriceHistory",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "pricing:GetProducts",
    ],
    resources: ANY,
    conditions: &[],
};

const PARAMETER: Grant = Grant {
    sid: "FindBaseImages",
    actions: &["ssm:GetParameter", "ssm:GetParameters"],
    resources: &["arn:aws:ssm:*::parameter/aws/service/*"],
    conditions: &[],
};

const KEY_PAIR: Grant = Grant {
    sid: "ImportKeyPair",
    actions: &["ec2:ImportKeyPair"],
    resources: &["arn:aws:ec2:*:*:key-pair/hg-*"],
    conditions: &[MARKS],
};

const GROUP: Grant = Grant {
    sid: "MakeSecurityGroup",
    actions: &["ec2:CreateSecurityGroup"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: &[MARKS],
};

const GROUP_IN: Grant = Grant {
    sid: "MakeSecurityGroupIn",
    actions: &["ec2:CreateSecurityGroup"],
    resources: &["arn:aws:ec2:*:*:vpc/*"],
    conditions: &[],
};

/// The group itself is everybody's: a rule of one's own in it is one's own.
const RULES: Grant = Grant {
    sid: "KeepRules",
    actions: &["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: &[SHARED],
};

const RULES_NEW: Grant = Grant {
    sid: "MakeRules",
    actions: &["ec2:AuthorizeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[MARKS],
};

const RULES_OLD: Grant = Grant {
    sid: "RemoveRules",
    actions: &["ec2:RevokeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[MARKED],
};

/// Two people behind one address share a rule: whoever needs it pushes its end out, and changes nothing else of it.
const RULES_RENEW: Grant = Grant {
    sid: "RenewRules",
    actions: &["ec2:CreateTags"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[SHARED, ("ForAllValues:StringEquals", "aws:TagKeys", Is::Any(&["hg:expires"]))],
};

const TAG: Grant = Grant {
    sid: "TagWhatIsMade",
    actions: &["ec2:CreateTags"],
    resources: &["arn:aws:ec2:*:*:*/*"],
    conditions: &[
        MARKS,
        (
            "StringEquals",
            "ec2:CreateAction",
            Is::Any(&[
                "AuthorizeSecurityGroupIngress",
                "CreateImage",
                "CreateSecurityGroup",
                "ImportKeyPair",
                "RunInstances",
            ]),
        ),
    ],
};

const LAUNCH: Grant = Grant {
    sid: "LaunchMarked",
    actions: &["ec2:RunInstances"],
    resources: &[
        "arn:aws:ec2:*:*:instance/*",
        "arn:aws:ec2:*:*:network-interface/*",
        "arn:aws:ec2:*:*:spot-instances-request/*",
        "arn:aws:ec2:*:*:volume/*",
    ],
    conditions: &[MARKS],
};

const LAUNCH_FROM: Grant = Grant {
    sid: "LaunchFrom",
    actions: &["ec2:RunInstances"],
    resources: &["arn:aws:ec2:*:*:image/*", "arn:aws:ec2:*:*:key-pair/hg-*", "arn:aws:ec2:*:*:subnet/*"],
    conditions: &[],
};

const LAUNCH_IN: Grant = Grant {
    sid: "LaunchInSharedGroups",
    actions: &["ec2:RunInstances"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: &[SHARED],
};

const SPOT_ROLE: Grant = Grant {
    sid: "LetSpotWork",
    actions: &["iam:CreateServiceLinkedRole"],
    resources: &["arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*"],
    conditions: &[("StringEquals", "iam:AWSServiceName", Is::Any(&["spot.amazonaws.com"]))],
};

const END: Grant = Grant {
    sid: "EndMarked",
    actions: &[
        "ec2:CancelSpotInstanceRequests",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteVolume",
        "ec2:GetConsoleOutput",
        "ec2:TerminateInstances",
    ],
    resources: ANY,
    conditions: &[MARKED],
};

const BAKE: Grant = Grant {
    sid: "BakeFromMarked",
    actions: &["ec2:CreateImage"],
    resources: &["arn:aws:ec2:*:*:instance/*"],
    conditions: &[MARKED],
};

const BAKE_MARKED: Grant = Grant {
    sid: "BakeMarked",
    actions: &["ec2:CreateImage"],
    resources: &["arn:aws:ec2:*:*:image/*", "arn:aws:ec2:*:*:snapshot/*"],
    conditions: &[MARKS],
};

const COLLECT: Grant = Grant {
    sid: "CollectMarkedImages",
    actions: &["ec2:DeleteSnapshot", "ec2:DeregisterImage"],
    resources: ANY,
    conditions: &[MARKED],
};

const ROLE_LOOK: Grant = Grant {
    sid: "LookAtRole",
    actions: &[
        "iam:GetInstanceProfile",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:ListRoleTags",
    ],
    resources: ROLES_AND_PROFILES,
    conditions: &[],
};

const PROFILE: Grant = Grant {
    sid: "KeepProfile",
    actions: &["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile"],
    resources: PROFILES,
    conditions: &[],
};

const PROFILE_NEW: Grant = Grant {
    sid: "MakeProfile",
    actions: &["iam:CreateInstanceProfile", "iam:TagInstanceProfile"],
    resources: PROFILES,
    conditions: &[MARKS],
};

/// Whoever may give a role policies and hand it to a machine may do what those policies say. The boundary keeps that to what
/// AWS lets the agent of Systems Manager do, whatever is written into the role.
const ROLE_BOUND: Grant = Grant {
    sid: "KeepRoleBounded",
    actions: &["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
    resources: ROLES,
    conditions: &[("ArnEquals", "iam:PermissionsBoundary", Is::Any(&[BOUNDARY]))],
};

const ROLE: Grant =
    Grant { sid: "KeepRole", actions: &["iam:UpdateAssumeRolePolicy"], resources: ROLES, conditions: &[] };

const ROLE_TAG: Grant = Grant { sid: "TagRole", actions: &["iam:TagRole"], resources: ROLES, conditions: &[MARKS] };

/// A build before this one gave it.
const ROLE_NARROW: Grant = Grant {
    sid: "TakeParametersFromRole",
    actions: &["iam:DetachRolePolicy"],
    resources: ROLES,
    conditions: &[("ArnEquals", "iam:PolicyARN", Is::Any(&[BOUNDARY]))],
};

const PASS_ROLE: Grant = Grant {
    sid: "HandRoleToMachines",
    actions: &["iam:PassRole"],
    resources: ROLES,
    conditions: &[("StringEquals", "iam:PassedToService", Is::Any(&["ec2.amazonaws.com"]))],
};

const MANAGE: Grant = Grant {
    sid: "RunCommandsOnMarked",
    actions: &["ssm:SendCommand"],
    resources: &["arn:aws:ec2:*:*:instance/*"],
    conditions: &[MARKED],
};

const MANAGE_BY: Grant = Grant {
    sid: "RunCommandsBy",
    actions: &["ssm:SendCommand"],
    resources: &["arn:aws:ssm:*::document/AWS-RunShellScript"],
    conditions: &[],
};

const MANAGE_FOLLOW: Grant = Grant {
    sid: "FollowCommands",
    actions: &["ssm:CancelCommand", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation"],
    resources: ANY,
    conditions: &[],
};

const REGIONS: Grant =
    Grant { sid: "LookInEveryRegion", actions: &["ec2:DescribeRegions"], resources: ANY, conditions: &[] };

const REMOVE: Grant = Grant {
    sid: "RemoveMarked",
    actions: &["ec2:DeleteKeyPair", "ec2:DeleteSecurityGroup", "ec2:DeleteSnapshot", "ec2:DeregisterImage"],
    resources: ANY,
    conditions: &[MARKED],
};

/// Groups that refer to each other cannot be removed before their rules.
const REMOVE_RULES: Grant = Grant {
    sid: "RemoveRulesOfMarked",
    actions: &["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group/*", "arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[MARKED],
};

const LIST_ROLES: Grant = Grant {
    sid: "FindRoles",
    actions: &["iam:ListInstanceProfiles", "iam:ListRoles"],
    resources: ANY,
    conditions: &[],
};

const REMOVE_ROLES: Grant = Grant {
    sid: "RemoveRoles",
    actions: &[
        "iam:DeleteInstanceProfile",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:RemoveRoleFromInstanceProfile",
    ],
    resources: ROLES_AND_PROFILES,
    conditions: &[MARKED],
};

/// What has the prefix in its `Name` tag and names no owner.
const END_NAMED: Grant = Grant {
    sid: "EndNamed",
    actions: &[
        "ec2:CancelSpotInstanceRequests",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteVolume",
        "ec2:TerminateInstances",
    ],
    resources: ANY,
    conditions: &[UNMARKED, ("StringLike", "aws:ResourceTag/Name", Is::Any(&["hg-*"]))],
};

/// What the tool before this one left is known by the name of a group or an image, of which AWS makes no condition, or by the
/// image that a snapshot is of.
const REMOVE_UNMARKED: Grant = Grant {
    sid: "RemoveUnmarked",
    actions: &[
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteSnapshot",
        "ec2:DeregisterImage",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
    ],
    resources: ANY,
    conditions: &[UNMARKED],
};

const REMOVE_NAMED: Grant = Grant {
    sid: "RemoveNamed",
    actions: &[
        "ec2:DeleteKeyPair",
        "iam:DeleteInstanceProfile",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:RemoveRoleFromInstanceProfile",
    ],
    resources: &["arn:aws:ec2:*:*:key-pair/hg-*", "arn:aws:iam::*:instance-profile/hg-*", "arn:aws:iam::*:role/hg-*"],
    conditions: &[UNMARKED],
};

const LOOK_NAMED: Grant = Grant {
    sid: "LookAtNamed",
    actions: &["iam:GetInstanceProfile", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:ListRoleTags"],
    resources: &["arn:aws:iam::*:instance-profile/hg-*", "arn:aws:iam::*:role/hg-*"],
    conditions: &[],
};

/// What it takes to make machines, use them and end them.
const MACHINES: &[&[&Grant]] = &[
    &[&IDENTITY, &LOOK, &LOOK_AROUND, &CHOOSE, &PARAMETER],
    &[&KEY_PAIR, &GROUP, &GROUP_IN, &RULES, &RULES_NEW, &RULES_OLD, &RULES_RENEW],
    &[&TAG, &LAUNCH, &LAUNCH_FROM, &LAUNCH_IN, &SPOT_ROLE, &END],
    &[&ROLE_LOOK, &PROFILE, &PROFILE_NEW, &ROLE_BOUND, &ROLE, &ROLE_TAG, &ROLE_NARROW, &PASS_ROLE],
    &[&MANAGE, &MANAGE_BY, &MANAGE_FOLLOW],
];

/// What it takes to keep images beside that.
const IMAGES: &[&Grant] = &[&BAKE, &BAKE_MARKED, &COLLECT];

/// The commands that use AWS.
const COMMANDS: [&str; 9] = [
    "audit",
    "bootstrap-linux-dev",
    "doctor",
    "image",
    "machine",
    "purge-ec2-resources",
    "run-tests-linux",
    "runs",
    "terminate-ec2-instances",
];

/// What a command needs.
fn grants(command: &str, scope: &Scope) -> Vec<&'static Grant> {
    let mut grants: Vec<&Grant> = match command {
        // An audit looks at everything that a journal can name, and ends what nobody uses.
        "audit" => vec![&IDENTITY, &LOOK, &LOOK_AROUND, &END, &COLLECT, &ROLE_LOOK],
        "doctor" => vec![&IDENTITY, &CHOOSE],
        // Whoever makes a machine bakes its image first where there is none.
        "bootstrap-linux-dev" | "image" | "machine" | "run-tests-linux" => [&MACHINES.concat(), IMAGES].concat(),
        // Whoever attaches to a run tells its cost, and releases its machine; from another address it is let in first.
        "runs" => vec![
            &IDENTITY,
            &LOOK,
            &LOOK_AROUND,
            &CHOOSE,
            &END,
            &GROUP,
            &GROUP_IN,
            &RULES,
            &RULES_NEW,
            &RULES_OLD,
            &RULES_RENEW,
            &TAG,
        ],
        "terminate-ec2-instances" => vec![&IDENTITY, &LOOK, &END],
        "purge-ec2-resources" => vec![
            &IDENTITY,
            &LOOK,
            &LOOK_AROUND,
            &REGIONS,
            &END,
            &REMOVE,
            &REMOVE_RULES,
            &LIST_ROLES,
            &ROLE_LOOK,
            &REMOVE_ROLES,
        ],
        _ => Vec::new(),
    };
    if scope.untagged {
        grants.extend(match command {
            "terminate-ec2-instances" => vec![&END_NAMED],
            "purge-ec2-resources" => vec![&END_NAMED, &REMOVE_UNMARKED, &REMOVE_NAMED, &LOOK_NAMED],
            _ => Vec::new(),
        });
    }
    grants
}

/// The commands that need permissions.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter()
}

/// The actions that `command` may call, as `service:Action`.
pub fn actions(command: &str) -> BTreeSet<&'static str> {
    let whole = Scope { owner: None, untagged: true };
    grants(command, &whole).iter().flat_map(|grant| grant.actions.iter().copied()).collect()
}

/// The policy for all of `commands`: each statement once.
pub fn document(commands: &[&str], scope: &Scope) -> Value {
    let mut told = BTreeSet::new();
    let grants = commands.iter().flat_map(|command| grants(command, scope));
    let statements: Vec<Value> =
        grants.filter(|grant| told.insert(grant.sid)).map(|grant| statement(grant, scope)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn statement(grant: &Grant, scope: &Scope) -> Value {
    let mut statement = json!({
        "Sid": grant.sid,
        "Effect": "Allow",
        "Action": grant.actions,
        "Resource": grant.resources,
    });
    let mut conditions: Map<String, Value> = Map::new();
    for (operator, key, is) in grant.conditions {
        let (operator, values) = match (is, &scope.owner) {
            (Is::Any(values), _) => (*operator, json!(values)),
            // Whoever it is: that there is one.
            (Is::Owner, None) => ("Null", json!(["false"])),
            (Is::Owner, Some(owner)) => (*operator, json!([owner])),
        };
        // Several keys of one operator stand in one object.
        let of_operator = conditions.entry(operator.to_owned()).or_insert_with(|| json!({}));
        of_operator[*key] = values;
    }
    if !conditions.is_empty() {
        statement["Condition"] = Value::Object(conditions);
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ec2::tags;

    /// The most characters without blanks that a managed policy may have.
    const POLICY_CAP: usize = 6144;

    fn all(scope: &Scope) -> Value {
        document(&commands().collect::<Vec<_>>(), scope)
    }

    fn statements(document: &Value) -> &Vec<Value> {
        document["Statement"].as_array().unwrap()
    }

    fn actions_of(statement: &Value) -> Vec<&str> {
        statement["Action"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_policy_fits_and_has_each_statement_once() {
        let whole = all(&Scope { owner: Some("somebody@a-computer.example".into()), untagged: false });
        assert!(whole.to_string().len() <= POLICY_CAP, "{}", whole.to_string().len());
        let whole = all(&Scope { owner: None, untagged: true });
        let sids: Vec<&str> = statements(&whole).iter().map(|s| s["Sid"].as_str().unwrap()).collect();
        assert_eq!(sids.len(), sids.iter().collect::<BTreeSet<_>>().len());
        assert!(sids.iter().all(|sid| sid.chars().all(|c| c.is_ascii_alphanumeric())), "AWS takes no other characters");
    }

    #[test]
    fn every_command_has_actions_and_the_document_holds_just_them() {
        for command in commands() {
            let document = document(&[command], &Scope { owner: None, untagged: true });
            let told: BTreeSet<&str> = statements(&document).iter().flat_map(actions_of).collect();
            assert!(!told.is_empty() && told == actions(command), "{command}");
        }
        assert!(actions("completions").is_empty());
    }

    #[test]
    fn what_ends_or_changes_is_bound_to_our_tags_or_to_exact_names() {
        let ends = ["Cancel", "Delete", "Deregister", "Detach", "Put", "Remove", "Revoke", "Terminate", "Update"];
        for scope in [Scope::default(), Scope { owner: Some("me@here".into()), untagged: false }] {
            for statement in statements(&all(&scope)) {
                let ending = |action: &&str| {
                    let verb = action.split(':').nth(1).unwrap();
                    *action != "ssm:CancelCommand" && ends.iter().any(|end| verb.starts_with(end))
                };
                let exact = statement["Resource"].as_array().unwrap().iter().all(|resource| {
                    let resource = resource.as_str().unwrap();
                    [tags::ROLE, tags::INSTANCE_PROFILE].iter().any(|name| resource.ends_with(&format!("/{name}")))
                });
                let bound = statement["Condition"].to_string().contains("aws:ResourceTag/hg:owner\":[\"");
                let bound = bound && !statement["Condition"].to_string().contains("[\"true\"]");
                assert!(exact || bound || !actions_of(statement).iter().any(ending), "{statement}");
            }
        }
        let text = all(&Scope::default()).to_string();
        assert!(!text.contains("PowerShell") && !text.contains("role/hg-*") && !text.contains("Unmarked"), "{text}");
        let making = ["Add", "Attach", "Create", "Import", "PassRole", "Put", "Run", "Update"];
        for command in ["audit", "purge-ec2-resources", "terminate-ec2-instances"] {
            let makes = |action: &&&str| making.iter().any(|m| action.split(':').nth(1).unwrap().starts_with(m));
            assert_eq!(actions(command).iter().find(makes), None, "`{command}` makes nothing");
        }
    }

    #[test]
    fn an_owner_is_bound_to_what_is_the_owners() {
        let document = document(&["machine"], &Scope { owner: Some("me@here".into()), untagged: false });
        let of = |action: &str| statements(&document).iter().find(|s| actions_of(s).contains(&action)).unwrap();
        let terminate = of("ec2:TerminateInstances");
        assert_eq!(terminate["Condition"], json!({"StringEquals": {"aws:ResourceTag/hg:owner": ["me@here"]}}));
        let tag = statements(&document).iter().find(|s| s["Sid"] == "TagWhatIsMade").unwrap();
        assert_eq!(tag["Condition"]["StringEquals"]["aws:RequestTag/hg:owner"], json!(["me@here"]));
        assert!(tag["Condition"]["StringEquals"]["ec2:CreateAction"].is_array());
    }
}
