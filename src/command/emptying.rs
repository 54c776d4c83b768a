//! What `terminate-ec2-instances` and `purge-ec2-resources` share: look, show, ask, remove, say what became of each.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::base::text;
use crate::command::context::Context;
use crate::command::error::exit;
use crate::command::signals;
use crate::flow::purge::{Found, Limits, Removal, counted, find, is_row_of, several};
use crate::model::event::{Event, Sink};
use crate::model::fault::{Fault, FaultKind, Left};
use crate::model::journal::ResourceFilter;
use crate::model::machine::ProviderKind;
use crate::model::purge::{Account, Filter, Item, Outcome};
use crate::model::resource::{Fate, Resource, ResourceKind, ResourceState};
use crate::ui::{confirm, table};

/// How many of the things that stay an error names; the listing has them all.
const NAMED: usize = 20;

/// The options of both.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only what this person made, as the tag `hg:owner` says
    #[arg(long, value_name = "USER@HOST")]
    owner: Option<String>,
    /// Only what was made longer ago than this; what does not tell its age stays
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    older_than: Option<Duration>,
    /// Only list what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Do not ask; only a person at a terminal is asked
    #[arg(long)]
    yes: bool,
}

impl Options {
    fn filter(&self, now: Timestamp) -> Filter {
        let before = self.older_than.map(|span| {
            let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
            now.checked_sub(span).unwrap_or(Timestamp::MIN)
        });
        Filter { owner: self.owner.clone(), before }
    }
}

/// An item and what became of it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    item: &'a Item,
    /// `gone`, `stays` or `would be removed`.
    fate: &'static str,
    /// Why it stays.
    reason: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn planned(item: &'a Item) -> Self {
        Self { item, fate: "would be removed", reason: None }
    }

    fn done(outcome: &'a Outcome) -> Self {
        let (fate, reason) = match &outcome.fate {
            Fate::Gone => ("gone", None),
            Fate::Stays(why) | Fate::Kept(why) => ("stays", Some(why.as_str())),
        };
        Self { item: &outcome.item, fate, reason }
    }
}

/// Removes everything of `kinds` that `options` mean.
pub async fn run(context: &Context, kinds: &[ResourceKind], options: &Options) -> Result<i32, Fault> {
    let account = context.ec2_account().await;
    let found = find(&account, kinds, &options.filter(context.now())).await?;
    for (kind, fault) in &found.unseen {
        let why = fault.line();
        context.screen.event(Event::Warning(format!("{} cannot be looked at: {why}", several(*kind))));
    }
    if options.dry_run || found.items.is_empty() {
        show(context, found.items.iter().map(Shown::planned).collect(), options.json);
        return verdict(&found, &[], false);
    }
    if !options.yes && confirm::somebody_is_there() && !agreed(context, &account, &found.items) {
        context.screen.message("Nothing was removed.");
        return Ok(exit::OK);
    }
    let stop = CancellationToken::new();
    let second = "Left at once; what was asked to go away goes, the rest stays. The same command goes on.".to_owned();
    signals::watch_saying(stop.clone(), "stopping before the next batch", second)?;
    let removal = Removal { account: &account, stop: &stop, sink: context.screen.as_ref(), limits: Limits::default() };
    let outcomes = removal.run(&found.items).await;
    let closed = close_rows(context, &account, &outcomes).await;
    show(context, outcomes.iter().map(Shown::done).collect(), options.json);
    let verdict = verdict(&found, &outcomes, stop.is_cancelled());
    closed.and(verdict)
}

fn agreed(context: &Context, account: &dyn Account, items: &[Item]) -> bool {
    let shown: Vec<Shown<'_>> = items.iter().map(Shown::planned).collect();
    context.screen.message(render(&shown).trim_end());
    let kinds = crate::flow::purge::kinds();
    let counts = kinds.into_iter().map(|kind| (kind, items.iter().filter(|item| item.kind == kind).count()));
    let counts: Vec<String> =
        counts.filter(|(_, count)| *count > 0).map(|(kind, count)| counted(kind, count)).collect();
    confirm::confirm(&format!("Remove {} in {}?", counts.join(", "), account.place()))
}

fn show(context: &Context, mut shown: Vec<Shown<'_>>, json: bool) {
    if json {
        // Listings are newest first.
        shown.sort_by_key(|row| std::cmp::Reverse(row.item.created_at));
        context.screen.json(&shown);
    } else if shown.is_empty() {
        context.screen.message("There is nothing of ours.");
    } else {
        context.screen.data(&render(&shown));
    }
}

