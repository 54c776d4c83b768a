//! Rules without a domain and without I/O: ids, shell quoting, deadlines, text.

pub mod deadline;
pub mod id;
pub mod quote;
pub mod text;
