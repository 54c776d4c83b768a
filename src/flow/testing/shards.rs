//! Running tests on several machines that take them from one queue.
//!
//! [`queue`] decides, and is pure; its entries are written into the run's folder before anything they tell of happens, so that another
//! driver can go on. [`worker`] serves one machine, `drive` all of them.

mod board;
mod drive;
mod entry;
mod merge;
mod outcome;
mod pace;
pub mod queue;
mod record;
mod resume;
mod worker;

pub use drive::{Group, ShardsJob, Split, run_shards};
pub use entry::{Closing, Entry, Happening, Joined, PartEnd, Policy, Selection, TestOrder};
pub use outcome::{Ended, ShardsEnd, collect};
pub use record::{ShardRecord, ShardTask};
pub use resume::{ShardsRun, resume_shards};

#[cfg(test)]
mod tests;
