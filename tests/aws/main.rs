//! The side of AWS, against the emulator.

// `clippy.toml` allows these in test functions; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

pub(crate) mod cli;
mod commands;
mod decision;
mod emulated;
mod emulator;
mod first_boot;
mod images;
mod launch;
mod lines;
mod machines;
mod notice;
mod policy;
mod prices;
mod purge;
mod purge_troubles;
mod releases;
mod snapshots;
mod ssm;
mod r#try;
mod windows;
mod windows_machines;
mod windows_packages;

/// The newest image of Debian 12.
const DEBIAN: &str = "ami-0deb12000000a0002";
