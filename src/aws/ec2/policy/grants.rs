//! The grants of which statements are made. The parent module decides which command needs which of them.

use crate::ec2::shared::role::BOUNDARY;

/// The values that a condition requires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// One of these values.
    Any(&'static [&'static str]),
    /// The owner that the policy is for; any owner if it is for everybody.
    Owner,
}

/// Operator, key and values.
pub(crate) type Condition = (&'static str, &'static str, Requirement);

/// A permission: actions on resources, under conditions.
pub(crate) struct Grant {
    /// The statement's name.
    pub sid: &'static str,
    /// The actions, as `service:Action`.
    pub actions: &'static [&'static str],
    /// Patterns of ARNs.
    pub resources: &'static [&'static str],
    /// All of them must hold.
    pub conditions: &'static [Condition],
}

const ANY: &[&str] = &["*"];

/// The call puts the owner's tag on the resource that it makes.
const MARKS: Condition = ("StringEquals", "aws:RequestTag/hg:owner", Requirement::Owner);

/// The resource carries the owner's tag.
const MARKED: Condition = ("StringEquals", "aws:ResourceTag/hg:owner", Requirement::Owner);

/// The resource carries anybody's tag: people share it.
const SHARED: Condition = ("Null", "aws:ResourceTag/hg:owner", Requirement::Any(&["false"]));

/// The resource carries no owner's tag.
const UNMARKED: Condition = ("Null", "aws:ResourceTag/hg:owner", Requirement::Any(&["true"]));

const ROLES: &[&str] = &["arn:aws:iam::*:role/hg-ephemeral-ec2-role-1"];

/// Also where the actions concern one of the two kinds alone: grants with equal resources become one statement, and the
/// length of a policy is limited.
const ROLES_AND_PROFILES: &[&str] =
    &["arn:aws:iam::*:instance-profile/hg-ephemeral-ec2-1", "arn:aws:iam::*:role/hg-ephemeral-ec2-role-1"];

/// The function of the try server, by the name that `try` calls unless another is given; with and without a version.
const TRY_FUNCTIONS: &[&str] =
    &["arn:aws:lambda:*:*:function:ci-try-server-upload", "arn:aws:lambda:*:*:function:ci-try-server-upload:*"];

pub(crate) const IDENTITY: Grant =
    Grant { sid: "TellTheAccount", actions: &["sts:GetCallerIdentity"], resources: ANY, conditions: &[] };

