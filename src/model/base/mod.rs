//! Helpers without a domain: ids and names, the clock, shell quoting, deadlines, programs on a leash, removal of folders,
//! signals, text.

pub mod clock;
pub mod deadline;
pub mod escapes;
pub mod id;
pub mod leash;
pub mod name;
pub mod quote;
pub mod removal;
pub mod signal;
pub mod text;
