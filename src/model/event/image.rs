//! Events about images, their layers and the ingredients of layers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::text;
use crate::event::words::Words;
use crate::image::Fingerprint;

/// Something happened to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ImageEvent {
    /// The run waits for another process that makes something needed here.
    WaitingForProcess {
        /// The work of that process.
        awaited: Awaited,
    },
    /// Other people have such an image, but their images are not used.
    OthersNotUsed {
        /// The image.
        fingerprint: Fingerprint,
        /// The people.
        owners: Vec<String>,
    },
    /// The run waits until machines can boot from the image.
    Waiting {
        /// The provider's name for it.
        id: String,
    },
    /// The run still waits for the image.
    Pending {
        /// The provider's name for it.
        id: String,
        /// How long the run has waited by now.
        #[serde(with = "clock::seconds")]
        waited: Duration,
    },
    /// A machine starts from an image that somebody else publishes for a cloud.
    StartsFrom {
        /// The provider's name for it.
        id: String,
        /// How old it is.
        #[serde(with = "clock::seconds")]
        age: Duration,
    },
    /// A program that this computer lacks is installed for the tool alone.
    BringingIn {
        /// The package that has it.
        package: String,
    },
    /// Packages come from a mirror.
    PackagesFrom {
        /// The address of the mirror.
        mirror: String,
    },
}

/// The work of another process that a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// It makes a layer.
    Layer(Fingerprint),
    /// It installs a program that this computer lacks.
    Tool,
}

impl ImageEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::WaitingForProcess { awaited } => {
                let doing = match awaited {
                    Awaited::Layer(fingerprint) => format!("makes the layer `{}`", fingerprint.short()),
                    Awaited::Tool => "brings in a tool".to_owned(),
                };
                Words::Notice(format!("Another process {doing}; waiting for it."))
            }
            Self::OthersNotUsed { fingerprint, owners } => Words::Notice(format!(
                "There is an image {} of {} that is not used: `--trust-images-of OWNER` uses another person's.",
                fingerprint.short(),
                owners.join(", ")
            )),
            Self::Waiting { id } => Words::Detail(format!("waiting for the image `{id}`")),
            Self::Pending { id, waited } => {
                Words::Detail(format!("the image `{id}` has been pending for {}", text::seconds(*waited)))
            }
            Self::StartsFrom { id, age } => {
                let days = age.as_secs() / (24 * 3600);
                Words::Notice(format!("Starting from the published image `{id}`, which is {days} days old"))
            }
            Self::BringingIn { package } => {
                Words::Detail(format!("bringing in `{package}` (it is not installed on this host)"))
            }
            Self::PackagesFrom { mirror } => Words::Detail(format!("packages come from {mirror}")),
        }
    }
}
