//! How machines end, and what is left when a driver, a guard or a first process dies.

use std::io::{BufRead, BufReader};

use support::leftovers;

use model::provider::ability::Renew;

use super::*;

/// Waits until nothing of the world is left.
async fn gone_within(world: &World, limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        let left = world.provider.observe().await.unwrap();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn pids(world: &World, machine: &Machine) -> (i32, i32) {
    let facts = world.state().join("machines").join(machine.id.as_str()).join("guard.json");
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(facts).unwrap()).unwrap();
    let pid = |who: &str| i32::try_from(facts[who]["pid"].as_i64().unwrap()).unwrap();
    (pid("guard"), pid("init"))
}

fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_machine_ends_with_its_lease_and_takes_its_files_along() {
    let world = World::new(&base().await);
    // Long enough for a login on a busy computer.
    let request = MachineRequest { grace: Duration::from_secs(6), ..world.request() };
    let machine = world.create(&request).await.unwrap();
    world.run(&machine, "mkdir -m 0 /root/closed; chown 1000 /root/closed; nohup sleep 1000 >/dev/null 2>&1 &");
    gone_within(&world, Duration::from_secs(30)).await;
    let error = world.provider.renew(&machine, Timestamp::now()).await.unwrap_err();
    assert!(error.chain().contains(&"the machine has ended".to_owned()), "{error:?}");
    world.release_all().await;
}

