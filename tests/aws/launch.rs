//! Making and removing machines on EC2: the account made ready, launches with fallbacks, lost replies, what a row comes to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws::ec2::clients::Clients;
use aws::ec2::{Ec2Config, Ec2Provider, policy};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{Filter, Instance, SecurityGroupRule, VolumeType};
use connection::generate;
use jiff::Timestamp;
use model::base::id::{MachineId, ResourceId, RunId};
use model::event::{Event, Sink, Teller, Words};
use model::fault::{Fault, FaultKind};
use model::filesystem::Filesystem;
use model::image::{CloudBase, Fingerprint};
use model::key_pair::KeyPair;
use model::machine::{ActualHardware, Address, Caps, Hardware, Machine, Network, ProviderKind};
use model::provider::ability::{Horizon, ObserveOpen, Sharing};
use model::provider::{Ledger, MachineRequest, Provider};
use model::resource::{Fate, PlannedResource, Resource, ResourceKind, ResourceState};

use super::DEBIAN;
use crate::emulated::{Emulator, REGION, interface_only, sdk};

/// Keeps what is written down and what is told.
#[derive(Default)]
pub(crate) struct Book {
    planned: Mutex<Vec<(ResourceId, PlannedResource)>>,
    kept: Mutex<Vec<String>>,
    told: Arc<Told>,
}

/// What a user is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Ledger for Book {
    fn plan(&self, resource: &PlannedResource) -> Result<ResourceId, Fault> {
        let id = ResourceId::random();
        self.planned.lock().unwrap().push((id.clone(), resource.clone()));
        Ok(id)
    }

    fn mark_kept(&self, id: &ResourceId, locator: &str) -> Result<(), Fault> {
        assert!(self.planned.lock().unwrap().iter().any(|(planned, _)| planned == id), "kept before it was planned");
        self.kept.lock().unwrap().push(locator.to_owned());
        Ok(())
    }
}

impl Sink for Told {
    fn event(&self, event: Event) {
        if let Words::Warning(text) | Words::Notice(text) = event.words() {
            self.0.lock().unwrap().push(text);
        }
    }
}

impl Book {
    /// The kinds that were written down, each once, sorted by name.
    pub(crate) fn made(&self) -> Vec<&'static str> {
        let mut made: Vec<_> = self.planned.lock().unwrap().iter().map(|(_, row)| row.kind.name()).collect();
        made.sort_unstable();
        made
    }

    pub(crate) fn told(&self) -> String {
        self.told.0.lock().unwrap().join("\n")
    }

    fn teller(&self) -> Teller {
        Teller::new(Arc::<Told>::clone(&self.told), Arc::new(Timestamp::now))
    }
}

/// Somebody with a state directory of their own.
pub(crate) struct User {
    pub provider: Ec2Provider,
    owner: String,
    public_key: String,
    pub book: Book,
}

/// An emulated account.
pub(crate) struct Account {
    pub folder: tempfile::TempDir,
    pub aws: Emulator,
    pub client: Client,
}

impl Account {
    /// One without machines behind its instances.
    async fn new() -> Self {
        Self::of(interface_only).await
    }

