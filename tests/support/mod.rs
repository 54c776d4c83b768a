//! Fixtures that several parts use.

pub mod sshd;
