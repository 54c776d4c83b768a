//! What is told of a lease: how it begins, and that it ended because the machine's time was over.

use jiff::Timestamp;
use model::fault::{Fault, FaultKind};
use model::machine::Machine;
use model::provider::MachineRequest;
use model::work::Work;

use crate::site::Site;

/// The work of getting a machine for `request`: making one, or reaching one that is there already.
pub(super) fn booting(site: &Site, request: &MachineRequest) -> Work {
    match site.provider.kind().machines_stay() {
        true => Work::Using { machine: request.image.clone() },
        false => Work::Booting { machine: request.id.clone(), image: request.image.clone() },
    }
}

/// The work of parting with a machine: it is removed, or stays as it was found.
pub(super) fn letting_go(machine: &Machine) -> Work {
    match machine.provider.machines_stay() {
        true => Work::Leaving { machine: machine.image.clone() },
        false => Work::Releasing { machine: machine.id.clone() },
    }
}

/// The fault of work on a machine: told as what it is where the machine's time was over.
pub(super) fn explained(machine: &Machine, fault: Fault, now: Timestamp) -> Fault {
    match machine.time_over(now).filter(|_| fault.kind == FaultKind::Infrastructure) {
        Some(why) => Fault::infrastructure(why).because(fault.line()).hint("Give a longer `--ttl`."),
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use model::base::id::{MachineId, RunId};
    use model::machine::{Address, HostKey, Platform, ProviderKind};

    use super::*;

    fn machine(expires_at: Timestamp) -> Machine {
        Machine {
            id: MachineId::random(),
            provider: ProviderKind::Local,
            platform: Platform::Linux,
            run: RunId::new(expires_at),
            owner: "me@here".into(),
            image: "x".into(),
            address: Address::Tcp { host: "192.0.2.1".into(), port: 22 },
            user: "hg".into(),
            identity: "/k".into(),
            host_key: HostKey::None,
            volume: None,
            hardware: None,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at,
            name: None,
            kept: false,
            idle: None,
        }
    }

    #[test]
    fn a_machine_that_stays_is_not_released() {
        let made = machine(Timestamp::UNIX_EPOCH);
        assert_eq!(letting_go(&made), Work::Releasing { machine: made.id.clone() });
        let found = Machine { provider: ProviderKind::Host, image: "x of hg-1".into(), ..made };
        assert_eq!(letting_go(&found), Work::Leaving { machine: "x of hg-1".into() });
    }

    #[test]
    fn what_is_lost_after_the_machines_time_is_told_as_that() {
        let end: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let (machine, lost) = (machine(end), || Fault::infrastructure("the connection was lost"));
        let told = explained(&machine, lost(), end);
        assert!(
            told.line().contains("was over at 2026-12-01T12:00:00Z (`--ttl`): the connection was lost"),
            "{told:?}"
        );
        let before = end - SignedDuration::from_secs(60);
        assert_eq!(explained(&machine, lost(), before).message, "the connection was lost");
        assert_eq!(explained(&machine, Fault::usage("no"), end).message, "no");
    }
}
