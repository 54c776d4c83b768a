//! The same where AWS throttles, refuses, loses replies or is slow; and where there are no credentials.

use std::time::Duration;

use support::tool::Running;

use super::purge::{EVERYTHING, World};

const MINE: &[(&str, &str)] = &[("hg:owner", "me@here")];

#[tokio::test(flavor = "multi_thread")]
async fn throttled_and_lost_replies_change_nothing_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, MINE).await.remove(0);
    for at in 0..20 {
        world.image(&instance, &format!("hg-image-{at}"), &[]).await;
    }
    world.role("hg-ephemeral-ec2-role-1", "hg-ephemeral-ec2-1", None).await;
    // A third of the deletes is throttled, and some that were carried out are never answered.
    world.aws.control.throttle("ec2:DeregisterImage", 10);
    world.aws.control.cut("ec2:DeregisterImage", 3);
    world.aws.control.throttle("ec2:DeleteSnapshot", 10);
    world.aws.control.cut("ec2:DeleteSnapshot", 3);
    world.aws.control.cut("ec2:TerminateInstances", 1);
    world.aws.control.throttle("ec2:DescribeImages", 1);
    world.aws.control.cut("iam:DeleteRole", 1);
    let listing = world.empty(&["purge-ec2-resources", "--json"]).expect(0).json();
    let items = listing.as_array().unwrap();
    assert!(items.len() == 43 && items.iter().all(|item| item["fate"] == "gone"), "{listing:#}");
    assert!(world.snapshots().await.is_empty());
    assert_eq!(world.live().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_stays_with_its_reason_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, MINE).await.remove(0);
    let image = world.image(&instance, "hg-image", &[]).await;
    world.key_pair("hg-automation", MINE).await;
    let snapshot = world.snapshots().await.remove(0);
    world.aws.control.deny("ec2:DeleteSnapshot");
    let done = world.empty(&["purge-ec2-resources", "--json"]).expect(5);
    let listing = done.json();
    let reason = listing.as_array().unwrap().iter().find(|item| item["id"] == *snapshot).unwrap()["reason"].clone();
    assert!(reason.as_str().unwrap().contains("UnauthorizedOperation"), "{listing:#}");
    for id in [&*instance, &image, "hg-automation"] {
        assert_eq!(World::fate(&listing, id), "gone", "{listing:#}");
    }
    done.tells(&["1 of 4 things stay", &snapshot, "left behind"]);
    // Its image is gone: the snapshot is found by its own name or tag only, so that none is left to nobody.
    world.aws.control.clear_orders();
    assert_eq!(world.snapshots().await, [snapshot]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_cannot_be_looked_at_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, MINE).await.remove(0);
    world.aws.control.deny("iam:ListRoles");
    let done = world.empty(&["purge-ec2-resources", "--json"]).expect(5);
    assert_eq!(World::fate(&done.json(), &instance), "gone");
    done.tells(&["roles cannot be looked at", "not everything could be looked at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_that_is_refused_does_not_keep_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instances = world.instances(5, MINE).await;
    let protect = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
    let modify = world.ec2.modify_instance_attribute().instance_id(&instances[2]);
    modify.disable_api_termination(protect).send().await.unwrap();
    let done = world.empty(&["terminate-ec2-instances", "--json"]).expect(5);
    let listing = done.json();
    for (at, id) in instances.iter().enumerate() {
        assert_eq!(World::fate(&listing, id), if at == 2 { "stays" } else { "gone" }, "{listing:#}");
    }
    done.tells(&["OperationNotPermitted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_a_stranger_uses_stays_and_names_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let group = world.group("hg-linux-dev-1", &[]).await;
    let run = world.ec2.run_instances().image_id(super::DEBIAN).min_count(1).max_count(1).security_group_ids(&group);
    let stranger = run.send().await.unwrap().instances()[0].instance_id().unwrap().to_owned();
    let done = world.empty(&["purge-ec2-resources"]).expect(5);
    assert!(done.took < Duration::from_secs(15), "it is not worth waiting for: {:?}", done.took);
    done.tells(&[&group, &stranger]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    world.aws.control.set(|conditions| conditions.terminating = Duration::from_secs(3));
    world.instances(3, MINE).await;
    let done = world.empty(&["terminate-ec2-instances"]).expect(0);
    assert!(done.took >= Duration::from_secs(3), "{:?}", done.took);
    let looks = world.aws.control.count("ec2:DescribeInstances");
    assert!((6..40).contains(&looks), "two looks of two calls at least, with pauses between: {looks}");
    assert_eq!(world.live().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_says_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, MINE).await.remove(0);
    world.key_pair("hg-automation", MINE).await;
    world.aws.control.set(|conditions| conditions.terminating = Duration::from_secs(600));
    let mut command = world.place.command(&[&["purge-ec2-resources", "--json"], &EVERYTHING[..]].concat());
    command.envs(world.aws.environment());
    let running = Running::start(command);
    running.wait_for("waiting for 1 instance");
    rustix::process::kill_process(running.pid(), rustix::process::Signal::INT).unwrap();
    let done = running.end().expect(130);
    assert_eq!(World::fate(&done.json(), &instance), "stays");
    assert_eq!(World::fate(&done.json(), "hg-automation"), "stays");
    done.tells(&["not tried: interrupted", "still `shutting-down` when interrupted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_is_done_and_the_remedy_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    world.instances(1, MINE).await;
    world.aws.control.clear_log();
    let mut command = world.place.command(&[&["terminate-ec2-instances"], &EVERYTHING[..]].concat());
    command.envs(world.aws.environment()).env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    Running::start(command).end().expect(3).tells(&["no AWS credentials", "AWS_PROFILE", "aws sso login"]);
    assert_eq!(world.aws.control.count("*"), 0);
    world.aws.control.set(|conditions| conditions.expired = true);
    world.empty(&["terminate-ec2-instances"]).expect(3).tells(&["have expired", "aws sso login"]);
    world.aws.control.set(|conditions| conditions.expired = false);
    assert_eq!(world.live().await, 1);
}
