//! Layers: made, kept, locked, removed.

use super::*;

const SECOND: &str = "bb00000000000000000000000000000000000000000000000000000000000001";

fn second_layer() -> LayerPlan {
    let recipe =
        LayerRecipe::Script { text: String::new(), files: Vec::new(), env: vec![], limit: Duration::from_secs(1) };
    let fingerprint = Fingerprint(SECOND.into());
    LayerPlan { name: "second".into(), description: String::new(), recipe, fingerprint }
}

#[tokio::test]
async fn changes_become_a_layer_without_the_boots_secrets() {
    let world = World::new(&base().await);
    let images = LocalImages::new(world.config.clone());
    let machine = world.create(&world.request()).await.unwrap();
    world.run(
        &machine,
        "echo kept > /etc/kept; rm -r /usr/share/doc; mkdir -m 700 /srv/closed; chown 1000:1000 /srv/closed",
    );
    world.run(&machine, "echo secret > /tmp/x; echo secret > /run/x; ssh-keygen -A >/dev/null; echo x > /srv/closed/y");
    let layer = second_layer();
    let early = keep::commit(&images, &layer, &machine.id, Duration::from_secs(1)).await.unwrap_err();
    assert!(early.message.contains("still runs"), "{early:?}");
    let process = world.rows.0.lock().unwrap().iter().find(|row| row.kind == ResourceKind::Process).cloned().unwrap();
    assert_eq!(world.provider.release(&process).await.unwrap(), Fate::Gone);
    let record = keep::commit(&images, &layer, &machine.id, Duration::from_secs(1)).await.unwrap();
    assert!(record.bytes > 4096 && record.bytes < 10 << 20, "{record:?}");
    world.release_all().await;
    let root = world.state().join("images/layers").join(SECOND).join("fs");
    let mut found: Vec<String> = std::fs::read_dir(root.join("etc"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ["kept", "ssh"]);
    assert_eq!(std::fs::read_dir(root.join("etc/ssh")).unwrap().count(), 0);
    assert!(!root.join("tmp").exists() && !root.join("run").exists());

    let request =
        MachineRequest { layers: vec![Fingerprint(LAYER.into()), layer.fingerprint.clone()], ..world.request() };
    let machine = world.create(&request).await.unwrap();
    let seen =
        world.run(&machine, "cat /etc/kept; ls /usr/share/doc 2>/dev/null; stat -c %u /srv/closed; cat /srv/closed/y");
    assert_eq!(seen, "kept\n1000\nx\n");
    let dry = images.remove_layer(&layer.fingerprint, true).await.unwrap_err();
    let busy = images.remove_layer(&layer.fingerprint, false).await.unwrap_err();
    assert_eq!(dry.line(), busy.line(), "a dry run says the same");
    assert!(busy.message.contains("in use"), "{busy:?}");
    world.release_all().await;
    // What a removal that was cut off has left is no hindrance, and goes with the next.
    let left = world.state().join("images/tmp").join(format!("{SECOND}.removed"));
    std::fs::create_dir_all(left.join("fs")).unwrap();
    images.remove_layer(&layer.fingerprint, false).await.unwrap();
    images.remove_layer(&layer.fingerprint, false).await.unwrap();
    assert!(!root.exists() && !left.exists());
    std::fs::create_dir_all(left.join("fs")).unwrap();
    assert_eq!(images.sweep(true).await.unwrap(), 1);
    assert!(left.exists());
    assert_eq!(images.sweep(false).await.unwrap(), 1);
    assert_eq!(std::fs::read_dir(world.state().join("images/tmp")).unwrap().count(), 0);
    let error = world.create(&request).await.unwrap_err();
    assert!(error.message.contains("is not there"), "{error:?}");
}

#[tokio::test]
async fn a_layer_is_made_by_one_at_a_time() {
    let world = World::new(&base().await);
    let images = LocalImages::new(world.config.clone());
    let layer = Fingerprint(SECOND.into());
    let held = images.lock(&layer, &printing()).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(300), images.lock(&layer, &printing())).await;
    assert!(waiting.is_err());
    let busy = images.remove_layer(&layer, false).await.unwrap_err();
    assert!(busy.message.contains("is being made"), "{busy:?}");
    drop(held);
    images.remove_layer(&layer, false).await.unwrap();
    images.lock(&layer, &printing()).await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_cannot_be_reached_is_named() {
    let mut world = World::new(&base().await);
    world.config.mirrors.debian = Some("http://127.0.0.1:9/debian".into());
    let images = LocalImages::new(world.config.clone());
    let id = MachineId::random();
    world.rows.write_down(images.plan_base(&id));
    let plan = base_plan();
    let made =
        images.make_base(&plan.layers[0], &id, Duration::from_secs(60), &world.rows.confirm(&id), &printing()).await;
    let error = made.unwrap_err();
    assert!(error.message.contains("http://127.0.0.1:9/debian"), "{error:?}");
    world.release_all().await;
}

#[tokio::test]
async fn a_base_that_nobody_waits_for_ends_with_its_lease() {
    let world = World::new(&base().await);
    let images = LocalImages::new(world.config.clone());
    let id = MachineId::random();
    world.rows.write_down(images.plan_base(&id));
    let (plan, confirm) = (base_plan(), world.rows.confirm(&id));
    let teller = printing();
    let making = images.make_base(&plan.layers[0], &id, Duration::from_secs(3), &confirm, &teller);
    assert!(tokio::time::timeout(Duration::from_secs(4), making).await.is_err());
    assert_eq!(world.provider.observe().await.unwrap().len(), 4);
    let deadline = Instant::now() + Duration::from_secs(12);
    while !world.provider.observe().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.release_all().await;
}

/// A release: family, suite, suites beside it, security suite, components.
type Release = (&'static str, &'static str, &'static [&'static str], Option<&'static str>, &'static [&'static str]);

const RELEASES: [Release; 3] = [
    ("debian", "trixie", &["trixie-updates"], Some("trixie-security"), &["main"]),
    ("ubuntu", "jammy", &["jammy-updates", "jammy-security"], None, &["main", "universe"]),
    ("ubuntu", "noble", &["noble-updates", "noble-security"], None, &["main", "universe"]),
];

#[tokio::test]
#[ignore = "takes minutes and needs both distributions' mirrors"]
async fn every_release_makes_a_base_that_boots_and_reaches_its_mirror() {
    let world = World::new(&base().await);
    let images = LocalImages::new(world.config.clone());
    for (number, (family, suite, more, security, components)) in RELEASES.iter().enumerate() {
        let fingerprint = Fingerprint(format!("cc0000000{number}"));
        let suites = std::iter::once(suite).chain(more.iter()).map(|suite| (*suite).to_owned()).collect();
        let layer = LayerPlan {
            name: "base".into(),
            description: String::new(),
            recipe: LayerRecipe::Base(BaseSpec {
                family: (*family).into(),
                suite: (*suite).into(),
                suites,
                security_suite: security.map(str::to_owned),
                components: components.iter().map(|component| (*component).to_owned()).collect(),
                packages: vec!["openssh-server".into(), "sudo".into(), "ca-certificates".into()],
            }),
            fingerprint: fingerprint.clone(),
        };
        let (id, begun) = (MachineId::random(), Instant::now());
        world.rows.write_down(images.plan_base(&id));
        let confirm = world.rows.confirm(&id);
        images.make_base(&layer, &id, Duration::from_secs(60), &confirm, &printing()).await.unwrap();
        eprintln!("{suite}: {:?}", keep::commit(&images, &layer, &id, begun.elapsed()).await.unwrap());
        world.release_all().await;
        let request = MachineRequest { layers: vec![fingerprint], network: Network::Host, ..world.request() };
        let machine = world.create(&request).await.unwrap();
        let said =
            world.run(&machine, "apt-get update && apt-get install -y hello && hello && cat /etc/apt/sources.list");
        eprintln!("{said}");
        world.run(&machine, "useradd -m -p '*' hg && echo 'hg ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/hg");
        let hg = Machine { user: "hg".into(), ..machine };
        assert_eq!(world.run(&hg, "sudo id -u; id -un"), "0\nhg\n");
        world.release_all().await;
    }
}