pub(crate) const LOOK: Grant = Grant {
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

pub(crate) const LOOK_AROUND: Grant = Grant {
    sid: "LookAround",
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

pub(crate) const CHOOSE: Grant = Grant {
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

pub(crate) const PARAMETER: Grant = Grant {
    sid: "FindBaseImages",
    actions: &["ssm:GetParameter", "ssm:GetParameters"],
    resources: &["arn:aws:ssm:*::parameter/aws/service/*"],
    conditions: &[],
};

pub(crate) const KEY_PAIR: Grant = Grant {
    sid: "ImportKeyPair",
    actions: &["ec2:ImportKeyPair"],
    resources: &["arn:aws:ec2:*:*:key-pair/hg-*"],
    conditions: &[MARKS],
};

pub(crate) const GROUP: Grant = Grant {
    sid: "MakeSecurityGroup",
    actions: &["ec2:CreateSecurityGroup"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: &[MARKS],
};

pub(crate) const GROUP_IN: Grant = Grant {
    sid: "MakeSecurityGroupIn",
    actions: &["ec2:CreateSecurityGroup"],
    resources: &["arn:aws:ec2:*:*:vpc/*"],
    conditions: &[],
};

/// The group itself belongs to everybody, and each rule in it to the person who made the rule.
pub(crate) const RULES: Grant = Grant {
    sid: "KeepRules",
    actions: &["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: &[SHARED],
};

pub(crate) const RULES_NEW: Grant = Grant {
    sid: "MakeRules",
    actions: &["ec2:AuthorizeSecurityGroupIngress"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[MARKS],
};

pub(crate) const RULES_OLD: Grant =
    Grant { sid: "RemoveRules", actions: &["ec2:RevokeSecurityGroupIngress"], resources: ANY, conditions: &[MARKED] };

/// Two people behind one address share a rule: each of them may extend its expiry, and change nothing else about it.
pub(crate) const RULES_RENEW: Grant = Grant {
    sid: "RenewRules",
    actions: &["ec2:CreateTags"],
    resources: &["arn:aws:ec2:*:*:security-group-rule/*"],
    conditions: &[SHARED, ("ForAllValues:StringEquals", "aws:TagKeys", Requirement::Any(&["hg:expires"]))],
};

pub(crate) const TAG: Grant = Grant {
    sid: "TagWhatIsMade",
    actions: &["ec2:CreateTags"],
    resources: &["arn:aws:ec2:*:*:*/*"],
    conditions: &[
        MARKS,
        (
            "StringEquals",
            "ec2:CreateAction",
            Requirement::Any(&[
                "AuthorizeSecurityGroupIngress",
                "CreateImage",
                "CreateSecurityGroup",
                "ImportKeyPair",
                "RunInstances",
            ]),
        ),
    ],
};

pub(crate) const LAUNCH: Grant = Grant {
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

pub(crate) const LAUNCH_FROM: Grant = Grant {
    sid: "LaunchFrom",
    actions: &["ec2:RunInstances"],
    resources: &["arn:aws:ec2:*:*:image/*", "arn:aws:ec2:*:*:key-pair/hg-*", "arn:aws:ec2:*:*:subnet/*"],
    conditions: &[],
};

pub(crate) const LAUNCH_IN: Grant = Grant {
    sid: "LaunchInShared",
    actions: &["ec2:RunInstances"],
    resources: &["arn:aws:ec2:*:*:security-group/*"],
    conditions: &[SHARED],
};

pub(crate) const SPOT_ROLE: Grant = Grant {
    sid: "LetSpotWork",
    actions: &["iam:CreateServiceLinkedRole"],
    resources: &["arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*"],
    conditions: &[("StringEquals", "iam:AWSServiceName", Requirement::Any(&["spot.amazonaws.com"]))],
};

pub(crate) const END: Grant = Grant {
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

pub(crate) const BAKE: Grant =
    Grant { sid: "BakeFromMarked", actions: &["ec2:CreateImage"], resources: ANY, conditions: &[MARKED] };

pub(crate) const BAKE_MARKED: Grant = Grant {
    sid: "BakeMarked",
    actions: &["ec2:CreateImage"],
    resources: &["arn:aws:ec2:*:*:image/*", "arn:aws:ec2:*:*:snapshot/*"],
    conditions: &[MARKS],
};

pub(crate) const COLLECT: Grant = Grant {
    sid: "CollectMarkedImages",
    actions: &["ec2:DeleteSnapshot", "ec2:DeregisterImage"],
    resources: ANY,
    conditions: &[MARKED],
};

pub(crate) const ROLE_LOOK: Grant = Grant {
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

pub(crate) const PROFILE: Grant = Grant {
    sid: "KeepProfile",
    actions: &["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile"],
    resources: ROLES_AND_PROFILES,
    conditions: &[],
};

pub(crate) const PROFILE_NEW: Grant = Grant {
    sid: "MakeProfile",
    actions: &["iam:CreateInstanceProfile", "iam:TagInstanceProfile"],
    resources: ROLES_AND_PROFILES,
    conditions: &[MARKS],
};

/// A user who may give a role policies and hand it to a machine gains the permissions of those policies. The boundary
/// limits them to what AWS lets the agent of Systems Manager do, whatever is written into the role.
pub(crate) const ROLE_BOUND: Grant = Grant {
    sid: "KeepRoleBounded",
    actions: &["iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"],
    resources: ROLES,
    conditions: &[("ArnEquals", "iam:PermissionsBoundary", Requirement::Any(&[BOUNDARY]))],
};

pub(crate) const ROLE: Grant =
    Grant { sid: "KeepRole", actions: &["iam:UpdateAssumeRolePolicy"], resources: ROLES_AND_PROFILES, conditions: &[] };

pub(crate) const ROLE_TAG: Grant =
    Grant { sid: "TagRole", actions: &["iam:TagRole"], resources: ROLES_AND_PROFILES, conditions: &[MARKS] };

/// Earlier builds attached this policy.
pub(crate) const ROLE_NARROW: Grant = Grant {
    sid: "NarrowRole",
    actions: &["iam:DetachRolePolicy"],
    resources: ROLES,
    conditions: &[("ArnEquals", "iam:PolicyARN", Requirement::Any(&[BOUNDARY]))],
};

pub(crate) const PASS_ROLE: Grant = Grant {
    sid: "HandRoleToMachines",
    actions: &["iam:PassRole"],
    resources: ROLES,
    conditions: &[("StringEquals", "iam:PassedToService", Requirement::Any(&["ec2.amazonaws.com"]))],
};

pub(crate) const MANAGE: Grant =
    Grant { sid: "RunCommandsOnMarked", actions: &["ssm:SendCommand"], resources: ANY, conditions: &[MARKED] };

pub(crate) const MANAGE_BY: Grant = Grant {
    sid: "RunCommandsBy",
    actions: &["ssm:SendCommand"],
    resources: &["arn:aws:ssm:*::document/AWS-RunShellScript", "arn:aws:ssm:*::document/AWS-RunPowerShellScript"],
    conditions: &[],
};

pub(crate) const MANAGE_FOLLOW: Grant = Grant {
    sid: "FollowCommands",
    actions: &["ssm:CancelCommand", "ssm:DescribeInstanceInformation", "ssm:GetCommandInvocation"],
    resources: ANY,
    conditions: &[],
};

pub(crate) const REGIONS: Grant =
    Grant { sid: "LookInEveryRegion", actions: &["ec2:DescribeRegions"], resources: ANY, conditions: &[] };

pub(crate) const REMOVE: Grant = Grant {
    sid: "RemoveMarked",
    actions: &["ec2:DeleteKeyPair", "ec2:DeleteSecurityGroup", "ec2:DeleteSnapshot", "ec2:DeregisterImage"],
    resources: ANY,
    conditions: &[MARKED],
};

/// Groups that refer to each other cannot be removed before these rules.
pub(crate) const REMOVE_RULES: Grant = Grant {
    sid: "RemoveRulesOfMarked",
    actions: &["ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"],
    resources: ANY,
    conditions: &[MARKED],
};

pub(crate) const LIST_ROLES: Grant = Grant {
    sid: "FindRoles",
    actions: &["iam:ListInstanceProfiles", "iam:ListRoles"],
    resources: ANY,
    conditions: &[],
};

pub(crate) const REMOVE_ROLES: Grant = Grant {
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

/// Resources that have the prefix in their `Name` tag and name no owner.
pub(crate) const END_NAMED: Grant = Grant {
    sid: "EndNamed",
    actions: &[
        "ec2:CancelSpotInstanceRequests",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteVolume",
        "ec2:TerminateInstances",
    ],
    resources: ANY,
    conditions: &[UNMARKED, ("StringLike", "aws:ResourceTag/Name", Requirement::Any(&["hg-*"]))],
};

/// Resources that the predecessor of this tool left are known by the name of a group or an image, for which AWS offers
/// no condition, or by the image that a snapshot belongs to.
pub(crate) const REMOVE_UNMARKED: Grant = Grant {
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

pub(crate) const REMOVE_NAMED: Grant = Grant {
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

pub(crate) const LOOK_NAMED: Grant = Grant {
    sid: "LookAtNamed",
    actions: &["iam:GetInstanceProfile", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:ListRoleTags"],
    resources: &["arn:aws:iam::*:instance-profile/hg-*", "arn:aws:iam::*:role/hg-*"],
    conditions: &[],
};

pub(crate) const CALL_TRY: Grant =
    Grant { sid: "SendToTry", actions: &["lambda:InvokeFunction"], resources: TRY_FUNCTIONS, conditions: &[] };
