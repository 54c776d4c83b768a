//! The steps that `terminate-ec2-instances` and `purge-ec2-resources` share: look, show, ask, remove, report the fate
//! of each thing.

use std::collections::BTreeSet;
use std::time::Duration;

use flow::purge::{FoundItems, Removal, RemovalLimits, close_rows, find};
use flow::site::Sites;
use jiff::{SignedDuration, Timestamp};
use model::base::text;
use model::event::RemovalEvent;
use model::fault::{Fault, FaultKind, Leftovers};
use model::machine::ProviderKind;
use model::purge::{OwnerScope, PurgeFilter, PurgeItem, PurgeOutcome};
use model::resource::{Fate, ResourceKind};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::command::error::exit;
use crate::command::signals;
use crate::compose::Context;
use crate::ui::{confirm, table};

/// How many of the remaining things an error names; the listing has them all.
const NAMED: usize = 20;

/// The options of both.
#[derive(Debug, clap::Args)]
pub(crate) struct EmptyingOptions {
    /// What this person made, as the tag `hg:owner` says [default: you]
    #[arg(long, value_name = "USER@HOST", conflicts_with = "all_owners", value_parser = text::parse_owner)]
    owner: Option<String>,
    /// What anybody made whom the tag `hg:owner` names
    #[arg(long)]
    all_owners: bool,
    /// Also what names no owner: it is only called `hg-…`, as what the tool before this one made, or what has nothing to do
    /// with either
    #[arg(long)]
    untagged: bool,
    /// Only what was made longer ago than this; what does not tell its age stays
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    older_than: Option<Duration>,
    /// Only list what would be removed, and why it is taken for ours
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
}

impl EmptyingOptions {
    fn filter(&self, me: &str, now: Timestamp) -> PurgeFilter {
        let before = self.older_than.map(|span| {
            let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
            now.checked_sub(span).unwrap_or(Timestamp::MIN)
        });
        let whose = match (&self.owner, self.all_owners) {
            (_, true) => OwnerScope::All,
            (Some(owner), false) if owner != "me" => OwnerScope::One(owner.clone()),
            (_, false) => OwnerScope::One(me.to_owned()),
        };
        PurgeFilter { whose, untagged: self.untagged, before }
    }
}

/// An item and its fate.
#[derive(Serialize)]
struct ItemRow<'a> {
    #[serde(flatten)]
    item: &'a PurgeItem,
    /// `gone`, `stays`, `would be removed`, `would stay` or `left alone`.
    fate: &'static str,
    /// Why it stays.
    reason: Option<&'a str>,
}

/// Why a thing that names no owner is left alone.
const UNOWNED: &str = "nobody is named as its owner (`--untagged` removes it)";

impl<'a> ItemRow<'a> {
    /// The items that would be removed, with the fate they would have, and those that name no owner.
    fn plan_rows(found: &'a FoundItems) -> Vec<Self> {
        let planned = |item: &'a PurgeItem| match found.used.get(&(item.kind.name(), item.id.clone())) {
            Some(user) => Self { item, fate: "would stay", reason: Some(user.as_str()) },
            None => Self { item, fate: "would be removed", reason: None },
        };
        found.items.iter().map(planned).chain(Self::unowned_rows(found)).collect()
    }

    fn unowned_rows(found: &'a FoundItems) -> impl Iterator<Item = Self> {
        found.unowned.iter().map(|item| Self { item, fate: "left alone", reason: Some(UNOWNED) })
    }

    fn of_outcome(outcome: &'a PurgeOutcome) -> Self {
        let (fate, reason) = match &outcome.fate {
            Fate::Gone => ("gone", None),
            Fate::Remains(why) | Fate::Kept(why) => ("stays", Some(why.as_str())),
        };
        Self { item: &outcome.item, fate, reason }
    }
}

