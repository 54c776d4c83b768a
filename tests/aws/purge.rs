//! `terminate-ec2-instances` and `purge-ec2-resources`: what is removed, what is not, and with which calls.

use std::path::Path;

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{
    Filter, InstanceMarketOptionsRequest, InstanceType, IpPermission, MarketType, ResourceType, Tag, TagSpecification,
    UserIdGroupPair,
};
use model::base::id::{MachineId, RunId};
use model::journal::{ResourceFilter, ResourceJournal, RunJournal};
use model::machine::ProviderKind;
use model::resource::{PlannedResource, ResourceKind, ResourceState};
use model::run::{RunRecord, RunState};
use serde_json::Value;
use state::dir::StateDir;
use support::tool::{Done, Place, Running};

use super::DEBIAN;
use crate::emulated::{Emulator, interface_only, sdk};

/// A role that nobody can assume; only its shape counts.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// A policy of a role.
const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:DescribeTags","Resource":"*"}]}"#;

/// The kinds with a call that only reads.
const READS: [&str; 4] = ["Describe", "List", "Get", "sts:"];

/// An emulated account, with clients to fill it and the tool to empty it.
pub(crate) struct World {
    pub aws: Emulator,
    pub place: Place,
    pub ec2: aws_sdk_ec2::Client,
    pub iam: aws_sdk_iam::Client,
}

type Marks<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn marked(kind: ResourceType, marks: Marks<'_>) -> Option<Vec<TagSpecification>> {
    let tags = marks.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
    let specification = TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build();
    (!marks.is_empty()).then(|| vec![specification])
}

impl World {
    pub(crate) async fn new(folder: &Path) -> Self {
        let aws = interface_only(folder);
        let config = sdk(&aws).await;
        let (ec2, iam) = (aws_sdk_ec2::Client::new(&config), aws_sdk_iam::Client::new(&config));
        Self { aws, place: Place::new(), ec2, iam }
    }