    pub(crate) async fn of(start: impl Fn(&Path) -> Emulator) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let aws = start(folder.path());
        let client = Client::new(&sdk(&aws).await);
        Self { folder, aws, client }
    }

    pub(crate) async fn user(&self, owner: &str, ingress: &str) -> User {
        let pair = generate(owner).unwrap();
        let identity = self.folder.path().join(format!("identity-{owner}"));
        std::fs::write(&identity, &pair.private_openssh).unwrap();
        self.user_with_key(owner, ingress, &identity, &pair.public_openssh).await
    }

    pub(crate) async fn user_with_key(&self, owner: &str, ingress: &str, identity: &Path, public_key: &str) -> User {
        let one = (!ingress.is_empty()).then(|| aws::ec2::address::parse(ingress).unwrap());
        let ingress = one.into_iter().collect();
        let config = Ec2Config {
            clients: Arc::new(Clients::new(sdk(&self.aws).await)),
            region: REGION.into(),
            owner: owner.into(),
            state_id: format!("state-of-{owner}"),
            identity: PathBuf::from(identity),
            public_key: public_key.to_owned(),
            host_keys: Arc::new(|| {
                let pair = generate("host")?;
                Ok(KeyPair { private: pair.private_openssh, public: pair.public_openssh })
            }),
            ingress,
            address_url: format!("{}/checkip", self.aws.endpoint()),
            trust: aws::ec2::images::Trust::Own,
            cache: self.folder.path().join("prices.json"),
        };
        let provider = Ec2Provider::open(config).await.unwrap();
        User { provider, owner: owner.into(), public_key: public_key.to_owned(), book: Book::default() }
    }

    async fn rules(&self, group: &str) -> Vec<SecurityGroupRule> {
        let groups = self.client.describe_security_groups().filters(filter("group-name", group)).send().await.unwrap();
        assert_eq!(groups.security_groups().len(), 1, "{group}");
        let id = groups.security_groups()[0].group_id().unwrap().to_owned();
        let rules = self.client.describe_security_group_rules().filters(filter("group-id", &id)).send().await.unwrap();
        rules.security_group_rules().iter().filter(|rule| rule.is_egress() == Some(false)).cloned().collect()
    }

    /// From where the group lets in, sorted; every rule must be for port 22 alone.
    pub(crate) async fn let_in(&self, group: &str) -> Vec<String> {
        let rules = self.rules(group).await;
        for rule in &rules {
            assert_eq!((rule.ip_protocol(), rule.from_port(), rule.to_port()), (Some("tcp"), Some(22), Some(22)));
        }
        let mut from: Vec<String> = rules.iter().filter_map(|rule| rule.cidr_ipv4().map(str::to_owned)).collect();
        from.sort();
        from
    }

    pub(crate) async fn instances(&self) -> Vec<Instance> {
        let found = self.client.describe_instances().send().await.unwrap();
        found.reservations().iter().flat_map(|reservation| reservation.instances().to_vec()).collect()
    }

    async fn key_names(&self) -> Vec<String> {
        let found = self.client.describe_key_pairs().send().await.unwrap();
        let mut names: Vec<String> = found.key_pairs().iter().map(|pair| pair.key_name().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

impl User {
    /// A machine to bake an image on: it boots from the distribution's own image.
    pub(crate) fn request(&self) -> MachineRequest {
        let now = Timestamp::now();
        MachineRequest {
            platform: model::machine::Platform::Linux,
            id: MachineId::random(),
            run: RunId::new(now),
            owner: self.owner.clone(),
            image: "linux-dev-debian12".into(),
            layers: vec![Fingerprint("base".into())],
            cloud: Some(CloudBase {
                owner: "136693071363".into(),
                name: "debian-12-amd64-*".into(),
                parameter: Some("/aws/service/debian/release/12/latest/amd64".into()),
                user: "admin".into(),
            }),
            snapshot: false,
            hardware: Hardware::default(),
            user: "root".into(),
            network: Network::Host,
            caps: Caps::default(),
            volume: None,
            filesystem: Filesystem::Ext4,
            now,
            expires_at: now + Duration::from_secs(7200),
            grace: Duration::from_secs(600),
            max_cost: None,
            idle: None,
        }
    }

    async fn provision(&self, request: &MachineRequest) -> Result<(), Fault> {
        self.provider.provision(request, &self.book, &self.book.teller()).await
    }

    pub(crate) async fn make(
        &self,
        request: &MachineRequest,
    ) -> Result<(Machine, Vec<Resource>), (Fault, Vec<Resource>)> {
        let rows = Mutex::new(rows(request, self.provider.plan(request)));
        let confirm = |kind: ResourceKind, name: &str, locator: &str| {
            let mut rows = rows.lock().unwrap();
            let row = rows.iter_mut().find(|row| row.kind == kind && row.name == name);
            row.unwrap_or_else(|| panic!("no row for a {} `{name}`", kind.name())).locator = Some(locator.to_owned());
            Ok(())
        };
        let made = match self.provision(request).await {
            Ok(()) => self.provider.create(request, &confirm, &self.book.teller()).await,
            Err(fault) => Err(fault),
        };
        let rows = rows.into_inner().unwrap();
        made.map(|machine| (machine, rows.clone())).map_err(|fault| (fault, rows))
    }

    /// Releases rows as the flow does, the instance first.
    pub(crate) async fn release(&self, rows: &[Resource]) -> Vec<Fate> {
        let mut rows: Vec<&Resource> = rows.iter().rev().collect();
        rows.sort_by_key(|row| row.kind != ResourceKind::Instance);
        let mut fates = Vec::new();
        for row in rows {
            fates.push(self.provider.release(row).await.unwrap());
        }
        fates
    }
}

fn rows(request: &MachineRequest, planned: Vec<PlannedResource>) -> Vec<Resource> {
    let row = |planned: PlannedResource| Resource {
        id: ResourceId::random(),
        run: request.run.clone(),
        machine: planned.machine,
        provider: ProviderKind::Ec2,
        kind: planned.kind,
        name: planned.name,
        locator: None,
        state: ResourceState::Planned,
        planned_at: request.now,
        gone_at: None,
        note: None,
    };
    planned.into_iter().map(row).collect()
}

#[tokio::test]
async fn an_empty_account_is_made_ready_and_the_next_run_changes_nothing() {
    let account = Account::new().await;
    let user = account.user("me@here", "").await;
    user.provision(&user.request()).await.unwrap();
    let wanted = ["key_pair", "security_group"];
    assert_eq!(user.book.made(), wanted);
    assert_eq!(user.book.kept.lock().unwrap().len(), wanted.len());
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["127.0.0.1/32"]);
    let groups = account.client.describe_security_groups().send().await.unwrap();
    assert_eq!(groups.security_groups().len(), 2, "what nothing uses is not made; the other is the network's own");
    assert_eq!(account.key_names().await, ["hg-automation"]);

    // Another process of the same user.
    let identity = account.folder.path().join("identity-me@here");
    let again = account.user_with_key("me@here", "", &identity, &user.public_key).await;
    account.aws.control.clear_log();
    account.aws.control.allow_only(&[
        "ec2:DescribeKeyPairs",
        "ec2:DescribeSecurityGroupRules",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeVpcs",
    ]);
    let mut request = again.request();
    request.layers.push(Fingerprint("top".into()));
    again.provision(&request).await.unwrap();
    assert_eq!(account.aws.control.violations(), Vec::<String>::new());
    assert_eq!(again.book.made(), Vec::<&str>::new());
    assert_eq!(account.aws.control.count("*"), 4);
    // What was reconciled once is not looked at again by the same process.
    again.provision(&request).await.unwrap();
    assert_eq!(account.aws.control.count("*"), 4);
}

#[tokio::test]
async fn what_was_cut_off_half_way_is_mended_by_the_next_run() {
    let account = Account::new().await;
    let first = account.user("me@here", "192.0.2.1/32").await;
    for action in ["ec2:AuthorizeSecurityGroupIngress", "iam:PutRolePolicy", "iam:AddRoleToInstanceProfile"] {
        account.aws.control.deny(action);
    }
    let managed = |user: &User| {
        let mut request = user.request();
        request.hardware.managed = true;
        request
    };
    first.provision(&managed(&first)).await.unwrap_err();
    let fault = first.provision(&first.request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Outside, "{fault:?}");
    assert!(fault.hint.unwrap().contains("automation iam-policy"));
    account.aws.control.clear_orders();

    let identity = account.folder.path().join("identity-me@here");
    let second = account.user_with_key("me@here", "192.0.2.1/32", &identity, &first.public_key).await;
    second.provision(&second.request()).await.unwrap();
    second.provision(&managed(&second)).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.1/32"]);
    let iam = aws_sdk_iam::Client::new(&sdk(&account.aws).await);
    let policies = || iam.list_role_policies().role_name("hg-ephemeral-ec2-role-1").send();
    assert_eq!(policies().await.unwrap().policy_names(), ["hg-automation-run-command"]);
    let role = iam.get_role().role_name("hg-ephemeral-ec2-role-1").send().await.unwrap().role.unwrap();
    let boundary = role.permissions_boundary().unwrap().permissions_boundary_arn().unwrap();
    assert_eq!(boundary, "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore");
    let profile = iam.get_instance_profile().instance_profile_name("hg-ephemeral-ec2-1").send().await.unwrap();
    assert_eq!(profile.instance_profile().unwrap().roles()[0].role_name(), "hg-ephemeral-ec2-role-1");

    // Somebody takes things away.
    let group = account.rules("hg-linux-dev-1").await;
    let call = account.client.revoke_security_group_ingress().group_id(group[0].group_id().unwrap());
    call.security_group_rule_ids(group[0].security_group_rule_id().unwrap()).send().await.unwrap();
    let (role, own) = ("hg-ephemeral-ec2-role-1", "hg-automation-run-command");
    iam.delete_role_policy().role_name(role).policy_name(own).send().await.unwrap();
    // An earlier build let machines read what the account keeps secret.
    iam.attach_role_policy().role_name(role).policy_arn(boundary).send().await.unwrap();
    let third = account.user_with_key("me@here", "192.0.2.1/32", &identity, &first.public_key).await;
    third.provision(&third.request()).await.unwrap();
    third.provision(&managed(&third)).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.1/32"]);
    assert_eq!(policies().await.unwrap().policy_names(), [own]);
    let attached = iam.list_attached_role_policies().role_name(role).send().await.unwrap();
    assert!(attached.attached_policies().is_empty());
}

#[tokio::test]
async fn what_was_just_made_and_is_not_known_everywhere_yet_is_outlasted() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    for (name, code) in [
        ("ec2:DescribeSecurityGroupRules", "InvalidGroup.NotFound"),
        ("ec2:AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound"),
        ("iam:PutRolePolicy", "NoSuchEntity"),
        ("iam:AddRoleToInstanceProfile", "ConcurrentModification"),
    ] {
        account.aws.control.fail(name, code, "it is not known here yet", 1);
    }
    user.provision(&user.request()).await.unwrap();
    let mut managed = user.request();
    managed.hardware.managed = true;
    user.provision(&managed).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.1/32"]);
    assert_eq!(account.let_in("hg-managed-1").await, Vec::<String>::new());
    let iam = aws_sdk_iam::Client::new(&sdk(&account.aws).await);
    let profile = iam.get_instance_profile().instance_profile_name("hg-ephemeral-ec2-1").send().await.unwrap();
    assert_eq!(profile.instance_profile().unwrap().roles()[0].role_name(), "hg-ephemeral-ec2-role-1");
    assert_eq!(account.aws.control.count("iam:PutRolePolicy"), 2);
}

