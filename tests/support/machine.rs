//! Machines in memory, for tests that need one and not what it is.

use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};

/// A machine of `run` that was made and expires at `now`; the test says what of it matters.
pub fn of(provider: ProviderKind, run: RunId, now: Timestamp) -> Machine {
    Machine {
        id: MachineId::random(),
        provider,
        platform: Platform::Linux,
        run,
        owner: "ann@example".into(),
        image: "none".into(),
        address: Address::Tcp { host: "example.org".into(), port: 22 },
        user: "hg".into(),
        identity: "/home/ann/.ssh/id_ed25519".into(),
        host_key: HostKey::Exact { public: "ssh-ed25519 dummy".into() },
        volume: None,
        hardware: None,
        created_at: now,
        expires_at: now,
        name: None,
        kept: false,
        idle: None,
    }
}