    /// Runs the tool on the account, with nothing in the log but its own calls.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Done {
        self.aws.control.clear_log();
        let mut command = self.place.command(arguments);
        command.envs(self.aws.environment()).env("LOGNAME", "me");
        Running::start(command).end()
    }

    /// Runs an emptying verb on everything.
    pub(crate) fn empty(&self, arguments: &[&str]) -> Done {
        self.tool(&[arguments, &EVERYTHING].concat())
    }

    /// What a `--json` listing of the tool says of an id: its fate.
    pub(crate) fn fate<'a>(listing: &'a Value, id: &str) -> &'a str {
        let item = listing.as_array().unwrap().iter().find(|item| item["id"] == id);
        item.map_or("absent", |item| item["fate"].as_str().unwrap())
    }

    pub(crate) async fn instances(&self, count: i32, marks: Marks<'_>) -> Vec<String> {
        let run = self.ec2.run_instances().image_id(DEBIAN).instance_type(InstanceType::T3Micro);
        let run = run.min_count(count).max_count(count);
        let reply = run.set_tag_specifications(marked(ResourceType::Instance, marks)).send().await.unwrap();
        reply.instances().iter().map(|instance| instance.instance_id().unwrap().to_owned()).collect()
    }

    pub(crate) async fn image(&self, instance: &str, name: &str, marks: Marks<'_>) -> String {
        let image = self.ec2.create_image().instance_id(instance).name(name);
        let reply = image.set_tag_specifications(marked(ResourceType::Image, marks)).send().await.unwrap();
        reply.image_id().unwrap().to_owned()
    }

    pub(crate) async fn volume(&self, marks: Marks<'_>) -> String {
        let volume = self.ec2.create_volume().availability_zone("us-west-2a").size(1);
        let reply = volume.set_tag_specifications(marked(ResourceType::Volume, marks)).send().await.unwrap();
        reply.volume_id().unwrap().to_owned()
    }

    pub(crate) async fn snapshot(&self, volume: &str, marks: Marks<'_>) -> String {
        let snapshot = self.ec2.create_snapshot().volume_id(volume);
        let reply = snapshot.set_tag_specifications(marked(ResourceType::Snapshot, marks)).send().await.unwrap();
        reply.snapshot_id().unwrap().to_owned()
    }

    pub(crate) async fn group(&self, name: &str, marks: Marks<'_>) -> String {
        let group = self.ec2.create_security_group().group_name(name).description("a group");
        let reply = group.set_tag_specifications(marked(ResourceType::SecurityGroup, marks)).send().await.unwrap();
        reply.group_id().unwrap().to_owned()
    }

    pub(crate) async fn key_pair(&self, name: &str, marks: Marks<'_>) {
        let public = connection::generate("tester").unwrap().public_openssh;
        let pair = self.ec2.import_key_pair().key_name(name).public_key_material(Blob::new(public));
        pair.set_tag_specifications(marked(ResourceType::KeyPair, marks)).send().await.unwrap();
    }

    /// A role in an instance profile.
    pub(crate) async fn role(&self, role: &str, profile: &str, owner: Option<&str>) {
        let tag = |owner| aws_sdk_iam::types::Tag::builder().key("hg:owner").value(owner).build().unwrap();
        let tags = owner.map(|owner| vec![tag(owner)]);
        let made = self.iam.create_role().role_name(role).assume_role_policy_document(TRUST);
        made.set_tags(tags.clone()).send().await.unwrap();
        self.iam.put_role_policy().role_name(role).policy_name("own").policy_document(POLICY).send().await.unwrap();
        let managed = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
        self.iam.attach_role_policy().role_name(role).policy_arn(managed).send().await.unwrap();
        let made = self.iam.create_instance_profile().instance_profile_name(profile);
        made.set_tags(tags).send().await.unwrap();
        let add = self.iam.add_role_to_instance_profile().instance_profile_name(profile);
        add.role_name(role).send().await.unwrap();
    }

    /// The ids of the snapshots of the account.
    pub(crate) async fn snapshots(&self) -> Vec<String> {
        let seen = self.ec2.describe_snapshots().owner_ids("self").send().await.unwrap();
        seen.snapshots().iter().map(|snapshot| snapshot.snapshot_id().unwrap().to_owned()).collect()
    }

    /// How many instances are not terminated.
    pub(crate) async fn live(&self) -> usize {
        let states = ["pending", "running", "shutting-down", "stopping", "stopped"].map(str::to_owned).to_vec();
        let filter = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
        let seen = self.ec2.describe_instances().filters(filter).send().await.unwrap();
        seen.reservations().iter().map(|reservation| reservation.instances().len()).sum()
    }

    /// The calls of the last tool that were no reads.
    pub(crate) fn changes(&self) -> Vec<String> {
        let names = self.aws.control.names();
        names.into_iter().filter(|name| !READS.iter().any(|read| name.contains(read))).collect()
    }
}

/// What the tool takes `user` of this computer for.
pub(crate) fn me(user: &str) -> String {
    format!("{user}@{}", rustix::system::uname().nodename().to_str().unwrap())
}

/// What empties the account of all that can be taken for ours, whoever made it.
pub(crate) const EVERYTHING: [&str; 3] = ["--all-owners", "--untagged", "--yes"];

