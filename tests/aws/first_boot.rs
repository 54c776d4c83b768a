//! What user data does on a real machine behind an instance: it lets its driver in, proves who it is by a key that is then
//! replaced, and ends itself.

use std::time::{Duration, Instant};

use connection::SshConnector;
use jiff::Timestamp;
use model::base::id::ResourceId;
use model::connection::{Connection, Connector};
use model::machine::{HostKey, Machine};
use model::output::{OutputLimits, run_command};
use model::provider::Provider;
use model::provider::ability::{Boot, RenewOnMachine};
use model::resource::{Fate, Resource};
use model::task::Command;
use support::{images, leftovers, tool};

use super::commands::{run, shell};
use super::launch::{Account, User};
use crate::emulated::with_machines;

/// How long a machine may take until it answers, and to be gone.
const LIMIT: Duration = Duration::from_secs(60);

/// Where cloud-init keeps a boothook, and runs it from at every boot.
const BOOTHOOK: &str = "/var/lib/cloud/instance/boothooks/part-001";

async fn connect(machine: &Machine) -> Box<dyn Connection> {
    SshConnector::default().connect(machine, &machine.user, LIMIT, true).await.unwrap()
}

/// A machine for bakes, reached and settled.
async fn settled(user: &User, life: Duration) -> (Machine, Machine, Vec<Resource>, Box<dyn Connection>) {
    let mut request = user.request();
    request.expires_at = request.now + life;
    request.volume = Some(64 << 20);
    let (machine, rows) = user.make(&request).await.map_err(|(fault, _)| fault).unwrap();
    let connection = connect(&machine).await;
    let changed = user.provider.settle(&machine, connection.as_ref()).await.unwrap();
    (machine, changed, rows, connection)
}

fn end(account: Account) {
    let state = account.folder.path().join("emulator/machines-of-instances");
    drop(account.aws);
    let left = leftovers::of(&state);
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[tokio::test]
async fn the_key_that_was_handed_over_proves_the_first_connection_only() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    images::small();
    let account = Account::of(with_machines).await;
    let user = account.user("me@here", "").await;
    let (machine, changed, rows, connection) = settled(&user, Duration::from_secs(3600)).await;
    let HostKey::Exact { public } = &changed.host_key else { panic!("{changed:?}") };
    assert_ne!(changed.host_key, machine.host_key);
    assert_eq!(shell(connection.as_ref(), "id -un; test -b /dev/hg-volume && echo volume").await, "root\nvolume\n");

    // The old key proves nothing any more, the new one does, and it was made on the machine.
    let old = SshConnector::default().connect(&machine, "root", Duration::from_secs(10), false).await;
    let error = old.err().expect("the handed-over key must not be accepted").to_string();
    assert!(error.contains("key"), "{error}");
    let again = connect(&changed).await;
    let shown = shell(again.as_ref(), "ssh-keygen -y -f /etc/ssh/hg_host_ed25519_key").await;
    assert_eq!(shown.split_whitespace().nth(1), public.split_whitespace().nth(1));

    // Another boot runs the user data again, and does not bring the old one back.
    run(again.as_ref(), &Command::new(BOOTHOOK)).await;
    let after = shell(again.as_ref(), "ssh-keygen -y -f /etc/ssh/hg_host_ed25519_key").await;
    assert_eq!(after, shown);

    assert!(user.release(&rows).await.iter().all(|fate| *fate == Fate::Gone));
    end(account);
}

#[tokio::test]
async fn a_machine_ends_itself_when_nobody_renews_its_lease() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    images::small();
    let account = Account::of(with_machines).await;
    let user = account.user("me@here", "").await;
    let (_, machine, rows, connection) = settled(&user, Duration::from_secs(3600)).await;
    let lease = || async { shell(connection.as_ref(), "cat /run/hg-automation/lease").await };
    let renew = |until: Timestamp| user.provider.lease_command(&machine, until).unwrap();

    // Pushed out, and never beyond the expiry.
    run(connection.as_ref(), &renew(machine.expires_at + Duration::from_secs(9999))).await;
    assert_eq!(lease().await.trim(), machine.expires_at.as_second().to_string());
    // A lease that cannot be read is no life of its own; the machine goes on with the last.
    shell(connection.as_ref(), "echo nonsense >/run/hg-automation/lease; sleep 3").await;
    run(connection.as_ref(), &renew(Timestamp::now() + Duration::from_secs(2))).await;

    let deadline = Instant::now() + LIMIT;
    loop {
        let instances = account.instances().await;
        if instances[0].state().unwrap().name().unwrap().as_str() == "terminated" {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{:?}; {:?}",
            instances[0].state(),
            user.provider.console(&machine.id).await
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What is gone by itself is seen gone.
    let again: Vec<Resource> = rows.iter().map(|row| Resource { id: ResourceId::random(), ..row.clone() }).collect();
    assert!(user.release(&again).await.iter().all(|fate| *fate == Fate::Gone));
    end(account);
}

#[tokio::test]
async fn a_watcher_that_is_killed_comes_back_and_the_machine_ends_all_the_same() {
    if !tool::is_root() {
        return tool::skip("port 22 is root's");
    }
    images::small();
    let account = Account::of(with_machines).await;
    let user = account.user("me@here", "").await;
    let (_, machine, rows, connection) = settled(&user, Duration::from_secs(3600)).await;
    let watcher = "pgrep -f '^sh /var/lib/hg-automation/'";
    let until_back = format!("i=0; until {watcher}; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done");
    let parent = format!("cut -d' ' -f4 /proc/$({watcher})/stat");
    for kill in [
        "pkill -9 -f '^sh /var/lib/hg-automation/'",
        "pkill -9 -f hg-automation/",
        "pkill -9 -f watch",
        // Its keeper, which nothing of its command line tells. The watcher brings it back and gives way to the new one's.
        &format!("kill -9 $({parent}); sleep 4"),
    ] {
        let before = shell(connection.as_ref(), &until_back).await;
        // By a file: a shell that has the words in its own command line would kill itself.
        let script = Command::new("sh").args(["-c", "cat >/tmp/kill; exec sh /tmp/kill"]).stdin(kill.as_bytes());
        run_command(connection.as_ref(), &script, OutputLimits::SMALL).await.unwrap();
        let after = shell(connection.as_ref(), &until_back).await;
        assert_ne!(before, after, "`{kill}` killed nothing");
    }
    let renew = user.provider.lease_command(&machine, Timestamp::now() + Duration::from_secs(1)).unwrap();
    run(connection.as_ref(), &renew).await;
    let deadline = Instant::now() + LIMIT;
    while account.instances().await[0].state().unwrap().name().unwrap().as_str() != "terminated" {
        assert!(Instant::now() < deadline, "{:?}", user.provider.console(&machine.id).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(user.release(&rows).await.iter().all(|fate| *fate == Fate::Gone));
    end(account);
}
