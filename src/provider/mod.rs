//! Where machines come from; the contract is [`crate::model::provider`].
//!
//! * [`local`]: namespaces on this computer, an overlay over cached layers, a real OpenSSH server.
//! * [`host`]: a machine that somebody else made; never created, stopped or purged.
//! * [`dummy`]: in memory, and can fail on order, for tests and dry runs.

pub mod dummy;
pub mod host;
pub mod local;
