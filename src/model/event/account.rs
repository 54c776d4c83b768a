//! Events about an account as a whole, apart from those of one machine.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::words::Words;
use crate::failure::Failure;

/// Something was found in an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AccountEvent {
    /// The price of a machine is not known.
    PriceUnknown {
        /// The machine's type.
        instance_type: String,
        /// Why not.
        failure: Failure,
    },
    /// Our role allows more than the tool needs.
    RoleAllowsMore {
        /// The role.
        role: String,
        /// Its policies that are not ours.
        policies: Vec<String>,
    },
    /// Our security group lets in more than the tool needs, by rules that somebody else added.
    GroupLetsInMore {
        /// The group.
        group: String,
        /// The only port that is needed.
        port: u16,
        /// The additional rules.
        rules: Vec<String>,
    },
    /// Machines of a provider could not be listed.
    NotLookedAt {
        /// The provider.
        provider: String,
        /// Why not.
        failure: Failure,
    },
    /// Expired machines of a provider could not be ended.
    ExpiredNotEnded {
        /// The provider.
        provider: String,
        /// Why not.
        failure: Failure,
    },
    /// An expired machine still existed, and was told to end.
    ExpiredEnded {
        /// The machine's name.
        id: String,
        /// The machine's owner; none where it names none.
        owner: Option<String>,
        /// When it expired.
        expired_at: Option<Timestamp>,
    },
    /// An expired machine still exists, and ending it was refused.
    ExpiredStays {
        /// The machine's name.
        id: String,
        /// The machine's owner; none where it names none.
        owner: Option<String>,
        /// When it expired.
        expired_at: Option<Timestamp>,
        /// Why it was refused.
        why: String,
    },
}

impl AccountEvent {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::PriceUnknown { instance_type, failure } => {
                Words::Warning(format!("The price of `{instance_type}` is not known: {}.", failure.line()))
            }
            Self::RoleAllowsMore { role, policies } => Words::Warning(format!(
                "the role `{role}` has policies that this tool does not need: {}",
                policies.join(", ")
            )),
            Self::GroupLetsInMore { group, port, rules } => Words::Warning(format!(
                "the security group `{group}` lets in more than port {port}, by rules that are not yours: {}",
                rules.join(", ")
            )),
            Self::NotLookedAt { provider, failure } => {
                Words::Warning(format!("`{provider}` was not looked at: {}", failure.line()))
            }
            Self::ExpiredNotEnded { provider, failure } => {
                Words::Warning(format!("expired machines of `{provider}` were not ended: {}", failure.line()))
            }
            Self::ExpiredEnded { id, owner, expired_at } => {
                let (owner, since) = (owner_name(owner), format_time(*expired_at));
                Words::Notice(format!("Told {id} of {owner} to end: it expired at {since} and still existed."))
            }
            Self::ExpiredStays { id, owner, expired_at, why } => {
                let (owner, since) = (owner_name(owner), format_time(*expired_at));
                Words::Warning(format!("{id} of {owner} expired at {since} and cannot be ended: {why}"))
            }
        }
    }
}

fn owner_name(owner: &Option<String>) -> &str {
    owner.as_deref().unwrap_or("nobody")
}

fn format_time(expired_at: Option<Timestamp>) -> String {
    expired_at.map(|at| format!("{at:.0}")).unwrap_or_default()
}