#[tokio::test]
async fn two_owners_in_one_account_do_not_undo_each_other() {
    let account = Account::new().await;
    let (me, you) = (account.user("me@here", "192.0.2.1/32").await, account.user("you@there", "192.0.2.2/32").await);
    me.provision(&me.request()).await.unwrap();
    you.provision(&you.request()).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.1/32", "192.0.2.2/32"]);
    // The name was taken by another key, which stays.
    assert_eq!(account.key_names().await, ["hg-automation", "hg-automation-you-there"]);

    // Behind one address there is one rule; EC2 takes no second one like it.
    let third = account.user("third@there", "192.0.2.2/32").await;
    third.provision(&third.request()).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.1/32", "192.0.2.2/32"]);

    // From another network: the rule of the first may still be needed by a machine that lives.
    let identity = account.folder.path().join("identity-me@here");
    let moved = account.user_with_key("me@here", "192.0.2.9/32", &identity, &me.public_key).await;
    moved.provision(&moved.request()).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.9/32"]);
    // Days later it is not.
    let later = account.user_with_key("me@here", "192.0.2.9/32", &identity, &me.public_key).await;
    let mut request = later.request();
    request.now += Duration::from_secs(3 * 86400);
    request.expires_at += Duration::from_secs(3 * 86400);
    later.provision(&request).await.unwrap();
    assert_eq!(account.let_in("hg-linux-dev-1").await, ["192.0.2.2/32", "192.0.2.9/32"]);
}

