use aws_sdk_ec2::types::{
    EbsInstanceBlockDevice, Instance, InstanceBlockDeviceMapping, InstanceNetworkInterface, NetworkInterface, Volume,
};
use model::base::id::RunId;
use model::filesystem::Filesystem;
use model::image::Fingerprint;
use model::machine::{Caps, Hardware, Network, Platform};
use model::provider::ability::Horizon;

use super::hardware::GIB;
use super::*;

/// A machine as the provider makes it.
pub(crate) fn machine() -> Machine {
    Machine {
        id: "hg-0123456789".parse().unwrap(),
        provider: ProviderKind::Ec2,
        platform: Platform::Linux,
        run: RunId::new(Timestamp::UNIX_EPOCH),
        owner: "me@here".into(),
        image: "linux-dev-debian12".into(),
        address: Address::Tcp { host: "192.0.2.1".into(), port: 22 },
        user: "hg".into(),
        identity: PathBuf::from("/nowhere"),
        host_key: HostKey::Exact { public: "ssh-ed25519 AAAA".into() },
        volume: None,
        hardware: None,
        created_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        expires_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        name: None,
        kept: false,
        idle: None,
    }
}

fn request(layers: usize) -> MachineRequest {
    MachineRequest {
        platform: Platform::Linux,
        id: "hg-0123456789".parse().unwrap(),
        run: RunId::new(Timestamp::UNIX_EPOCH),
        owner: "me@here".into(),
        image: "linux-dev-debian12".into(),
        layers: (0..layers).map(|at| Fingerprint(at.to_string())).collect(),
        cloud: None,
        snapshot: false,
        hardware: Hardware::default(),
        user: "hg".into(),
        network: Network::Loopback,
        caps: Caps::default(),
        volume: Some(8 * GIB),
        filesystem: Filesystem::Ext4,
        now: "2026-11-20T10:00:00Z".parse().unwrap(),
        expires_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        grace: Duration::from_secs(60),
        max_cost: None,
        idle: None,
    }
}

fn provider() -> Ec2Provider {
    let sdk = aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
    let config = Ec2Config {
        clients: Arc::new(Clients::new(sdk)),
        region: "us-west-2".into(),
        owner: "me@here".into(),
        state_id: "state-1".into(),
        identity: PathBuf::from("/nowhere"),
        public_key: "ssh-ed25519 AAAA me".into(),
        host_keys: Arc::new(|| Err(Fault::outside("no keys here"))),
        ingress: Vec::new(),
        address_url: String::new(),
        trust: images::Trust::Own,
        cache: PathBuf::from("/nowhere"),
    };
    Ec2Provider {
        clients: Arc::clone(&config.clients),
        prices: Prices::new(Arc::clone(&config.clients), config.cache.clone()),
        config,
        account: "123456789012".into(),
        ranges: Vec::new(),
        shared: tokio::sync::Mutex::default(),
        admitted: tokio::sync::Mutex::default(),
        known: Mutex::default(),
    }
}

fn instance(state_id: &str, expires: &str) -> Instance {
    let volume = |device: &str, id: &str| {
        let ebs = EbsInstanceBlockDevice::builder().volume_id(id).build();
        InstanceBlockDeviceMapping::builder().device_name(device).ebs(ebs).build()
    };
    Instance::builder()
        .instance_id("i-1")
        .root_device_name("/dev/xvda")
        .block_device_mappings(volume("/dev/sdf", "vol-work"))
        .block_device_mappings(volume("/dev/xvda", "vol-root"))
        .network_interfaces(InstanceNetworkInterface::builder().network_interface_id("eni-1").build())
        .tags(tags::tag(tags::MACHINE, "hg-0123456789"))
        .tags(tags::tag(tags::OWNER, "me@here"))
        .tags(tags::tag(tags::STATE, state_id))
        .tags(tags::tag(tags::EXPIRES, expires))
        .build()
}

#[tokio::test]
async fn what_is_observed_has_the_names_that_were_planned() {
    let provider = provider();
    let planned: Vec<_> = provider.plan(&request(7)).into_iter().map(|row| (row.kind, row.name)).collect();
    assert_eq!(planned[0], (ResourceKind::Volume, "123456789012/us-west-2/hg-0123456789-root".to_owned()));
    let place = observe::ObservedPlace { account: "123456789012", region: "us-west-2", state_id: "state-1" };
    let tagged = || tags::tag(tags::MACHINE, "hg-0123456789");
    let volume = |id: &str, snapshot: Option<&str>| {
        Volume::builder().volume_id(id).set_snapshot_id(snapshot.map(str::to_owned)).tags(tagged()).build()
    };
    let interface = NetworkInterface::builder().network_interface_id("eni-1").tag_set(tagged()).build();
    let found: Vec<_> = [
        place.instance(&instance("state-1", "")),
        place.volume(&volume("vol-root", Some("snap-1"))),
        place.volume(&volume("vol-work", None)),
        place.interface(&interface),
    ]
    .into_iter()
    .flatten()
    .collect();
    for seen in &found {
        assert!(planned.contains(&(seen.kind, seen.name.clone())), "{seen:?}");
    }
    assert_eq!(found.len(), planned.len());
    let root = found.iter().find(|seen| seen.name.ends_with("-root")).unwrap();
    assert_eq!(root.locator, "vol-root");
}