/// Removes everything that `options` mean, of the kinds that `meant` names.
pub(crate) async fn run(
    context: &Context,
    meant: fn(ResourceKind) -> bool,
    options: &EmptyingOptions,
) -> Result<i32, Fault> {
    let asks = !options.yes && !options.dry_run;
    if asks && !confirm::can_ask() {
        return Err(Fault::usage("there is no terminal on which to ask whether things are to be removed")
            .hint("`--dry-run` lists what would be removed; `--yes` removes it without asking."));
    }
    let account = context.sites.account(ProviderKind::Ec2).await?;
    let filter = options.filter(&context.owner, context.now());
    let kinds: Vec<ResourceKind> = account.kinds().into_iter().filter(|kind| meant(*kind)).collect();
    let found = find(account.as_ref(), &kinds, &filter).await?;
    for (kind, fault) in &found.unseen {
        context.teller().tell(RemovalEvent::Unseen { resource: *kind, failure: fault.into() });
    }
    tell_others(context, &found);
    if options.dry_run || found.items.is_empty() {
        show(context, ItemRow::plan_rows(&found), &filter, options.json);
        return verdict(&found, &[], false);
    }
    let what = format!(
        "{}{} in {}",
        count_by_kind(&found.items),
        describe_owners(&found.items, &context.owner),
        account.place()
    );
    if asks {
        context.screen.message(render(&ItemRow::plan_rows(&found)).trim_end());
        if !confirm::confirm(&format!("Remove {what}?")) {
            context.screen.message("Nothing was removed.");
            return Ok(exit::OK);
        }
    } else {
        context.teller().tell(RemovalEvent::Began { what });
    }
    let stop = CancellationToken::new();
    let second = "Left at once; what was asked to go away goes, the rest stays. The same command goes on.".to_owned();
    signals::watch_work(stop.clone(), "stopping before the next batch", second)?;
    let removal =
        Removal { account: account.as_ref(), stop: &stop, teller: context.teller(), limits: RemovalLimits::default() };
    let outcomes = removal.run(&found.items).await;
    let closed = close_rows(&context.estate(), ProviderKind::Ec2, account.as_ref(), &outcomes).await;
    let shown = outcomes.iter().map(ItemRow::of_outcome).chain(ItemRow::unowned_rows(&found)).collect();
    show(context, shown, &filter, options.json);
    let verdict = verdict(&found, &outcomes, stop.is_cancelled());
    closed.and(verdict)
}

/// Tells how much belongs to other people, which is left alone.
fn tell_others(context: &Context, found: &FoundItems) {
    if found.others.is_empty() {
        return;
    }
    let things: usize = found.others.values().sum();
    context.teller().tell(RemovalEvent::OthersLeft { things, owners: found.others.keys().cloned().collect() });
}

/// Counts by kind: `2 instances, 1 volume`.
fn count_by_kind(items: &[PurgeItem]) -> String {
    let kinds = ResourceKind::in_order_of_removal();
    let counts = kinds.map(|kind| (kind, items.iter().filter(|item| item.kind == kind).count()));
    let counts: Vec<String> =
        counts.filter(|(_, count)| *count > 0).map(|(kind, count)| kind.pluralize(count)).collect();
    counts.join(", ")
}

/// The owners of `items`, for a question: ` of yours`, ` of 2 people (ann@here, bob@there)`.
fn describe_owners(items: &[PurgeItem], me: &str) -> String {
    let people: BTreeSet<&str> = items.iter().filter_map(|item| item.owner.as_deref()).collect();
    let people: Vec<&str> = people.into_iter().collect();
    let whose = match people.as_slice() {
        [] => String::new(),
        [one] if *one == me => " of yours".to_owned(),
        people => format!(" of {}", text::people(people)),
    };
    match items.iter().filter(|item| item.owner.is_none()).count() {
        0 => whose,
        count if count == items.len() => " without a named owner".to_owned(),
        count => format!("{whose} ({count} without a named owner)"),
    }
}

fn show(context: &Context, mut shown: Vec<ItemRow<'_>>, filter: &PurgeFilter, json: bool) {
    if json {
        // Listings are newest first.
        shown.sort_by_key(|row| std::cmp::Reverse(row.item.created_at));
        context.screen.json(&shown);
    } else if shown.is_empty() {
        let of = match &filter.whose {
            OwnerScope::All => "anybody's".to_owned(),
            OwnerScope::One(owner) if *owner == context.owner => format!("yours (`{owner}`)"),
            OwnerScope::One(owner) => format!("`{owner}`"),
        };
        context.screen.message(&format!("There is nothing of {of}."));
    } else {
        context.screen.data(&render(&shown));
    }
}

fn render(shown: &[ItemRow<'_>]) -> String {
    let cells = |row: &ItemRow<'_>| {
        let fate = row.reason.map_or_else(|| row.fate.to_owned(), |reason| format!("{}: {reason}", row.fate));
        vec![
            row.item.kind.name().to_owned(),
            row.item.id.clone(),
            row.item.name.clone().unwrap_or_default(),
            row.item.created_at.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default(),
            row.item.state.clone(),
            row.item.why.clone(),
            fate,
        ]
    };
    let rows: Vec<Vec<String>> = shown.iter().map(cells).collect();
    table::render(&["KIND", "ID", "NAME", "MADE (UTC)", "STATE", "WHY IT IS OURS", "FATE"], 1, &rows)
}