#[tokio::test]
async fn a_key_pair_of_somebody_else_is_left() {
    let account = Account::new().await;
    let theirs = generate("theirs").unwrap().public_openssh;
    let import = account.client.import_key_pair().key_name("hg-automation");
    import.public_key_material(Blob::new(theirs.as_bytes())).send().await.unwrap();
    let user = account.user("me@here", "192.0.2.1/32").await;
    let (_, made) = user.make(&user.request()).await.map_err(|(fault, _)| fault).unwrap();
    assert_eq!(account.instances().await[0].key_name(), Some("hg-automation-me-here"));
    assert_eq!(account.key_names().await, ["hg-automation", "hg-automation-me-here"]);

    // The state directory is lost, and with it the key: ours of before stays too, a machine may need it.
    let again = account.user("me@here", "192.0.2.1/32").await;
    again.provision(&again.request()).await.unwrap();
    let names = account.key_names().await;
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[2].starts_with("hg-automation-me-here-"));
    user.release(&made).await;
}

#[tokio::test]
async fn an_instance_is_launched_with_all_that_it_needs() {
    let account = Account::new().await;
    let user = account.user("me@here", "").await;
    let mut request = user.request();
    request.volume = Some(8 << 30);
    let (machine, made) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    assert!(matches!(&machine.address, Address::Tcp { port: 22, .. }));
    assert_eq!(machine.volume.as_deref(), Some("/dev/hg-volume"));
    assert!(made.iter().all(|row| row.locator.is_some()), "{made:?}");

    let instances = account.instances().await;
    assert_eq!(instances.len(), 1);
    let instance = &instances[0];
    assert_eq!(instance.image_id(), Some(DEBIAN), "the newest");
    let tag = |key: &str| instance.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
    assert_eq!((tag("Name"), tag("hg:owner")), (Some(request.id.as_str()), Some("me@here")));
    for key in ["hg:run", "hg:machine", "hg:expires", "hg:version", "hg:state"] {
        assert!(tag(key).is_some(), "{key}");
    }
    let calls = account.aws.control.calls();
    let launch = &calls.iter().find(|logged| logged.name == "ec2:RunInstances").unwrap().call;
    for (name, value) in [
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("ClientToken", &format!("{}-1", request.id)),
        ("InstanceType", "t3.2xlarge"),
        ("IamInstanceProfile.Name", ""),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("BlockDeviceMapping.2.Ebs.DeleteOnTermination", "true"),
    ] {
        assert_eq!(launch.param(name), value, "{name}");
    }
    let volumes = account.client.describe_volumes().filters(filter("tag:hg:machine", request.id.as_str())).send().await;
    let volumes = volumes.unwrap();
    let mut sizes: Vec<i32> = volumes.volumes().iter().map(|volume| volume.size().unwrap()).collect();
    sizes.sort_unstable();
    // The emulator's images have 15 GiB, more than the least size for a bake.
    assert_eq!(sizes, [8, 15]);
    for volume in volumes.volumes() {
        assert_eq!((volume.volume_type(), volume.encrypted()), (Some(&VolumeType::Gp3), Some(true)));
    }

    account.aws.control.clear_log();
    assert!(user.release(&made).await.iter().all(|fate| *fate == Fate::Gone));
    // One to end it, a few to see it gone, one for each kind of part.
    assert!(account.aws.control.count("*") <= 8, "{:?}", account.aws.control.names());
    assert_eq!(account.aws.control.count("ec2:TerminateInstances"), 1);
    // Again, as after a crash.
    assert!(user.release(&made).await.iter().all(|fate| *fate == Fate::Gone));
}

