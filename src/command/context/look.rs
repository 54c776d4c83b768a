//! What is there, by looking at every provider that is or was used here, beside what the journal says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::id::ResourceId;
use crate::command::context::Context;
use crate::model::event::AccountEvent;
use crate::model::fault::Fault;
use crate::model::journal::ResourceFilter;
use crate::model::machine::{ProviderKind, Sighting};
use crate::model::provider::Provider;
use crate::model::resource::{Observed, Resource};

/// The world as it was looked at, beside the open rows of the journal.
#[derive(Default)]
pub struct Looks {
    /// What was seen.
    pub observed: Vec<Observed>,
    /// The open rows, read after the look.
    pub open: Vec<Resource>,
    /// Those of them that the look could not have met.
    pub unseen: BTreeSet<ResourceId>,
    lookers: Vec<Arc<dyn Provider>>,
}

impl Looks {
    /// Whether the look would have met the resource if it were there.
    pub fn meets(&self, row: &Resource) -> bool {
        self.lookers.iter().any(|looker| looker.kind() == row.provider && looker.sees(row))
    }
}

impl Context {
    /// Looks at every provider that is or was used here, then reads the open rows with `read`: what a living run makes in
    /// between is in the journal by then.
    pub async fn looks(&self, read: impl Fn() -> Result<Vec<Resource>, Fault>) -> Result<Looks, Fault> {
        self.looks_unless(read, |has_rows, is_default| has_rows || is_default).await
    }

    /// Looks as far as it goes, for a listing: who cannot be asked is told of, and what it has is not seen. The provider that was
    /// asked for must answer, or an empty list would pass for its own.
    pub async fn looks_where_possible(&self) -> Result<Looks, Fault> {
        self.looks_unless(|| Ok(Vec::new()), |_, is_default| is_default).await
    }

    /// `refuses` says whether a provider that cannot be asked is a fault: it has open rows; it is the one that was asked for.
    async fn looks_unless(
        &self,
        read: impl Fn() -> Result<Vec<Resource>, Fault>,
        refuses: fn(bool, bool) -> bool,
    ) -> Result<Looks, Fault> {
        let mut looks = Looks::default();
        let open_before = read()?;
        for kind in [ProviderKind::Local, ProviderKind::Ec2, ProviderKind::Host] {
            let has_rows = open_before.iter().any(|row| row.provider == kind);
            if !has_rows && !self.is_looked_at(kind) {
                continue;
            }
            match self.look(kind, &open_before).await {
                Ok((provider, observed)) => {
                    looks.observed.extend(observed);
                    looks.lookers.push(provider);
                }
                // Rows that cannot be looked after must not pass for gone, nor for nothing.
                Err(fault) if refuses(has_rows, self.default_provider()? == kind) => return Err(fault),
                Err(fault) => self.not_looked_at(kind, &fault),
            }
        }
        looks.open = read()?;
        looks.unseen = looks.open.iter().filter(|row| !looks.meets(row)).map(|row| row.id.clone()).collect();
        Ok(looks)
    }

    async fn look(&self, kind: ProviderKind, open: &[Resource]) -> Result<(Arc<dyn Provider>, Vec<Observed>), Fault> {
        let provider = self.provider(kind).await?;
        let of_kind: Vec<Resource> = open.iter().filter(|row| row.provider == kind).cloned().collect();
        let mut observed = provider.observe().await?;
        observed.extend(provider.observe_open(&of_kind).await?);
        Ok((provider, observed))
    }

    /// Whether there may be machines of the provider that the journal does not know.
    fn is_looked_at(&self, kind: ProviderKind) -> bool {
        match kind {
            ProviderKind::Local => true,
            // The state directory gets its id when EC2 is used first.
            ProviderKind::Ec2 => {
                self.default_provider().is_ok_and(|kind| kind == ProviderKind::Ec2) || self.state.has_id()
            }
            ProviderKind::Host | ProviderKind::Dummy => false,
        }
    }

    /// The machines of every provider that was looked at, whoever made them. One that cannot be asked is told of, and is a fault
    /// where it is the one that was asked for.
    pub async fn survey(&self, looks: &Looks) -> Result<Vec<(ProviderKind, Sighting)>, Fault> {
        let mut seen = Vec::new();
        for provider in &looks.lookers {
            match provider.survey().await {
                Ok(sightings) => seen.extend(sightings.into_iter().map(|sighting| (provider.kind(), sighting))),
                Err(fault) if self.default_provider()? == provider.kind() => return Err(fault),
                Err(fault) => self.not_looked_at(provider.kind(), &fault),
            }
        }
        Ok(seen)
    }

    /// Ends the machines of everybody whose time is over and that are there all the same, and says so here and in the rows of
    /// those that the journal knows: their certificate tells who ended them.
    pub async fn end_expired(&self, looks: &Looks) -> Result<(), Fault> {
        for provider in &looks.lookers {
            let ended = match provider.end_expired().await {
                Ok(ended) => ended,
                Err(fault) => {
                    let provider = provider.kind().name().to_owned();
                    self.teller().tell(AccountEvent::ExpiredNotEnded { provider, failure: (&fault).into() });
                    continue;
                }
            };
            for (sighting, refused) in ended {
                self.tell_of_expired(&sighting, refused.as_deref())?;
            }
        }
        Ok(())
    }

    fn tell_of_expired(&self, sighting: &Sighting, refused: Option<&str>) -> Result<(), Fault> {
        let Sighting { id, owner, expires_at: expired_at, .. } = sighting.clone();
        if let Some(why) = refused {
            self.teller().tell(AccountEvent::ExpiredStays { id, owner, expired_at, why: why.to_owned() });
            return Ok(());
        }
        self.teller().tell(AccountEvent::ExpiredEnded { id, owner, expired_at });
        let since = expired_at.map(|at| format!("{at:.0}")).unwrap_or_default();
        let Ok(machine) = sighting.id.parse() else { return Ok(()) };
        let filter = ResourceFilter { machine: Some(machine), open: true, ..ResourceFilter::default() };
        for row in self.journal.resources(&filter)?.iter().filter(|row| row.kind.is_machine()) {
            self.journal.note(
                &row.id,
                &format!("it had expired at {since} and was there still: told to end by {}", self.owner),
            )?;
        }
        Ok(())
    }

    fn not_looked_at(&self, kind: ProviderKind, fault: &Fault) {
        let provider = kind.name().to_owned();
        self.teller().tell(AccountEvent::NotLookedAt { provider, failure: fault.into() });
    }
}
