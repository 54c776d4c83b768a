//! Machines on EC2 that have Windows: what is asked of the account and of the launch. No such machine can be had here, so nothing boots.

use aws_sdk_ec2::types::{InstanceAttributeName, VolumeType};
use base64::Engine;
use model::fault::FaultKind;
use model::image::CloudBase;
use model::machine::{Address, Platform};
use model::provider::MachineRequest;
use project::image::{BaseChoice, ImageChoice};
use rustix::process::Signal;
use support::tool::Place;

use super::cli::World;
use super::launch::{Account, User};
use crate::emulated::interface_only;

/// The request of a bake for the first machine of `windows-dev`.
fn request(user: &User, distro: &str) -> MachineRequest {
    let definition = project::image::load(None, "windows-dev").unwrap();
    let plan = definition.plan(&ImageChoice::new(BaseChoice::Cloud, distro)).unwrap();
    MachineRequest {
        platform: plan.platform,
        image: plan.name.clone(),
        layers: plan.chain(1),
        cloud: plan.cloud().cloned(),
        snapshot: false,
        user: guest::of(plan.platform).administrator().to_owned(),
        ..user.request()
    }
}

#[tokio::test]
async fn a_machine_has_no_key_pair_and_is_told_who_may_come_and_when_it_ends() {
    let account = Account::of(interface_only).await;
    let user = account.user("me@here", "").await;
    let request = request(&user, "server2022");
    let (machine, rows) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    assert_eq!((machine.platform, machine.user.as_str()), (Platform::Windows, "Administrator"));
    assert!(matches!(machine.address, Address::Tcp { port: 22, .. }), "{machine:?}");
    // With a key pair, its owner could fetch the password of the administrator.
    assert_eq!(user.book.made(), ["security_group"]);
    assert_eq!(account.let_in("hg-windows-dev-1").await, ["127.0.0.1/32"]);
    let instances = account.instances().await;
    let instance = &instances[0];
    assert_eq!((instance.key_name(), instance.image_id()), (None, Some("ami-00142022000000002")), "the newest");
    assert_eq!(instance.instance_type().unwrap().as_str(), "m6i.large");
    assert!(
        user.book.told().contains("Starting from the published image `ami-00142022000000002`, which is "),
        "{}",
        user.book.told()
    );

    let id = instance.instance_id().unwrap();
    let attribute = |name| account.client.describe_instance_attribute().instance_id(id).attribute(name).send();
    let ends = attribute(InstanceAttributeName::InstanceInitiatedShutdownBehavior).await.unwrap();
    assert_eq!(ends.instance_initiated_shutdown_behavior().unwrap().value(), Some("terminate"));
    let told = attribute(InstanceAttributeName::UserData).await.unwrap();
    let told = base64::engine::general_purpose::STANDARD.decode(told.user_data().unwrap().value().unwrap()).unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(told.starts_with("<powershell>\n") && told.ends_with("<persist>true</persist>\n"), "{told}");
    assert!(told.contains(&format!("\n#= machine {}\n", machine.id)) && told.contains("\n#= host-key "), "{told}");
    assert!(!told.to_lowercase().contains("password yes") && !told.contains("PRIVATE KEY"), "{told}");
    // A first boot may take 20 minutes, and nobody renews the lease before.
    let lease: i64 = told.lines().find_map(|line| line.strip_prefix("#= lease ")).unwrap().parse().unwrap();
    assert!((1200..=1320).contains(&(lease - request.now.as_second())), "{lease}");
    let volumes = account.client.describe_volumes().send().await.unwrap();
    let root = &volumes.volumes()[0];
    assert_eq!((volumes.volumes().len(), root.size(), root.volume_type()), (1, Some(80), Some(&VolumeType::Gp3)));
    user.release(&rows).await;
    assert!(account.instances().await.iter().all(|it| it.state().unwrap().name().unwrap().as_str() == "terminated"));
}

#[tokio::test]
async fn linux_and_windows_side_by_side_have_groups_of_their_own() {
    let account = Account::of(interface_only).await;
    let user = account.user("me@here", "").await;
    for request in [user.request(), request(&user, "server2025")] {
        user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    }
    assert_eq!(user.book.made(), ["key_pair", "security_group", "security_group"]);
    for group in ["hg-linux-dev-1", "hg-windows-dev-1"] {
        assert_eq!(account.let_in(group).await, ["127.0.0.1/32"], "{group}");
    }
    let mut keys: Vec<_> = account.instances().await.iter().map(|it| it.key_name().map(str::to_owned)).collect();
    keys.sort();
    assert_eq!(keys, [None, Some("hg-automation".to_owned())]);
}

#[tokio::test]
async fn a_pattern_finds_the_newest_image_and_what_windows_lacks_is_refused_before_anything_is_made() {
    let account = Account::of(interface_only).await;
    let user = account.user("me@here", "").await;
    let named = |name: &str| {
        let mut request = request(&user, "server2022");
        let base = request.cloud.take().unwrap();
        MachineRequest { cloud: Some(CloudBase { name: name.to_owned(), parameter: None, ..base }), ..request }
    };
    user.make(&named("Windows_Server-2022-English-Full-Base-*")).await.map_err(|(fault, _)| fault).unwrap();
    assert_eq!(account.instances().await[0].image_id(), Some("ami-00142022000000002"));
    let (fault, _) = user.make(&named("Windows_Server-2016-*")).await.unwrap_err();
    assert!(fault.message.contains("publishes no image `Windows_Server-2016-*`"), "{fault:?}");

    account.aws.control.clear_log();
    let mut with_volume = request(&user, "server2022");
    with_volume.volume = Some(8 << 30);
    let (fault, _) = user.make(&with_volume).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Usage, "{fault:?}");
    assert!(fault.message.contains("no second volume") && fault.message.contains("`windows`"), "{fault:?}");
    assert_eq!(account.aws.control.count("*"), 0, "{:?}", account.aws.control.names());
}

#[test]
fn the_command_for_the_image_takes_the_newest_base_image_of_a_name() {
    let world = World::interface(Place::new());
    fn bake<'a>(further: &[&'a str]) -> Vec<&'a str> {
        [&["bootstrap-windows-dev"], further].concat()
    }
    let named = |name| bake(&["--base-image-name", name]);
    let refused = world.tool(&named("Windows_Server-2016-*")).expect(3);
    refused.tells(&["publishes no image `Windows_Server-2016-*`", "Nothing is left behind"]);
    for (words, told) in [
        (&["--parameter", "no=1"][..], "`no`"),
        (&["--parameter", "source-url=none"], "`source-url` takes a URL"),
        (&["--parameter", "source-revision=1", "--parameter", "source-revision=2"], "given twice"),
        (&["--base-image-name", "x"], "not the name of an image"),
    ] {
        world.tool(&bake(words)).expect(2).tells(&[told]);
    }
    assert_eq!(world.aws.control.count("ec2:RunInstances"), 0);
    // The name of the other system's own image means that system, and its parameter is asked for.
    for (words, image, id) in [
        (bake(&[]), "windows-dev-server2022", "ami-00142022000000002"),
        (named("Windows_Server-2025-English-Full-Base-*"), "windows-dev-server2025", "ami-00142025000000001"),
        (named("Windows_Server-2022-English-Full-Base-2026.10.*"), "windows-dev-server2022", "ami-00142022000000001"),
    ] {
        let running = world.start(&words);
        running.wait_for(&format!("Starting from the published image `{id}`, which is "));
        running.signal(Signal::INT);
        running.end().expect(130).tells(&[&format!("{image}: 8 steps on one machine"), "Nothing is left behind"]);
    }
}
