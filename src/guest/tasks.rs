//! Tasks that outlive connections: their folders, and the requests to their supervisor and its answers.

use model::base::id::{RunId, TaskId};
use model::task::{Command, Offsets};

/// The line after which a task's bytes begin, on both streams of a [`Request::Start`] and a [`Request::Follow`].
pub const FOLLOWS: &[u8] = b"hg-automation: output follows\n";

/// Exit code: the task was never started, and never will be.
pub const NEVER: u32 = 81;
/// Exit code: the machine was rebooted since.
pub const OTHER_BOOT: u32 = 82;
/// Exit code: the supervisor is gone and left no record.
pub const VANISHED: u32 = 83;
/// Exit code: the task cannot be started; standard error says why.
pub const REFUSED: u32 = 84;

/// A request to the supervisor about a task.
#[derive(Debug, Clone, Copy)]
pub enum Request<'a> {
    /// Starts the task unless it was started before, and returns.
    Launch {
        /// The task.
        command: &'a Command,
        /// Most bytes kept of each stream.
        cap: u64,
        /// The boot that it must be started in.
        boot: &'a str,
    },
    /// Starts the task unless it was started before, and follows it from the beginning.
    Start {
        /// The task.
        command: &'a Command,
        /// Most bytes kept of each stream.
        cap: u64,
        /// The boot that it must be started in.
        boot: &'a str,
        /// Whether following ends when standard input ends, which is then the caller's to hold.
        watched: bool,
    },
    /// Sends the task's output from the given offsets on, until the task has ended.
    Follow {
        /// How much of the output the caller has.
        from: Offsets,
        /// The boot that it was started in.
        boot: &'a str,
        /// Whether following ends when standard input ends, which is then the caller's to hold.
        watched: bool,
    },
    /// Prints the [`TaskRecord`](model::task::TaskRecord) as one line of JSON; fails where there is none yet.
    Record,
    /// Ends the task in an orderly way, and by force after a grace period; returns when none of its processes runs.
    Cancel {
        /// The grace period in seconds.
        grace: u64,
    },
}

/// Asks a machine's system to run and keep tasks.
pub trait Tasks: Send + Sync {
    /// The folder for the files and tasks of a run, in the system's place for temporary files.
    fn run_folder(&self, run: &RunId) -> String;

    /// The folder for the steps of a bake; nothing in it gets into an image.
    fn bake_folder(&self) -> &'static str;

    /// Makes `folder` private to the caller, as [`Files::own_folder`](crate::Files::own_folder) does, puts the
    /// supervisor there and prints an identifier of this boot on the last line.
    fn install_supervisor(&self, folder: &str) -> Command;

    /// The file whose content becomes the standard input of a task, if it exists before the start.
    fn task_input(&self, folder: &str, id: &TaskId) -> String;

    /// Asks the supervisor in `folder` about a task.
    fn supervise(&self, folder: &str, id: &TaskId, request: &Request<'_>) -> Command;

    /// The file with the record of a task that has ended, where to read a file takes much less than to ask the supervisor.
    fn record_file(&self, _folder: &str, _id: &TaskId) -> Option<String> {
        None
    }

    /// The same command, to begin when the task `id` in `folder` has ended; none where the system has no such command.
    fn after(&self, _folder: &str, _id: &TaskId, _command: &Command) -> Option<Command> {
        None
    }

    /// Removes everything of a run: runs the script called `clean` in `folder`, if it is given and exists, then ends the
    /// tasks in the folder, and at last removes the folder.
    fn remove_run(&self, folder: &str, clean: Option<&str>) -> Command;
}
