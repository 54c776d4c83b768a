//! Pieces of work that a person waits for, as data, and the words for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::id::MachineId;
use crate::base::text;
use crate::filesystem::Filesystem;

/// Files that were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is done in a step.
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
    /// A machine is removed, with all that belongs to it.
    Releasing {
        /// The machine.
        machine: MachineId,
    },
    /// A layer of an image is made.
    BakingLayer {
        /// The image's name.
        image: String,
        /// What the layer's step does.
        layer: String,
        /// Which of the image's layers it is, from 1.
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
    /// The scripts' folder for the work is made.
    Preparing {
        /// The folder on the machine.
        folder: String,
        /// Its file system.
        filesystem: Filesystem,
    },
    /// Another run holds the machine.
    WaitingForHolder {
        /// How long it is waited.
        #[serde(with = "clock::seconds")]
        most: Duration,
        /// For whom; none where the machine does not tell.
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
    /// The source is checked out.
    CheckingOut {
        /// The changeset.
        revision: String,
    },
    /// Uncommitted changes are applied.
    ApplyingChanges,
    /// What is tested is built.
    Building {
        /// What.
        what: String,
    },
    /// A build that was kept is put in its place.
    RestoringBuild {
        /// Of what.
        what: String,
    },
    /// The runner is asked for its tests.
    ListingTests,
    /// The tests run.
    RunningTests,
    /// The machine's contract is looked at, clause by clause.
    CheckingContract,
    /// Our files are removed from a machine that stays.
    RemovingFiles,
    /// Files are brought home.
    FetchingArtifacts,
    /// A folder is brought up to date.
    Synchronising {
        /// The folder here.
        from: String,
        /// The folder on the machine.
        to: String,
    },
    /// A file or a folder is copied.
    Copying {
        /// From where, as the user wrote it.
        from: String,
        /// To where.
        to: String,
    },
    /// A command runs on many machines.
    RunningOnMany {
        /// How many.
        machines: usize,
    },
}

/// A run that holds a machine, in the words of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    pub run: String,
    /// Whose it is.
    pub owner: String,
    /// Since when.
    pub since: String,
}

impl Holder {
    /// `run R of ann@build1, which has held the machine since T`; the words for one that does not tell where there is none.
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
    /// `Booting hg-… from …`: the beginning of a sentence, without its end.
    pub fn words(&self) -> String {
        match self {
            Self::Booting { machine, image } => format!("Booting {machine} from {image}"),
            Self::Releasing { machine } => format!("Releasing {machine}"),
            Self::BakingLayer { image, layer, number, of } => format!("{image}: {layer} ({number}/{of})"),
            Self::BakingLayers { image, count } => format!("{image}: {count} steps on one machine"),
            Self::Preparing { folder, filesystem } => format!("Preparing {folder} (file system: {filesystem})"),
            Self::WaitingForHolder { most, holder } => {
                format!("Waiting at most {} for {}", text::seconds(*most), Holder::words(holder.as_ref()))
            }
            Self::Holding => "Holding the machine for this run".to_owned(),
            Self::Pushing { revision, from } => format!("Pushing {revision} from {from}"),
            Self::CheckingOut { revision } => format!("Checking out {revision}"),
            Self::ApplyingChanges => "Applying uncommitted changes".to_owned(),
            Self::Building { what } => format!("Building {what}"),
            Self::RestoringBuild { what } => format!("Restoring the build of {what}"),
            Self::ListingTests => "Listing the tests".to_owned(),
            Self::RunningTests => "Running the tests".to_owned(),
            Self::CheckingContract => "Checking the machine's contract".to_owned(),
            Self::RemovingFiles => "Removing our files".to_owned(),
            Self::FetchingArtifacts => "Fetching artifacts".to_owned(),
            Self::Synchronising { from, to } => format!("Synchronising {from} to {to}"),
            Self::Copying { from, to } => format!("Copying {from} to {to}"),
            Self::RunningOnMany { machines } => format!("Running on {machines} machines"),
        }
    }

    /// The same when it is done; none of what tells by itself what it came to, and of mere waiting.
    pub fn done(&self, moved: Option<Moved>) -> Option<String> {
        match (self, moved) {
            (
                Self::WaitingForHolder { .. }
                | Self::Synchronising { .. }
                | Self::Copying { .. }
                | Self::RunningOnMany { .. },
                _,
            ) => None,
            (Self::FetchingArtifacts, Some(Moved { files, bytes })) => {
                Some(format!("Fetched {}, {}", text::counted(files, "artifact"), text::bytes(bytes)))
            }
            _ => Some(self.words()),
        }
    }
}
