//! How many calls and how much time it takes to empty an account, by the number of things in it. Prints a table.
//!
//! `cargo bench -p aws-emulator --bench purge` runs it against the emulator (`examples/aws-emulator`, without machines; `docs/testing.md` says
//! what it needs). Every call is answered 40 ms late, as over a network. Counts and ratios hold anywhere; times drift.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_emulator::control::covered;
use aws_emulator::{Emulator, Options, REGION};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use futures_util::StreamExt;
use support::tool::binary;

/// The newest image of Debian 12 in the emulator.
const DEBIAN: &str = "ami-0deb12000000a0002";

/// What a call takes to AWS and back, beside its work.
const NETWORK: Duration = Duration::from_millis(40);

/// What is measured once.
struct Measure {
    count: usize,
    calls: usize,
    took: Duration,
    /// The part of it in which at least one call waited for its answer.
    answers: Duration,
    /// The times that calls waited, added up, whether or not others waited meanwhile.
    waited: Duration,
}

impl Measure {
    /// Milliseconds for each thing.
    fn each(&self) -> f64 {
        self.took.as_secs_f64() * 1000.0 / self.count as f64
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!("| command | things | calls | wall | of it, the tool's own | calls at once | each |\n|---|---|---|---|---|---|---|");
        let mut ended = Vec::new();
        for count in [10, 100, 1000] {
            ended.push(terminate(&folder.path().join(format!("t{count}")), count).await);
        }
        show("terminate-ec2-instances", "instances", &ended);
        let mut purged = Vec::new();
        for count in [10, 100, 500] {
            purged.push(purge(&folder.path().join(format!("p{count}")), count).await);
        }
        show("purge-ec2-resources", "images and as many snapshots", &purged);
        assert!(ended[2].calls <= 12, "{} calls for a thousand instances", ended[2].calls);
        assert!(purged[2].each() <= purged[0].each(), "each of many takes longer than each of few");
    });
}

fn show(command: &str, things: &str, measures: &[Measure]) {
    for measure in measures {
        let Measure { count, calls, took, answers, waited } = measure;
        let (seconds, own) = (took.as_secs_f64(), (*took - *answers).as_secs_f64());
        let (at_once, each) = (waited.as_secs_f64() / answers.as_secs_f64(), measure.each());
        println!(
            "| `{command}` | {count} {things} | {calls} | {seconds:.2} s | {own:.2} s | {at_once:.1} | {each:.1} ms |"
        );
    }
}

/// An emulator of its own, so that nothing of the last measure is in its lists.
async fn start(folder: &Path) -> (Emulator, Client) {
    std::fs::create_dir_all(folder).unwrap();
    let options = Options {
        shares_moto: false,
        folder: folder.join("emulator"),
        machines: false,
        executable: binary().into(),
        bases: folder.join("bases"),
    };
    let aws = Emulator::start(options).unwrap();
    let keys = aws_sdk_ec2::config::Credentials::new("emulator", "emulator", None, None, "emulator");
    let config = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(keys)
        .region(Region::new(REGION))
        .endpoint_url(aws.endpoint())
        .load()
        .await;
    (aws, Client::new(&config))
}

fn marks(kind: ResourceType) -> TagSpecification {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags = vec![tag("Name", "hg-bench"), tag("hg:owner", "bench@here")];
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags)).build()
}

async fn instances(client: &Client, count: usize) -> String {
    let count = i32::try_from(count).unwrap();
    let run = client.run_instances().image_id(DEBIAN).min_count(count).max_count(count);
    let reply = run.tag_specifications(marks(ResourceType::Instance)).send().await.unwrap();
    reply.instances()[0].instance_id().unwrap().to_owned()
}

async fn terminate(folder: &Path, count: usize) -> Measure {
    let (aws, client) = start(folder).await;
    aws.control.set(|conditions| conditions.terminating = Duration::ZERO);
    instances(&client, count).await;
    measure(&aws, folder, "terminate-ec2-instances", count)
}

async fn purge(folder: &Path, count: usize) -> Measure {
    let (aws, client) = start(folder).await;
    let instance = instances(&client, 1).await;
    let images = (0..count).map(|at| {
        let image = client.create_image().instance_id(&instance).name(format!("hg-image-{at}"));
        image.tag_specifications(marks(ResourceType::Image)).send()
    });
    let made: Vec<_> = futures_util::stream::iter(images).buffer_unordered(4).collect().await;
    assert!(made.iter().all(Result::is_ok));
    client.terminate_instances().instance_ids(instance).send().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    measure(&aws, folder, "purge-ec2-resources", count)
}

fn measure(aws: &Emulator, folder: &Path, command: &str, count: usize) -> Measure {
    aws.control.delay("*", NETWORK);
    aws.control.clear_log();
    let began = Instant::now();
    let status = Command::new(binary())
        .args(["--state-path".as_ref(), folder.join("state").as_os_str(), command.as_ref()])
        .envs(aws.environment())
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let took = began.elapsed();
    assert!(status.success(), "{command} with {count}: {status}");
    let waits = aws.control.waits();
    let waited = waits.iter().map(|(from, to)| *to - *from).sum();
    let answers = covered(waits, began + took);
    Measure { count, calls: aws.control.count("*"), took, answers, waited }
}
