//! The state directory and everything kept in it. Nothing here reads the environment: paths come in as arguments.
//!
//! * [`dir`]: the directory itself, its layout and its checks; the way in to everything else.
//! * [`settings`], that is `config.toml`.
//! * [`keys`]: the key pair with which this computer logs in to machines.
//! * [`journal`]: the record of resources, in SQLite.
//! * [`runs`], [`log`] and [`output`]: a folder per run, the log in it, and the task's output, which is kept to the byte.
//! * [`history`]: how long tests took.
//! * [`process`]: whether the driver of a run still lives.
//! * [`mod@file`]: atomic writes, and a lock between processes.
//!
//! Damaged files are named and left where they are: nothing here deletes a file that it did not make a moment before.

pub mod builds;
pub mod dir;
pub mod events;
pub mod file;
pub mod history;
pub mod journal;
pub mod keys;
pub mod log;
pub mod output;
mod private;
pub mod process;
pub mod run_store;
pub mod runs;
pub mod settings;
