//! `iam-policy`: what it prints suffices for what the commands call.

use std::collections::BTreeSet;

use aws::ec2::policy::{self, Scope};
use aws_emulator::call::Call;
use serde_json::Value;

use super::decision::{self, Known, Request, allows};
use super::purge::{World, me};

/// The actions that a policy allows.
fn allowed(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_holds_all_that_a_purge_calls() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, &[("Name", "hg-a")]).await.remove(0);
    world.image(&instance, "hg-image", &[]).await;
    world.volume(&[("Name", "hg-v")]).await;
    world.key_pair("hg-automation", &[]).await;
    world.group("hg-linux-dev-1", &[]).await;
    world.role("hg-ephemeral-ec2-role-1", "hg-ephemeral-ec2-1", None).await;
    for command in ["terminate-ec2-instances", "purge-ec2-resources"] {
        let policy = world.tool(&["iam-policy", command, "--untagged"]).expect(0).json();
        world.empty(&[command]).expect(0);
        let refused = decision::refused(&policy, &world.aws.control.history(), &world.aws.control.calls());
        assert!(refused.is_empty(), "`iam-policy {command} --untagged` lacks {refused:#?}");
        let called: BTreeSet<String> = world.aws.control.names().into_iter().collect();
        let allowed = allowed(&policy);
        assert!(called.len() > 2 && called.is_subset(&allowed), "{:?}", called.difference(&allowed));
        let told: BTreeSet<String> = policy::actions(command).into_iter().map(str::to_owned).collect();
        assert_eq!(told, allowed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_needs_nothing_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let all = world.tool(&["iam-policy"]).expect(0).json();
    let one = world.tool(&["iam-policy", "machine"]).expect(0).json();
    assert!(allowed(&one).is_subset(&allowed(&all)) && allowed(&one) != allowed(&all));
    world.tool(&["iam-policy", "terminate-ec2-instance"]).expect(2).tells(&["Did you mean `terminate-ec2-instances`?"]);
    assert_eq!(world.aws.control.count("*"), 0);
}

/// A request on a thing that carries these tags.
fn on(action: &str, resource: &str, tags: &[(&str, &str)]) -> Request {
    let context = tags.iter().map(|(key, value)| (format!("aws:ResourceTag/{key}"), vec![(*value).to_owned()]));
    Request { action: action.to_owned(), resource: resource.to_owned(), context: context.collect() }
}

#[test]
fn what_is_not_ours_cannot_be_ended_nor_roles_be_taken_over() {
    let all: Vec<&str> = policy::commands().collect();
    let whole = policy::document(&all, &Scope::default());
    let mine = policy::document(&all, &Scope { owner: Some("me@here".into()), untagged: false });
    let untagged = policy::document(&all, &Scope { owner: None, untagged: true });
    let ec2 = |kind: &str| format!("arn:aws:ec2:us-west-2:123456789012:{kind}");
    let iam = |name: &str| format!("arn:aws:iam::123456789012:{name}");
    let ends = [
        ("ec2:TerminateInstances", ec2("instance/i-1")),
        ("ec2:DeleteVolume", ec2("volume/vol-1")),
        ("ec2:DeleteSnapshot", ec2("snapshot/snap-1")),
        ("ec2:DeregisterImage", ec2("image/ami-1")),
        ("ec2:DeleteSecurityGroup", ec2("security-group/sg-1")),
        ("ec2:DeleteKeyPair", ec2("key-pair/hg-web")),
        ("ec2:RevokeSecurityGroupIngress", ec2("security-group-rule/sgr-1")),
        ("ssm:SendCommand", ec2("instance/i-1")),
        ("iam:DeleteRole", iam("role/hg-web")),
        ("iam:DeleteRole", iam("role/hg-ephemeral-ec2-role-1")),
        ("iam:DeleteInstanceProfile", iam("instance-profile/hg-web")),
    ];
    for (action, resource) in &ends {
        for stranger in [&[][..], &[("Name", "hg-web-prod")], &[("owner", "me@here")]] {
            for policy in [&whole, &mine] {
                assert!(!allows(policy, &on(action, resource, stranger)), "{action} on {resource} with {stranger:?}");
            }
        }
        let (own, others) = (&[("hg:owner", "me@here")][..], &[("hg:owner", "ann@there")][..]);
        assert!(!allows(&mine, &on(action, resource, others)), "{action} on {resource} of another person");
        if !resource.ends_with("hg-web") || resource.contains("key-pair") {
            assert!(allows(&mine, &on(action, resource, own)), "{action} on {resource}");
            assert!(allows(&whole, &on(action, resource, others)), "{action} on {resource}");
        }
    }
    for action in ["iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:PassRole", "iam:CreateRole"] {
        for role in ["role/hg-web", "role/admin", "role/hg-ephemeral-ec2-role-10"] {
            let mut request = on(action, &iam(role), &[]);
            request.context.insert("iam:PassedToService".into(), vec!["ec2.amazonaws.com".into()]);
            let boundary = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
            request.context.insert("iam:PermissionsBoundary".into(), vec![boundary.into()]);
            assert!(!allows(&whole, &request), "{action} on {role}");
        }
    }
    // Whatever is written into the role, it is not more than the agent of Systems Manager may have.
    let unbounded = on("iam:PutRolePolicy", &iam("role/hg-ephemeral-ec2-role-1"), &[]);
    assert!(!allows(&whole, &unbounded));
    // Leftovers by name alone are another statement, which never means what has an owner.
    let named = on("ec2:TerminateInstances", &ec2("instance/i-1"), &[("Name", "hg-old")]);
    assert!(allows(&untagged, &named));
    let document = |name: &str| on("ssm:SendCommand", &format!("arn:aws:ssm:us-west-2::document/{name}"), &[]);
    assert!(!allows(&untagged, &document("AWS-ConfigureAWSPackage")));
    assert!(["AWS-RunShellScript", "AWS-RunPowerShellScript"].iter().all(|name| allows(&untagged, &document(name))));
    // Nothing is made in another person's name.
    let tagging = |owner: &str| {
        let mut request = on("ec2:CreateTags", &ec2("instance/new"), &[]);
        request.context.insert("ec2:CreateAction".into(), vec!["RunInstances".into()]);
        request.context.insert("aws:RequestTag/hg:owner".into(), vec![owner.into()]);
        request
    };
    assert!(allows(&mine, &tagging("me@here")) && !allows(&mine, &tagging("ann@there")));
    let renewing = Call::ec2("us-west-2", "CreateTags", &[("ResourceId.1", "sgr-1"), ("Tag.1.Key", "hg:owner")]);
    assert!(Known::default().requests(&renewing).iter().all(|request| !allows(&whole, request)));
}

#[test]
fn code_is_sent_to_the_function_of_the_try_server_alone() {
    let all: Vec<&str> = policy::commands().collect();
    let lambda = |name: &str| format!("arn:aws:lambda:us-west-2:123456789012:function:{name}");
    for policy in [policy::document(&["try"], &Scope::default()), policy::document(&all, &Scope::default())] {
        for name in ["ci-try-server-upload", "ci-try-server-upload:$LATEST"] {
            assert!(allows(&policy, &on("lambda:InvokeFunction", &lambda(name), &[])), "{name}");
        }
        for name in ["ci-try-server-upload-2", "billing"] {
            assert!(!allows(&policy, &on("lambda:InvokeFunction", &lambda(name), &[])), "{name}");
        }
    }
    let calls = policy::actions("try").into_iter().collect::<Vec<_>>();
    assert_eq!(calls, ["lambda:InvokeFunction", "sts:GetCallerIdentity"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_bound_to_an_owner_where_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let own = world.tool(&["iam-policy", "--owner", "me"]).expect(0).text();
    assert!(own.contains(&me("me")) && !own.contains("RemoveUnmarked"), "{own}");
    assert!(world.tool(&["iam-policy", "--untagged"]).expect(0).text().contains("RemoveUnmarked"));
}
