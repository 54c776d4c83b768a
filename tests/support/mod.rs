//! Fixtures that several parts use.

#[cfg(feature = "ec2")]
pub mod aws;
pub mod images;
pub mod keep;
pub mod leftovers;
pub mod machine;
pub mod memory;
pub mod mercurial;
pub mod mounts;
pub mod proxy;
pub mod sshd;
pub mod supervised;
pub mod tool;
