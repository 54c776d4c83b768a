//! What happens to images, their layers and what these are made of.

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
    /// Another process does what is needed here; it is waited for.
    WaitingForProcess {
        /// What it does.
        awaited: Awaited,
    },
    /// There is such an image, of people whose images are not used.
    OthersNotUsed {
        /// The image.
        fingerprint: Fingerprint,
        /// The people.
        owners: Vec<String>,
    },
    /// It is waited until machines can boot from the image.
    Waiting {
        /// What the provider calls it.
        id: String,
    },
    /// It is still waited for.
    Pending {
        /// What the provider calls it.
        id: String,
        /// For so long by now.
        #[serde(with = "clock::seconds")]
        waited: Duration,
    },
    /// A program that this computer lacks is brought in for the tool alone.
    BringingIn {
        /// The package that has it.
        package: String,
    },
    /// Where packages come from.
    PackagesFrom {
        /// The address of the mirror.
        mirror: String,
    },
}

/// What another process does meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// It makes a layer.
    Layer(Fingerprint),
    /// It brings in a program that this computer lacks.
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
                Words::Detail(format!("the image `{id}` is pending for {}", text::seconds(*waited)))
            }
            Self::BringingIn { package } => {
                Words::Detail(format!("bringing in `{package}` (it is not installed on this host)"))
            }
            Self::PackagesFrom { mirror } => Words::Detail(format!("packages come from {mirror}")),
        }
    }
}
