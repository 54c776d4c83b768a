//! Work that a person waits for, as data, and the words for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::MachineId;
use crate::base::text;
use crate::filesystem::Filesystem;

/// The numbers of files and bytes that were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The work of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "doing", rename_all = "snake_case")]
pub enum Work {
    /// A machine is made, and connected to.
    Booting {
        /// The machine.
        machine: MachineId,
        /// The image's name.
        image: String,
    },
    /// A machine that is there already is connected to.
    Using {
        /// The machine, in words.
        machine: String,
    },
    /// The state of a machine becomes an image.
    TakingSnapshot {
        /// The machine.
        machine: MachineId,
        /// The image's name.
        image: String,
    },
    /// A machine is removed, with all that belongs to it.
    Releasing {
        /// The machine.
        machine: MachineId,
    },
    /// A machine that stays is let go of, once what the run put there is removed.
    Leaving {
        /// The machine, in words.
        machine: String,
    },
    /// A layer of an image is made.
    BakingLayer {
        /// The image's name.
        image: String,
        /// The description of the layer's step.
        layer: String,
        /// Its number among the image's layers, from 1.
        number: usize,
        /// How many layers the image has.
        of: usize,
    },
    /// Several layers of an image are made on one machine.
    BakingLayers {
        /// The image's name.
        image: String,
        /// How many.
        count: usize,
    },
    /// The work folder of the scripts is made.
    Preparing {
        /// The folder on the machine.
        folder: String,
        /// Its file system.
        filesystem: Filesystem,
    },
    /// The run waits, because another run holds the machine.
    WaitingForHolder {
        /// How long it waits at most.
        #[serde(with = "clock::seconds")]
        most: Duration,
        /// The run that holds the machine; none where the machine does not name it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<Holder>,
    },
    /// The machine is taken for this run.
    Holding,
    /// The source is sent.
    Pushing {
        /// The changeset.
        revision: String,
        /// The checkout on this computer.
        from: String,
    },
    /// The history of a source is made ready for its way.
    PackingHistory {
        /// The folder of the source.
        of: String,
    },
    /// Files of this computer are sent.
    SendingFiles {
        /// Their folder on this computer.
        from: String,
    },
    /// The user's own command makes the machine ready for the tests.
    SettingUp {
        /// The command, or the file with it, as the user wrote it.
        what: String,
    },
    /// The source is checked out.
    CheckingOut {
        /// The changeset.
        revision: String,
    },
    /// Uncommitted changes are applied.
    ApplyingChanges,
    /// The software under test is built.
    Building {
        /// Its name.
        what: String,
    },
    /// The software under test is built by another machine of the run, and taken from there.
    WaitingForBuild {
        /// Its name.
        what: String,
    },
    /// A package is signed on this computer.
    Signing {
        /// Its name.
        name: String,
    },
    /// A build that was kept is unpacked.
    RestoringBuild {
        /// The name of the built software.
        what: String,
    },
    /// The runner is asked for its tests.
    ListingTests,
    /// The tests run.
    RunningTests,
    /// A user's command runs.
    RunningCommand {
        /// The command, as a line for a shell.
        line: String,
    },
    /// The machine is checked against its contract, clause by clause.
    CheckingContract,
    /// Our files are removed from a machine that stays.
    RemovingFiles,
    /// Artifacts are fetched.
    FetchingArtifacts,
    /// Files that changed are brought back into the folder that they came from.
    SyncingBack,
    /// A folder is brought up to date.
    Synchronising {
        /// The folder on this computer.
        from: String,
        /// The folder on the machine.
        to: String,
    },
    /// A file or a folder is copied.
    Copying {
        /// The source, as the user wrote it.
        from: String,
        /// The target.
        to: String,
    },
    /// The files of a release are read, and checked.
    CheckingRelease {
        /// Its version.
        version: String,
        /// Their folder.
        from: String,
    },
    /// It is looked at what is published already.
    ComparingRelease {
        /// Its version.
        version: String,
    },
    /// The files of a release are published.
    Publishing {
        /// Its version.
        version: String,
        /// How many are sent, each to one place.
        files: usize,
    },
    /// A command runs on many machines.
    RunningOnMany {
        /// How many.
        machines: usize,
    },
}

/// A run that holds a machine, as the machine describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    pub run: String,
    /// The run's owner.
    pub owner: String,
    /// When the run began to hold the machine.
    pub since: String,
}

