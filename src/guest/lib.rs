//! How we speak to a machine's system: every command that is sent to one is made here, as its platform has it.
//!
//! * A command is data: the words, variables and input of a [`Command`](model::task::Command). What a caller gives becomes an argument or
//!   standard input, never a part of a program.
//! * A path is one of the machine's user: it begins at the user's home unless it is absolute, and no path is taken for an option.
//! * What a command prints and how it ends is told beside the method that makes it, and is the same on every platform.
//!
//! What is absent: running anything, and what a project runs on a machine.

mod copies;
mod files;
mod life;
mod linux;
mod shell;
pub mod tasks;

pub use copies::{Copies, IS_FILE};
pub use files::Files;
pub use life::{AgentFolders, FirstBoot, Life};
pub use linux::{CHECK_CONTRACT, CLEANUP, COMPILE_BASE, HOLD, PREPARE_BASE};
pub use shell::Shell;
pub use tasks::Tasks;

use model::machine::Platform;

/// Everything that a machine's system is asked.
pub trait Guest: Shell + Tasks + Files + Copies + Life {}

impl<T: Shell + Tasks + Files + Copies + Life> Guest for T {}

/// How the system of a machine is spoken to.
pub fn of(platform: Platform) -> &'static dyn Guest {
    match platform {
        Platform::Linux => &linux::Linux,
    }
}
