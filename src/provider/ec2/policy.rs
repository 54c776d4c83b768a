//! The least permissions that each command needs, as an IAM policy.
//!
//! A [`Grant`] is one statement; a command is a list of grants. Where AWS can tell by tag or name what is ours, the statement
//! says so: what searches cannot be narrowed, what makes must put our tag on it, what ends must find it there. A test holds
//! the table against the calls that the emulator saw.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Who may do what to what, under which condition.
struct Grant {
    sid: &'static str,
    actions: &'static [&'static str],
    resources: &'static [&'static str],
    /// Operator, key and values.
    conditions: &'static [(&'static str, &'static str, &'static [&'static str])],
}

const ANY: &[&str] = &["*"];

/// The call puts our tag on what it makes.
const MARKS: &[(&str, &str, &[&str])] = &[("Null", "aws:RequestTag/hg:owner", &["false"])];

/// The thing carries our tag.
const MARKED: &[(&str, &str, &[&str])] = &[("Null", "aws:ResourceTag/hg:owner", &["false"])];

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
    conditions: MARKS,
};

const GROUP: Grant = Grant {
    sid: "MakeSecurityGroup",
    actions: &["ec2:CreateSecurityGroup"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: MARKS,
};

const GROUP_IN: Grant = Grant {
    sid: "MakeSecurityGroupIn",
    actions: &["ec2:CreateSecurityGroup"],
    resources: &["arn:aws:ec2:*:*:vpc/*"],
    conditions: &[],
};

const RULES: Grant = Grant {
    sid: "KeepRules",
    actions: &["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: MARKED,
};

const RULES_NEW: Grant = Grant {
    sid: "MakeRules",
    actions: &["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[],
};

const RULES_RENEW: Grant = Grant {
    sid: "RenewRules",
    actions: &["ec2:CreateTags"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: MARKED,
};

const TAG: Grant = Grant {
    sid: "TagWhatIsMade",
    actions: &["ec2:CreateTags"],
    resources: &["arn:aws:ec2:*:*:*/*"],
    conditions: &[(
        "StringEquals",
        "ec2:CreateAction",
        &["AuthorizeSecurityGroupIngress", "CreateImage", "CreateSecurityGroup", "ImportKeyPair", "RunInstances"],
    )],
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
    conditions: MARKS,
};

const LAUNCH_FROM: Grant = Grant {
    sid: "LaunchFrom",
    actions: &["ec2:RunInstances"],
    resources: &[
        "arn:aws:ec2:*:*:image/*",
        "arn:aws:ec2:*:*:key-pair/hg-*",
        "arn:aws:ec2:*:*:security-group/*",
        "arn:aws:ec2:*:*:subnet/*",
    ],
    conditions: &[],
};

const SPOT_ROLE: Grant = Grant {
    sid: "LetSpotWork",
    actions: &["iam:CreateServiceLinkedRole"],
    resources: &["arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*"],
    conditions: &[("StringEquals", "iam:AWSServiceName", &["spot.amazonaws.com"])],
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
    conditions: MARKED,
};

const BAKE: Grant = Grant {
    sid: "BakeFromMarked",
    actions: &["ec2:CreateImage"],
    resources: &["arn:aws:ec2:*:*:instance/*"],
    conditions: MARKED,
};

const BAKE_MARKED: Grant = Grant {
    sid: "BakeMarked",
    actions: &["ec2:CreateImage"],
    resources: &["arn:aws:ec2:*:*:image/*", "arn:aws:ec2:*:*:snapshot/*"],
    conditions: MARKS,
};

const COLLECT: Grant = Grant {
    sid: "CollectMarkedImages",
    actions: &["ec2:DeleteSnapshot", "ec2:DeregisterImage"],
    resources: ANY,
    conditions: MARKED,
};

const ROLE: Grant = Grant {
    sid: "KeepRole",
    actions: &[
        "iam:AddRoleToInstanceProfile",
        "iam:CreateInstanceProfile",
        "iam:CreateRole",
        "iam:ListAttachedRolePolicies",
        "iam:RemoveRoleFromInstanceProfile",
        "iam:TagInstanceProfile",
        "iam:TagRole",
        "iam:UpdateAssumeRolePolicy",
    ],
    resources: &["arn:aws:iam::*:instance-profile/hg-*", "arn:aws:iam::*:role/hg-*"],
    conditions: &[],
};

const ROLE_LOOK: Grant = Grant {
    sid: "LookAtRole",
    actions: &["iam:GetInstanceProfile", "iam:GetRole"],
    resources: &["arn:aws:iam::*:instance-profile/hg-*", "arn:aws:iam::*:role/hg-*"],
    conditions: &[],
};

const ROLE_POLICY: Grant = Grant {
    sid: "LetRoleBeManaged",
    actions: &["iam:AttachRolePolicy"],
    resources: &["arn:aws:iam::*:role/hg-*"],
    conditions: &[("ArnEquals", "iam:PolicyARN", &["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"])],
};

const PASS_ROLE: Grant = Grant {
    sid: "HandRoleToMachines",
    actions: &["iam:PassRole"],
    resources: &["arn:aws:iam::*:role/hg-*"],
    conditions: &[("StringEquals", "iam:PassedToService", &["ec2.amazonaws.com"])],
};

const MANAGE: Grant = Grant {
    sid: "RunCommandsOnMarked",
    actions: &["ssm:SendCommand"],
    resources: &["arn:aws:ec2:*:*:instance/*"],
    conditions: MARKED,
};

const MANAGE_BY: Grant = Grant {
    sid: "RunCommandsBy",
    actions: &["ssm:SendCommand"],
    resources: &["arn:aws:ssm:*::document/AWS-RunPowerShellScript", "arn:aws:ssm:*::document/AWS-RunShellScript"],
    conditions: &[],
};

const MANAGE_FOLLOW: Grant = Grant {
    sid: "FollowCommands",
    actions: &["ssm:CancelCommand", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation"],
    resources: ANY,
    conditions: &[],
};

/// Machines that were named by hand or by the tool before this one carry no owner.
const END_NAMED: Grant = Grant {
    sid: "EndNamed",
    actions: &[
        "ec2:CancelSpotInstanceRequests",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteVolume",
        "ec2:TerminateInstances",
    ],
    resources: ANY,
    conditions: &[("StringLike", "aws:ResourceTag/Name", &["hg-*"])],
};

/// What the tool before this one left is ours by its name alone, which AWS cannot make a condition of.
const REMOVE: Grant = Grant {
    sid: "RemoveWhatMachinesUse",
    actions: &[
        "ec2:DeleteKeyPair",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteSnapshot",
        "ec2:DeregisterImage",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
    ],
    resources: ANY,
    conditions: &[],
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
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:ListRoleTags",
        "iam:RemoveRoleFromInstanceProfile",
    ],
    resources: &["arn:aws:iam::*:instance-profile/hg-*", "arn:aws:iam::*:role/hg-*"],
    conditions: &[],
};

/// What it takes to make machines, use them and end them.
const MACHINES: &[&[&Grant]] = &[
    &[&IDENTITY, &LOOK, &LOOK_AROUND, &CHOOSE, &PARAMETER],
    &[&KEY_PAIR, &GROUP, &GROUP_IN, &RULES, &RULES_NEW, &RULES_RENEW],
    &[&TAG, &LAUNCH, &LAUNCH_FROM, &SPOT_ROLE, &END],
    &[&ROLE_LOOK, &ROLE, &ROLE_POLICY, &PASS_ROLE, &MANAGE, &MANAGE_BY, &MANAGE_FOLLOW],
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
fn grants(command: &str) -> Vec<&'static Grant> {
    match command {
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
            &RULES_RENEW,
            &TAG,
        ],
        "terminate-ec2-instances" => vec![&IDENTITY, &LOOK, &END, &END_NAMED],
        "purge-ec2-resources" => {
            vec![&IDENTITY, &LOOK, &LOOK_AROUND, &END, &END_NAMED, &REMOVE, &LIST_ROLES, &ROLE_LOOK, &REMOVE_ROLES]
        }
        _ => Vec::new(),
    }
}

/// The commands that need permissions.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter()
}

/// The actions that `command` may call, as `service:Action`.
pub fn actions(command: &str) -> BTreeSet<&'static str> {
    grants(command).iter().flat_map(|grant| grant.actions.iter().copied()).collect()
}

/// The policy for all of `commands`: each statement once.
pub fn document(commands: &[&str]) -> Value {
    let mut told = BTreeSet::new();
    let grants = commands.iter().flat_map(|command| grants(command));
    let statements: Vec<Value> = grants.filter(|grant| told.insert(grant.sid)).map(statement).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn statement(grant: &Grant) -> Value {
    let mut statement = json!({
        "Sid": grant.sid,
        "Effect": "Allow",
        "Action": grant.actions,
        "Resource": grant.resources,
    });
    let mut conditions = Map::new();
    for (operator, key, values) in grant.conditions {
        conditions.insert((*operator).to_owned(), json!({ *key: values }));
    }
    if !conditions.is_empty() {
        statement["Condition"] = Value::Object(conditions);
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most characters without blanks that a managed policy may have.
    const POLICY_CAP: usize = 6144;

    #[test]
    fn a_policy_fits_and_has_each_statement_once() {
        let all: Vec<&str> = commands().collect();
        let whole = document(&all);
        assert!(whole.to_string().len() <= POLICY_CAP, "{}", whole.to_string().len());
        let sids: Vec<&str> =
            whole["Statement"].as_array().unwrap().iter().map(|s| s["Sid"].as_str().unwrap()).collect();
        assert_eq!(sids.len(), sids.iter().collect::<BTreeSet<_>>().len());
        assert!(sids.iter().all(|sid| sid.chars().all(|c| c.is_ascii_alphanumeric())), "AWS takes no other characters");
    }

    #[test]
    fn every_command_has_actions_and_the_document_holds_just_them() {
        for command in commands() {
            let document = document(&[command]);
            let mut told: BTreeSet<&str> = BTreeSet::new();
            for statement in document["Statement"].as_array().unwrap() {
                told.extend(statement["Action"].as_array().unwrap().iter().filter_map(Value::as_str));
            }
            assert!(!told.is_empty() && told == actions(command), "{command}");
        }
        assert!(actions("completions").is_empty());
    }

    #[test]
    fn what_ends_or_makes_is_bound_to_our_tags() {
        assert!(actions("terminate-ec2-instances").iter().all(|action| !action.contains("Create")));
        for command in ["audit", "purge-ec2-resources"] {
            let makes = ["Add", "Attach", "Create", "Import", "PassRole", "Run", "Update"];
            let making =
                |action: &&&str| action.split(':').nth(1).is_some_and(|a| makes.iter().any(|m| a.starts_with(m)));
            assert_eq!(actions(command).iter().find(making), None, "`{command}` makes nothing");
        }
        for statement in document(&["machine"])["Statement"].as_array().unwrap() {
            let bound = ["ec2:TerminateInstances", "iam:PassRole", "ec2:CreateTags", "iam:AttachRolePolicy"];
            let holds = statement["Action"].as_array().unwrap().iter().any(|a| bound.contains(&a.as_str().unwrap()));
            assert!(!holds || statement.get("Condition").is_some(), "{statement}");
        }
    }
}
