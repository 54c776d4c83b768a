//! The interface to a machine's operating system: every command that is sent to a machine is made here, for its
//! platform.
//!
//! * A command is data: the words, variables and input of a [`Command`](model::task::Command). A caller's value becomes
//!   an argument or standard input, never a part of a program.
//! * A path is a path of the machine's user: it begins at the user's home unless it is absolute, and no path is taken
//!   for an option.
//! * The output and the exit code of a command are documented at the method that makes it, and are the same on every
//!   platform.
//! * How a command becomes what a login shell is told is the system's own matter: [`Shell::invocation`].
//! * A path of a Windows machine has the form `C:/folder/file`.
//!
//! This crate does not run the commands, and it does not know the commands of a project.

mod copies;
mod files;
mod life;
pub mod linux;
pub mod reach;
mod shell;
pub mod tasks;
pub mod trust;
pub mod windows;

pub use copies::{Copies, IS_FILE};
pub use files::Files;
pub use life::{Agent, AgentFolders, FirstBoot, Life};
pub use shell::{Invocation, Shell};
pub use tasks::Tasks;

use model::machine::Platform;

/// All requests to a machine's operating system.
pub trait Guest: Shell + Tasks + Files + Copies {
    /// The system's part in the life of a machine of a cloud; `None` where the tool does not make such machines.
    fn life(&self) -> Option<&dyn Life>;

    /// Commands and small files by an agent; `None` where the tool does not speak to the system's agent.
    fn agent(&self) -> Option<&dyn Agent>;
}

/// The implementation for a platform.
pub fn of(platform: Platform) -> &'static dyn Guest {
    match platform {
        Platform::Linux => &linux::Linux,
        Platform::Windows => &windows::Windows,
    }
}