#[test]
fn another_state_directorys_machine_is_ours_to_see_only_when_its_time_is_over() {
    let now = "2026-11-20T12:00:00Z".parse().unwrap();
    let seen_by = |owner: &str, state_id: &str, expires: &str| {
        observe::is_for_us(instance(state_id, expires).tags(), owner, "mine", now)
    };
    assert!(seen_by("me@here", "mine", "2026-11-20T13:00:00Z"));
    assert!(seen_by("me@renamed", "mine", "2026-11-20T13:00:00Z"), "the journal still knows it");
    assert!(!seen_by("me@here", "other", "2026-11-20T13:00:00Z"));
    assert!(seen_by("me@here", "other", "2026-11-20T12:00:00Z"));
    assert!(!seen_by("you@there", "other", "2026-11-20T12:00:00Z"), "another person's");
    assert!(!seen_by("me@here", "other", "no time"));
}

#[test]
fn what_a_copy_of_the_state_directory_made_is_told_apart() {
    let ahead = "2026-11-20T13:00:00Z";
    let seen_by = |state_id: &str, tagged: &str| {
        let place = observe::ObservedPlace { account: "1", region: "us-west-2", state_id };
        let for_us = observe::is_for_us(instance(tagged, ahead).tags(), "you@there", state_id, Timestamp::UNIX_EPOCH);
        let seen = place.instance(&instance(tagged, ahead)).unwrap();
        assert_eq!(seen.expires_at, Some(ahead.parse().unwrap()));
        (for_us, seen.elsewhere)
    };
    assert_eq!(seen_by("mine.here", "mine.here"), (true, false));
    assert_eq!(seen_by("mine.here", "mine.there"), (true, true));
    assert_eq!(seen_by("mine.here", "mine"), (true, false), "of an older build, which named no computer");
    assert_eq!(seen_by("mine.here", "other.here"), (false, false));
}

#[tokio::test]
async fn what_was_planned_a_moment_ago_is_not_gone_because_it_was_not_met() {
    let row = |age: i64| Resource {
        id: model::base::id::ResourceId::random(),
        run: RunId::new(Timestamp::UNIX_EPOCH),
        machine: "hg-0123456789".parse().unwrap(),
        provider: ProviderKind::Ec2,
        kind: ResourceKind::Instance,
        name: "123456789012/us-west-2/hg-0123456789".into(),
        locator: None,
        state: model::resource::ResourceState::Planned,
        planned_at: Timestamp::now() - jiff::SignedDuration::from_secs(age),
        gone_at: None,
        note: None,
    };
    let provider = provider();
    assert!(!provider.can_see(&row(5)), "its launch may be under way");
    assert!(provider.can_see(&row(3600)));
    let known = Resource { locator: Some("i-1".into()), ..row(5) };
    assert!(!provider.can_see(&known), "EC2 may not tell of it everywhere yet");
    assert!(provider.can_see(&Resource { locator: Some("i-1".into()), ..row(60) }));
    assert!(!provider.can_see(&row(60)));
}

#[tokio::test]
async fn volumes_are_confirmed_by_the_names_of_their_rows() {
    let provider = provider();
    let launched = LaunchedInstance {
        id: "i-1".into(),
        spot_request: None,
        root_device: "/dev/xvda".into(),
        hardware: model::machine::ActualHardware { instance_type: "c5.9xlarge".into(), spot: false },
    };
    let confirmed = Mutex::new(Vec::new());
    let confirm = |_: ResourceKind, name: &str, locator: &str| {
        confirmed.lock().unwrap().push((name.rsplit('-').next().unwrap().to_owned(), locator.to_owned()));
        Ok(())
    };
    provider.confirm_parts(&instance("s", ""), &launched, &request(7), &confirm).unwrap();
    let expected = [("root", "vol-root"), ("work", "vol-work"), ("eth0", "eni-1")];
    assert_eq!(*confirmed.lock().unwrap(), expected.map(|(name, locator)| (name.to_owned(), locator.to_owned())));
}

#[test]
fn the_type_is_what_was_named_or_fits_the_work() {
    assert_eq!((types(&request(7)), types(&request(1))), (vec!["c5.9xlarge".into()], vec!["t3.2xlarge".into()]));
    let mut named = request(7);
    named.hardware.instance_types = vec!["m6i.large".into(), "m5.large".into()];
    assert_eq!(types(&named), ["m6i.large", "m5.large"]);
    assert_eq!((gib(1), gib(GIB), gib(8 * GIB + 1)), (1, 1, 9));
}

#[tokio::test]
async fn a_row_of_another_account_is_never_called_gone() {
    let row = Resource {
        id: model::base::id::ResourceId::random(),
        run: RunId::new(Timestamp::UNIX_EPOCH),
        machine: "hg-0123456789".parse().unwrap(),
        provider: ProviderKind::Ec2,
        kind: ResourceKind::Instance,
        name: "999999999999/us-west-2/hg-0123456789".into(),
        locator: Some("i-1".into()),
        state: model::resource::ResourceState::Present,
        planned_at: Timestamp::UNIX_EPOCH,
        gone_at: None,
        note: None,
    };
    let fate = provider().release(&row).await.unwrap();
    assert_eq!(fate, Fate::Remains("it is in account 999999999999; these credentials are for 123456789012".into()));
}

#[test]
fn an_image_without_a_base_on_ec2_is_the_users_to_mend() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fault = runtime.block_on(provider().image(&request(1))).unwrap_err();
    assert_eq!(fault.kind, model::fault::FaultKind::Usage);
}
