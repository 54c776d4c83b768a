//! Emptying an account: an item that uses another goes first ([`ResourceKind::REMOVAL`]), every item is tried, every item
//! is checked afterwards.
//!
//! Nothing here knows which service is asked, or whether something may be removed; the [`Account`] has found only our
//! things.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use model::base::deadline::Deadline;
use model::event::{RemovalEvent, Teller};
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::ProviderKind;
use model::purge::{Account, Judgement, PurgeFilter, PurgeItem, PurgeOutcome};
use model::resource::{Fate, Resource, ResourceKind, ResourceState};
use tokio_util::sync::CancellationToken;

use crate::look::Estate;

/// The kinds that make machines, and the machines themselves.
pub const MACHINES: [ResourceKind; 2] = [ResourceKind::SpotRequest, ResourceKind::Instance];

/// How long to wait for items that were asked to go away.
#[derive(Debug, Clone, Copy)]
pub struct RemovalLimits {
    /// For instances, which shut down first: minutes, and longer for large ones.
    pub instances: Duration,
    /// For anything else, which goes at once but is seen to be gone only a little later.
    pub others: Duration,
}

impl Default for RemovalLimits {
    fn default() -> Self {
        Self { instances: Duration::from_secs(15 * 60), others: Duration::from_secs(60) }
    }
}

/// The pauses between two looks: short at first, for small things go at once.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The result of a search.
#[derive(Default)]
pub struct FoundItems {
    /// The items that are meant, in the order of removal, oldest first.
    pub items: Vec<PurgeItem>,
    /// Items that would be meant if they named an owner: they have only a name like ours, or a mark of the tool before
    /// this one.
    pub unowned: Vec<PurgeItem>,
    /// How many things each other person has.
    pub others: BTreeMap<String, usize>,
    /// Which of the items must stay, by kind and id, and which machine uses each, in words.
    pub used: BTreeMap<(&'static str, String), String>,
    /// The kinds that could not be looked at, and why.
    pub unseen: Vec<(ResourceKind, Fault)>,
}

/// Looks for everything of `kinds` that `filter` means. A kind that cannot be looked at does not hide the others; only
/// if none can be looked at, that is the fault.
pub async fn find(account: &dyn Account, kinds: &[ResourceKind], filter: &PurgeFilter) -> Result<FoundItems, Fault> {
    let searches = kinds.iter().map(|kind| async move { (*kind, account.find(*kind).await) });
    let mut found = FoundItems::default();
    for (kind, result) in join_all(searches).await {
        match result {
            Ok(items) => items.into_iter().for_each(|item| sort_in(&mut found, filter, item)),
            Err(fault) => found.unseen.push((kind, fault)),
        }
    }
    if found.unseen.len() == kinds.len() && !kinds.is_empty() {
        return Err(found.unseen.remove(0).1);
    }
    let order = |a: &PurgeItem, b: &PurgeItem| {
        (a.kind.wave(), a.kind.name(), a.created_at, &a.id).cmp(&(b.kind.wave(), b.kind.name(), b.created_at, &b.id))
    };
    found.items.sort_by(order);
    found.unowned.sort_by(order);
    found.used = find_used(account, &found.items).await;
    Ok(found)
}

fn sort_in(found: &mut FoundItems, filter: &PurgeFilter, item: PurgeItem) {
    match (filter.judge(&item), item.owner.clone()) {
        (Judgement::Meant, _) => found.items.push(item),
        (Judgement::NoOwner, _) => found.unowned.push(item),
        (Judgement::OtherOwner, Some(owner)) => *found.others.entry(owner).or_default() += 1,
        (Judgement::OtherOwner | Judgement::Young, _) => {}
    }
}

/// The items that are used by machines which are not among `items`. Where that cannot be found out, a use is assumed.
async fn find_used(account: &dyn Account, items: &[PurgeItem]) -> BTreeMap<(&'static str, String), String> {
    let ending = items.iter().filter(|item| item.kind == ResourceKind::Instance).map(|item| item.id.clone()).collect();
    let mut used = BTreeMap::new();
    for kind in ResourceKind::in_order_of_removal() {
        let ids: Vec<String> = items.iter().filter(|item| item.kind == kind).map(|item| item.id.clone()).collect();
        used.extend(users(account, kind, &ids, &ending).await.into_iter().map(|(id, why)| ((kind.name(), id), why)));
    }
    used
}

/// The reasons why some of `ids` must stay.
async fn users(
    account: &dyn Account,
    kind: ResourceKind,
    ids: &[String],
    ending: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    if ids.is_empty() {
        return BTreeMap::new();
    }
    account.users(kind, ids, ending).await.unwrap_or_else(|fault| {
        let why = format!("cannot find out whether a machine uses it: {}", fault.line());
        ids.iter().map(|id| (id.clone(), why.clone())).collect()
    })
}

/// A removal, with everything that it works with.
pub struct Removal<'a> {
    /// Where the items are.
    pub account: &'a dyn Account,
    /// Ends the work before the next batch.
    pub stop: &'a CancellationToken,
    /// Where progress is reported.
    pub teller: Teller,
    /// How long to wait.
    pub limits: RemovalLimits,
}

