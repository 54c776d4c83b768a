//! The purge: removing everything of ours from an account, whatever any journal says.
//!
//! The [`Account`] decides by names and tags which things are ours; the [`PurgeFilter`] decides which of them are to be
//! removed. The order of removal is [`ResourceKind::REMOVAL`].

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::fault::Fault;
use crate::resource::{Fate, ResourceKind};

/// A thing of ours, found by looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PurgeItem {
    /// Its name in the system: `i-…`, `ami-…`, the name of a role.
    pub id: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Option<String>,
    /// Who made it, as its tag says.
    pub owner: Option<String>,
    /// Why it is taken for ours, for people.
    pub why: String,
    /// When it was made, where the system says so.
    pub created_at: Option<Timestamp>,
    /// Its state in the system's words; empty where there is only one.
    pub state: String,
}

/// The owners whose things are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerScope {
    /// One person.
    One(String),
    /// Everybody who is named as an owner.
    All,
}

/// A filter that decides which items are to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeFilter {
    /// The owners of the items.
    pub whose: OwnerScope,
    /// Whether items without an owner are meant as well: these have only a name like ours, or a tag of this tool's
    /// predecessor.
    pub untagged: bool,
    /// If given, only items that were made before this time are meant.
    pub before: Option<Timestamp>,
}

/// The answer of a filter for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The item is meant.
    Meant,
    /// It belongs to a person whose items are not meant.
    OtherOwner,
    /// It names no owner, and such items are not meant.
    NoOwner,
    /// It is too young, or its age is not known.
    Young,
}

/// Whether an owner's tag names a person: an empty tag names nobody.
pub fn names_somebody(owner: &str) -> bool {
    !owner.trim().is_empty()
}

impl PurgeFilter {
    /// Whether `item` is meant, or else why not. A filter with a time never means an item whose age is not known.
    pub fn judge(&self, item: &PurgeItem) -> Judgement {
        let old = self.before.is_none_or(|before| item.created_at.is_some_and(|made| made < before));
        let owner = item.owner.as_ref().filter(|owner| names_somebody(owner));
        match (owner, &self.whose) {
            _ if !old => Judgement::Young,
            (None, _) if self.untagged => Judgement::Meant,
            (None, _) => Judgement::NoOwner,
            (Some(_), OwnerScope::All) => Judgement::Meant,
            (Some(owner), OwnerScope::One(wanted)) if owner == wanted => Judgement::Meant,
            (Some(_), OwnerScope::One(_)) => Judgement::OtherOwner,
        }
    }
}

/// The result of the removal of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// The item.
    pub item: PurgeItem,
    /// Its fate.
    pub fate: Fate,
}

/// A refused removal of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovalRefusal {
    /// The item.
    pub id: String,
    /// The reason.
    pub reason: String,
}

/// An account that may hold things of ours. [`Account::find`] never gives anything that is not ours, and nothing is
/// ever made.
#[async_trait]
pub trait Account: Send + Sync {
    /// The place in which it looks, for people, for example a region.
    fn place(&self) -> &str;

    /// The kinds of things that may be there, in the order of removal.
    fn kinds(&self) -> Vec<ResourceKind>;

    /// The name that the journal's row for `item` has, no matter who wrote that row; none where the journal has no rows
    /// for such things.
    async fn row_name(&self, item: &PurgeItem) -> Result<Option<String>, Fault>;

    /// All things of ours of one kind that exist or are still being removed.
    async fn find(&self, kind: ResourceKind) -> Result<Vec<PurgeItem>, Fault>;

    /// The items among `ids` that a machine uses, each with its user, in words. It counts machines anywhere
    /// in the account, no matter who made them, except those in `ending`. This protects items that could be removed
    /// while a live machine needs them: where the system itself refuses that, the answer may be empty.
    async fn users(
        &self,
        kind: ResourceKind,
        ids: &[String],
        ending: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Fault>;

    /// The most items that one call of [`Account::remove`] takes.
    fn batch(&self, kind: ResourceKind) -> usize;

    /// Asks for the removal of items of one kind; gives those that were refused. An item that does not exist is not
    /// refused, and a refused item does not prevent the removal of the others.
    async fn remove(&self, kind: ResourceKind, ids: &[String]) -> Vec<RemovalRefusal>;

    /// The items among `ids` that still exist, each with its state.
    async fn remaining(&self, kind: ResourceKind, ids: &[String]) -> Result<Vec<(String, String)>, Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn item(owner: Option<&str>, made: Option<i64>) -> PurgeItem {
        PurgeItem {
            id: "i-1".into(),
            kind: ResourceKind::Instance,
            name: None,
            owner: owner.map(str::to_owned),
            why: String::new(),
            created_at: made.map(at),
            state: String::new(),
        }
    }

    #[test]
    fn only_what_names_the_person_is_meant() {
        let mine = PurgeFilter { whose: OwnerScope::One("me@here".into()), untagged: false, before: None };
        assert_eq!(mine.judge(&item(Some("me@here"), None)), Judgement::Meant);
        assert_eq!(mine.judge(&item(Some("me@there"), None)), Judgement::OtherOwner);
        assert_eq!(mine.judge(&item(None, None)), Judgement::NoOwner);
        let all = PurgeFilter { whose: OwnerScope::All, ..mine.clone() };
        assert_eq!(all.judge(&item(Some("me@there"), None)), Judgement::Meant);
        assert_eq!(all.judge(&item(None, None)), Judgement::NoOwner, "everybody is not nobody");
        let nobody = PurgeFilter { whose: OwnerScope::One(String::new()), ..mine.clone() };
        for filter in [&mine, &all, &nobody] {
            for blank in ["", " "] {
                assert_eq!(filter.judge(&item(Some(blank), None)), Judgement::NoOwner, "a blank is not a name");
            }
        }
        let untagged = PurgeFilter { untagged: true, ..mine };
        assert_eq!(untagged.judge(&item(Some(""), None)), Judgement::Meant);
        assert_eq!(untagged.judge(&item(None, None)), Judgement::Meant);
        assert_eq!(untagged.judge(&item(Some("me@there"), None)), Judgement::OtherOwner);
    }

    #[test]
    fn what_does_not_tell_its_age_is_not_old() {
        let old = PurgeFilter { whose: OwnerScope::All, untagged: true, before: Some(at(100)) };
        assert_eq!(old.judge(&item(Some("me"), Some(99))), Judgement::Meant);
        for made in [Some(100), None] {
            assert_eq!(old.judge(&item(Some("me"), made)), Judgement::Young);
            assert_eq!(old.judge(&item(None, made)), Judgement::Young);
        }
    }
}
