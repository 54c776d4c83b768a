//! The order in which a launch is tried with other parameters: pure.
//!
//! A type is tried in the zone that EC2 chooses, then in every zone that offers it, then the next type follows; all of
//! that with spare capacity first if that was requested, then with ordinary capacity. A single type is therefore never
//! replaced. A quota, a permission or a wrong value does not depend on the zone, so it ends the launch, except for the
//! quota of spare capacity.

use std::collections::VecDeque;

use crate::ec2::trouble::Class;

/// One way to ask for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaunchAttempt {
    /// Whether spare capacity is requested.
    pub spot: bool,
    /// The instance type.
    pub instance_type: String,
    /// The zone; `None` where EC2 chooses.
    pub zone: Option<String>,
}

/// The attempts that are still to be made.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: VecDeque<LaunchAttempt>,
}

impl Attempts {
    /// Attempts with all `types`, the preferred one first.
    pub(crate) fn new(types: &[String], spot: bool) -> Self {
        let markets: &[bool] = if spot { &[true, false] } else { &[false] };
        let all = markets.iter().flat_map(|spot| {
            types.iter().map(|name| LaunchAttempt { spot: *spot, instance_type: name.clone(), zone: None })
        });
        Self { left: all.collect() }
    }

    /// Whether other zones are worth trying after such a failure.
    pub(crate) fn wants_zones(failed: &LaunchAttempt, class: Class) -> bool {
        failed.zone.is_none() && matches!(class, Class::Capacity | Class::Unsupported)
    }

    /// Takes into account how an attempt failed; `zones` are those that offer its type.
    pub(crate) fn record_failure(&mut self, failed: &LaunchAttempt, class: Class, zones: &[String]) {
        match class {
            Class::Capacity | Class::Unsupported if failed.zone.is_none() => {
                for zone in zones.iter().rev() {
                    self.left.push_front(LaunchAttempt { zone: Some(zone.clone()), ..failed.clone() });
                }
            }
            Class::Capacity | Class::Unsupported => {}
            // AWS counts the quota of spare capacity separately.
            Class::Quota if failed.spot => self.left.retain(|attempt| !attempt.spot),
            _ => self.left.clear(),
        }
    }
}

impl Iterator for Attempts {
    type Item = LaunchAttempt;

    fn next(&mut self) -> Option<LaunchAttempt> {
        self.left.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs all attempts against `answer`; shows each as `TYPE` or `TYPE@ZONE`, with `spot:` before it for spare
    /// capacity.
    fn tried(types: &[&str], spot: bool, answer: impl Fn(&LaunchAttempt) -> Class) -> Vec<String> {
        let types: Vec<String> = types.iter().map(|name| (*name).to_owned()).collect();
        let zones = ["1a".to_owned(), "1b".to_owned()];
        let mut attempts = Attempts::new(&types, spot);
        let mut tried = Vec::new();
        while let Some(attempt) = attempts.next() {
            let spot = if attempt.spot { "spot:" } else { "" };
            let zone = attempt.zone.as_deref().map(|zone| format!("@{zone}")).unwrap_or_default();
            tried.push(format!("{spot}{}{zone}", attempt.instance_type));
            attempts.record_failure(&attempt, answer(&attempt), &zones);
        }
        tried
    }

    #[test]
    fn capacity_is_looked_for_in_zones_then_types() {
        let none = |_: &LaunchAttempt| Class::Capacity;
        assert_eq!(tried(&["x", "y"], false, none), ["x", "x@1a", "x@1b", "y", "y@1a", "y@1b"]);
    }

    #[test]
    fn a_single_type_is_never_replaced() {
        assert_eq!(tried(&["x"], false, |_| Class::Unsupported), ["x", "x@1a", "x@1b"]);
    }

    #[test]
    fn ordinary_capacity_is_the_fallback_of_spare_capacity() {
        let none = |attempt: &LaunchAttempt| if attempt.spot { Class::Capacity } else { Class::Quota };
        assert_eq!(tried(&["x"], true, none), ["spot:x", "spot:x@1a", "spot:x@1b", "x"]);
        let full = |attempt: &LaunchAttempt| if attempt.spot { Class::Quota } else { Class::Permission };
        assert_eq!(tried(&["x", "y"], true, full), ["spot:x", "x"]);
    }

    #[test]
    fn what_is_no_matter_of_place_ends_it() {
        for class in [Class::Quota, Class::Permission, Class::NotFound, Class::NoAnswer, Class::Other] {
            assert_eq!(tried(&["x", "y"], false, |_| class), ["x"], "{class:?}");
        }
    }
}
