//! Running tests on several machines that take them from one queue.
//!
//! [`queue`] decides, and is pure; its entries are written into the run's folder before anything they tell of happens, so that another
//! driver can go on. [`worker`] serves one machine, `drive` all of them.

mod board;
mod cells;
mod crew;
mod drive;
mod entry;
mod merge;
mod outcome;
mod pace;
pub mod queue;
mod record;
mod resume;
mod whole;
mod worker;

pub use cells::{CellEnd, CellJob, CellNote, CellRun, collect_cells, resume_cells, run_cells};
pub use drive::{Group, ShardsJob, Split};
pub use entry::{Closing, Entry, Happening, Joined, PartEnd, Policy, Selection, TestOrder};
pub use outcome::{Ended, ShardsEnd};
pub use record::{ShardRecord, ShardTask};
pub use resume::ShardsRun;

#[cfg(test)]
mod tests;
