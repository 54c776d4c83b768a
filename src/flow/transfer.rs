//! Files between this computer and a machine, there and back.

pub mod artifacts;
pub mod sync;
pub mod sync_back;
