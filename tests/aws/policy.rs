//! `iam-policy`: what it prints suffices for what the commands call.

use std::collections::BTreeSet;

use automation::provider::ec2::policy;
use serde_json::Value;

use super::purge::World;

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
        let policy = world.tool(&["iam-policy", command]).expect(0).json();
        world.tool(&[command]).expect(0);
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
