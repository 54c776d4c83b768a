//! Finding everything that is ours, by looking at every provider that is or was used here, beside the journal.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::base::id::{MachineId, ResourceId};
use model::event::{AccountEvent, Teller};
use model::fault::Fault;
use model::journal::{Journal, ResourceFilter};
use model::machine::{ProviderKind, Sighting};
use model::provider::Provider;
use model::resource::{ObservedResource, Resource};
use model::run::{Driver, RunRecord};

use crate::site::{Sites, observe};

/// Everything that is ours, for work outside of any run: the journal, and the sites where our things are.
#[derive(Clone)]
pub struct Estate<'a> {
    /// The sites where our things are.
    pub sites: &'a dyn Sites,
    /// The records of them.
    pub journal: &'a dyn Journal,
    /// Reports what happens, and knows the time.
    pub teller: Teller,
    /// The person who asked for the work, for the record.
    pub owner: String,
    /// Whether the process of a driver lives.
    pub alive: fn(&Driver) -> bool,
}

/// The result of a look at the world, beside the open rows of the journal.
#[derive(Default)]
pub struct LookResult {
    /// The things that were seen.
    pub observed: Vec<ObservedResource>,
    /// The open rows, read after the look.
    pub open: Vec<Resource>,
    /// The open rows whose resources the look could not have seen.
    pub unseen: BTreeSet<ResourceId>,
    /// The providers that were to be looked at and could not be; no open row is theirs.
    pub unasked: Vec<ProviderKind>,
    lookers: Vec<Arc<dyn Provider>>,
}

/// Whether a look of `looker` sees the resource if it exists.
fn sees(looker: &dyn Provider, row: &Resource) -> bool {
    looker.abilities().horizon.is_none_or(|horizon| horizon.can_see(row))
}

impl LookResult {
    /// The result where nothing was looked at: whatever the `open` rows name may exist.
    pub(crate) fn of_record(open: Vec<Resource>) -> Self {
        let unseen = open.iter().map(|row| row.id.clone()).collect();
        Self { open, unseen, ..Self::default() }
    }

    /// Whether the look would have seen the resource if it existed.
    pub fn covers(&self, row: &Resource) -> bool {
        self.lookers.iter().any(|looker| looker.kind() == row.provider && sees(looker.as_ref(), row))
    }
}

