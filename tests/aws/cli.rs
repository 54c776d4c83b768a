//! The binary as a user meets it, with `--provider ec2` on the emulator: real machines behind `RunInstances`, real SSH, user
//! data really applied.

use std::time::Duration;

use aws::ec2::policy::{self, Scope};
use rustix::process::Signal;
use serde_json::Value;
use support::images;
use support::tool::{Done, LIMIT, Place, Running, is_root, skip};

use crate::emulated::{Emulator, interface_only, with_machines};

/// How long the whole image may take to bake on a computer that does other things beside it.
const BAKE_LIMIT: Duration = Duration::from_secs(25 * 60);

/// An emulated account and the tool in surroundings of its own. Dropped in this order: what the tool left is looked at by the
/// emulator's end.
pub(crate) struct World {
    pub aws: Emulator,
    pub place: Place,
    _folder: tempfile::TempDir,
}

impl World {
    /// With machines, which need root for port 22; `None` says so.
    pub(crate) fn with_machines(place: Place) -> Option<Self> {
        if !is_root() {
            skip("machines of the emulator listen on port 22, which needs root");
            return None;
        }
        images::small();
        let folder = tempfile::tempdir().unwrap();
        Some(Self { aws: with_machines(folder.path()), place, _folder: folder })
    }

    pub(crate) fn interface(place: Place) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { aws: interface_only(folder.path()), place, _folder: folder }
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.aws.control.allow_all();
        self.begin(arguments)
    }

    fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = self.place.command(&[&["--provider", "ec2"], arguments].concat());
        // As a job of some CI it waits for the end of its machines.
        command.envs(self.aws.environment()).env("CI", "true");
        Running::start(command)
    }

    pub(crate) fn tool(&self, arguments: &[&str]) -> Done {
        self.start(arguments).end()
    }

    /// Starts `command` where nothing is allowed but what `iam-policy` prints for it.
    pub(crate) fn start_strictly(&self, command: &str, arguments: &[&str]) -> Running {
        let allowed: Vec<&str> = policy::actions(command).into_iter().collect();
        self.aws.control.allow_only(&allowed);
        self.aws.control.clear_log();
        self.begin(&[&[command], arguments].concat())
    }

    /// Runs `command` in the same way to its end.
    pub(crate) fn strictly(&self, command: &str, arguments: &[&str]) -> Done {
        let done = self.start_strictly(command, arguments).end_within(BAKE_LIMIT);
        assert_eq!(self.aws.control.violations(), Vec::<String>::new(), "`iam-policy {command}` lacks them");
        self.assert_allowed(command);
        done
    }

    /// What the last command called is allowed by its policy, also by the one that is bound to whoever runs it.
    fn assert_allowed(&self, command: &str) {
        let (history, calls) = (self.aws.control.history(), self.aws.control.calls());
        for owner in [None, Some(super::purge::me("root"))] {
            let policy = policy::document(&[command], &Scope { owner, untagged: false });
            let refused = super::decision::refused(&policy, &history, &calls);
            assert!(refused.is_empty(), "`iam-policy {command}` lacks {refused:#?}");
        }
    }

    /// Nothing of a machine is there, by journal and by account.
    pub(crate) fn assert_clean(&self) {
        self.strictly("audit", &[]).expect(0);
        let everybody = ["--all-owners", "--untagged", "--dry-run", "--json"];
        let listed = self.strictly("terminate-ec2-instances", &everybody).expect(0).json();
        assert_eq!(listed, serde_json::json!([]));
    }
}

pub(crate) fn small() -> Place {
    Place::small()
}

