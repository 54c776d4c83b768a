//! Whether the process that drives a run still lives, read from `/proc`.

use std::path::Path;

use jiff::Timestamp;
use model::fault::Fault;
use model::machine::Machine;
use model::run::{Driver, RunRecord};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The present process.
pub fn current() -> Result<Driver, Fault> {
    of(std::process::id())
}

/// The process `pid`, which must be there, if only as a zombie.
pub fn of(pid: u32) -> Result<Driver, Fault> {
    let boot = boot_id().ok_or_else(|| unreadable(BOOT_ID))?;
    let (_, started) = stat(pid).ok_or_else(|| unreadable(&format!("/proc/{pid}/stat")))?;
    Ok(Driver { pid, started, boot })
}

/// Whether `driver` still runs: the same boot, the same process id, the same start time, and not a zombie.
///
/// Seen from this process's PID namespace: a driver in another container counts as dead.
pub fn is_alive(driver: &Driver) -> bool {
    let Some((state, started)) = stat(driver.pid) else { return false };
    started == driver.started && !matches!(state, 'Z' | 'X') && boot_id().is_some_and(|boot| boot == driver.boot)
}

fn boot_id() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned())
}

/// The state letter and the start time in clock ticks since boot.
fn stat(pid: u32) -> Option<(char, u64)> {
    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&bytes))
}

/// Fields 3 and 22. The name in field 2 may hold blanks and parentheses: what counts begins behind the last one.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

fn unreadable(path: &str) -> Fault {
    Fault::outside(format!("cannot read `{path}`")).hint("Mount the proc file system on `/proc`.")
}

/// [`RunRecord::is_driven`], by the processes of this computer.
pub fn is_driven(run: &RunRecord) -> bool {
    run.is_driven(is_alive)
}

/// [`RunRecord::is_running`], by the processes of this computer and the machine of the run among `machines`.
pub fn is_running(run: &RunRecord, machines: &[Machine], now: Timestamp) -> bool {
    run.is_running(is_alive, machines.iter().find(|machine| machine.run == run.id), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(parse_stat(text), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (x"), None);
    }

    #[test]
    fn the_present_process_lives_and_its_doubles_do_not() {
        let me = current().unwrap();
        assert!(is_alive(&me));
        assert!(!is_alive(&Driver { started: me.started + 1, ..me.clone() }));
        assert!(!is_alive(&Driver { boot: "another".into(), ..me.clone() }));
        assert!(!is_alive(&Driver { pid: u32::MAX, ..me }));
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (_, started) = stat(child.id()).unwrap();
        let driver = Driver { pid: child.id(), started, boot: boot_id().unwrap() };
        assert!(is_alive(&driver));
        child.kill().unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while is_alive(&driver) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!is_alive(&driver), "not reaped yet, but ended");
        child.wait().unwrap();
        assert!(!is_alive(&driver));
    }
}