impl Estate<'_> {
    /// [`RunRecord::is_driven`], by what is known of drivers here.
    pub fn is_driven(&self, run: &RunRecord) -> bool {
        run.is_driven(self.alive)
    }

    /// Looks at every provider that is or was used here, then reads the open rows: what a living run makes in between
    /// is in the journal by then. Fails if a provider that has open rows, or was asked for, cannot be looked at: its
    /// resources must not pass for gone.
    pub async fn look(&self) -> Result<LookResult, Fault> {
        let open_before = self.open_rows()?;
        let mut looks = self.look_at(&open_before).await?;
        looks.open = self.open_rows()?;
        looks.unseen = looks.open.iter().filter(|row| !looks.covers(row)).map(|row| row.id.clone()).collect();
        Ok(looks)
    }

    /// Asks all `machines` to end, where their provider can be asked for many at once: whoever waits for one after the
    /// other afterwards waits once.
    pub async fn end_together(&self, machines: Vec<Resource>) -> Result<(), Fault> {
        let mut by_provider: HashMap<ProviderKind, Vec<Resource>> = HashMap::new();
        for row in machines {
            by_provider.entry(row.provider).or_default().push(row);
        }
        for (kind, rows) in by_provider {
            let provider = self.sites.site(kind).await?.provider;
            if let Some(ending) = provider.abilities().ending {
                ending.end_all(&rows).await;
            }
        }
        Ok(())
    }

    /// Looks as far as possible, for a listing: a provider that cannot be asked is reported, and its things are not
    /// seen. The provider that was asked for must answer, or an empty list would pass for its own.
    pub async fn look_where_possible(&self) -> Result<LookResult, Fault> {
        self.look_at(&[]).await
    }

    /// Forgets those of `machines` of which no row is open any more.
    pub fn forget_machines<'a>(&self, machines: impl Iterator<Item = &'a MachineId>) -> Result<(), Fault> {
        for machine in machines.collect::<BTreeSet<_>>() {
            let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
            if self.journal.resources(&filter)?.is_empty() {
                self.journal.forget_machine(machine)?;
            }
        }
        Ok(())
    }

    fn open_rows(&self) -> Result<Vec<Resource>, Fault> {
        self.journal.resources(&ResourceFilter { open: true, ..ResourceFilter::default() })
    }

    /// Looks at the providers that are watched and at those of the `open` rows.
    async fn look_at(&self, open: &[Resource]) -> Result<LookResult, Fault> {
        let mut looks = LookResult::default();
        let mut kinds = self.sites.watched_providers();
        for row in open {
            if !kinds.contains(&row.provider) {
                kinds.push(row.provider);
            }
        }
        for kind in kinds {
            let rows: Vec<Resource> = open.iter().filter(|row| row.provider == kind).cloned().collect();
            match self.look_at_one(kind, &rows).await {
                Ok((provider, observed)) => {
                    looks.observed.extend(observed);
                    looks.lookers.push(provider);
                }
                // Rows that cannot be checked must not pass for gone, nor for none.
                Err(fault) if !rows.is_empty() || self.sites.chosen_provider()? == kind => return Err(fault),
                Err(fault) => {
                    self.report_not_looked_at(kind, &fault);
                    looks.unasked.push(kind);
                }
            }
        }
        Ok(looks)
    }

    async fn look_at_one(
        &self,
        kind: ProviderKind,
        open: &[Resource],
    ) -> Result<(Arc<dyn Provider>, Vec<ObservedResource>), Fault> {
        let provider = self.sites.site(kind).await?.provider;
        let observed = observe(provider.as_ref(), open).await?;
        Ok((provider, observed))
    }

    /// The machines of every provider that was looked at, whoever made them. A provider that cannot be asked is
    /// reported, and is a fault if it is the one that was asked for.
    pub async fn survey(&self, looks: &LookResult) -> Result<Vec<(ProviderKind, Sighting)>, Fault> {
        let mut seen = Vec::new();
        for provider in &looks.lookers {
            let Some(survey) = provider.abilities().survey else { continue };
            match survey.survey().await {
                Ok(sightings) => seen.extend(sightings.into_iter().map(|sighting| (provider.kind(), sighting))),
                Err(fault) if self.sites.chosen_provider()? == provider.kind() => return Err(fault),
                Err(fault) => self.report_not_looked_at(provider.kind(), &fault),
            }
        }
        Ok(seen)
    }

    /// Ends everybody's machines whose time is over and that still exist. It is reported here and noted in the rows of
    /// those that the journal knows: their certificate says who ended them.
    pub async fn end_expired(&self, looks: &LookResult) -> Result<(), Fault> {
        for provider in &looks.lookers {
            let Some(survey) = provider.abilities().survey else { continue };
            let ended = match survey.end_expired().await {
                Ok(ended) => ended,
                Err(fault) => {
                    let provider = provider.kind().name().to_owned();
                    self.teller.tell(AccountEvent::ExpiredNotEnded { provider, failure: (&fault).into() });
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
            self.teller.tell(AccountEvent::ExpiredStays { id, owner, expired_at, why: why.to_owned() });
            return Ok(());
        }
        self.teller.tell(AccountEvent::ExpiredEnded { id, owner, expired_at });
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

    fn report_not_looked_at(&self, kind: ProviderKind, fault: &Fault) {
        let provider = kind.name().to_owned();
        self.teller.tell(AccountEvent::NotLookedAt { provider, failure: fault.into() });
    }
}