#[test]
fn the_main_job_runs_on_an_image_that_was_baked_in_the_account() {
    let Some(world) = World::with_machines(Place::whole()) else { return };
    let tests = ["test-add.t", "test-commit.t", "test-merge1.t"];
    let bake = world.strictly("bootstrap-linux-dev", &["--distros", "debian12"]).expect(0);
    assert!(bake.stderr.contains("kept for later runs"), "{}", bake.stderr);
    let done = world.strictly("run-tests-linux", &[&["--json"], &tests[..]].concat()).expect(0);
    let results = done.json();
    assert_eq!(results["verdict"], "passed", "{results}");
    assert_eq!(results["counts"]["passed"], 3, "{results}");
    assert!(results["cost"].as_f64().unwrap() > 0.0);
    let calls = world.aws.control.count("*");
    assert!(calls <= 20, "{calls} calls: {:?}", world.aws.control.names());
    let certificate = world.strictly("audit", &["--run", "latest", "--json"]).expect(0).json();
    assert_eq!((certificate["clean"].clone(), certificate["kept"].clone()), (Value::Bool(true), Value::from(0)));
    // Any other command runs in the same way.
    let folder = world.place.path().join("project");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "there\n").unwrap();
    let words = ["--image", "linux-dev", "--source", folder.to_str().unwrap(), "--shell", "cat a; exit 3"];
    let ran = world.strictly("run", &words).expect(3);
    assert_eq!(ran.text(), "there\n");
    assert!(ran.stderr.contains(" cost "), "{}", ran.stderr);
    world.assert_clean();
    // A second file system: a volume of its own, and the work on it.
    let done = world.strictly("run-tests-linux", &["--json", "--filesystem", "ext4", "test-add.t"]).expect(0);
    assert_eq!(done.json()["verdict"], "passed");
    // Split over two instances: one run, and the cost of both.
    let split =
        world.strictly("run-tests-linux", &[&["--shards", "2", "--json"], &tests[..]].concat()).expect(0).json();
    let machines = split["machines"].as_array().unwrap();
    assert_eq!((&split["verdict"], machines.len()), (&"passed".into(), 2), "{split}");
    assert!(machines.iter().all(|used| used["provider"] == "ec2" && used["cost"].as_f64().unwrap() > 0.0), "{split}");
    // Machines of this computer and of the account take tests from one queue.
    let mixed = [&["--shards", "local:1,ec2:1", "--runs-per-test", "3", "--json"], &tests[..]].concat();
    let mixed = world.strictly("run-tests-linux", &mixed).expect(0).json();
    let providers: std::collections::BTreeSet<&str> =
        mixed["machines"].as_array().unwrap().iter().map(|used| used["provider"].as_str().unwrap()).collect();
    assert_eq!((&mixed["verdict"], providers), (&"passed".into(), ["ec2", "local"].into()), "{mixed}");
    world.assert_clean();
    // A run that goes on by itself, and whoever attaches need not say where its machine is from.
    let run = world.strictly("run-tests-linux", &["--detach", "test-add.t"]).expect(0).text().trim().to_owned();
    let fixed = world.strictly("audit", &["--fix", "--json"]).expect(0).json();
    assert!(fixed.as_array().unwrap().iter().all(|finding| finding["standing"] == "kept"), "{fixed}");
    let mut command = world.place.command(&["runs", "attach", &run, "--json", "--aws-region", "eu-west-1"]);
    command.envs(world.aws.environment());
    Running::start(command).end().expect(3).tells(&["cannot be seen from here"]);
    // Nor be where it was when it began.
    world.aws.control.move_callers("203.0.113.8".parse().unwrap());
    let done = world.strictly("runs", &["attach", &run, "--json"]).expect(0).tells(&["Letting 203.0.113.8/32 reach"]);
    assert_eq!(done.json()["verdict"], "passed");
    world.assert_clean();
    world.strictly("bootstrap-linux-dev", &["--distros", "debian12"]).expect(0);
    assert_eq!(world.aws.control.count("ec2:RunInstances"), 0, "an image of equal fingerprint is used");
    super::lines::end_under_a_run(&world);
    super::lines::boot_under_a_run(&world);
    super::lines::break_under_a_run(&world);
    let purged = world.strictly("purge-ec2-resources", &["--json", "--yes"]).expect(0).json();
    assert!(purged.as_array().unwrap().iter().all(|item| item["fate"] == "gone"), "{purged}");
    let left = world.strictly("purge-ec2-resources", &["--dry-run", "--json"]).expect(0).json();
    assert_eq!(left, serde_json::json!([]));
}

