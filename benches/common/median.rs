//! The figure of a series of measurements: one that was disturbed does not move it.

use std::time::Duration;

/// The median of times, of which there is at least one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