/// The exit code, or the fault that names what stays.
fn verdict(found: &FoundItems, outcomes: &[PurgeOutcome], interrupted: bool) -> Result<i32, Fault> {
    let reason = |outcome: &PurgeOutcome| match &outcome.fate {
        Fate::Gone => None,
        Fate::Remains(why) | Fate::Kept(why) => Some(why.clone()),
    };
    let remaining: Vec<String> =
        outcomes.iter().filter_map(|o| Some(format!("{} {}: {}", o.item.kind.name(), o.item.id, reason(o)?))).collect();
    if remaining.is_empty() && found.unseen.is_empty() {
        return Ok(exit::OK);
    }
    let (kind, message) = match (interrupted, remaining.len()) {
        (true, _) => (FaultKind::Interrupted, "interrupted before everything was removed".to_owned()),
        (false, 0) => (FaultKind::LeftBehind, "not everything could be looked at".to_owned()),
        (false, count) => (FaultKind::LeftBehind, format!("{count} of {} things stay", outcomes.len())),
    };
    if remaining.is_empty() {
        let unseen: Vec<String> = found.unseen.iter().map(|(kind, _)| kind.plural()).collect();
        return Err(Fault::new(kind, message)
            .with_leftovers(Leftovers::Unknown(format!("{} were not seen", unseen.join(", ")))));
    }
    let more = remaining.len().saturating_sub(NAMED);
    let mut names: Vec<String> = remaining.into_iter().take(NAMED).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    Err(Fault::new(kind, message).with_leftovers(Leftovers::Named(names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: &str, fate: Fate) -> PurgeOutcome {
        let kind = ResourceKind::Snapshot;
        PurgeOutcome { item: item(kind, id, None), fate }
    }

    fn item(kind: ResourceKind, id: &str, owner: Option<&str>) -> PurgeItem {
        let (owner, why, state) = (owner.map(str::to_owned), String::new(), String::new());
        PurgeItem { id: id.into(), kind, name: None, owner, why, created_at: None, state }
    }

    #[test]
    fn a_question_says_what_and_whose() {
        let of = |owners: &[Option<&str>]| -> Vec<PurgeItem> {
            owners.iter().map(|owner| item(ResourceKind::Instance, "i", *owner)).collect()
        };
        let asked = |items: &[PurgeItem]| format!("{}{}", count_by_kind(items), describe_owners(items, "me"));
        assert_eq!(asked(&of(&[Some("me"), Some("me")])), "2 instances of yours");
        assert_eq!(asked(&of(&[Some("me"), Some("ann")])), "2 instances of 2 people (ann, me)");
        assert_eq!(asked(&of(&[Some("ann")])), "1 instance of 1 person (ann)");
        assert_eq!(asked(&of(&[None])), "1 instance without a named owner");
        assert_eq!(asked(&of(&[Some("me"), None])), "2 instances of yours (1 without a named owner)");
    }

    #[test]
    fn what_a_machine_uses_would_stay_and_what_names_nobody_is_left_alone() {
        let found = FoundItems {
            items: vec![item(ResourceKind::Role, "r", Some("me")), item(ResourceKind::Volume, "v", Some("me"))],
            unowned: vec![item(ResourceKind::Instance, "web", None)],
            used: [(("role", "r".to_owned()), "i-1 uses it".to_owned())].into(),
            ..FoundItems::default()
        };
        let shown = ItemRow::plan_rows(&found);
        let fates: Vec<_> = shown.iter().map(|row| (row.item.id.as_str(), row.fate, row.reason)).collect();
        let expected = [
            ("r", "would stay", Some("i-1 uses it")),
            ("v", "would be removed", None),
            ("web", "left alone", Some(UNOWNED)),
        ];
        assert_eq!(fates, expected);
    }

    #[test]
    fn what_stays_is_named_with_its_reason() {
        let found = FoundItems::default();
        assert_eq!(verdict(&found, &[outcome("snap-1", Fate::Gone)], false).unwrap(), exit::OK);
        let remaining = [outcome("snap-1", Fate::Gone), outcome("snap-2", Fate::Remains("denied".into()))];
        let fault = verdict(&found, &remaining, false).unwrap_err();
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::LeftBehind, "1 of 2 things stay"));
        assert_eq!(fault.left, Leftovers::Named(vec!["snapshot snap-2: denied".into()]));
        assert_eq!(verdict(&found, &remaining, true).unwrap_err().kind, FaultKind::Interrupted);
        let many: Vec<PurgeOutcome> =
            (0..NAMED + 5).map(|n| outcome(&n.to_string(), Fate::Remains("x".into()))).collect();
        let Leftovers::Named(names) = verdict(&found, &many, false).unwrap_err().left else { panic!("names") };
        assert_eq!((names.len(), names.last().unwrap().as_str()), (NAMED + 1, "and 5 more"));
    }

    #[test]
    fn what_could_not_be_looked_at_is_no_success() {
        let unseen = vec![(ResourceKind::Role, Fault::outside("denied"))];
        let fault = verdict(&FoundItems { unseen, ..FoundItems::default() }, &[], false).unwrap_err();
        assert_eq!((fault.kind, fault.left), (FaultKind::LeftBehind, Leftovers::Unknown("roles were not seen".into())));
    }
}
