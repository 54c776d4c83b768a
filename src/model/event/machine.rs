//! Events about one machine.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::text;
use crate::event::words::Words;
use crate::failure::Failure;
use crate::price::Quote;

/// Something happened to the machine that is the event's subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MachineEvent {
    /// The expected cost of the machine, before it is made.
    CostForeseen {
        /// Its price.
        quote: Quote,
        /// How long it may live.
        #[serde(with = "clock::seconds")]
        life: Duration,
    },
    /// The price of a machine whose cost has a limit is not known.
    CostUnknown,
    /// The cost of the machine up to its end.
    Cost {
        /// Its price.
        quote: Quote,
        /// How long it existed.
        #[serde(with = "clock::seconds")]
        age: Duration,
    },
    /// A launch was refused; another type or place is tried, where there is one.
    LaunchRefused {
        /// Why.
        failure: Failure,
    },
    /// The machine has ordinary capacity, because no spare capacity was available.
    NoSpareCapacity,
    /// The machine is not of the type that was requested first.
    TypeChosen {
        /// The type that it is of.
        instance_type: String,
    },
    /// The machine's root is root of this computer.
    RootIsRoot,
    /// The login shell prints something before a command's output.
    ShellPrints {
        /// The machine's user.
        user: String,
        /// The text that it prints.
        noise: String,
    },
    /// Some addresses are allowed to reach the machine.
    LettingIn {
        /// Ranges of addresses.
        ranges: Vec<String>,
    },
    /// It is not known whether this computer is still allowed to reach the machine.
    LetInUnknown {
        /// Why not.
        trouble: LetInTrouble,
    },
    /// The connection broke; the tasks on the machine go on.
    ConnectionLost {
        /// Why, in the connection's words.
        why: String,
    },
    /// There is a connection to the machine again.
    ConnectedAgain {
        /// How long there was none.
        #[serde(with = "clock::seconds")]
        after: Duration,
    },
    /// The output of a task on the machine could not be stored on this computer; it waits on the machine.
    OutputWaits {
        /// Why.
        failure: Failure,
    },
    /// The machine's lease could not be renewed: the machine will end by itself.
    LeaseNotRenewed {
        /// Why.
        failure: Failure,
    },
    /// Notice was given that the machine is taken back by whoever lends it.
    TakenBack {
        /// Who takes it back and what it was, in words.
        why: String,
        /// When it ends, where that is known.
        ends_at: Option<Timestamp>,
    },
    /// The machine could not be told to live on without its driver.
    NotLeft {
        /// When it may end.
        #[serde(with = "clock::seconds")]
        within: Duration,
        /// Why.
        failure: Failure,
    },
    /// A run on the machine that another process began is followed.
    Following {
        /// The run.
        run: crate::base::id::RunId,
    },
    /// The machine could not be released.
    NotReleased {
        /// Why.
        failure: Failure,
    },
    /// It is not known what is left of the machine.
    LeftUnknown {
        /// Why not.
        failure: Failure,
    },
}

/// The reason why it is not known whether this computer is allowed to reach a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetInTrouble {
    /// The check failed.
    Failed(Failure),
    /// There was no answer within this time.
    NoAnswer(#[serde(with = "clock::seconds")] Duration),
}

impl MachineEvent {
    pub(super) fn words(&self, id: &str) -> Words {
        match self {
            Self::CostForeseen { quote, life } => {
                let (most, span) = (quote.cost_text(*life), text::seconds(*life));
                Words::Notice(format!("{id}: {}; at most {most} until its expiry in {span}", quote.text()))
            }
            Self::CostUnknown => {
                Words::Warning("the cost is not known, so it is not held against the limit".to_owned())
            }
            Self::Cost { quote, age } => {
                let (cost, age) = (quote.cost_text(*age), text::seconds(*age));
                Words::Notice(format!("{id} cost {cost} in {age}, at {}", quote.text()))
            }
            Self::LaunchRefused { failure } => Words::Detail(failure.line()),
            Self::NoSpareCapacity => Words::Warning(format!("there is no spare capacity: {id} has ordinary capacity")),
            Self::TypeChosen { instance_type } => Words::Notice(format!("{id} is of type `{instance_type}`")),
            Self::RootIsRoot => {
                Words::Warning(format!("Root on {id} is root of this computer (`--privileged-machine`)."))
            }
            Self::ShellPrints { user, noise } => Words::Warning(format!(
                "the login shell of user `{user}` prints `{noise}` before the output of a command, which damages file transfers \
                 that go through it"
            )),
            Self::LettingIn { ranges } => Words::Notice(format!("Letting {} reach {id}", ranges.join(", "))),
            Self::LetInUnknown { trouble } => {
                Words::Detail(format!("cannot check whether this computer is still let in: {}", trouble.words()))
            }
            Self::ConnectionLost { why } => Words::Warning(format!(
                "the connection to {id} was lost ({why}); what runs there goes on, connecting again"
            )),
            Self::ConnectedAgain { after } => {
                Words::Notice(format!("connected to {id} again after {}", text::seconds(*after)))
            }
            Self::OutputWaits { failure } => {
                Words::Warning(format!("{}; trying again until there is room", failure.line()))
            }
            Self::LeaseNotRenewed { failure } => {
                Words::Warning(format!("cannot renew the lease of {id}, it will end by itself: {}", failure.line()))
            }
            Self::TakenBack { why, ends_at } => {
                let when = ends_at.map_or_else(|| "soon".to_owned(), |at| format!("at {at:.0}"));
                Words::Warning(format!("{id} ends {when}: {why}"))
            }
            Self::NotLeft { within, failure } => Words::Warning(format!(
                "{id} could not be told to live on and may end in {}: {}",
                text::seconds(*within),
                failure.line()
            )),
            Self::Following { run } => Words::Notice(format!("Following run {run} on {id}")),
            Self::NotReleased { failure } => Words::Warning(format!("cannot release {id}: {}", failure.line())),
            Self::LeftUnknown { failure } => {
                Words::Warning(format!("cannot tell what is left of {id}: {}", failure.line()))
            }
        }
    }
}

impl LetInTrouble {
    fn words(&self) -> String {
        match self {
            Self::Failed(failure) => failure.line(),
            Self::NoAnswer(time) => format!("no answer in {}", text::seconds(*time)),
        }
    }
}
