//! Resets everything that a guard, and thus its machine, would inherit from the process that starts it.
//!
//! A machine is the same whether it was made from a terminal, by `cron`, under `nohup` or in a shell with limits of its
//! own. The driver sees to the environment: it starts the guard with hardly any variables.

#![expect(unsafe_code, reason = "descriptors that were inherited are owned by nobody")]

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sys;
use crate::trouble::{Doing, Trouble};

/// No limit.
const UNLIMITED: Option<u64> = None;

/// The soft and hard limits of every machine's processes: those of a login on Debian 12 (systemd 252), except for the
/// numbers of processes and of pending signals, which depend on a computer's memory there and are not limited here.
const LIMITS: [(Resource, Option<u64>, Option<u64>); 16] = [
    (Resource::As, UNLIMITED, UNLIMITED),
    (Resource::Core, Some(0), UNLIMITED),
    (Resource::Cpu, UNLIMITED, UNLIMITED),
    (Resource::Data, UNLIMITED, UNLIMITED),
    (Resource::Fsize, UNLIMITED, UNLIMITED),
    (Resource::Locks, UNLIMITED, UNLIMITED),
    (Resource::Memlock, Some(8 << 20), Some(8 << 20)),
    (Resource::Msgqueue, Some(819_200), Some(819_200)),
    (Resource::Nice, Some(0), Some(0)),
    (Resource::Nofile, Some(1024), Some(524_288)),
    (Resource::Nproc, UNLIMITED, UNLIMITED),
    (Resource::Rss, UNLIMITED, UNLIMITED),
    (Resource::Rtprio, Some(0), Some(0)),
    (Resource::Rttime, UNLIMITED, UNLIMITED),
    (Resource::Sigpending, UNLIMITED, UNLIMITED),
    (Resource::Stack, Some(8 << 20), UNLIMITED),
];

/// Puts this process into the state in which every guard begins. Must be called before it opens anything.
pub(crate) fn begin() -> Result<(), Trouble> {
    // SAFETY: nothing has been opened yet.
    unsafe { sys::close_inherited() }.doing(|| "close what was left open")?;
    sys::reset_signals().doing(|| "reset signals")?;
    sys::reset_personality();
    // This fails on a kernel without keyrings, which has none to inherit.
    drop(sys::leave_keyring());
    rustix::process::umask(Mode::from_raw_mode(0o077));
    for (resource, soft, hard) in LIMITS {
        limit(resource, soft, hard);
    }
    Ok(())
}

/// Sets a limit. An ordinary user cannot raise a hard limit: then that stays, and bounds the soft one.
fn limit(resource: Resource, soft: Option<u64>, hard: Option<u64>) {
    if setrlimit(resource, Rlimit { current: soft, maximum: hard }).is_ok() {
        return;
    }
    let most = least(getrlimit(resource).maximum, hard);
    let _ = setrlimit(resource, Rlimit { current: least(soft, most), maximum: most });
}

/// The lower of two limits.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_the_highest_of_all() {
        assert_eq!(least(None, Some(5)), Some(5));
        assert_eq!(least(Some(3), Some(5)), Some(3));
        assert_eq!(least(None, None), None);
    }
}
