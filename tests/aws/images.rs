//! Images of an account: baked once, found by everybody, collected by their owner, with nothing left behind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws::ec2::clients::Clients;
use aws::ec2::images::{Ec2Images, ImageUser, Trust, fate};
use aws::ec2::tags;
use aws_sdk_ec2::types::{InstanceType, ResourceType, Tag};
use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::event::Teller;
use model::fault::{Fault, FaultKind};
use model::image::{Fingerprint, ImagePlan, ImageRecord};
use model::machine::ProviderKind;
use model::provider::{ImageStore, Ledger, MadeLayer};
use model::resource::{Fate, PlannedResource, Resource, ResourceKind, ResourceState};
use project::image::{BaseChoice, ImageChoice};
use support::tool::{Place, Running};

use crate::emulated::{Emulator, REGION, interface_only, sdk};

const DEBIAN: &str = "ami-0deb12000000a0002";
const ANN: &str = "ann@example";
const BOB: &str = "bob@example";

/// Writes down what is written down, in order.
#[derive(Default)]
struct Book(Mutex<Vec<(PlannedResource, Option<String>)>>);

impl Ledger for Book {
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault> {
        let mut rows = self.0.lock().unwrap();
        rows.push((resource.clone(), None));
        Ok((rows.len() - 1).to_string().parse().unwrap())
    }

    fn mark_kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        let at: usize = id.as_str().parse().unwrap();
        self.0.lock().unwrap()[at].1 = Some(locator.to_owned());
        Ok(())
    }
}

struct Scene {
    aws: Emulator,
    client: aws_sdk_ec2::Client,
    clients: Arc<Clients>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let aws = interface_only(folder.path());
        let sdk = sdk(&aws).await;
        let client = aws_sdk_ec2::Client::new(&sdk);
        Self { aws, client, clients: Arc::new(Clients::new(sdk)), _folder: folder }
    }

    /// The store of a process of its own.
    fn store(&self, owner: &str) -> Ec2Images {
        self.trusting(owner, Trust::All)
    }

    fn trusting(&self, owner: &str, trust: Trust) -> Ec2Images {
        let reader = ImageUser { owner: owner.to_owned(), trust };
        Ec2Images::new(Arc::clone(&self.clients), REGION, reader, "state-1")
    }

    /// A machine on which all steps have run; gives its id and that of its instance.
    async fn machine(&self, image: &str) -> (MachineId, String) {
        let machine = MachineId::random();
        let tags = [tags::tag(tags::NAME, machine.as_str()), tags::tag(tags::MACHINE, machine.as_str())];
        let call = self.client.run_instances().image_id(image).instance_type(InstanceType::T3Micro);
        let call =
            call.min_count(1).max_count(1).tag_specifications(tags::specification(ResourceType::Instance, &tags));
        let answer = call.send().await.unwrap();
        (machine, answer.instances()[0].instance_id().unwrap().to_owned())
    }

    /// What `owner` gets who bakes `plan`, and what was written down.
    async fn bake(&self, store: &Ec2Images, plan: &ImagePlan) -> (Result<(), Fault>, Book) {
        let (machine, _) = self.machine(DEBIAN).await;
        let book = Book::default();
        let made =
            MadeLayer { plan, layer: plan.layers.last().unwrap(), machine: &machine, took: Duration::from_secs(7) };
        let done = store.commit(&made, &book, &Teller::silent()).await;
        (done.map(|_| ()), book)
    }

    /// An image as an earlier bake by `owner` left it; gives its id.
    async fn image(&self, plan: &str, fingerprint: &Fingerprint, owner: &str) -> String {
        let (_, instance) = self.machine(DEBIAN).await;
        let name = format!("hg-{plan}");
        let of = tags::ImageTags {
            name: &name,
            fingerprint: &fingerprint.0,
            owner,
            distro: "debian12",
            state_id: "state-1",
        };
        let call = self.client.create_image().instance_id(&instance);
        let call = call.name(format!("{name}-{}", fingerprint.short()));
        let call = call.tag_specifications(tags::specification(ResourceType::Image, &of.tags()));
        let call = call.tag_specifications(tags::specification(ResourceType::Snapshot, &of.tags()));
        let id = call.send().await.unwrap().image_id.unwrap();
        self.client.terminate_instances().instance_ids(instance).send().await.unwrap();
        id
    }

    async fn images(&self) -> Vec<aws_sdk_ec2::types::Image> {
        self.client.describe_images().owners("self").send().await.unwrap().images.unwrap_or_default()
    }

    async fn snapshots(&self) -> Vec<aws_sdk_ec2::types::Snapshot> {
        let call = self.client.describe_snapshots().owner_ids("self");
        let answer =
            call.filters(aws_sdk_ec2::types::Filter::builder().name("tag-key").values(tags::FINGERPRINT).build());
        answer.send().await.unwrap().snapshots.unwrap_or_default()
    }
}

