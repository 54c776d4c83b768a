//! What is met in an account, apart from one machine.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::words::Words;
use crate::failure::Failure;

/// Something was met in an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AccountEvent {
    /// No price could be had.
    PriceUnknown {
        /// Of a machine of this type.
        instance_type: String,
        /// Why not.
        failure: Failure,
    },
    /// Our role allows more than the tool needs.
    RoleAllowsMore {
        /// The role.
        role: String,
        /// The policies beyond ours.
        policies: Vec<String>,
    },
    /// Our security group lets in more than the tool needs, by rules of others.
    GroupLetsInMore {
        /// The group.
        group: String,
        /// The only port that is needed.
        port: u16,
        /// What is let in beside.
        rules: Vec<String>,
    },
    /// Machines of a provider could not be listed.
    NotLookedAt {
        /// The provider.
        provider: String,
        /// Why not.
        failure: Failure,
    },
    /// Machines of a provider whose time is over could not be ended.
    ExpiredNotEnded {
        /// The provider.
        provider: String,
        /// Why not.
        failure: Failure,
    },
    /// A machine was there although its time was over, and was told to end.
    ExpiredEnded {
        /// What it is called.
        id: String,
        /// Whose it is; none where it does not say.
        owner: Option<String>,
        /// When its time was over.
        expired_at: Option<Timestamp>,
    },
    /// The same, and that was refused.
    ExpiredStays {
        /// What it is called.
        id: String,
        /// Whose it is; none where it does not say.
        owner: Option<String>,
        /// When its time was over.
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
                let (owner, since) = (whose(owner), since(*expired_at));
                Words::Notice(format!("Told {id} of {owner} to end: it has expired at {since} and was there still."))
            }
            Self::ExpiredStays { id, owner, expired_at, why } => {
                let (owner, since) = (whose(owner), since(*expired_at));
                Words::Warning(format!("{id} of {owner} has expired at {since} and cannot be ended: {why}"))
            }
        }
    }
}

fn whose(owner: &Option<String>) -> &str {
    owner.as_deref().unwrap_or("nobody")
}

fn since(expired_at: Option<Timestamp>) -> String {
    expired_at.map(|at| format!("{at:.0}")).unwrap_or_default()
}
