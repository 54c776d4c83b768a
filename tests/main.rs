//! The tests of the whole; one binary, so that it links once.

// `clippy.toml` allows these in test functions; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod cli;
mod connection;
mod documents;
mod flow;
mod layering;
mod local_provider;
mod remote;
mod state;
mod windows;
mod windows_image;