fn plan() -> ImagePlan {
    let choice = ImageChoice::new(BaseChoice::Cloud, "debian12");
    project::image::load(None, "linux-dev").unwrap().plan(&choice).unwrap()
}

fn value<'a>(tags: &'a [Tag], key: &str) -> &'a str {
    tags::value(tags, key).unwrap_or_default()
}

fn other(digit: char) -> Fingerprint {
    Fingerprint(digit.to_string().repeat(64))
}

#[tokio::test]
async fn a_bake_is_written_down_tagged_and_found_by_everybody() {
    let scene = Scene::new().await;
    let (plan, ann) = (plan(), scene.store(ANN));
    assert_eq!(ann.count_present(&plan).await.unwrap(), 1, "the base is its distribution's");
    let (done, book) = scene.bake(&ann, &plan).await;
    done.unwrap();
    let images = scene.images().await;
    let [image] = &images[..] else { panic!("{images:?}") };
    let name = format!("hg-linux-dev-debian12-{}", plan.fingerprint().short());
    assert_eq!(image.name(), Some(name.as_str()));
    let snapshots = scene.snapshots().await;
    assert_eq!(snapshots.len(), 1);
    for tags in [image.tags(), snapshots[0].tags()] {
        assert_eq!(value(tags, tags::NAME), "hg-linux-dev-debian12");
        assert_eq!(value(tags, tags::FINGERPRINT), plan.fingerprint().0);
        assert_eq!((value(tags, tags::OWNER), value(tags, tags::DISTRO)), (ANN, "debian12"));
    }
    let rows = book.0.into_inner().unwrap();
    let kinds: Vec<ResourceKind> = rows.iter().map(|(row, _)| row.kind).collect();
    assert_eq!(kinds, [ResourceKind::MachineImage, ResourceKind::Snapshot]);
    assert_eq!(rows[0].0.name, format!("123456789012/{REGION}/{name}"));
    assert_eq!(rows[0].1.as_deref(), image.image_id());
    assert_eq!(rows[1].1.as_deref(), snapshots[0].snapshot_id());

    let bob = scene.store(BOB);
    assert_eq!(bob.count_present(&plan).await.unwrap(), plan.layers.len());
    let listed = bob.list().await.unwrap();
    assert_eq!(listed, [bob.finish(&plan, Timestamp::now()).await.unwrap()]);
    assert_eq!((listed[0].name.as_str(), listed[0].owner.as_deref()), (plan.name.as_str(), Some(ANN)));
    assert_eq!(listed[0].layers[0].seconds, 7);
}