impl Removal<'_> {
    /// Removes `items` and checks that they are gone; gives the outcome of each, in the order of removal.
    pub async fn run(&self, items: &[PurgeItem]) -> Vec<PurgeOutcome> {
        let mut outcomes = Vec::with_capacity(items.len());
        for wave in ResourceKind::REMOVAL {
            let parts = wave.iter().map(|kind| {
                let part: Vec<&PurgeItem> = items.iter().filter(|item| item.kind == *kind).collect();
                async move { self.remove_kind(*kind, part).await }
            });
            outcomes.extend(join_all(parts).await.into_iter().flatten());
        }
        outcomes
    }

    /// Removes items of one kind.
    async fn remove_kind(&self, kind: ResourceKind, items: Vec<&PurgeItem>) -> Vec<PurgeOutcome> {
        if items.is_empty() {
            return Vec::new();
        }
        if !self.stop.is_cancelled() {
            let (count, place) = (items.len(), self.account.place().to_string());
            self.teller.tell(RemovalEvent::KindBegan { resource: kind, count, place });
        }
        let mut ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        // A machine may have come since the search, and one of those that were to end may still exist.
        let used = users(self.account, kind, &ids, &BTreeSet::new()).await;
        ids.retain(|id| !used.contains_key(id));
        let mut tried = Vec::new();
        let mut refused = BTreeMap::new();
        for batch in ids.chunks(self.account.batch(kind).max(1)) {
            if self.stop.is_cancelled() {
                break;
            }
            let refusals = self.account.remove(kind, batch).await;
            refused.extend(refusals.into_iter().map(|refusal| (refusal.id, refusal.reason)));
            tried.extend_from_slice(batch);
        }
        let looked = if tried.is_empty() { Ok(BTreeMap::new()) } else { self.wait(kind, &tried, &refused).await };
        let tried: BTreeSet<String> = tried.into_iter().collect();
        let fate = |item: &PurgeItem| match (&looked, refused.get(&item.id)) {
            _ if used.contains_key(&item.id) => Fate::Remains(used.get(&item.id).cloned().unwrap_or_default()),
            _ if !tried.contains(&item.id) => Fate::Remains("not tried: interrupted".to_owned()),
            (Ok(remaining), _) if !remaining.contains_key(&item.id) => Fate::Gone,
            (_, Some(reason)) => Fate::Remains(reason.clone()),
            (Err(fault), None) => Fate::Remains(format!("not seen gone: {}", fault.line())),
            (Ok(remaining), None) => {
                Fate::Remains(self.explain_unfinished(kind, remaining.get(&item.id).map_or("", String::as_str)))
            }
        };
        items.into_iter().map(|item| PurgeOutcome { item: item.clone(), fate: fate(item) }).collect()
    }

    /// Waits until everything that was not refused is gone, or the time is over; gives the items that exist then.
    async fn wait(
        &self,
        kind: ResourceKind,
        ids: &[String],
        refused: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let deadline = Deadline::after(self.limit(kind), format!("{} to go away", kind.pluralize(ids.len())));
        let mut pause = FIRST_PAUSE;
        loop {
            let remaining: BTreeMap<String, String> = self.account.remaining(kind, ids).await?.into_iter().collect();
            let going = remaining.keys().filter(|id| !refused.contains_key(*id)).count();
            if going == 0 || deadline.remaining().is_zero() || self.stop.is_cancelled() {
                return Ok(remaining);
            }
            self.teller.tell(RemovalEvent::Waiting { resource: kind, count: going });
            tokio::select! {
                () = tokio::time::sleep(pause.min(deadline.remaining())) => {}
                () = self.stop.cancelled() => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    fn limit(&self, kind: ResourceKind) -> Duration {
        if kind == ResourceKind::Instance { self.limits.instances } else { self.limits.others }
    }

    /// The reason for an item that exists although it was to go.
    fn explain_unfinished(&self, kind: ResourceKind, state: &str) -> String {
        let state = if state.is_empty() { "there".to_owned() } else { format!("`{state}`") };
        match self.stop.is_cancelled() {
            true => format!("its removal was asked for; still {state} when interrupted"),
            false => format!("its removal was asked for; still {state} after {:?}", self.limit(kind)),
        }
    }
}

/// Whether `row` is the journal's row for `item`, whose row is named `name`. The system's own ids are unique; a locator that
/// is only a name (a role's) counts where the whole name of the row is the same.
fn is_row_of(row: &Resource, item: &PurgeItem, name: Option<&str>) -> bool {
    if row.kind != item.kind || row.state == ResourceState::Gone {
        return false;
    }
    let only_named = item.name.as_ref() == Some(&item.id);
    match row.locator.as_deref() {
        Some(locator) if locator == item.id && !only_named => true,
        Some(locator) if !only_named && item.name.as_deref() != Some(locator) => false,
        _ => name == Some(row.name.as_str()),
    }
}

/// Closes the journal's rows of items that were seen gone from the account of a provider of `kind`, so that no audit
/// looks for them.
pub async fn close_rows(
    estate: &Estate<'_>,
    kind: ProviderKind,
    account: &dyn Account,
    outcomes: &[PurgeOutcome],
) -> Result<(), Fault> {
    let mut rows = estate.journal.resources(&ResourceFilter::default())?;
    rows.retain(|row| row.provider == kind && row.state != ResourceState::Gone);
    let mut closed = BTreeSet::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.fate == Fate::Gone && !rows.is_empty()) {
        let name = account.row_name(&outcome.item).await?;
        for row in rows.iter().filter(|row| is_row_of(row, &outcome.item, name.as_deref())) {
            estate.journal.mark_gone(&row.id, estate.teller.now())?;
            closed.insert(row.machine.clone());
        }
    }
    estate.forget_machines(closed.iter())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use model::purge::{OwnerScope, RemovalRefusal};

    /// An account in memory: `refuses` are ids with a reason, `lingers` is how many looks an item survives its removal.
    #[derive(Default)]
    struct Memory {
        items: Mutex<Vec<PurgeItem>>,
        refuses: BTreeMap<String, String>,
        lingers: BTreeMap<String, usize>,
        blind: bool,
        /// The items that machines use, and the machine of each.
        uses: BTreeMap<String, String>,
        asked: Mutex<Vec<(ResourceKind, Vec<String>)>>,
        going: Mutex<BTreeMap<String, usize>>,
        stop_after: Option<(usize, CancellationToken)>,
    }

    #[async_trait]
    impl Account for Memory {
        fn place(&self) -> &str {
            "memory"
        }

        fn kinds(&self) -> Vec<ResourceKind> {
            ResourceKind::in_order_of_removal().collect()
        }

        async fn row_name(&self, item: &PurgeItem) -> Result<Option<String>, Fault> {
            Ok(item.name.as_ref().map(|name| format!("memory/{name}")))
        }

        async fn find(&self, kind: ResourceKind) -> Result<Vec<PurgeItem>, Fault> {
            Ok(self.items.lock().unwrap().iter().filter(|item| item.kind == kind).cloned().collect())
        }

        async fn users(
            &self,
            _: ResourceKind,
            ids: &[String],
            ending: &BTreeSet<String>,
        ) -> Result<BTreeMap<String, String>, Fault> {
            let ended = |machine: &String| self.going.lock().unwrap().contains_key(machine) || ending.contains(machine);
            let used = self.uses.iter().filter(|(id, machine)| ids.contains(id) && !ended(machine));
            Ok(used.map(|(id, machine)| (id.clone(), format!("{machine} uses it"))).collect())
        }

        fn batch(&self, _: ResourceKind) -> usize {
            2
        }

        async fn remove(&self, kind: ResourceKind, ids: &[String]) -> Vec<RemovalRefusal> {
            self.asked.lock().unwrap().push((kind, ids.to_vec()));
            if let Some((count, stop)) = &self.stop_after
                && self.asked.lock().unwrap().len() == *count
            {
                stop.cancel();
            }
            let refusals: Vec<RemovalRefusal> = ids
                .iter()
                .filter_map(|id| Some(RemovalRefusal { id: id.clone(), reason: self.refuses.get(id)?.clone() }))
                .collect();
            for id in ids.iter().filter(|id| !self.refuses.contains_key(*id)) {
                let looks = self.lingers.get(id).copied().unwrap_or(0);
                self.going.lock().unwrap().insert(id.clone(), looks);
            }
            refusals
        }

        async fn remaining(&self, _: ResourceKind, ids: &[String]) -> Result<Vec<(String, String)>, Fault> {
            if self.blind {
                return Err(Fault::infrastructure("cannot look"));
            }
            let mut going = self.going.lock().unwrap();
            Ok(ids
                .iter()
                .filter(|id| match going.get_mut(*id) {
                    Some(0) => false,
                    Some(looks) => {
                        *looks -= 1;
                        true
                    }
                    None => true,
                })
                .map(|id| (id.clone(), "going".to_owned()))
                .collect())
        }
    }

    fn item(kind: ResourceKind, id: &str) -> PurgeItem {
        let (name, owner, why) = (None, Some("me".into()), String::new());
        PurgeItem { id: id.into(), kind, name, owner, why, created_at: None, state: String::new() }
    }

    const ALL: PurgeFilter = PurgeFilter { whose: OwnerScope::All, untagged: false, before: None };

    async fn remove(account: &Memory, stop: &CancellationToken) -> BTreeMap<String, Fate> {
        let found = find(account, &account.kinds(), &ALL).await.unwrap();
        let limits = RemovalLimits { instances: Duration::from_secs(20), others: Duration::from_secs(20) };
        let removal = Removal { account, stop, teller: Teller::silent(), limits };
        removal.run(&found.items).await.into_iter().map(|outcome| (outcome.item.id, outcome.fate)).collect()
    }

    fn account_with(items: &[(ResourceKind, &str)]) -> Memory {
        let items = items.iter().map(|(kind, id)| item(*kind, id)).collect();
        Memory { items: Mutex::new(items), ..Memory::default() }
    }

    #[test]
    fn a_row_is_found_by_id_or_by_its_whole_name() {
        let row = |kind, name: &str, locator: Option<&str>| Resource {
            id: "1".parse().unwrap(),
            run: "r".parse().unwrap(),
            machine: "hg-1".parse().unwrap(),
            provider: model::machine::ProviderKind::Dummy,
            kind,
            name: name.into(),
            locator: locator.map(str::to_owned),
            state: ResourceState::Present,
            planned_at: jiff::Timestamp::UNIX_EPOCH,
            gone_at: None,
            note: None,
        };
        let kind = ResourceKind::Instance;
        let instance = PurgeItem { name: Some("hg-1".into()), ..item(kind, "i-1") };
        let name = Some("1/west/hg-1");
        assert!(is_row_of(&row(kind, "1/east/other", Some("i-1")), &instance, name), "an id is enough");
        assert!(is_row_of(&row(kind, "1/west/hg-1", None), &instance, name), "a row whose answer was lost");
        assert!(!is_row_of(&row(kind, "1/west/hg-1", Some("i-2")), &instance, name), "another one of that name");
        assert!(!is_row_of(&row(kind, "1/east/hg-1", None), &instance, name), "another region");
        assert!(!is_row_of(&row(ResourceKind::Volume, "1/west/hg-1", Some("i-1")), &instance, name), "another kind");
        let role = PurgeItem { name: Some("hg-r".into()), ..item(ResourceKind::Role, "hg-r") };
        let name = Some("1/iam/hg-r");
        assert!(is_row_of(&row(ResourceKind::Role, "1/iam/hg-r", Some("hg-r")), &role, name));
        assert!(is_row_of(&row(ResourceKind::Role, "1/iam/hg-r", Some("arn:hg-r")), &role, name));
        assert!(!is_row_of(&row(ResourceKind::Role, "2/iam/hg-r", Some("hg-r")), &role, name), "another account");
        let pair = PurgeItem { name: Some("hg-k".into()), ..item(ResourceKind::KeyPair, "hg-k") };
        assert!(is_row_of(&row(ResourceKind::KeyPair, "1/west/hg-k", Some("hg-k")), &pair, Some("1/west/hg-k")));
        assert!(!is_row_of(&row(ResourceKind::KeyPair, "1/east/hg-k", Some("hg-k")), &pair, Some("1/west/hg-k")));
        let gone = Resource { state: ResourceState::Gone, ..row(kind, "1/west/hg-1", Some("i-1")) };
        assert!(!is_row_of(&gone, &instance, None));
    }

    #[tokio::test(start_paused = true)]
    async fn users_go_before_what_they_use() {
        let all = ResourceKind::ALL.map(|kind| (kind, kind.name()));
        let account = account_with(&all);
        let fates = remove(&account, &CancellationToken::new()).await;
        assert!(fates.len() == all.len() && fates.values().all(|fate| *fate == Fate::Gone), "{fates:?}");
        let asked: Vec<ResourceKind> = account.asked.lock().unwrap().iter().map(|(kind, _)| *kind).collect();
        assert!(asked.is_sorted_by_key(|kind| kind.wave()), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_stops_no_other_and_says_why() {
        let kind = ResourceKind::MachineImage;
        let mut account = account_with(&[(kind, "a"), (kind, "b"), (kind, "c"), (ResourceKind::Snapshot, "s")]);
        account.refuses.insert("b".into(), "denied".into());
        let fates = remove(&account, &CancellationToken::new()).await;
        assert_eq!(fates["b"], Fate::Remains("denied".into()));
        assert!(["a", "c", "s"].iter().all(|id| fates[*id] == Fate::Gone), "{fates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_living_machine_uses_is_not_asked_to_go() {
        let role = ResourceKind::Role;
        let mut account = account_with(&[(ResourceKind::Instance, "mine"), (role, "shared"), (role, "own")]);
        account.uses.insert("shared".into(), "theirs".into());
        account.uses.insert("own".into(), "mine".into());
        let found = find(&account, &account.kinds(), &ALL).await.unwrap();
        assert_eq!(found.used, BTreeMap::from([(("role", "shared".to_owned()), "theirs uses it".to_owned())]));
        let fates = remove(&account, &CancellationToken::new()).await;
        assert_eq!(fates["shared"], Fate::Remains("theirs uses it".into()));
        assert_eq!((&fates["mine"], &fates["own"]), (&Fate::Gone, &Fate::Gone));
        let asked = account.asked.lock().unwrap().iter().flat_map(|(_, ids)| ids.clone()).collect::<Vec<_>>();
        assert!(!asked.contains(&"shared".to_owned()), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_item_that_is_not_there_is_gone() {
        let mut account = account_with(&[(ResourceKind::Snapshot, "s")]);
        account.refuses.insert("s".into(), "no whole answer came".into());
        account.going.lock().unwrap().insert("s".into(), 0);
        assert_eq!(remove(&account, &CancellationToken::new()).await["s"], Fate::Gone);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lingers_is_waited_for_within_a_limit() {
        let mut account = account_with(&[(ResourceKind::Instance, "slow"), (ResourceKind::Instance, "stuck")]);
        account.lingers.insert("slow".into(), 3);
        account.lingers.insert("stuck".into(), usize::MAX);
        // The clock of `Deadline` is the system's: a limit of zero is over at once.
        let found = find(&account, &account.kinds(), &ALL).await.unwrap();
        let limits = RemovalLimits { instances: Duration::from_millis(50), others: Duration::ZERO };
        let stop = CancellationToken::new();
        let removal = Removal { account: &account, stop: &stop, teller: Teller::silent(), limits };
        let outcomes = removal.run(&found.items).await;
        let fate = |id: &str| outcomes.iter().find(|o| o.item.id == id).unwrap().fate.clone();
        assert_eq!(fate("slow"), Fate::Gone);
        assert!(matches!(fate("stuck"), Fate::Remains(why) if why.contains("still `going` after 50ms")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_looked_at_is_not_called_gone() {
        let account = Memory { blind: true, ..account_with(&[(ResourceKind::KeyPair, "k")]) };
        let fates = remove(&account, &CancellationToken::new()).await;
        assert!(matches!(&fates["k"], Fate::Remains(why) if why.contains("cannot look")), "{fates:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_interruption_ends_it_before_the_next_batch() {
        let kind = ResourceKind::Instance;
        let mut account = account_with(&[(kind, "a"), (kind, "b"), (kind, "c"), (ResourceKind::KeyPair, "k")]);
        let stop = CancellationToken::new();
        account.stop_after = Some((1, stop.clone()));
        let fates = remove(&account, &stop).await;
        assert_eq!(account.asked.lock().unwrap().len(), 1);
        assert_eq!((&fates["a"], &fates["b"]), (&Fate::Gone, &Fate::Gone));
        assert_eq!((&fates["c"], &fates["k"]), (&fates["k"], &Fate::Remains("not tried: interrupted".into())));
    }
}
