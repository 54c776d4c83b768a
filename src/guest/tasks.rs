//! Tasks that outlive connections: where they lie, and what their supervisor is asked and answers.

use model::base::id::{RunId, TaskId};
use model::task::{Command, Offsets};

/// The line behind which a task's bytes begin, on both streams of a [`Request::Start`] and a [`Request::Follow`].
pub const FOLLOWS: &[u8] = b"hg-automation: output follows\n";

/// Exit code: the task was never started, and never will be.
pub const NEVER: u32 = 81;
/// Exit code: the machine was booted again since.
pub const OTHER_BOOT: u32 = 82;
/// Exit code: the supervisor has gone and left no record.
pub const VANISHED: u32 = 83;
/// Exit code: the task cannot be started; standard error says why.
pub const REFUSED: u32 = 84;

/// What a supervisor is asked about a task.
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
    /// The same, and follows it from the beginning.
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
    /// Sends on what it prints from these offsets until it has ended.
    Follow {
        /// What the caller has.
        from: Offsets,
        /// The boot that it was started in.
        boot: &'a str,
        /// Whether following ends when standard input ends, which is then the caller's to hold.
        watched: bool,
    },
    /// Prints the [`TaskRecord`](model::task::TaskRecord) as JSON on a line; fails where there is none yet.
    Record,
    /// Ends the task in an orderly way, and by force after so many seconds; returns when nothing of it runs.
    Cancel {
        /// Seconds.
        grace: u64,
    },
}

/// Asks a machine's system to keep tasks.
pub trait Tasks: Send + Sync {
    /// The folder for the files and tasks of a run, which lies where files for a short time do.
    fn run_folder(&self, run: &RunId) -> String;

    /// The folder for the steps of a bake, of which no image keeps anything.
    fn bake_folder(&self) -> &'static str;

    /// Makes `folder` the caller's alone, as [`Files::own_folder`](crate::Files::own_folder) does, puts the supervisor there and prints what identifies
    /// this boot on the last line.
    fn install_supervisor(&self, folder: &str) -> Command;

    /// The file whose content becomes the standard input of a task, where it is there before the start.
    fn task_input(&self, folder: &str, id: &TaskId) -> String;

    /// Asks the supervisor in `folder` about a task.
    fn supervise(&self, folder: &str, id: &TaskId, request: &Request<'_>) -> Command;

    /// Removes all of a run: runs the script called `clean` in `folder`, where it is there, then ends the tasks in there, and removes
    /// the folder as the last.
    fn remove_run(&self, folder: &str, clean: &str) -> Command;
}
