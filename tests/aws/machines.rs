//! Instances of the emulator as real machines: boot, user data, login, power-off, images.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{
    IamInstanceProfileSpecification, Instance, InstanceStateName, InstanceType, ShutdownBehavior,
};
use base64::Engine;
use connection::{SshConnector, generate};
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::connection::{Connection, Connector};
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};
use model::task::Command;
use support::{images, leftovers, tool};

use super::DEBIAN;
use super::commands::shell;
use crate::emulated::{Emulator, sdk, with_machines};

/// How long a machine may take until it answers, and to be gone.
const LIMIT: Duration = Duration::from_secs(60);

/// An emulator with an account that has a key pair.
struct Account {
    folder: tempfile::TempDir,
    aws: Emulator,
    client: Client,
    identity: PathBuf,
    host_key: String,
    user_data: String,
}

impl Account {
    async fn new() -> Self {
        images::small();
        let folder = tempfile::tempdir().unwrap();
        let aws = with_machines(folder.path());
        let client = Client::new(&sdk(&aws).await);
        let pair = generate("tester").unwrap();
        let identity = folder.path().join("id");
        std::fs::write(&identity, &pair.private_openssh).unwrap();
        let material = Blob::new(pair.public_openssh.clone());
        client.import_key_pair().key_name("hg-test").public_key_material(material).send().await.unwrap();
        let host = generate("host").unwrap();
        let user_data = format!(
            "#cloud-boothook\n#!/bin/sh\nset -eu\numask 077\ncat >/etc/ssh/hg_key <<'END'\n{}END\n\
             echo 'HostKey /etc/ssh/hg_key' >/etc/ssh/sshd_config.d/00-hg.conf\necho told >/dev/console\n\
             echo \"$INSTANCE_ID\" >/root/ran\n",
            host.private_openssh
        );
        Self { folder, aws, client, identity, host_key: host.public_openssh, user_data }
    }

    async fn launch(&self, image: &str) -> String {
        self.launch_as(image, None).await
    }

    async fn launch_with_profile(&self, image: &str) -> String {
        let iam = aws_sdk_iam::Client::new(&sdk(&self.aws).await);
        iam.create_instance_profile().instance_profile_name("hg-test").send().await.unwrap();
        self.launch_as(image, Some(IamInstanceProfileSpecification::builder().name("hg-test").build())).await
    }