const MINE: Marks<'static> = &[("hg:owner", "me@here")];
const YOURS: Marks<'static> = &[("hg:owner", "you@there")];

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_ours_goes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    // By name, by tag, and neither.
    let named = world.instances(2, &[("Name", "hg-abc")]).await;
    let tagged = world.instances(1, MINE).await;
    let stranger = world.instances(1, &[("Name", "hgweb"), ("owner", "hg-me")]).await;
    let spot = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).build();
    let run = world.ec2.run_instances().image_id(DEBIAN).min_count(1).max_count(1).instance_market_options(spot);
    let marks = marked(ResourceType::SpotInstancesRequest, &[("Name", "hg-spot")]);
    let bid = run.set_tag_specifications(marks).send().await.unwrap().instances()[0].clone();
    let bid_id = bid.spot_instance_request_id().unwrap();
    let own = world.image(&named[0], "hg-linux-dev-debian12", &[("HGIMAGEFINGERPRINT", "f")]).await;
    let own_snapshots = world.snapshots().await;
    let precious = world.image(&named[0], "precious", &[]).await;
    let precious_snapshots: Vec<String> =
        world.snapshots().await.into_iter().filter(|id| !own_snapshots.contains(id)).collect();
    let (volume, others_volume) = (world.volume(&[("Name", "hg-left")]).await, world.volume(&[("Name", "data")]).await);
    let orphan = world.snapshot(&volume, MINE).await;
    let backup = world.snapshot(&others_volume, &[]).await;
    world.key_pair("hg-automation", MINE).await;
    world.key_pair("laptop", &[]).await;
    let (first, second) = (world.group("hg-linux-dev-1", &[]).await, world.group("ours", MINE).await);
    let web = world.group("web", &[]).await;
    let pair = UserIdGroupPair::builder().group_id(&first).build();
    let rule = IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22).user_id_group_pairs(pair).build();
    world.ec2.authorize_security_group_ingress().group_id(&second).ip_permissions(rule).send().await.unwrap();
    world.role("hg-ephemeral-ec2-role-1", "hg-ephemeral-ec2-1", Some("me@here")).await;
    world.role("hgweb", "hgweb", None).await;

    let planned = world.empty(&["purge-ec2-resources", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(world.changes(), Vec::<String>::new(), "a dry run only reads");
    let done = world.empty(&["purge-ec2-resources", "--json"]).expect(0);
    let listing = done.json();
    for id in [&*named[0], &named[1], &tagged[0], bid_id, &own, &own_snapshots[0], &orphan, &volume, &first, &second] {
        assert_eq!(World::fate(&planned, id), "would be removed", "{id} in {planned:#}");
        assert_eq!(World::fate(&listing, id), "gone", "{id} in {listing:#}");
    }
    for name in ["hg-automation", "hg-ephemeral-ec2-1"] {
        assert_eq!(World::fate(&listing, name), "gone", "{name} in {listing:#}");
    }
    let strangers = [&*stranger[0], bid.instance_id().unwrap(), &precious, &others_volume, &backup, &web];
    for id in strangers.into_iter().chain(["laptop", "hgweb", &*precious_snapshots[0]]) {
        assert_eq!(World::fate(&listing, id), "absent", "{id} in {listing:#}");
    }
    assert_eq!(world.live().await, 2, "the stranger, and the instance of the spot request, which carries no mark");
    let mut kept = world.snapshots().await;
    kept.sort();
    let mut expected = [precious_snapshots, vec![backup]].concat();
    expected.sort();
    assert_eq!(kept, expected);
    assert!(!world.changes().iter().any(|name| name.contains("Create") || name.contains("Import")), "nothing is made");
    assert!(!world.place.state.join("keys/keypair-automation").exists(), "no key pair is made for it");
    // A second time there is nothing to do.
    assert_eq!(world.empty(&["purge-ec2-resources", "--json"]).expect(0).json(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_uses_another_thing_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, MINE).await.remove(0);
    world.image(&instance, "hg-image", &[]).await;
    world.group("hg-linux-dev-1", &[]).await;
    world.role("hg-ephemeral-ec2-role-1", "hg-ephemeral-ec2-1", None).await;
    world.empty(&["purge-ec2-resources"]).expect(0);
    let changes = world.changes();
    let at = |name: &str| changes.iter().position(|call| call == name).unwrap_or_else(|| panic!("{name}: {changes:?}"));
    assert!(at("ec2:TerminateInstances") < at("ec2:DeregisterImage"));
    assert!(at("ec2:DeregisterImage") < at("ec2:DeleteSnapshot"));
    assert!(at("ec2:TerminateInstances") < at("ec2:DeleteSecurityGroup"));
    assert!(at("iam:RemoveRoleFromInstanceProfile") < at("iam:DeleteInstanceProfile"));
    assert!(at("iam:DeleteInstanceProfile") < at("iam:DeleteRole"));
    assert!(at("iam:DetachRolePolicy") < at("iam:DeleteRole") && at("iam:DeleteRolePolicy") < at("iam:DeleteRole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_age_narrow_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let (mine, yours) = (world.instances(1, MINE).await, world.instances(1, YOURS).await);
    world.role("hg-role-of-yours", "hg-profile-of-yours", Some("you@there")).await;
    let young = world.empty(&["terminate-ec2-instances", "--older-than", "1h", "--json"]).expect(0);
    assert_eq!(young.json(), serde_json::json!([]));
    let done = world.tool(&["purge-ec2-resources", "--owner", "me@here", "--json", "--yes"]).expect(0).json();
    assert_eq!((World::fate(&done, &mine[0]), World::fate(&done, &yours[0])), ("gone", "absent"));
    assert_eq!(World::fate(&done, "hg-role-of-yours"), "absent");
    let old = world.tool(&["terminate-ec2-instances", "--older-than", "0s"]);
    old.expect(2);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let done = world.empty(&["terminate-ec2-instances", "--older-than", "1s", "--json"]).expect(0).json();
    assert_eq!(World::fate(&done, &yours[0]), "gone");
    assert_eq!(world.live().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_a_word_names_no_owner() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let stranger = world.instances(1, &[("hg:owner", "")]).await.remove(0);
    for command in ["terminate-ec2-instances", "purge-ec2-resources"] {
        for blank in ["", " "] {
            world.tool(&[command, "--owner", blank, "--yes"]).expect(2).tells(&["--owner", "names nobody"]);
        }
        let done = world.tool(&[command, "--all-owners", "--yes", "--json"]).expect(0).json();
        assert_eq!(World::fate(&done, &stranger), "left alone");
    }
    world.tool(&["iam-policy", "--owner", ""]).expect(2).tells(&["names nobody"]);
    for blank in ["", "ann@here,", " "] {
        world.tool(&["image", "list", "--trust-images-of", blank]).expect(2).tells(&["names nobody"]);
    }
    assert_eq!(world.live().await, 1);
    let done = world.tool(&["terminate-ec2-instances", "--untagged", "--yes", "--json"]).expect(0).json();
    assert_eq!(World::fate(&done, &stranger), "gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_only_what_names_the_caller_goes() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let me = me("me");
    let mine = world.instances(1, &[("hg:owner", &me), ("Name", "hg-0000000001")]).await.remove(0);
    let others = world.instances(2, YOURS).await;
    let named = world.instances(1, &[("Name", "hg-web-prod")]).await.remove(0);
    let old = world.image(&mine, "hg-linux-dev-debian12", &[("HGIMAGEFINGERPRINT", "f")]).await;
    for command in ["terminate-ec2-instances", "purge-ec2-resources"] {
        world.tool(&[command]).expect(2).tells(&["--dry-run", "--yes"]);
        assert_eq!(world.aws.control.count("*"), 0, "refused before anything is looked at");
        world.tool(&[command, "--all-owners"]).expect(2);
    }
    let planned = world.tool(&["purge-ec2-resources", "--dry-run", "--json"]).expect(0);
    let planned = planned.tells(&["2 things of 1 person (you@there)", "--all-owners"]).json();
    let item = |id: &str| planned.as_array().unwrap().iter().find(|item| item["id"] == id).unwrap().clone();
    assert_eq!(
        (&item(&mine)["fate"], &item(&mine)["why"]),
        (&Value::from("would be removed"), &Value::from(format!("its tag `hg:owner` is `{me}`")),)
    );
    for (id, why) in [(&named, "its name begins with `hg-`"), (&old, "it has the tag `HGIMAGEFINGERPRINT`")] {
        assert_eq!(item(id)["fate"], "left alone", "{planned:#}");
        assert!(item(id)["why"].as_str().unwrap().starts_with(why), "{planned:#}");
        assert!(item(id)["reason"].as_str().unwrap().contains("--untagged"), "{planned:#}");
    }
    assert_eq!(World::fate(&planned, &others[0]), "absent");
    let shown = world.tool(&["purge-ec2-resources", "--dry-run"]).expect(0).text();
    assert!(shown.contains(&format!("its tag `hg:owner` is `{me}`")) && shown.contains("left alone"), "{shown}");
    assert_eq!(world.live().await, 4);
    let done = world.tool(&["purge-ec2-resources", "--yes", "--json"]).expect(0).json();
    assert_eq!((World::fate(&done, &mine), World::fate(&done, &named)), ("gone", "left alone"));
    assert_eq!(world.live().await, 3);
    let done = world.tool(&["purge-ec2-resources", "--all-owners", "--yes", "--json"]).expect(0);
    let done = done.tells(&["of 1 person (you@there)"]).json();
    assert_eq!((World::fate(&done, &others[0]), World::fate(&done, &named)), ("gone", "left alone"));
    assert_eq!(world.live().await, 1);
    let done = world.tool(&["purge-ec2-resources", "--untagged", "--yes", "--json"]).expect(0).json();
    assert_eq!((World::fate(&done, &old), World::fate(&done, &named)), ("gone", "gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_of_anybody_uses_is_not_taken_from_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let (role, profile) = ("hg-ephemeral-ec2-role-1", "hg-ephemeral-ec2-1");
    world.role(role, profile, Some("bob@there")).await;
    let elsewhere = sdk(&world.aws).await.into_builder().region(aws_config::Region::new("eu-west-1")).build();
    let with_profile = |ec2: aws_sdk_ec2::Client, owner: &'static str| async move {
        let of = aws_sdk_ec2::types::IamInstanceProfileSpecification::builder().name(profile).build();
        let run = ec2.run_instances().image_id(DEBIAN).min_count(1).max_count(1).iam_instance_profile(of);
        let run = run.set_tag_specifications(marked(ResourceType::Instance, &[("hg:owner", owner)]));
        run.send().await.unwrap().instances()[0].instance_id().unwrap().to_owned()
    };
    let far = aws_sdk_ec2::Client::new(&elsewhere);
    let (bobs, anns) =
        (with_profile(world.ec2.clone(), "bob@there").await, with_profile(far.clone(), "ann@here").await);
    let of_bob = ["purge-ec2-resources", "--owner", "bob@there", "--json", "--yes"];
    let planned = world.tool(&[&of_bob[..], &["--dry-run"]].concat()).expect(0).json();
    let done = world.tool(&of_bob).expect(5).json();
    assert_eq!((World::fate(&planned, &bobs), World::fate(&done, &bobs)), ("would be removed", "gone"));
    for name in [role, profile] {
        assert_eq!((World::fate(&planned, name), World::fate(&done, name)), ("would stay", "stays"), "{done:#}");
        let item = done.as_array().unwrap().iter().find(|item| item["id"] == name).unwrap().clone();
        let reason = item["reason"].as_str().unwrap();
        assert!(reason.contains(&anns) && reason.contains("`ann@here` in eu-west-1"), "{reason}");
    }
    assert!(!world.changes().iter().any(|call| call.starts_with("iam:")), "{:?}", world.changes());
    far.terminate_instances().instance_ids(&anns).send().await.unwrap();
    let done = world.tool(&of_bob).expect(0).json();
    assert_eq!((World::fate(&done, role), World::fate(&done, profile)), ("gone", "gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_leaves_the_machines_of_a_copy_of_its_state_directory() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let own = StateDir::open(&world.place.state).unwrap().id().unwrap();
    let copy = format!("{}.0123456789ab", own.split('.').next().unwrap());
    let (ahead, over) = ("2999-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    let mut ids = Vec::new();
    for (state, expires) in [(&copy, ahead), (&own, ahead), (&copy, over)] {
        let machine = MachineId::random();
        let marks = [("hg:machine", machine.as_str()), ("hg:state", state), ("hg:expires", expires)];
        ids.push((machine.to_string(), world.instances(1, &marks).await.remove(0)));
    }
    let audit = |further: &[&str]| world.tool(&[&["--provider", "ec2", "audit", "--json"], further].concat());
    let fixed = audit(&["--fix"]).expect(5).json();
    let standings = |found: &Value| -> Vec<String> {
        let found = found.as_array().unwrap().iter().filter(|finding| finding["kind"] == "instance");
        found.map(|finding| finding["standing"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(standings(&fixed), ["elsewhere", "elsewhere"], "{fixed:#}");
    assert_eq!(world.live().await, 2, "only the expired one went");
    audit(&["hg-0000000000", "--fix"]).expect(2).tells(&["nothing that remains is called `hg-0000000000`"]);
    let named = audit(&["--fix", &ids[0].0]).expect(5).json();
    assert_eq!((standings(&named).len(), world.live().await), (1, 1));
    audit(&["--fix", &ids[1].1]).expect(0);
    assert_eq!(world.live().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_instances_take_a_dozen_calls() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    world.aws.control.set(|conditions| conditions.terminating = std::time::Duration::ZERO);
    let plan = ["ec2:DescribeSpotInstanceRequests", "ec2:DescribeInstances", "ec2:TerminateInstances"];
    let mut counts = Vec::new();
    for count in [10, 1000] {
        world.instances(count, &[("Name", "hg-many"), ("hg:owner", "me@here")]).await;
        world.aws.control.allow_only(&plan);
        world.empty(&["terminate-ec2-instances"]).expect(0);
        counts.push(world.aws.control.count("*"));
        assert_eq!(world.aws.control.violations(), Vec::<String>::new());
        world.aws.control.allow_only(&["ec2:RunInstances", "ec2:DescribeInstances"]);
        assert_eq!(world.live().await, 0);
    }
    assert!(counts[1] <= 12 && counts[1] == counts[0], "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_journal_are_closed_for_what_went_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let instance = world.instances(1, MINE).await.remove(0);
    let journal = StateDir::open(&world.place.state).unwrap().journal().unwrap();
    let now = jiff::Timestamp::now();
    let machine = MachineId::random();
    let planned = |name: &str| PlannedResource {
        machine: machine.clone(),
        kind: ResourceKind::Instance,
        name: format!("123456789012/us-west-2/{name}"),
    };
    let rows = [planned("hg-went"), planned("hg-other")];
    let run = RunId::new(now);
    let record = RunRecord {
        id: run.clone(),
        command: "machine up".into(),
        arguments: vec![],
        owner: "me@here".into(),
        driver: state::process::current().unwrap(),
        state: RunState::Ended,
        started_at: now,
        ended_at: Some(now),
        exit_code: Some(0),
        summary: None,
    };
    journal.store_run(&record).unwrap();
    let ids = journal.plan(&run, ProviderKind::Ec2, &rows, now).unwrap();
    journal.mark_present(&ids[0], &instance).unwrap();
    journal.mark_present(&ids[1], "i-0123456789abcdef0").unwrap();
    world.empty(&["terminate-ec2-instances"]).expect(0);
    let rows = journal.resources(&ResourceFilter::default()).unwrap();
    let state = |id| rows.iter().find(|row| row.id == id).unwrap().state;
    assert_eq!(state(ids[0].clone()), ResourceState::Gone);
    assert_eq!(state(ids[1].clone()), ResourceState::Present);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_tells_all_instances_to_end_before_it_waits_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path()).await;
    let state = StateDir::open(&world.place.state).unwrap().id().unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let machine = MachineId::random();
        let marks = [("Name", machine.as_str()), ("hg:machine", machine.as_str()), ("hg:state", state.as_str())];
        ids.extend(world.instances(1, &marks).await);
    }
    ids.sort();
    let stranger = world.instances(1, &[]).await;
    world.tool(&["--provider", "ec2", "audit", "--fix", "--dry-run"]).expect(5);
    assert_eq!(world.aws.control.count("ec2:TerminateInstances"), 0);
    world.tool(&["--provider", "ec2", "audit", "--fix"]).expect(0);
    let calls = world.aws.control.calls();
    let first = calls.iter().find(|logged| logged.name == "ec2:TerminateInstances").unwrap();
    let mut told = first.call.list("InstanceId");
    told.sort();
    assert_eq!(told, ids);
    assert_eq!(world.live().await, stranger.len());
}