impl Holder {
    /// The words for a holder: `run R of ann@build1, which has held the machine since T`, or words for an unknown one.
    pub fn words(holder: Option<&Self>) -> String {
        match holder {
            Some(Self { run, owner, since }) => {
                format!("run {run} of {owner}, which has held the machine since {since}")
            }
            None => "a run of somebody else, who holds the machine".to_owned(),
        }
    }
}

impl Work {
    /// The words for the work under way, such as `Booting hg-… from …`: a sentence without a full stop.
    pub fn words(&self) -> String {
        match self {
            Self::Booting { machine, image } => format!("Booting {machine} from {image}"),
            Self::Using { machine } => format!("Using {machine}"),
            Self::TakingSnapshot { machine, image } => format!("Making the image {image} of {machine}"),
            Self::Releasing { machine } => format!("Releasing {machine}"),
            Self::Leaving { machine } => format!("Leaving {machine}, which stays"),
            Self::BakingLayer { image, layer, number, of } => format!("{image}: {layer} ({number}/{of})"),
            Self::BakingLayers { image, count } => format!("{image}: {count} steps on one machine"),
            Self::Preparing { folder, filesystem } => format!("Preparing {folder} (file system: {filesystem})"),
            Self::WaitingForHolder { most, holder } => {
                format!("Waiting at most {} for {}", text::seconds(*most), Holder::words(holder.as_ref()))
            }
            Self::Holding => "Holding the machine for this run".to_owned(),
            Self::Pushing { revision, from } => format!("Pushing {revision} from {from}"),
            Self::PackingHistory { of } => format!("Packing the history of {of}"),
            Self::SendingFiles { from } => format!("Sending the files of {from}"),
            Self::SettingUp { what } => format!("Setting up: {what}"),
            Self::CheckingOut { revision } => format!("Checking out {revision}"),
            Self::ApplyingChanges => "Applying uncommitted changes".to_owned(),
            Self::Building { what } => format!("Building {what}"),
            Self::WaitingForBuild { what } => format!("Waiting for the build of {what} by another machine"),
            Self::Signing { name } => format!("Signing {name}"),
            Self::RestoringBuild { what } => format!("Restoring the build of {what}"),
            Self::ListingTests => "Listing the tests".to_owned(),
            Self::RunningTests => "Running the tests".to_owned(),
            Self::RunningCommand { line } => format!("Running {line}"),
            Self::CheckingContract => "Checking the machine's contract".to_owned(),
            Self::RemovingFiles => "Removing our files".to_owned(),
            Self::FetchingArtifacts => "Fetching artifacts".to_owned(),
            Self::SyncingBack => "Bringing changed files back".to_owned(),
            Self::Synchronising { from, to } => format!("Synchronising {from} to {to}"),
            Self::Copying { from, to } => format!("Copying {from} to {to}"),
            Self::CheckingRelease { version, from } => format!("Checking the files of {version} in {from}"),
            Self::ComparingRelease { version } => format!("Looking at what is published of {version}"),
            Self::Publishing { version, files } => {
                format!("Publishing {version}: {}", text::pluralize(*files as u64, "upload"))
            }
            Self::RunningOnMany { machines } => format!("Running on {machines} machines"),
        }
    }

    /// The words for the work when it is done; none for work that reports its own result, and for mere waiting.
    pub fn done(&self, moved: Option<Moved>) -> Option<String> {
        match (self, moved) {
            (
                Self::WaitingForHolder { .. }
                | Self::WaitingForBuild { .. }
                | Self::Synchronising { .. }
                | Self::Copying { .. }
                | Self::RunningCommand { .. }
                | Self::RunningOnMany { .. },
                _,
            ) => None,
            (Self::FetchingArtifacts, Some(Moved { files, bytes })) => {
                Some(format!("Fetched {}, {}", text::pluralize(files, "artifact"), text::bytes(bytes)))
            }
            (Self::SyncingBack, Some(Moved { files, bytes })) => {
                Some(format!("Fetched {}, {}", text::pluralize(files, "changed file"), text::bytes(bytes)))
            }
            (Self::SendingFiles { from }, Some(Moved { files, bytes })) => {
                Some(format!("Sent {} of {from}, {}", text::pluralize(files, "file"), text::bytes(bytes)))
            }
            _ => Some(self.words()),
        }
    }
}