    async fn launch_as(&self, image: &str, profile: Option<IamInstanceProfileSpecification>) -> String {
        let data = base64::engine::general_purpose::STANDARD.encode(&self.user_data);
        let run = self.client.run_instances().image_id(image).instance_type(InstanceType::T3Micro);
        let run = run.min_count(1).max_count(1).key_name("hg-test").user_data(data);
        let run = run.set_iam_instance_profile(profile);
        let reply = run.instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate).send().await.unwrap();
        reply.instances()[0].instance_id().unwrap().to_owned()
    }

    async fn describe(&self, id: &str) -> Instance {
        let reply = self.client.describe_instances().instance_ids(id).send().await.unwrap();
        reply.reservations()[0].instances()[0].clone()
    }

    async fn state(&self, id: &str) -> InstanceStateName {
        self.describe(id).await.state().unwrap().name().unwrap().clone()
    }

    async fn wait(&self, id: &str, wanted: InstanceStateName) {
        let end = Instant::now() + LIMIT;
        while self.state(id).await != wanted {
            assert!(Instant::now() < end, "{id} is not {wanted}: {:?}", self.describe(id).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(&self, id: &str, user: &str) -> Box<dyn Connection> {
        let host = self.describe(id).await.public_ip_address().unwrap().to_owned();
        let now = Timestamp::now();
        let machine = Machine {
            id: MachineId::random(),
            provider: ProviderKind::Host,
            platform: Platform::Linux,
            run: RunId::new(now),
            owner: String::new(),
            image: String::new(),
            address: Address::Tcp { host, port: 22 },
            user: user.to_owned(),
            identity: self.identity.clone(),
            host_key: HostKey::Exact { public: self.host_key.clone() },
            volume: None,
            hardware: None,
            created_at: now,
            expires_at: now,
            name: None,
            kept: false,
            idle: None,
        };
        let connected = SshConnector::default().connect(&machine, user, LIMIT, true).await;
        match connected {
            Ok(connection) => connection,
            Err(error) => panic!("{error}; console: {}", self.console(id).await),
        }
    }

    async fn console(&self, id: &str) -> String {
        let reply = self.client.get_console_output().instance_id(id).send().await.unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(reply.output().unwrap_or_default()).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends the emulator and looks that nothing of it is left.
    fn end(self) {
        let state = self.folder.path().join("emulator");
        drop(self.aws);
        clean(&state);
    }
}

fn clean(state: &Path) {
    let left = leftovers::of(&state.join("machines-of-instances"));
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[tokio::test]
async fn an_instance_boots_runs_its_user_data_and_terminates_when_it_powers_off() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    let account = Account::new().await;
    let id = account.launch(DEBIAN).await;
    let connection = account.connect(&id, "admin").await;
    assert_eq!(shell(connection.as_ref(), "sudo -n cat /root/ran").await, format!("{id}\n"));
    connection.write_file("/tmp/file", b"by sftp", 0o600).await.unwrap();
    assert_eq!(shell(connection.as_ref(), "cat /tmp/file").await, "by sftp");
    account.wait(&id, InstanceStateName::Running).await;
    let console = account.console(&id).await;
    assert!(console.contains("told\n") && console.contains("user data has run"), "{console}");
    drop(connection.start(&Command::new("sudo").args(["-n", "poweroff"])).await.unwrap());
    account.wait(&id, InstanceStateName::Terminated).await;
    let reason = account.describe(&id).await.state_reason().unwrap().code().unwrap().to_owned();
    assert_eq!(reason, "Client.InstanceInitiatedShutdown");
    clean(&account.folder.path().join("emulator"));
    account.end();
}

#[tokio::test]
async fn a_stopped_instance_becomes_an_image_that_boots() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    let account = Account::new().await;
    let id = account.launch(DEBIAN).await;
    let connection = account.connect(&id, "admin").await;
    shell(connection.as_ref(), "echo baked | sudo -n tee /etc/baked").await;
    account.client.stop_instances().instance_ids(&id).send().await.unwrap();
    account.wait(&id, InstanceStateName::Stopped).await;
    let image = account.client.create_image().instance_id(&id).name("hg-baked").send().await.unwrap();
    let image = image.image_id().unwrap();
    account.client.terminate_instances().instance_ids(&id).send().await.unwrap();
    account.wait(&id, InstanceStateName::Terminated).await;
    let id = account.launch(image).await;
    let connection = account.connect(&id, "admin").await;
    assert_eq!(shell(connection.as_ref(), "cat /etc/baked").await, "baked\n");
    // What still lives goes with the emulator.
    account.end();
}

#[tokio::test]
async fn systems_manager_runs_commands_and_cuts_their_output() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    let account = Account::new().await;
    let ssm = aws_sdk_ssm::Client::new(&sdk(&account.aws).await);
    let send = |id: String, line: &str| {
        ssm.send_command()
            .document_name("AWS-RunShellScript")
            .instance_ids(id)
            .parameters("commands", vec![line.into()])
    };
    let unmanaged = account.launch(DEBIAN).await;
    account.connect(&unmanaged, "admin").await;
    let refused = send(unmanaged, "true").send().await.unwrap_err();
    assert_eq!(aws_sdk_ec2::error::ProvideErrorMetadata::code(&refused), Some("InvalidInstanceId"));

    let id = account.launch_with_profile(DEBIAN).await;
    account.connect(&id, "admin").await;
    let known = ssm.describe_instance_information().send().await.unwrap();
    let ids: Vec<_> = known.instance_information_list().iter().filter_map(|known| known.instance_id()).collect();
    assert_eq!(ids, [&*id]);
    let line = "whoami; head -c 30000 /dev/zero | tr '\\0' x; echo bad >&2; exit 7";
    let sent = send(id.clone(), line).send().await.unwrap();
    let command = sent.command().unwrap().command_id().unwrap();
    let end = Instant::now() + LIMIT;
    let done = loop {
        let got = ssm.get_command_invocation().command_id(command).instance_id(&id).send().await;
        match got {
            Ok(reply) if reply.status().unwrap().as_str() != "InProgress" => break reply,
            Ok(_) => {}
            Err(error) => assert!(error.into_service_error().is_invocation_does_not_exist()),
        }
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((done.status().unwrap().as_str(), done.response_code()), ("Failed", 7));
    let output = done.standard_output_content().unwrap();
    assert!(output.starts_with("root\nxxx") && output.len() == 24_000, "{}", output.len());
    assert_eq!(done.standard_error_content(), Some("bad\n"));
    account.end();
}
