//! Preparing a machine for the work of a project: the interface between flows and a project's source.
//!
//! What prepares is described as data; the flow does it over connections that may break.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use crate::base::id::RunId;
use crate::build::Build;
use crate::event::{FilesEvent, Teller};
use crate::fault::Fault;
use crate::machine::Machine;
use crate::output::Output;
use crate::script::ScriptFile;
use crate::task::{Command, StepCommand, Terminal};

/// How a program on this computer is to reach a machine in place of `ssh`: our own program with its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshProgram {
    /// The program.
    pub program: PathBuf,
    /// The arguments before the file that describes the machine.
    pub args: Vec<String>,
}

/// Files, links and folders of this computer that are to lie on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesToSend {
    /// What they are files of, in words.
    pub name: String,
    /// The folder that they lie in here.
    pub from: PathBuf,
    /// Their paths below it; a folder comes before its entries and does not bring them by itself.
    pub paths: Vec<PathBuf>,
    /// The folder on the machine below which they get the same paths; it is made if it is missing.
    pub to: String,
    /// Where the machine remembers what it was sent, beside that folder: then only what differs is sent, and what an earlier sending put there
    /// and is not here any more is removed. None where all of it is sent.
    pub memory: Option<String>,
}

/// One job in the preparation of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A command on the machine, which must succeed.
    Step(Box<StepCommand>),
    /// The source is sent to the machine: [`Preparation::send`].
    Send,
    /// Files of this computer are sent to the machine, over the connection that is there.
    SendFiles(Box<FilesToSend>),
    /// The software under test is built.
    Build(Box<Build>),
}

/// The preparation of a machine for work on one source. Paths of its files are `folder/NAME`.
#[async_trait]
pub trait Preparation: Send + Sync {
    /// The files that it needs on the machine.
    fn files(&self) -> Vec<ScriptFile>;

    /// The jobs that prepare `machine`, in order.
    fn set_up(&self, folder: &str, machine: &Machine) -> Vec<Job>;

    /// Sends the source, by a process on this computer. `target` is a file for the tool's own `ssh` that says how to
    /// reach the machine.
    async fn send(&self, target: &Path, teller: &Teller) -> Result<(), Fault>;

    /// Explains the failure of a step of [`Preparation::set_up`]; none where the step's own output is explanation enough.
    fn explain(&self, step: &StepCommand, done: &Output) -> Option<Fault>;

    /// What a step that succeeded has to tell its user; none where that is nothing.
    fn remark(&self, _: &StepCommand, _: &Output) -> Option<FilesEvent> {
        None
    }

    /// What it brings to the machine, in words; none where that is nothing.
    fn brings(&self) -> Option<String>;

    /// A line for the machine's shell that brings a person to where the work is done, with the environment that it has there; none where
    /// that takes more than a line.
    fn place(&self) -> Option<String>;

    /// How it shares with other runs a machine that stays; none where it leaves nothing there and disturbs nobody.
    fn tenancy(&self) -> Option<Box<dyn Tenancy>>;
}

/// A file with secrets, which the program that it is for removes before it does anything else.
pub struct SecretFile {
    /// The folder of it, in memory alone; the program removes it as well.
    pub folder: String,
    /// Its path.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A user's command, on the source that its preparation brings to the machine.
pub trait UserCommand: Preparation {
    /// The settings, as JSON, from which another process can make it again once it was begun. No secret is in them.
    fn settings(&self) -> serde_json::Value;

    /// The folder on the machine to which relative patterns for artifacts refer.
    fn root(&self) -> &str;

    /// The step that runs it.
    fn run(&self, folder: &str) -> StepCommand;

    /// The command that runs it with a terminal, for a person who talks with it.
    fn run_on_terminal(&self, folder: &str, terminal: Terminal) -> Command;

    /// The secrets that the step expects on the machine; none where it has none.
    fn secrets(&self, folder: &str) -> Option<SecretFile>;

    /// The file on the machine that says why the command was not run, where that is the meaning of the exit status 125.
    fn excuse_file(&self, folder: &str) -> String;

    /// The command as one line, for people.
    fn line(&self) -> String;
}

/// How a project's work shares with other runs a machine that stays.
pub trait Tenancy: Send + Sync {
    /// The step that waits until no other run holds the machine, and then holds it for this run as long as the run has
    /// a driver or a task. It prints `waits RUN SINCE OWNER` while it waits for another run, and `held` at the end. The
    /// step's limit is that of waiting; a driver that gives no [`Tenancy::presence_command`] for `silence` counts as gone.
    fn hold(&self, folder: &str, run: &RunId, owner: &str, silence: Duration) -> StepCommand;

    /// The command that shows the machine that the run's driver is alive.
    fn presence_command(&self, folder: &str) -> Command;

    /// The folder to which a later run moves what an earlier one left below the work's folder before it takes the
    /// machine.
    fn aside_folder(&self, folder: &str) -> String;

    /// The step that removes what the work left.
    fn clean(&self, folder: &str) -> StepCommand;
}