#[test]
fn a_machine_is_kept_used_listed_and_ended() {
    let Some(world) = World::with_machines(small()) else { return };
    let id = world.strictly("machine", &["up", "--ttl", "1h"]).expect(0).text().trim().to_owned();
    let exec = |command: &[&str]| world.tool(&[&["machine", "exec", &id, "--"], command].concat());
    assert_eq!(exec(&["sh", "-c", "echo over SSH; id -un"]).expect(0).text(), "over SSH\nhg\n");
    // The key that user data still shows is not the one that the machine proves itself with.
    let keys = exec(&["sudo", "sh", "-c", "ssh-keygen -y -f /etc/ssh/hg_host_ed25519_key"]).expect(0).text();
    let machine = world.tool(&["machine", "list", "--json"]).expect(0).json()[0].clone();
    let known = machine["host_key"]["public"].as_str().unwrap();
    assert_eq!(keys.split(' ').nth(1), known.split(' ').nth(1), "{keys} {known}");
    assert_eq!((&machine["live"], &machine["provider"]), (&Value::Bool(true), &Value::from("ec2")));
    assert!(machine["cost"].as_f64().is_some_and(|cost| cost > 0.0), "{machine}");
    // Another state directory sees it, with its owner, and does not take it for its own.
    let other = World { place: Place::new(), ..world };
    let seen = other.tool(&["machine", "list", "--json"]).expect(0).json();
    assert_eq!((&seen[0]["id"], &seen[0]["owner"]), (&machine["id"], &machine["owner"]));
    other.tool(&["audit", "--fix"]).expect(0);
    let still = other.tool(&["terminate-ec2-instances", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(still.as_array().unwrap().len(), 1);
    other.tool(&["terminate-ec2-instances", "--owner", "somebody@else", "--yes"]).expect(0);
    let gone = other.tool(&["terminate-ec2-instances", "--yes", "--json"]).expect(0).json();
    assert_eq!(gone[0]["fate"], "gone");
}

#[test]
fn a_driver_that_is_killed_leaves_what_audit_finds_and_ends() {
    let Some(world) = World::with_machines(small()) else { return };
    world.tool(&["bootstrap-linux-dev", "--distros", "debian12"]).expect(0);
    for call in ["ec2:RunInstances", "ec2:DescribeInstances"] {
        world.aws.control.clear_log();
        let running = world.start(&["machine", "up"]);
        let end = std::time::Instant::now() + LIMIT;
        while world.aws.control.count(call) == 0 {
            assert!(std::time::Instant::now() < end && running.lives(), "{}", running.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal(Signal::KILL);
        running.end();
        let found = world.tool(&["audit", "--json"]);
        // Killed before its call reached EC2 there may be nothing but a row.
        assert!([0, 5].contains(&found.code()), "{}", found.stderr);
        world.tool(&["audit", "--fix"]).expect(0);
        world.assert_clean();
    }
}

#[test]
fn a_parallel_bake_that_is_interrupted_leaves_nothing() {
    let mut place = small();
    place.define(&[("wait", "sleep 600\n")]);
    let Some(world) = World::with_machines(place) else { return };
    let running = world.start(&["bootstrap-linux-dev", "--parallel"]);
    running.wait_for("Trying wait");
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), 130);
    world.assert_clean();
}

#[test]
fn a_step_that_fails_can_leave_its_machine_for_a_look_and_not_longer() {
    let mut place = small();
    place.define(&[("wrong", "echo this is why >&2; exit 7\n")]);
    let Some(world) = World::with_machines(place) else { return };
    let told = ["this is why", "the next try begins with the first"];
    world.tool(&["bootstrap-linux-dev", "--distros", "debian12"]).expect(3).tells(&told);
    world.assert_clean();
    let kept = world.tool(&["bootstrap-linux-dev", "--distros", "debian12", "--keep-failed"]);
    assert!(kept.stderr.contains("kept until"), "{}", kept.stderr);
    let listed = world.tool(&["machine", "list", "--json"]).expect(0).json();
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!((&listed[0]["live"], &listed[0]["kept"]), (&Value::Bool(true), &Value::Bool(true)));
    world.tool(&["machine", "exec", id, "--", "true"]).expect(0);
    world.tool(&["machine", "down", id]).expect(0);
    world.assert_clean();
}

#[test]
fn commands_reach_a_machine_without_ssh() {
    let Some(world) = World::with_machines(small()) else { return };
    world.tool(&["bootstrap-linux-dev", "--distros", "debian12"]).expect(0);
    world.tool(&["purge-ec2-resources", "--dry-run"]).expect(0);
    world.aws.control.clear_log();
    let id = world.strictly("machine", &["--connect", "ssm", "up"]).expect(0).text().trim().to_owned();
    let calls = world.aws.control.calls();
    let launch = &calls.iter().find(|logged| logged.name == "ec2:RunInstances").unwrap().call;
    let data = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, launch.param("UserData")).unwrap();
    let data = String::from_utf8(data).unwrap().split_once("\n__DATA__\n").unwrap().1.to_owned();
    assert!(launch.param("KeyName").is_empty() && !data.contains("key"), "{data}");
    for call in ["ec2:ImportKeyPair", "ec2:AuthorizeSecurityGroupIngress"] {
        assert_eq!(world.aws.control.count(call), 0, "no port is open and no key is needed");
    }
    let done = world.tool(&["machine", "exec", &id, "--", "seq", "1", "20000"]).expect(0);
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(done.text(), expected, "far more than Run Command's 24,000 characters");
    assert_eq!(world.tool(&["machine", "exec", &id, "--", "sh", "-c", "exit 9"]).code(), 9);
    world.tool(&["machine", "down", &id]).expect(0);
    world.assert_clean();
}

#[test]
fn a_machine_whose_agent_never_registers_shows_its_console_and_leaves_nothing() {
    let Some(world) = World::with_machines(small()) else { return };
    world.tool(&["bootstrap-linux-dev", "--distros", "debian12"]).expect(0);
    world.aws.control.set(|now| now.agents = false);
    // It is given up before it ends itself, and its console with it.
    let done = world.start(&["--connect", "ssm", "machine", "up", "--ttl", "75s"]).end_within(LIMIT).expect(4);
    let console = ["The machine's own last words", "user data has run", "Nothing is left behind"];
    done.tells(&[&["the service knows no SSM agent on it", "kept trying for"][..], &console].concat());
    world.assert_clean();
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let world = World::interface(small());
    world.aws.control.set(|conditions| conditions.expired = true);
    world.tool(&["run-tests-linux", "test-add.t"]).expect(3).tells(&["expired", "aws sso login"]);
    world.aws.control.set(|conditions| conditions.expired = false);
    world.tool(&["run-tests-linux", "--network", "host", "test-add.t"]).expect(2).tells(&["--network"]);
    world.tool(&["run-tests-linux", "--connect", "ssm", "test-add.t"]).expect(2).tells(&["need SSH"]);
    world.tool(&["run-tests-linux", "--ttl", "1h", "--timeout", "2h", "test-add.t"]).expect(2).tells(&["--ttl"]);
    let done = world.tool(&["machine", "up", "--max-cost", "0.10"]).expect(3);
    done.tells(&["could cost", "--max-cost"]);
    assert_eq!(world.aws.control.count("ec2:RunInstances"), 0);
    assert_eq!(world.aws.control.count("ec2:ImportKeyPair"), 0);
    let mut alone = world.place.command(&["--provider", "ec2", "machine", "up"]);
    alone.env("AWS_EC2_METADATA_DISABLED", "true");
    Running::start(alone).end().expect(3).tells(&["AWS_PROFILE"]);
    let mut local = world.place.command(&["run-tests-linux", "--spot", "test-add.t"]);
    local.env_remove("AUTOMATION_PROVIDER");
    Running::start(local).end().expect(2).tells(&["--spot", "local"]);
}

#[test]
fn the_doctor_says_whether_an_account_can_be_used() {
    let world = World::interface(Place::new());
    let checks = world.strictly("doctor", &["--json"]).expect(0).json();
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks}");
    world.aws.control.set(|conditions| conditions.expired = true);
    let checks = world.strictly("doctor", &["--json"]).expect(3).json();
    assert_eq!((&checks[0]["id"], &checks[0]["ok"]), (&Value::from("credentials"), &Value::Bool(false)));
    assert!(checks[0]["remedy"].as_str().unwrap().contains("aws sso login"), "{checks}");
}

