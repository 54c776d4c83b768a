//! Reports of test runners, read as they arrive: a module for each format.
//!
//! A report lies on a machine whose tests may write anything into it. So every reader keeps a bounded amount, and a report
//! that goes beyond its bounds, or that cannot be true, says so and is not whole.

pub(crate) mod events;
pub(crate) mod go;
pub(crate) mod junit;
pub(crate) mod libtest;
mod lines;
pub(crate) mod tally;
pub(crate) mod tap;