/// The types and zones that were tried, as `TYPE` or `TYPE@ZONE`, with `spot:` before.
fn tried(account: &Account) -> Vec<String> {
    let calls = account.aws.control.calls().into_iter().filter(|logged| logged.name == "ec2:RunInstances");
    calls
        .map(|logged| {
            let zone = logged.call.param("Placement.AvailabilityZone");
            let zone = if zone.is_empty() { String::new() } else { format!("@{zone}") };
            let spot = if logged.call.param("InstanceMarketOptions.MarketType") == "spot" { "spot:" } else { "" };
            format!("{spot}{}{zone}", logged.call.param("InstanceType"))
        })
        .collect()
}

#[tokio::test]
async fn a_lack_of_capacity_is_met_by_other_zones_and_types() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    let mut request = user.request();
    request.hardware.instance_types = vec!["c5.9xlarge".into(), "m5.large".into()];
    account.aws.control.fail_where(
        "ec2:RunInstances",
        ("InstanceType", "c5.9xlarge"),
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient capacity in the Availability Zone you requested.",
    );
    let (machine, made) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    let tried = tried(&account);
    assert_eq!(tried.first().map(String::as_str), Some("c5.9xlarge"));
    assert!(tried[1..].iter().any(|attempt| attempt.starts_with("c5.9xlarge@us-west-2")), "{tried:?}");
    assert_eq!(tried.last().map(String::as_str), Some("m5.large"));
    let unique: BTreeSet<_> = tried.iter().collect();
    assert_eq!(unique.len(), tried.len(), "the SDK must not repeat what would be refused again: {tried:?}");
    assert_eq!(machine.hardware, Some(ActualHardware { instance_type: "m5.large".into(), spot: false }));
    assert!(user.book.told().contains("m5.large"), "{}", user.book.told());
    user.release(&made).await;
}

