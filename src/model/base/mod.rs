//! Helpers without a domain: ids, the clock, shell quoting, deadlines, programs on a leash, removal of folders,
//! signals, text.

pub mod clock;
pub mod deadline;
pub mod escapes;
pub mod id;
pub mod leash;
pub mod quote;
pub mod removal;
pub mod signal;
pub mod text;
