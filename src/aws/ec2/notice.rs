//! The notice that EC2 gives before it takes a spot instance back, as the instance itself sees it.
//!
//! AWS recommends to look at the instance's metadata every five seconds. A script on the machine does so, which costs no call of an API and
//! tells of the machine it runs on; it ends with its connection.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::connection::Connection;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::{Address, Machine};
use model::provider::ability::{Notice, Notices};
use model::task::{Chunk, Command};
use serde::Deserialize;

use crate::ec2::{Ec2Provider, settle};

/// The pause between two looks: what the user guide of EC2 recommends.
const PAUSE: Duration = Duration::from_secs(5);

/// How many looks in vain, one after another, say that the machine cannot see its metadata; about a minute.
const MISSES: u32 = 12;

/// The most that is kept of what the script prints: one short line.
const SAID: usize = 4096;

/// What the user is told.
const WHY: &str = "Amazon takes the spot instance back";

#[async_trait]
impl Notices for Ec2Provider {
    /// A managed machine runs commands one by one, so nothing watches there.
    fn may_give(&self, machine: &Machine) -> bool {
        is_watched(machine)
    }

    async fn wait_for_notice(&self, machine: &Machine, connection: &dyn Connection) -> Result<Option<Notice>, Fault> {
        let Some(command) = command(machine) else { return Ok(None) };
        let Ok(mut process) = connection.start(&command).await else { return Ok(None) };
        // The script ends when this is closed.
        let _stdin = process.take_stdin();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(chunk) = process.next().await {
            let (kept, bytes) = match &chunk {
                Chunk::Stdout(bytes) => (&mut stdout, bytes),
                Chunk::Stderr(bytes) => (&mut stderr, bytes),
            };
            kept.extend(bytes.iter().take(SAID - kept.len()));
        }
        match process.exit() {
            Exit::Code(0) => Ok(read(&stdout)),
            Exit::Lost(_) => Ok(None),
            exit => {
                Err(Fault::infrastructure(format!("cannot see on {} whether Amazon takes it back: {exit}", machine.id))
                    .because(String::from_utf8_lossy(&stderr).trim()))
            }
        }
    }
}

fn is_watched(machine: &Machine) -> bool {
    let is_spot = machine.hardware.as_ref().is_some_and(|hardware| hardware.spot);
    is_spot && matches!(machine.address, Address::Tcp { .. }) && command(machine).is_some()
}

fn command(machine: &Machine) -> Option<Command> {
    settle::life(machine.platform).ok()?.watch_notice(PAUSE, MISSES)
}

/// What stands at `spot/instance-action`.
#[derive(Deserialize)]
struct Action {
    time: Option<Timestamp>,
}

/// The notice in what the script printed; none where it printed nothing, because its standard input had ended.
fn read(stdout: &[u8]) -> Option<Notice> {
    let line = stdout.trim_ascii();
    // That the path is there says all: without a time that can be read it ends soon.
    let ends_at = serde_json::from_slice::<Action>(line).ok().and_then(|action| action.time);
    (!line.is_empty()).then(|| Notice { why: WHY.to_owned(), ends_at })
}

#[cfg(test)]
mod tests {
    use model::machine::ActualHardware;

    use super::*;

    #[test]
    fn whatever_stands_there_is_a_notice_and_nothing_is_none() {
        let notice = |at: Option<&str>| Some(Notice { why: WHY.into(), ends_at: at.map(|at| at.parse().unwrap()) });
        let given = br#"{"action": "terminate", "time": "2026-11-20T10:53:01Z"}"#;
        assert_eq!(read(given), notice(Some("2026-11-20T10:53:01Z")));
        assert_eq!(read(b"{\"action\": \"stop\"}\n"), notice(None));
        assert_eq!(read(b"terminate\n"), notice(None));
        assert_eq!(read(b"\n"), None);
    }

    #[test]
    fn only_a_spot_instance_that_ssh_reaches_is_watched() {
        let mut machine = crate::ec2::tests::machine();
        assert!(!is_watched(&machine), "nothing says that it is one");
        let of = |spot| Some(ActualHardware { instance_type: "c5.9xlarge".into(), spot });
        machine.hardware = of(false);
        assert!(!is_watched(&machine));
        machine.hardware = of(true);
        assert!(is_watched(&machine));
        let machine =
            Machine { address: Address::Ssm { instance: "i-0".into(), region: "us-west-2".into() }, ..machine };
        assert!(!is_watched(&machine), "its commands come one by one");
        assert!(command(&machine).is_some_and(|command| command.stdin.is_none()), "its follower holds it open");
    }
}