#[tokio::test]
async fn a_renewed_machine_lives_but_never_beyond_its_expiry() {
    let world = World::new(&base().await);
    let now = Timestamp::now();
    let request =
        MachineRequest { grace: Duration::from_secs(4), expires_at: now + Duration::from_secs(15), ..world.request() };
    let machine = world.create(&request).await.unwrap();
    world.provider.renew(&machine, now + Duration::from_secs(3600)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    world.run(&machine, "true");
    gone_within(&world, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_machine_dies_with_its_guard() {
    let world = World::new(&base().await);
    let machine = world.create(&world.request()).await.unwrap();
    let (guard, init) = pids(&world, &machine);
    kill(guard);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Path::new(&format!("/proc/{init}/ns/pid")).exists() && world.provider.observe().await.unwrap().len() > 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.release_all().await;
}

/// The keeper's process id: it has the guard's command line and a name of its own.
fn keeper(world: &World, machine: &Machine) -> i32 {
    let spec = world.state().join("machines").join(machine.id.as_str()).join("spec.json");
    let is_keeper = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(spec.to_str().unwrap()) && name.trim() == "machine-keeper"
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_keeper).unwrap()
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn capped(world: &World) -> MachineRequest {
    // Only root has control groups for certain.
    let memory = rustix::process::geteuid().is_root().then_some(1 << 30);
    // Long enough for a login on a busy computer.
    MachineRequest { grace: Duration::from_secs(8), caps: Caps { cpus: None, memory }, ..world.request() }
}

#[tokio::test]
async fn what_a_killed_guard_and_a_killed_driver_left_is_removed_by_the_keeper() {
    let world = World::new(&base().await);
    let machine = world.create(&capped(&world)).await.unwrap();
    world.run(&machine, "mkdir -m 0 /root/closed; chown 1000 /root/closed; nohup sleep 1000 >/dev/null 2>&1 &");
    kill(pids(&world, &machine).0);
    leftovers::gone_within(world.state(), Duration::from_secs(40));
    world.release_all().await;
}

#[tokio::test]
async fn what_a_driver_that_died_while_it_released_left_is_removed_by_the_keeper() {
    let world = World::new(&base().await);
    let machine = world.create(&capped(&world)).await.unwrap();
    let (guard, _) = pids(&world, &machine);
    // What a driver does first, and then it does no more.
    let guard = rustix::process::Pid::from_raw(guard).unwrap();
    rustix::process::kill_process(guard, rustix::process::Signal::TERM).unwrap();
    leftovers::gone_within(world.state(), Duration::from_secs(40));
    // One that was left for hours is not left for hours once it has ended.
    let long = MachineRequest { grace: Duration::from_secs(2), ..world.request() };
    let machine = world.create(&long).await.unwrap();
    world.provider.renew(&machine, machine.expires_at).await.unwrap();
    kill(pids(&world, &machine).0);
    leftovers::gone_within(world.state(), Duration::from_secs(40));
    world.release_all().await;
}

/// The keeper may have 1024 descriptors, whatever limit the driver has.
#[tokio::test]
async fn folders_1500_deep_go_with_their_machine() {
    let world = World::new(&base().await);
    let dig = "cd /root && mkdir -p $(printf 'd/%.0s' $(seq 1500)) && find d -depth -type d | wc -l";
    let request = MachineRequest { grace: Duration::from_secs(60), ..capped(&world) };
    let machine = world.create(&request).await.unwrap();
    assert_eq!(world.run(&machine, dig).trim(), "1500");
    world.release_all().await;
    let expiring = MachineRequest { grace: Duration::from_secs(10), ..capped(&world) };
    let machine = world.create(&expiring).await.unwrap();
    assert_eq!(world.run(&machine, dig).trim(), "1500");
    leftovers::gone_within(world.state(), Duration::from_secs(60));
    world.release_all().await;
}

#[tokio::test]
async fn a_guard_whose_keeper_was_killed_does_its_duty_itself() {
    let world = World::new(&base().await);
    let machine = world.create(&capped(&world)).await.unwrap();
    kill(keeper(&world, &machine));
    leftovers::gone_within(world.state(), Duration::from_secs(40));
    // A driver that comes in time takes the files over, whoever keeps them.
    let machine = world.create(&world.request()).await.unwrap();
    kill(keeper(&world, &machine));
    world.release_all().await;
    assert_eq!(leftovers::of(world.state()), [""; 0]);
}

#[tokio::test]
async fn a_keeper_ends_with_what_it_keeps_and_stays_until_then() {
    let world = World::new(&base().await);
    let machine = world.create(&world.request()).await.unwrap();
    let keeper = keeper(&world, &machine);
    let (guard, _) = pids(&world, &machine);
    let rows = world.rows.0.lock().unwrap().clone();
    let process = rows.iter().find(|row| row.kind == ResourceKind::Process).unwrap();
    assert_eq!(world.provider.release(process).await.unwrap(), Fate::Gone);
    assert!(!alive(guard) && alive(keeper), "it keeps the files for the driver");
    world.release_all().await;
    assert!(!alive(keeper));
    // A system that shuts down tells all, and nobody comes for the files any more.
    let machine = world.create(&world.request()).await.unwrap();
    for pid in [self::keeper(&world, &machine), pids(&world, &machine).0] {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
    leftovers::gone_within(world.state(), Duration::from_secs(40));
}

#[tokio::test]
async fn a_machine_whose_first_process_died_says_so() {
    let world = World::new(&base().await);
    let machine = world.create(&world.request()).await.unwrap();
    kill(pids(&world, &machine).1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = world.ssh(&machine, "true");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("refused: ended for good"), "{said}");
    let console = world.provider.console(&machine.id).await.unwrap();
    assert!(console.contains("first process has ended"), "{console}");
    world.release_all().await;
}

#[tokio::test]
async fn what_was_planned_but_never_made_is_gone() {
    let world = World::new(&base().await);
    let request = MachineRequest { volume: Some(1 << 20), ..world.request() };
    world.rows.write_down(world.provider.plan(&request));
    world.release_all().await;
}

#[tokio::test]
async fn a_folder_that_is_not_a_machines_is_never_removed() {
    let world = World::new(&base().await);
    let other = world.state().join("keys");
    std::fs::create_dir(&other).unwrap();
    world.rows.write_down(world.provider.plan(&world.request()));
    let mut row = world.rows.0.lock().unwrap()[0].clone();
    row.name = other.display().to_string();
    assert!(matches!(world.provider.release(&row).await.unwrap(), Fate::Remains(_)));
    assert!(other.exists());
}

#[tokio::test]
async fn an_image_without_ssh_server_is_named_and_nothing_stays() {
    let empty = tempfile::tempdir().unwrap();
    let world = World::new(empty.path());
    let error = world.create(&world.request()).await.unwrap_err();
    assert!(error.message.contains("/usr/sbin/sshd"), "{error:?}");
    world.release_all().await;
}

/// A driver to be killed; not a test.
#[tokio::test]
#[ignore = "is started by `a_driver_may_be_killed_at_any_moment`"]
async fn driver_to_be_killed() {
    let Some(state) = std::env::var_os("AUTOMATION_TEST_STATE") else { return };
    let world = World::at(Path::new(&state));
    let request = MachineRequest { grace: Duration::from_secs(2), ..world.request() };
    for plan in world.provider.plan(&request) {
        eprintln!("plan {}", serde_json::json!({"machine": plan.machine, "kind": plan.kind, "name": plan.name}));
    }
    eprintln!("begin");
    world.create(&request).await.unwrap();
    eprintln!("made");
    std::thread::sleep(Duration::from_secs(60));
}

/// Starts a driver, kills it this long after it began to create, and gives its rows.
fn killed_driver(world: &World, after: Duration) -> Vec<PlannedResource> {
    let mut driver = Command::new(std::env::current_exe().unwrap())
        .args(["local_provider::deaths::driver_to_be_killed", "--exact", "--ignored", "--nocapture"])
        .env("AUTOMATION_TEST_STATE", world.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut planned = Vec::new();
    for line in BufReader::new(driver.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(plan) = line.strip_prefix("plan ") {
            let plan: serde_json::Value = serde_json::from_str(plan).unwrap();
            planned.push(PlannedResource {
                machine: serde_json::from_value(plan["machine"].clone()).unwrap(),
                kind: serde_json::from_value(plan["kind"].clone()).unwrap(),
                name: plan["name"].as_str().unwrap().to_owned(),
            });
        }
        if line == "begin" {
            break;
        }
    }
    std::thread::sleep(after);
    driver.kill().unwrap();
    driver.wait().unwrap();
    planned
}

#[tokio::test]
async fn a_driver_may_be_killed_at_any_moment() {
    let world = World::new(&base().await);
    for milliseconds in [0, 2, 4, 6, 8, 10, 12, 15, 20, 30, 50, 100] {
        let planned = killed_driver(&world, Duration::from_millis(milliseconds));
        assert_eq!(planned.len(), 4);
        world.rows.write_down(planned);
        world.release_all().await;
    }
}

#[tokio::test]
async fn what_a_killed_driver_left_ends_by_itself() {
    let world = World::new(&base().await);
    let planned = killed_driver(&world, Duration::from_millis(400));
    assert_eq!(world.provider.observe().await.unwrap().len(), 4);
    world.rows.write_down(planned);
    gone_within(&world, Duration::from_secs(8)).await;
    world.release_all().await;
}