#[tokio::test]
async fn an_exact_type_is_never_replaced_and_refusals_are_told_apart() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    for (code, message, kind, hint) in [
        ("InsufficientInstanceCapacity", "none left", FaultKind::Infrastructure, "Name several types"),
        ("VcpuLimitExceeded", "more vCPU than allowed", FaultKind::Outside, "quota"),
        ("Unsupported", "not in this zone", FaultKind::Outside, "Choose another"),
        ("UnauthorizedOperation", "You are not authorized", FaultKind::Outside, "iam-policy"),
    ] {
        account.aws.control.clear_orders();
        account.aws.control.clear_log();
        account.aws.control.fail("ec2:RunInstances", code, message, 100);
        let mut request = user.request();
        request.hardware.instance_types = vec!["c5.9xlarge".into()];
        let (fault, rows) = user.make(&request).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{code}: {fault:?}");
        assert!(fault.chain().join(" ").contains(code), "{fault:?}");
        assert!(fault.hint.as_deref().unwrap_or_default().contains(hint), "{code}: {:?}", fault.hint);
        assert!(tried(&account).iter().all(|attempt| attempt.starts_with("c5.9xlarge")));
        let searched = std::time::Instant::now();
        assert!(user.release(&rows).await.iter().all(|fate| *fate == Fate::Gone));
        assert!(searched.elapsed() < Duration::from_secs(5), "a refusal leaves no doubt to wait for");
    }
    assert_eq!(account.instances().await.len(), 0);
}

#[tokio::test]
async fn spare_capacity_falls_back_on_ordinary_and_says_so() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    let mut request = user.request();
    request.hardware = Hardware { instance_types: vec!["c5.9xlarge".into()], spot: true, managed: false };
    account.aws.control.fail_where(
        "ec2:RunInstances",
        ("InstanceMarketOptions.MarketType", "spot"),
        "SpotMaxPriceTooLow",
        "Your Spot request price is lower than the minimum required Spot request fulfillment price.",
    );
    let (machine, made) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    let tried = tried(&account);
    assert!(tried[0] == "spot:c5.9xlarge" && tried.last().unwrap() == "c5.9xlarge", "{tried:?}");
    assert_eq!(machine.hardware, Some(ActualHardware { instance_type: "c5.9xlarge".into(), spot: false }));
    assert!(user.book.told().contains("no spare capacity"), "{}", user.book.told());
    assert!(user.release(&made).await.iter().all(|fate| *fate == Fate::Gone));
}

