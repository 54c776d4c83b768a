//! What a machine is like.

use super::*;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn a_machine_is_a_computer_of_its_own_and_leaves_nothing() {
    let world = World::new(&base().await);
    let request = world.request();
    let machine = world.create(&request).await.unwrap();
    assert_eq!(
        world.run(&machine, "hostname; cat /etc/hostname").lines().collect::<Vec<_>>(),
        [machine.id.as_str(), machine.id.as_str()]
    );
    assert_eq!(
        world.run(&machine, "cat /proc/1/comm; id -u; stat -c %a / /tmp /run"),
        "automation\n0\n755\n1777\n755\n"
    );
    let links = world.run(&machine, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '");
    assert_eq!(links, "lo\n");
    assert_eq!(world.ssh(&machine, "exit 255").status.code(), Some(255));
    world.run(&machine, "touch /etc/x /root/y && rm /usr/share/doc -r && test -t 0 || true");
    let inner = "bash -c 'echo > /dev/tcp/127.0.0.1/22 && echo > /dev/tcp/::1/22'";
    world.run(&machine, inner);
    let refused = "! mknod /tmp/x b 7 0 && ! echo 1 > /proc/sys/kernel/panic && ! mount -o remount,bind,rw /sys/x";
    world.run(&machine, refused);
    world.run(&machine, "mkdir /mnt/t && mount -t tmpfs x /mnt/t && umount /mnt/t");
    world.release_all().await;
}

#[tokio::test]
async fn five_machines_run_at_once() {
    let world = World::new(&base().await);
    let requests: Vec<_> = (0..5).map(|_| world.request()).collect();
    let (a, b, c, d, e) = tokio::join!(
        world.create(&requests[0]),
        world.create(&requests[1]),
        world.create(&requests[2]),
        world.create(&requests[3]),
        world.create(&requests[4]),
    );
    let machines: Vec<Machine> = [a, b, c, d, e].into_iter().map(Result::unwrap).collect();
    for machine in &machines {
        world.run(machine, "echo $$ > /root/mine");
    }
    for machine in &machines {
        assert_eq!(world.run(machine, "hostname; ls /root").trim(), format!("{}\nmine", machine.id));
    }
    assert_eq!(world.provider.observe().await.unwrap().len(), 20);
    world.release_all().await;
}

#[tokio::test]
async fn a_machine_on_the_hosts_network_sees_what_the_host_sees() {
    let world = World::new(&base().await);
    let request = MachineRequest { network: Network::Host, ..world.request() };
    let machine = world.create(&request).await.unwrap();
    let links = |text: &str| text.lines().skip(2).filter_map(|line| line.split(':').next()).count();
    let host = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert_eq!(links(&world.run(&machine, "cat /proc/net/dev")), links(&host));
    assert_eq!(world.run(&machine, "cat /etc/resolv.conf"), std::fs::read_to_string("/etc/resolv.conf").unwrap());
    world.run(&machine, "ls /sys/class/net");
    let trusted = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    assert_eq!(world.run(&machine, "cat /run/automation/ca-certificates.crt"), trusted);
    let alone = world.create(&world.request()).await.unwrap();
    assert_eq!(world.run(&alone, "ls /run/automation | grep -c crt || true").trim(), "0");
    world.release_all().await;
}

#[tokio::test]
async fn a_second_volume_is_a_file_system_for_root_and_refused_to_others() {
    let world = World::new(&base().await);
    let request = MachineRequest { volume: Some(64 << 20), ..world.request() };
    let created = world.create(&request).await;
    if !is_root() {
        let error = created.unwrap_err();
        assert!(error.message.contains("second volume") && error.hint.is_some(), "{error:?}");
        assert_eq!(world.provider.observe().await.unwrap(), []);
        return;
    }
    let machine = created.unwrap();
    let volume = machine.volume.clone().unwrap();
    let look = format!(
        "stat -f -c %T {volume}; stat -c %U {volume}; touch {volume}/x && ls {volume}; ls /dev/hg-volume /dev/loop*"
    );
    let seen = String::from_utf8_lossy(&world.ssh(&machine, &look).stdout).into_owned();
    assert_eq!(seen, "ext2/ext3\nroot\nlost+found\nx\n");
    let attached = world
        .rows
        .0
        .lock()
        .unwrap()
        .iter()
        .find_map(|row| (row.kind == ResourceKind::LoopDevice).then(|| row.locator.clone().unwrap()));
    let device = attached.unwrap();
    assert!(device.starts_with("/dev/loop"), "{device}");
    world.release_all().await;
    let backing = format!("/sys/block/{}/loop/backing_file", device.trim_start_matches("/dev/"));
    assert!(!Path::new(&backing).exists() || !std::fs::read_to_string(&backing).unwrap().contains(machine.id.as_str()));
}

#[tokio::test]
async fn the_second_volume_of_a_privileged_machine_is_a_disk() {
    if !is_root() {
        return;
    }
    let mut world = World::new(&base().await);
    world.config.privileged = true;
    world.provider = LocalProvider::new(world.config.clone());
    let machine = world.create(&MachineRequest { volume: Some(64 << 20), ..world.request() }).await.unwrap();
    let volume = machine.volume.clone().unwrap();
    world
        .run(&machine, &format!("mkfs.ext4 -q {volume} && mkdir /hgwork && mount {volume} /hgwork && touch /hgwork/x"));
    world.release_all().await;
}

#[tokio::test]
async fn a_file_system_that_the_kernel_or_the_image_does_not_have_is_named_and_nothing_stays() {
    if !is_root() {
        return;
    }
    let world = World::new(&base().await);
    for filesystem in [Filesystem::Jfs, Filesystem::Xfs] {
        let request = MachineRequest { volume: Some(64 << 20), filesystem, ..world.request() };
        let error = world.create(&request).await.unwrap_err();
        // Asking may have loaded it. What is known to the kernel is made by nothing in this image.
        let known = std::fs::read_to_string("/proc/filesystems").unwrap().contains(&format!("\t{filesystem}\n"));
        let told = match known {
            true => format!("mkfs.{filesystem}"),
            false => format!("does not know the file system `{filesystem}`"),
        };
        assert!(error.message.contains(&told) && error.hint.is_some(), "{error:?}");
    }
    world.release_all().await;
}

#[tokio::test]
async fn caps_hold() {
    let world = World::new(&base().await);
    let caps = Caps { cpus: Some(0.25), memory: Some(96 << 20) };
    let created = world.create(&MachineRequest { caps, ..world.request() }).await;
    let machine = match created {
        Ok(machine) => machine,
        Err(error) if !is_root() => {
            assert!(error.hint.is_some(), "{error:?}");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    let eaten = world.ssh(&machine, "head -c 300M /dev/zero | tail -n 1 | wc -c");
    assert_ne!(String::from_utf8_lossy(&eaten.stdout).trim(), (300 << 20).to_string(), "{eaten:?}");
    let burn = "bash -c 'TIMEFORMAT=%U; time timeout 2 sh -c \"while :; do :; done\"' 2>&1 | tail -n 1";
    let spent = world.run(&machine, burn);
    let seconds: f64 = spent.trim().parse().unwrap();
    assert!(seconds < 1.2, "{spent}");
    world.release_all().await;
}

#[tokio::test]
async fn the_doctor_finds_what_these_tests_rely_upon_and_leaves_nothing() {
    let world = World::new(&base().await);
    let checks = local::doctor::checks(&world.config).await;
    for check in &checks {
        eprintln!("{check:?}");
        assert!(check.ok || (!check.required && check.remedy.is_some()), "{check:?}");
    }
    for name in ["kernel", "mount namespaces", "overlay", "proc"] {
        assert!(checks.iter().any(|check| check.name == name), "{name}");
    }
    assert_eq!(std::fs::read_dir(world.state().join("images/tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_state_directory_may_have_any_name_and_several() {
    let name = format!("a:b,c d\\e{}", "-long".repeat(40));
    let world = World::named(&base().await, &name);
    let link = world.folder.path().join("link");
    std::os::unix::fs::symlink(world.state(), &link).unwrap();
    let other = LocalProvider::new(LocalConfig { state: link, ..world.config.clone() });
    let request = world.request();
    world.rows.write_down(other.plan(&request));
    let machine = other.create(&request, &world.rows.confirm(&request.id), &Teller::silent()).await.unwrap();
    world.run(&machine, "true");
    assert_eq!(world.provider.observe().await.unwrap(), other.observe().await.unwrap());
    assert_eq!(other.observe().await.unwrap().len(), 4);
    world.release_all().await;
}

#[tokio::test]
async fn a_proxys_password_and_the_drivers_tokens_go_no_further_than_they_must() {
    let mut world = World::new(&base().await);
    let set = |name: &str, value: &str| (name.into(), value.into());
    world.config.environment = vec![
        set("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
        set("HTTPS_PROXY", "http://user:pass-word@127.0.0.1:9"),
        set("SOME_TOKEN", "toe-ken"),
    ];
    world.provider = LocalProvider::new(world.config.clone());
    // As every base has it; the one that is kept for tests may be older.
    let upper = Fingerprint("dd00000001".into());
    let layer = world.state().join("images/layers").join(&upper.0);
    std::fs::create_dir_all(layer.join("fs/etc/apt/apt.conf.d")).unwrap();
    std::fs::write(layer.join("fs/etc/apt/apt.conf.d/95automation-proxy"), "").unwrap();
    std::fs::write(layer.join("layer.json"), "{}").unwrap();
    let layers = vec![Fingerprint(LAYER.into()), upper];
    let request = MachineRequest { network: Network::Host, layers: layers.clone(), ..world.request() };
    let machine = world.create(&request).await.unwrap();
    let told = world.run(&machine, "apt-config dump Acquire::https::Proxy; env");
    assert!(told.contains("pass-word") && !told.contains("toe-ken"), "{told}");
    assert_eq!(world.run(&machine, "stat -L -c '%a %U' /etc/apt/apt.conf.d/95automation-proxy"), "600 root\n");
    let folder = world.state().join("machines").join(machine.id.as_str());
    assert!(!std::fs::read_to_string(folder.join("spec.json")).unwrap().contains("pass-word"));
    let place = folder.join("upper/etc/apt/apt.conf.d/95automation-proxy");
    assert!(!place.exists(), "the password would get into a layer");
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("guard.json")).unwrap()).unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", facts["guard"]["pid"])).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.starts_with("PATH=") && !environment.contains("toe-ken"), "{environment}");
    assert!(!environment.contains("pass-word"), "{environment}");

    let apart = MachineRequest { layers, ..world.request() };
    let machine = world.create(&apart).await.unwrap();
    assert_eq!(world.run(&machine, "cat /etc/apt/apt.conf.d/95automation-proxy"), "");
    world.release_all().await;
}