fn render(shown: &[Shown<'_>]) -> String {
    let cells = |row: &Shown<'_>| {
        let fate = row.reason.map_or_else(|| row.fate.to_owned(), |reason| format!("{}: {reason}", row.fate));
        vec![
            row.item.kind.name().to_owned(),
            row.item.id.clone(),
            row.item.name.clone().unwrap_or_default(),
            row.item.owner.clone().unwrap_or_default(),
            row.item.created_at.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default(),
            row.item.state.clone(),
            fate,
        ]
    };
    let rows: Vec<Vec<String>> = shown.iter().map(cells).collect();
    table::render(&["KIND", "ID", "NAME", "OWNER", "MADE (UTC)", "STATE", "FATE"], &rows)
}

/// The exit code, or the fault that names what stays.
fn verdict(found: &Found, outcomes: &[Outcome], interrupted: bool) -> Result<i32, Fault> {
    let reason = |outcome: &Outcome| match &outcome.fate {
        Fate::Gone => None,
        Fate::Stays(why) | Fate::Kept(why) => Some(why.clone()),
    };
    let stays: Vec<String> =
        outcomes.iter().filter_map(|o| Some(format!("{} {}: {}", o.item.kind.name(), o.item.id, reason(o)?))).collect();
    if stays.is_empty() && found.unseen.is_empty() {
        return Ok(exit::OK);
    }
    let (kind, message) = match (interrupted, stays.len()) {
        (true, _) => (FaultKind::Interrupted, "interrupted before everything was removed".to_owned()),
        (false, 0) => (FaultKind::LeftBehind, "not everything could be looked at".to_owned()),
        (false, count) => (FaultKind::LeftBehind, format!("{count} of {} things stay", outcomes.len())),
    };
    if stays.is_empty() {
        let unseen: Vec<String> = found.unseen.iter().map(|(kind, _)| several(*kind)).collect();
        return Err(Fault::new(kind, message).leaving(Left::Unknown(format!("{} were not seen", unseen.join(", ")))));
    }
    let more = stays.len().saturating_sub(NAMED);
    let mut names: Vec<String> = stays.into_iter().take(NAMED).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    Err(Fault::new(kind, message).leaving(Left::These(names)))
}

/// Closes the journal's rows of what was seen gone, so that no audit looks for it.
async fn close_rows(context: &Context, account: &dyn Account, outcomes: &[Outcome]) -> Result<(), Fault> {
    let journal = context.journal.as_ref();
    let of_ec2 = |row: &Resource| row.provider == ProviderKind::Ec2 && row.state != ResourceState::Gone;
    let mut rows: Vec<Resource> = journal.resources(&ResourceFilter::default())?;
    rows.retain(of_ec2);
    let mut closed = std::collections::BTreeSet::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.fate == Fate::Gone && !rows.is_empty()) {
        let name = account.row_name(&outcome.item).await?;
        for row in rows.iter().filter(|row| is_row_of(row, &outcome.item, name.as_deref())) {
            journal.gone(&row.id, context.now())?;
            closed.insert(row.machine.clone());
        }
    }
    for machine in closed {
        let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
        if journal.resources(&filter)?.is_empty() {
            journal.forget_machine(&machine)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: &str, fate: Fate) -> Outcome {
        let kind = ResourceKind::Snapshot;
        let item = Item { id: id.into(), kind, name: None, owner: None, created_at: None, state: String::new() };
        Outcome { item, fate }
    }

    #[test]
    fn what_stays_is_named_with_its_reason() {
        let found = Found::default();
        assert_eq!(verdict(&found, &[outcome("snap-1", Fate::Gone)], false).unwrap(), exit::OK);
        let stays = [outcome("snap-1", Fate::Gone), outcome("snap-2", Fate::Stays("denied".into()))];
        let fault = verdict(&found, &stays, false).unwrap_err();
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::LeftBehind, "1 of 2 things stay"));
        assert_eq!(fault.left, Left::These(vec!["snapshot snap-2: denied".into()]));
        assert_eq!(verdict(&found, &stays, true).unwrap_err().kind, FaultKind::Interrupted);
        let many: Vec<Outcome> = (0..NAMED + 5).map(|n| outcome(&n.to_string(), Fate::Stays("x".into()))).collect();
        let Left::These(names) = verdict(&found, &many, false).unwrap_err().left else { panic!("names") };
        assert_eq!((names.len(), names.last().unwrap().as_str()), (NAMED + 1, "and 5 more"));
    }

    #[test]
    fn what_could_not_be_looked_at_is_no_success() {
        let unseen = vec![(ResourceKind::Role, Fault::outside("denied"))];
        let fault = verdict(&Found { items: Vec::new(), unseen }, &[], false).unwrap_err();
        assert_eq!((fault.kind, fault.left), (FaultKind::LeftBehind, Left::Unknown("roles were not seen".into())));
    }
}
