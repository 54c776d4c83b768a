//! Connections over Systems Manager: the contract of every connection, on a real machine that is reached by nothing else.

use std::time::{Duration, Instant};

use aws::ssm::SsmConnector;
use aws_sdk_ec2::types::{IamInstanceProfileSpecification, InstanceType};
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::connection::{Connection, ConnectionError, Connector};
use model::exit::Exit;
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};
use model::task::{Chunk, Command};
use support::contract::{copies_files, reports_commands, writes_and_reads_small_files};
use support::{images, tool};

use super::DEBIAN;
use super::commands::shell;
use crate::emulated::{Emulator, REGION, sdk, with_machines};

/// How long a machine may take until its agent answers.
const LIMIT: Duration = Duration::from_secs(60);

/// A machine of the emulator, known by its instance alone.
struct Managed {
    aws: Emulator,
    sdk: aws_config::SdkConfig,
    machine: Machine,
    _folder: tempfile::TempDir,
}

fn machine(instance: &str) -> Machine {
    let now = Timestamp::now();
    Machine {
        id: MachineId::random(),
        provider: ProviderKind::Ec2,
        platform: Platform::Linux,
        run: RunId::new(now),
        owner: String::new(),
        image: String::new(),
        address: Address::Ssm { instance: instance.to_owned(), region: REGION.to_owned() },
        user: "admin".to_owned(),
        identity: "/no/such/key".into(),
        host_key: HostKey::Exact { public: String::new() },
        volume: None,
        created_at: now,
        expires_at: now,
        name: None,
        kept: false,
        idle: None,
        hardware: None,
    }
}

impl Managed {
    async fn launch() -> Self {
        images::small();
        let folder = tempfile::tempdir().unwrap();
        let aws = with_machines(folder.path());
        let sdk = sdk(&aws).await;
        let iam = aws_sdk_iam::Client::new(&sdk);
        iam.create_instance_profile().instance_profile_name("hg-test").send().await.unwrap();
        let profile = IamInstanceProfileSpecification::builder().name("hg-test").build();
        let run = aws_sdk_ec2::Client::new(&sdk).run_instances().image_id(DEBIAN).instance_type(InstanceType::T3Micro);
        let reply = run.min_count(1).max_count(1).iam_instance_profile(profile).send().await.unwrap();
        let machine = machine(reply.instances()[0].instance_id().unwrap());
        Self { aws, sdk, machine, _folder: folder }
    }

    async fn connect(&self, user: &str, limit: Duration) -> Result<Box<dyn Connection>, ConnectionError> {
        SsmConnector::new(self.sdk.clone()).connect(&self.machine, user, limit, true).await
    }
}

#[tokio::test]
async fn systems_manager_keeps_the_contract() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    let managed = Managed::launch().await;
    // Connecting starts while the instance is pending; the user is made while it boots.
    let connection = managed.connect("admin", LIMIT).await.unwrap();
    reports_commands(connection.as_ref()).await;
    writes_and_reads_small_files(connection.as_ref(), "/tmp/").await;
    copies_files(connection.as_ref(), "/tmp/", 500_000).await;
    let identity = shell(connection.as_ref(), "id -un; id -Gn; pwd; echo \"$HOME\"; umask").await;
    let lines: Vec<_> = identity.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3], lines[4]), ("admin", "/home/admin", "/home/admin", "0022"));
    assert_eq!(shell(connection.as_ref(), "stat -c %U /tmp/up /tmp/up/nothing /tmp/small").await, "admin\n".repeat(3));
    connection.close().await;
    assert!(connection.start(&Command::new("true")).await.is_err());

    let root = managed.connect("root", LIMIT).await.unwrap();
    let left =
        shell(root.as_ref(), "whoami; find /tmp -name '*partial*'; ls -d /tmp/hg-automation-ssm-* | wc -l").await;
    assert_eq!(left, "root\n1\n", "only the folder of this very command");
}

#[tokio::test]
async fn commands_over_systems_manager_stream_end_and_are_lost() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    let managed = Managed::launch().await;
    let connection = managed.connect("admin", LIMIT).await.unwrap();
    let started = Instant::now();
    let slow = Command::new("sh").args(["-c", "echo begun; sleep 4; head -c 60000 /dev/zero"]);
    let mut process = connection.start(&slow).await.unwrap();
    assert_eq!(process.next().await, Some(Chunk::Stdout(b"begun\n".to_vec())));
    assert!(started.elapsed() < Duration::from_secs(4), "it was told at the end only");
    let mut rest = 0;
    while let Some(Chunk::Stdout(bytes)) = process.next().await {
        rest += bytes.len();
    }
    assert_eq!((rest, process.exit()), (60_000, Exit::Code(0)), "whole beyond what the service keeps");

    // An answer that is lost makes the SDK send the command again: it is started once all the same.
    managed.aws.control.cut("ssm:SendCommand", 1);
    let before = managed.aws.control.count("ssm:SendCommand");
    assert_eq!(shell(connection.as_ref(), "echo once >>/tmp/count; cat /tmp/count").await, "once\n");
    assert!(managed.aws.control.count("ssm:SendCommand") >= before + 2, "nothing was sent twice");
    assert_eq!(shell(connection.as_ref(), "sleep 1; cat /tmp/count").await, "once\n");

    // A command that nobody wants any more is ended on the machine.
    let endless = Command::new("sh").args(["-c", "echo begun; exec sleep 54321"]);
    let mut process = connection.start(&endless).await.unwrap();
    assert!(process.next().await.is_some());
    drop(process);
    let gone = "i=0; while pgrep -f '[s]leep 54321'; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done";
    shell(connection.as_ref(), gone).await;

    // A machine that ends is lost, and never a command's own end.
    let mut process = connection.start(&endless).await.unwrap();
    assert!(process.next().await.is_some());
    let instance = managed.machine.address.to_string();
    aws_sdk_ec2::Client::new(&managed.sdk).terminate_instances().instance_ids(instance).send().await.unwrap();
    let ended = tokio::time::timeout(LIMIT, async {
        while process.next().await.is_some() {}
        process.exit()
    });
    let exit = ended.await.expect("a machine that has gone is waited for without end");
    assert!(matches!(exit, Exit::Lost(_)), "{exit:?}");
}

#[tokio::test]
async fn a_machine_without_an_agent_or_a_permission_says_so() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    let managed = Managed::launch().await;
    let unknown = Machine { ..machine("i-00000000000000000") };
    let connector = SsmConnector::new(managed.sdk.clone());
    let error = connector.connect(&unknown, "admin", LIMIT, false).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectionError::Refused { .. }), "{error}");
    let tcp = Machine { address: Address::Tcp { host: "127.0.0.1".into(), port: 22 }, ..unknown.clone() };
    let error = connector.connect(&tcp, "admin", LIMIT, false).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectionError::Invalid(_)), "{error}");
    managed.connect("admin", LIMIT).await.unwrap();
    // An agent that never registers is waited for until the deadline, and not longer.
    managed.aws.control.set(|now| now.agents = false);
    let started = Instant::now();
    let error = managed.connect("admin", Duration::from_secs(3)).await.map(drop).unwrap_err();
    let told = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(told.contains("kept trying for 3") && told.contains("the service knows no SSM agent on it"), "{told}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    managed.aws.control.set(|now| now.agents = true);
    let error = managed.connect("nobody-here", Duration::from_secs(2)).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("no user `nobody-here`"), "{error}");
    managed.aws.control.deny("ssm:SendCommand");
    let started = Instant::now();
    let error = managed.connect("admin", LIMIT).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectionError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("ssm:SendCommand"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "a refusal for good was waited out");
}
