//! What the machines of a run have cost so far.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::base::clock;
use model::base::id::MachineId;
use model::event::MachineEvent;
use model::price::{Quote, amount};

/// The machines that cost something.
#[derive(Debug, Default)]
pub(super) struct Bill {
    machines: BTreeMap<MachineId, Item>,
    currency: String,
}

#[derive(Debug)]
enum Item {
    /// It is there, or about to be, since then.
    Running(Quote, Timestamp),
    /// It is over.
    Settled(f64),
}

impl Bill {
    /// Takes what an event says of the cost of a machine.
    pub(super) fn take(&mut self, machine: &MachineId, event: &MachineEvent, at: Timestamp) {
        let (quote, item) = match event {
            MachineEvent::CostForeseen { quote, .. } => (quote, Item::Running(quote.clone(), at)),
            MachineEvent::Cost { quote, age } => (quote, Item::Settled(quote.cost(*age))),
            _ => return,
        };
        self.currency.clone_from(&quote.currency);
        self.machines.insert(machine.clone(), item);
    }

    /// The machine is no more; what it cost was told before, or is what it cost up to now.
    pub(super) fn settle(&mut self, machine: &MachineId, at: Timestamp) {
        if let Some(item) = self.machines.get_mut(machine) {
            *item = Item::Settled(item.cost(at));
        }
    }

    /// The cost of all of them, such as `0.0312 USD`; none where nothing costs anything.
    pub(super) fn words(&self, now: Timestamp) -> Option<String> {
        let sum: f64 = self.machines.values().map(|item| item.cost(now)).sum();
        (!self.machines.is_empty()).then(|| format!("{} {}", amount(sum), self.currency))
    }
}

impl Item {
    fn cost(&self, now: Timestamp) -> f64 {
        match self {
            Self::Running(quote, since) => quote.cost(clock::since(*since, now)),
            Self::Settled(cost) => *cost,
        }
    }
}