#[tokio::test]
async fn who_trusts_nobody_bakes_an_image_of_a_name_of_its_own() {
    let scene = Scene::new().await;
    let (plan, layers) = (plan(), plan().layers.len());
    scene.bake(&scene.store(ANN), &plan).await.0.unwrap();
    let bob = scene.trusting(BOB, Trust::Own);
    assert_eq!(bob.count_present(&plan).await.unwrap(), 1, "what Ann baked is root on Bob's machines");
    assert_eq!(scene.trusting(BOB, Trust::These(vec![ANN.to_owned()])).count_present(&plan).await.unwrap(), layers);
    let (done, book) = scene.bake(&bob, &plan).await;
    done.unwrap();
    assert_eq!(bob.count_present(&plan).await.unwrap(), layers);
    assert_eq!(
        scene.trusting(BOB, Trust::Own).finish(&plan, Timestamp::now()).await.unwrap().owner.as_deref(),
        Some(BOB)
    );
    let usual = format!("hg-linux-dev-debian12-{}", plan.fingerprint().short());
    let mut names: Vec<String> = scene.images().await.iter().map(|image| image.name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, [usual.clone(), format!("{usual}-bob-example")]);
    let rows = book.0.into_inner().unwrap();
    assert!(rows.len() == 4 && rows.iter().all(|(_, locator)| locator.is_some()), "{rows:?}");
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_image() {
    let scene = Scene::new().await;
    let store = scene.store(ANN);
    scene.aws.control.cut("ec2:CreateImage", 1);
    scene.bake(&store, &plan()).await.0.unwrap();
    assert_eq!(scene.images().await.len(), 1);
    assert_eq!(scene.snapshots().await.len(), 1);
}

#[tokio::test]
async fn an_image_whose_name_is_taken_and_that_is_told_of_later_is_waited_for() {
    let scene = Scene::new().await;
    let (store, plan) = (scene.store(ANN), plan());
    scene.aws.control.fail("ec2:CreateImage", "InvalidAMIName.Duplicate", "AMI name is already in use", 1);
    let later = async {
        while scene.aws.control.count("ec2:DescribeImages") == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        scene.image(&plan.name, &plan.fingerprint(), ANN).await
    };
    let ((done, book), id) = tokio::join!(scene.bake(&store, &plan), later);
    done.unwrap();
    assert_eq!(scene.images().await.len(), 1);
    assert_eq!(book.0.into_inner().unwrap()[0].1, Some(id), "it is written down");
}

#[tokio::test]
async fn of_two_who_bake_the_same_the_second_takes_what_the_first_made() {
    let scene = Scene::new().await;
    let (ann, bob, plan) = (scene.store(ANN), scene.store(BOB), plan());
    scene.aws.control.set(|conditions| conditions.image_pending = Duration::from_secs(2));
    let later = async {
        while scene.images().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        scene.bake(&bob, &plan).await
    };
    let (first, second) = tokio::join!(scene.bake(&ann, &plan), later);
    first.0.unwrap();
    second.0.unwrap();
    assert_eq!(scene.images().await.len(), 1);
    let (ann, bob) = (ann.list().await.unwrap(), bob.list().await.unwrap());
    assert_eq!(ann[0].locator, bob[0].locator);
}

#[tokio::test]
async fn who_wants_an_image_that_is_being_made_waits_for_it() {
    let scene = Scene::new().await;
    scene.aws.control.set(|conditions| conditions.image_pending = Duration::from_secs(2));
    let (plan, store) = (plan(), scene.store(BOB));
    scene.image(&plan.name, &plan.fingerprint(), ANN).await;
    assert_eq!(store.count_present(&plan).await.unwrap(), 1, "it is pending");
    let _lock = store.lock(&plan.fingerprint(), &Teller::silent()).await.unwrap();
    assert_eq!(store.count_present(&plan).await.unwrap(), plan.layers.len());
}

#[tokio::test]
async fn a_name_that_a_strangers_image_has_is_told_and_the_image_left() {
    let scene = Scene::new().await;
    let plan = plan();
    let (_, instance) = scene.machine(DEBIAN).await;
    let name = format!("hg-linux-dev-debian12-{}", plan.fingerprint().short());
    let taken = scene.client.create_image().instance_id(instance).name(&name).send().await.unwrap().image_id.unwrap();
    let fault = scene.bake(&scene.store(ANN), &plan).await.0.unwrap_err();
    assert!(fault.message.contains(&taken) && fault.hint.is_some(), "{fault:?}");
    assert_eq!(fault.kind, FaultKind::Outside);
    assert_eq!(scene.images().await.len(), 1);
}

#[tokio::test]
async fn a_machine_that_ended_before_its_image_is_told_of() {
    let scene = Scene::new().await;
    let (machine, instance) = scene.machine(DEBIAN).await;
    scene.client.terminate_instances().instance_ids(instance).send().await.unwrap();
    let plan = plan();
    let made = MadeLayer { plan: &plan, layer: plan.layers.last().unwrap(), machine: &machine, took: Duration::ZERO };
    let fault = scene.store(ANN).commit(&made, &Book::default(), &Teller::silent()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Infrastructure, "{fault:?}");
    assert_eq!(scene.aws.control.count("ec2:CreateImage"), 0);
}

#[tokio::test]
async fn only_its_owner_removes_an_image_and_never_one_in_use() {
    let scene = Scene::new().await;
    let (a, b) = (other('a'), other('b'));
    let used = scene.image("linux-dev-debian12", &a, ANN).await;
    scene.image("linux-dev-debian12", &b, BOB).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (machine, instance) = scene.machine(&used).await;
    let ann = scene.store(ANN);
    let fault = ann.remove_image(&a, false).await.unwrap_err();
    assert!(fault.message.contains(machine.as_str()), "{fault:?}");
    let fault = ann.remove_image(&b, false).await.unwrap_err();
    assert!(fault.chain().join(" ").contains(BOB) && fault.hint.unwrap().contains("--any-owner"));
    let users = ann.users(&ann.list().await.unwrap()).await.unwrap();
    assert_eq!(users.into_iter().collect::<Vec<_>>(), [(a.clone(), machine.to_string())]);
    assert_eq!((scene.images().await.len(), scene.snapshots().await.len()), (2, 2));

    scene.client.terminate_instances().instance_ids(instance).send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    ann.remove_image(&a, false).await.unwrap();
    assert_eq!((scene.images().await.len(), scene.snapshots().await.len()), (1, 1));
    ann.remove_image(&b, true).await.unwrap();
    ann.remove_image(&b, true).await.unwrap();
    assert_eq!((scene.images().await.len(), scene.snapshots().await.len()), (0, 0));
}

#[tokio::test]
async fn a_removal_outlives_lost_replies_and_throttling() {
    let scene = Scene::new().await;
    let fingerprint = other('a');
    scene.image("linux-dev-debian12", &fingerprint, ANN).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    scene.aws.control.throttle("ec2:DeregisterImage", 2);
    scene.aws.control.cut("ec2:DeregisterImage", 1);
    scene.aws.control.throttle("ec2:DescribeSnapshots", 1);
    scene.store(ANN).remove_image(&fingerprint, false).await.unwrap();
    assert_eq!((scene.images().await.len(), scene.snapshots().await.len()), (0, 0));
}

#[tokio::test]
async fn a_row_that_a_crash_left_open_is_kept_when_its_image_is_there_and_gone_when_not() {
    let scene = Scene::new().await;
    let fingerprint = other('a');
    let id = scene.image("linux-dev-debian12", &fingerprint, ANN).await;
    let row = |kind, name: String, locator: Option<&str>| Resource {
        id: "1".parse().unwrap(),
        run: RunId::new(Timestamp::UNIX_EPOCH),
        machine: MachineId::random(),
        provider: ProviderKind::Ec2,
        kind,
        name: format!("123456789012/{REGION}/{name}"),
        locator: locator.map(str::to_owned),
        state: ResourceState::Planned,
        planned_at: Timestamp::UNIX_EPOCH,
        gone_at: None,
        note: None,
    };
    let name = format!("hg-linux-dev-debian12-{}", fingerprint.short());
    let image = row(ResourceKind::MachineImage, name.clone(), None);
    assert_eq!(fate(&scene.clients, &image).await.unwrap(), Fate::Kept(id), "pending is as good as made");
    let snapshot = scene.snapshots().await[0].snapshot_id().unwrap().to_owned();
    let part = row(ResourceKind::Snapshot, format!("{name}-0"), Some(&snapshot));
    assert_eq!(fate(&scene.clients, &part).await.unwrap(), Fate::Kept(snapshot.clone()));
    let untold = row(ResourceKind::Snapshot, format!("{name}-0"), None);
    assert_eq!(fate(&scene.clients, &untold).await.unwrap(), Fate::Kept(snapshot), "its id was never told");
    scene.store(ANN).remove_image(&fingerprint, false).await.unwrap();
    assert_eq!(fate(&scene.clients, &image).await.unwrap(), Fate::Gone);
    assert_eq!(fate(&scene.clients, &untold).await.unwrap(), Fate::Gone);
    assert_eq!(fate(&scene.clients, &part).await.unwrap(), Fate::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_list_show_and_collect() {
    let scene = Scene::new().await;
    let place = Place::new();
    // The owner as the tool tells it.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let ann = format!("ann@{host}");
    let as_ann = |words: &[&str]| {
        let mut command = place.command(words);
        command.args(["--provider", "ec2"]).envs(scene.aws.environment()).env("LOGNAME", "ann");
        Running::start(command).end()
    };
    for (digit, owner) in [('a', ann.as_str()), ('b', ann.as_str()), ('c', BOB), ('d', ann.as_str())] {
        scene.image("linux-dev-debian12", &other(digit), owner).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let listed = as_ann(&["image", "list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 4, "{listed}");
    assert!(listed[0]["locator"].as_str().unwrap().starts_with("ami-"), "{listed}");
    let id = listed[0]["locator"].as_str().unwrap();
    assert_eq!(as_ann(&["image", "show", id, "--json"]).expect(0).json()["locator"], id);

    scene.aws.control.clear_log();
    let would = as_ann(&["image", "gc", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(would.as_array().unwrap().len(), 1, "{would}");
    assert_eq!(would[0]["fate"], "would be removed");
    let calls = scene.aws.control.names();
    assert!(calls.iter().all(|name| name.contains(":Describe") || name.contains(":Get")), "{calls:?}");
    assert_eq!(scene.images().await.len(), 4);

    let done = as_ann(&["image", "gc", "--json"]).expect(0).json();
    assert_eq!((done.as_array().unwrap().len(), &done[0]["fate"]), (1, &"removed".into()), "{done}");
    assert_eq!((scene.images().await.len(), scene.snapshots().await.len()), (3, 3));
    as_ann(&["image", "gc", "--all"]).expect(0).tells(&["Images of other people, which stay: 1"]);
    let left: Vec<ImageRecord> = scene.store(BOB).list().await.unwrap();
    assert_eq!(left.iter().map(|image| image.owner.as_deref()).collect::<Vec<_>>(), [Some(BOB)]);
    as_ann(&["image", "gc", "--all", "--any-owner"]).expect(0);
    assert_eq!((scene.images().await.len(), scene.snapshots().await.len()), (0, 0));
}
