//! Commands on a machine that outlive connections, and what they need there.

pub mod begun;
pub mod durable;
pub mod files;
pub mod lines;
pub mod script;
pub(crate) mod step;
pub mod timed;
