//! Decides, without I/O, when a machine must end.

/// The readings of the clocks, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clocks {
    /// The time since 1970 by the computer's clock, which can jump.
    pub wall: f64,
    /// The time since boot, including the time that the computer slept.
    pub boot: f64,
    /// The time since boot, without the time that the computer slept.
    pub awake: f64,
}

/// Follows a lease. Setting the wall clock neither ends a machine nor keeps it alive: only a lease's *new* value is
/// compared with the wall clock, and from then on the clock since boot counts.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    grace: f64,
    lease: i64,
    ends: f64,
    expires: f64,
    last: Clocks,
    reprieve: f64,
}

/// The pause between two checks, which are a second apart, from which on the computer counts as having slept.
const PAUSE: f64 = 10.0;

impl LeaseClock {
    /// The clock of a machine with a first lease and an expiry (seconds since 1970) and a grace in seconds.
    pub(crate) fn new(now: Clocks, lease: i64, expires_at: i64, grace: i64) -> Self {
        let mut clock = Self {
            grace: grace as f64,
            lease,
            ends: 0.0,
            expires: now.boot + (expires_at as f64 - now.wall),
            last: now,
            reprieve: 0.0,
        };
        clock.renew(now, lease);
        clock
    }

    fn renew(&mut self, now: Clocks, lease: i64) {
        self.lease = lease;
        self.ends = now.boot + (lease as f64 - now.wall);
    }

    /// Checks whether the machine must end now. `lease` is the content of the lease file, if it can be read.
    ///
    /// After a sleep of the computer the driver gets one more grace to renew, because it slept too. The expiry stands.
    pub(crate) fn is_over(&mut self, now: Clocks, lease: Option<i64>) -> bool {
        let slept = (now.boot - self.last.boot) - (now.awake - self.last.awake);
        if slept > 1.0 || now.awake - self.last.awake > PAUSE {
            self.reprieve = now.boot + self.grace;
        }
        self.last = now;
        if let Some(lease) = lease.filter(|lease| *lease != self.lease) {
            self.renew(now, lease);
        }
        now.boot > self.expires || now.boot > self.ends.max(self.reprieve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Clocks {
        Clocks { wall: 1000.0 + seconds, boot: seconds, awake: seconds }
    }

    #[test]
    fn ends_when_the_lease_is_over_and_lives_when_it_is_renewed() {
        let mut clock = LeaseClock::new(at(0.0), 1005, 9000, 5);
        assert!(!clock.is_over(at(4.0), None));
        assert!(!clock.is_over(at(4.5), Some(1010)));
        assert!(!clock.is_over(at(9.0), Some(1010)));
        assert!(clock.is_over(at(10.5), Some(1010)));
    }

    #[test]
    fn never_lives_beyond_its_expiry() {
        let mut clock = LeaseClock::new(at(0.0), 1005, 1008, 5);
        assert!(!clock.is_over(at(4.0), Some(99999)));
        assert!(clock.is_over(at(8.5), Some(99999)));
    }

    #[test]
    fn a_clock_that_is_set_anew_changes_nothing() {
        for jump in [86400.0, -86400.0] {
            let mut clock = LeaseClock::new(at(0.0), 1005, 1100, 5);
            let jumped = |seconds: f64| Clocks { wall: 1000.0 + seconds + jump, ..at(seconds) };
            assert!(!clock.is_over(jumped(4.0), Some(1005)));
            assert!(clock.is_over(jumped(5.5), Some(1005)));
        }
    }

    #[test]
    fn sleep_gives_one_more_grace() {
        let mut clock = LeaseClock::new(at(0.0), 1005, 99999, 5);
        let woken = |seconds: f64| Clocks { awake: seconds - 3600.0, ..at(seconds) };
        assert!(!clock.is_over(at(1.0), None));
        assert!(!clock.is_over(woken(3601.0), None));
        assert!(!clock.is_over(woken(3605.0), None));
        assert!(clock.is_over(woken(3607.0), None));
    }
}
