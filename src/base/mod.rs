//! What has no domain: ids, shell quoting, deadlines, programs on a leash, signals, text.

pub mod deadline;
pub mod escapes;
pub mod id;
pub mod leash;
pub mod quote;
pub mod signal;
pub mod text;