#[tokio::test]
async fn a_spot_request_is_looked_for_when_a_row_names_it_and_until_it_is_closed() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    let mut request = user.request();
    request.hardware = Hardware { instance_types: vec!["c5.9xlarge".into()], spot: true, managed: false };
    let (machine, mut rows) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    assert_eq!(machine.hardware, Some(ActualHardware { instance_type: "c5.9xlarge".into(), spot: true }));
    rows.iter_mut().for_each(|row| row.planned_at -= jiff::SignedDuration::from_hours(1));
    let row = rows.iter().find(|row| row.kind == ResourceKind::SpotRequest).unwrap().clone();
    assert!(user.provider.can_see(&row));
    let seen = user.provider.observe_open(&rows).await.unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((&seen[0].name, Some(&seen[0].locator)), (&row.name, row.locator.as_ref()));

    let instance = rows.iter().find(|row| row.kind == ResourceKind::Instance).unwrap().clone();
    account.client.terminate_instances().instance_ids(instance.locator.as_ref().unwrap()).send().await.unwrap();
    assert_eq!(user.provider.observe_open(&rows).await.unwrap(), []);
    account.aws.control.clear_log();
    assert_eq!(user.provider.observe_open(&[instance]).await.unwrap(), []);
    assert_eq!(account.aws.control.count("*"), 0);
}

#[tokio::test]
async fn a_lost_reply_is_the_same_instance_and_never_a_second_one() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    account.aws.control.cut("ec2:RunInstances", 2);
    let (_, made) = user.make(&user.request()).await.map_err(|(fault, _)| fault).unwrap();
    assert_eq!(account.instances().await.len(), 1);
    assert!(user.release(&made).await.iter().all(|fate| *fate == Fate::Gone));

    // No reply comes at all: what was made is found by its tag.
    account.aws.control.cut("ec2:RunInstances", 100);
    let (fault, rows) = user.make(&user.request()).await.unwrap_err();
    assert!(fault.chain().join(" ").contains("may have been done"), "{fault:?}");
    assert!(rows.iter().all(|row| row.locator.is_none()));
    assert!(user.release(&rows).await.iter().all(|fate| *fate == Fate::Gone));
    let living = account.instances().await;
    assert!(living.iter().all(|instance| instance.state().unwrap().name().unwrap().as_str() == "terminated"));
    assert_eq!(living.len(), 2);
}

#[tokio::test]
async fn a_profile_that_is_not_known_everywhere_yet_is_waited_for() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    let message = "Value (hg-ephemeral-ec2-1) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance \
                   Profile name";
    account.aws.control.fail("ec2:RunInstances", "InvalidParameterValue", message, 2);
    let mut request = user.request();
    request.hardware.managed = true;
    let (machine, made) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    assert!(matches!(&machine.address, Address::Ssm { instance, .. } if instance.starts_with("i-")), "{machine:?}");
    assert_eq!(account.aws.control.count("ec2:RunInstances"), 3);
    let calls = account.aws.control.calls();
    let launch = &calls.iter().rfind(|logged| logged.name == "ec2:RunInstances").unwrap().call;
    assert_eq!(launch.param("IamInstanceProfile.Name"), "hg-ephemeral-ec2-1");
    user.release(&made).await;
}

#[tokio::test]
async fn a_machine_of_an_account_that_is_set_up_takes_few_calls() {
    let account = Account::new().await;
    let first = account.user("me@here", "192.0.2.1/32").await;
    first.provision(&first.request()).await.unwrap();
    account.aws.control.clear_log();
    let identity = account.folder.path().join("identity-me@here");
    let user = account.user_with_key("me@here", "192.0.2.1/32", &identity, &first.public_key).await;
    let (_, made) = user.make(&user.request()).await.map_err(|(fault, _)| fault).unwrap();
    user.release(&made).await;
    // Of these, three are about role and profile, which a machine for tests does not ask for; what is left of the twenty
    // that a run may take is for its image and its price.
    let names = account.aws.control.names();
    assert!(names.len() <= 18, "{}: {names:?}", names.len());
}

