//! Fixtures that several parts use.

pub mod images;
pub mod leftovers;
pub mod mercurial;
pub mod sshd;
pub mod tool;
