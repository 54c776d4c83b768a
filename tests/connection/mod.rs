//! The connection adapter, against a real OpenSSH server, broken servers and the dummy.

mod broken;
mod changing;
mod contract;
mod files;
mod interactive;
mod large;
mod login;
mod one_file;
mod trees;

use support::commands::{LIMIT, connect, drain, run, sh, try_connect};
