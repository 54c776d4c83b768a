//! The interface to a machine's operating system: every command that is sent to a machine is made here, for its
//! platform.
//!
//! * A command is data: the words, variables and input of a [`Command`](model::task::Command). A caller's value becomes
//!   an argument or standard input, never a part of a program.
//! * A path is a path of the machine's user: it begins at the user's home unless it is absolute, and no path is taken
//!   for an option.
//! * The output and the exit code of a command are documented at the method that makes it, and are the same on every
//!   platform.
//!
//! This crate does not run the commands, and it does not know the commands of a project.

mod copies;
mod files;
mod life;
pub mod linux;
mod shell;
pub mod tasks;

pub use copies::{Copies, IS_FILE};
pub use files::Files;
pub use life::{AgentFolders, FirstBoot, Life};
pub use shell::Shell;
pub use tasks::Tasks;

use model::machine::Platform;

/// All requests to a machine's operating system.
pub trait Guest: Shell + Tasks + Files + Copies + Life {}

impl<T: Shell + Tasks + Files + Copies + Life> Guest for T {}

/// The implementation for a platform.
pub fn of(platform: Platform) -> &'static dyn Guest {
    match platform {
        Platform::Linux => &linux::Linux,
    }
}