#[tokio::test]
async fn the_policy_holds_all_that_a_machine_calls() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    let mut request = user.request();
    request.volume = Some(8 << 30);
    request.hardware = Hardware { instance_types: vec!["c5.9xlarge".into()], spot: true, managed: true };
    account.aws.control.clear_log();
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    account.aws.control.fail_where("ec2:RunInstances", spot, "InsufficientInstanceCapacity", "none left");
    let (machine, made) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    user.provider.console(&machine.id).await;
    user.release(&made).await;
    let called: BTreeSet<String> = account.aws.control.names().into_iter().collect();
    assert!(called.len() > 15, "{called:?}");
    for command in ["bootstrap-linux-dev", "machine", "run-tests-linux"] {
        let allowed: BTreeSet<String> = policy::actions(command).into_iter().map(str::to_owned).collect();
        assert!(called.is_subset(&allowed), "{command}: {:?}", called.difference(&allowed));
    }
}

#[tokio::test]
async fn throttling_and_a_new_id_that_is_unknown_are_outlasted() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    account.aws.control.throttle("ec2:RunInstances", 1);
    account.aws.control.throttle("ec2:DescribeInstances", 1);
    account.aws.control.set(|conditions| conditions.unknown = 2);
    let (_, made) = user.make(&user.request()).await.map_err(|(fault, _)| fault).unwrap();
    account.aws.control.throttle("ec2:TerminateInstances", 1);
    assert!(user.release(&made).await.iter().all(|fate| *fate == Fate::Gone));
    assert_eq!(account.instances().await.len(), 1);
}

#[tokio::test]
async fn an_instance_that_ends_while_it_is_pending_is_told_with_its_reason() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    // The first look at the new instance comes late enough for somebody else to end it before.
    account.aws.control.delay("ec2:DescribeInstances", Duration::from_secs(2));
    let request = user.request();
    let killer = async {
        let id = loop {
            let found = account.client.describe_volumes().send().await.unwrap();
            let attached = found.volumes().iter().flat_map(|volume| volume.attachments()).next();
            if let Some(id) = attached.and_then(|attached| attached.instance_id()) {
                break id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        account.client.terminate_instances().instance_ids(id).send().await.unwrap();
    };
    let (made, ()) = tokio::join!(user.make(&request), killer);
    let Err((fault, rows)) = made else { panic!("it was ended before it was of use") };
    account.aws.control.clear_orders();
    assert!(fault.message.contains("before it could be reached"), "{fault:?}");
    assert!(user.release(&rows).await.iter().all(|fate| *fate == Fate::Gone));
}

#[tokio::test]
async fn what_the_account_shares_is_kept_and_what_was_never_made_is_gone() {
    let account = Account::new().await;
    let user = account.user("me@here", "192.0.2.1/32").await;
    let request = user.request();
    user.provision(&request).await.unwrap();
    let planned = user.book.planned.lock().unwrap().iter().map(|(_, row)| row.clone()).collect();
    for row in rows(&request, planned) {
        let fate = user.provider.release(&row).await.unwrap();
        assert!(matches!(fate, Fate::Kept(_)), "{row:?}: {fate:?}");
        let never = Resource { name: row.name.replace("hg-", "hg-never-"), ..row };
        assert_eq!(user.provider.release(&never).await.unwrap(), Fate::Gone, "{never:?}");
    }
}

#[tokio::test]
async fn an_account_without_a_default_network_has_a_remedy() {
    let account = Account::new().await;
    let vpcs = account.client.describe_vpcs().send().await.unwrap();
    let id = vpcs.vpcs()[0].vpc_id().unwrap();
    let user = account.user("me@here", "").await;
    for subnet in account.client.describe_subnets().send().await.unwrap().subnets() {
        account.client.delete_subnet().subnet_id(subnet.subnet_id().unwrap()).send().await.unwrap();
    }
    account.client.delete_vpc().vpc_id(id).send().await.unwrap();
    let fault = user.provision(&user.request()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Outside);
    assert!(fault.hint.unwrap().contains("create-default-vpc"));
}