#[test]
fn a_list_goes_on_where_an_account_does_not_answer_that_was_not_asked_for() {
    let world = World::interface(small());
    world.tool(&["machine", "list"]).expect(0);
    world.aws.control.set(|conditions| conditions.expired = true);
    let unasked = || {
        let mut command = world.place.command(&["machine", "list", "--json"]);
        command.envs(world.aws.environment());
        Running::start(command).end()
    };
    let done = unasked().expect(0);
    assert_eq!(done.json(), serde_json::json!([]));
    let done = done.tells(&["`ec2` was not looked at", "expired"]);
    assert_eq!(done.stderr.matches("was not looked at").count(), 1, "{}", done.stderr);
    let mut audit = world.place.command(&["audit"]);
    audit.envs(world.aws.environment());
    Running::start(audit).end().expect(0).tells(&["Nothing remains by the record; `ec2` was not looked at."]);
    // An empty list would pass for an answer of the provider that was named.
    for listing in [&["machine", "list", "--json"][..], &["image", "list", "--json"], &["audit", "--json"]] {
        let done = world.tool(listing).expect(3);
        assert_eq!(done.text(), "", "{listing:?}");
        done.tells(&["expired", "aws sso login"]);
    }
}

#[test]
fn what_is_wrong_at_the_door_is_named_at_once() {
    let world = World::interface(small());
    std::fs::create_dir(world.place.home.join(".aws")).unwrap();
    std::fs::write(world.place.home.join(".aws/config"), "[profile work]\nregion = us-west-2\n").unwrap();
    let with = |arguments: &[&str], variables: &[(&str, &str)]| {
        world.aws.control.clear_log();
        let mut command = world.place.command(&[&["--provider", "ec2"], arguments].concat());
        command.envs(world.aws.environment()).envs(variables.iter().copied());
        Running::start(command).end()
    };
    let commands: [&[&str]; 4] = [
        &["machine", "list"],
        &["audit"],
        &["terminate-ec2-instances", "--dry-run"],
        &["purge-ec2-resources", "--dry-run"],
    ];
    // Nobody listens on port 1, and nobody answers at an address of a network for examples.
    type Trouble = (&'static [(&'static str, &'static str)], &'static [&'static str]);
    let troubles: [Trouble; 4] = [
        (&[("AWS_PROFILE", "wrok")], &["there is no AWS profile `wrok`", "Did you mean `work`?"]),
        (&[("AUTOMATION_AWS_REGION", "us-west-9")], &["AWS has no region `us-west-9`", "Did you mean `us-west-"]),
        (&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], &["cannot be reached", "online"]),
        (&[("AWS_ENDPOINT_URL", "http://192.0.2.1:80")], &["cannot be reached", "online"]),
    ];
    for command in commands {
        for (variables, words) in troubles {
            let done = with(command, variables).expect(3);
            assert!(done.took < Duration::from_secs(10), "{command:?} {variables:?}: {:?}", done.took);
            assert!(!done.stderr.contains("dispatch failure") && !done.stderr.contains("xml"), "{}", done.stderr);
            done.tells(words);
        }
    }
}

#[test]
fn hardware_that_there_is_not_and_a_price_that_is_not_known_are_refused_before_a_bake() {
    let world = World::interface(Place::new());
    for command in [&["machine", "up"][..], &["run-tests-linux", "test-add.t"], &["bootstrap-linux-dev"]] {
        let done = world.tool(&[command, &["--instance-type", "c5.banana"]].concat()).expect(3);
        done.tells(&["there is no instance type `c5.banana` in `us-west-2`"]);
        assert_eq!((world.aws.control.count("ec2:RunInstances"), world.aws.control.count("ec2:ImportKeyPair")), (0, 0));
    }
    for blank in [",", "", " ", " , ", "c5.large,"] {
        for command in [&["machine", "up"][..], &["run-tests-linux", "test-add.t"], &["bootstrap-linux-dev"]] {
            let done = world.tool(&[command, &["--instance-type", blank]].concat()).expect(2);
            done.tells(&["--instance-type", "blank"]);
        }
    }
    assert_eq!(world.aws.control.count("ec2:RunInstances"), 0);
    world.tool(&["machine", "up", "--instance-type", "m6g.large"]).expect(3).tells(&["`arm64`", "`x86_64`"]);
    world.aws.control.set(|conditions| conditions.prices = false);
    for command in [&["machine", "up"][..], &["run-tests-linux", "test-add.t"], &["bootstrap-linux-dev"]] {
        let done = world.tool(&[command, &["--max-cost", "100"]].concat()).expect(3);
        done.tells(&["no price can be had", "--unknown-cost-ok"]);
        assert_eq!(world.aws.control.count("ec2:RunInstances"), 0);
    }
    world.tool(&["machine", "up", "--unknown-cost-ok"]).expect(2);
}

#[test]
fn whoever_lists_machines_ends_what_has_expired_and_no_other() {
    let world = World::interface(Place::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async { aws_sdk_ec2::Client::new(&crate::emulated::sdk(&world.aws).await) });
    let instance = |expires: &str, marks: &[(&str, &str)]| {
        let machine = model::base::id::MachineId::random();
        let of_machine = [("Name", machine.as_str()), ("hg:machine", machine.as_str()), ("hg:expires", expires)];
        let tags = [&of_machine[..], marks].concat();
        let tags = super::purge::marked(aws_sdk_ec2::types::ResourceType::Instance, &tags);
        let run = client.run_instances().image_id(super::DEBIAN).min_count(1).max_count(1);
        let made = runtime.block_on(run.set_tag_specifications(tags).send()).unwrap();
        made.instances()[0].instance_id().unwrap().to_owned()
    };
    let theirs = [("hg:owner", "bob@there"), ("hg:run", "20261120-110000-aaaaaa"), ("hg:state", "x.y")];
    let (over, ahead) = ("2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    let live = || {
        let found = runtime.block_on(client.describe_instances().send()).unwrap();
        let instances = found.reservations().iter().flat_map(|reservation| reservation.instances());
        let live = instances.filter(|it| it.state().unwrap().name().unwrap().as_str() == "running");
        live.map(|it| it.instance_id().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    for command in [&["machine", "list"][..], &["audit"]] {
        let expired = instance(over, &theirs);
        let others = [instance(ahead, &theirs), instance(over, &theirs[..2]), instance(over, &[])];
        std::thread::sleep(Duration::from_millis(400));
        let done = world.tool(command);
        done.tells(&["of bob@there to end: it expired at 2026-01-01"]);
        let left = live();
        assert!(!left.contains(&expired) && others.iter().all(|other| left.contains(other)), "{left:?}");
    }
}

#[test]
fn a_call_that_is_not_allowed_names_the_permission() {
    let world = World::interface(small());
    world.aws.control.deny("ec2:RunInstances");
    world.tool(&["machine", "up"]).expect(3).tells(&["RunInstances", "iam-policy"]);
    world.assert_clean();
}
