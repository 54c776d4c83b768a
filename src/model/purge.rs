//! Emptying an account of everything that is ours, whatever any journal says of it.
//!
//! What is ours is decided by the [`Account`], by names and tags; what of that is meant is decided by [`Filter`]. The
//! order of removal is [`ResourceKind::REMOVAL`].

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::fault::Fault;
use crate::resource::{Fate, ResourceKind};

/// A thing of ours, found by looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What the system calls it: `i-…`, `ami-…`, the name of a role.
    pub id: String,
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Option<String>,
    /// Who made it, as its tag says.
    pub owner: Option<String>,
    /// Why it is taken for ours, for people.
    pub why: String,
    /// When it was made, where the system tells.
    pub created_at: Option<Timestamp>,
    /// Its state in the system's words; empty where there is only one.
    pub state: String,
}

/// Whose things are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// This person's.
    One(String),
    /// Everybody's who is named as an owner.
    All,
}

/// Which items are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Whose.
    pub whose: Whose,
    /// Whether what names no owner is meant as well: it has only a name like ours, or a tag of the tool before this one.
    pub untagged: bool,
    /// Only what was made before this time.
    pub before: Option<Timestamp>,
}

/// What a filter says of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It is meant.
    Meant,
    /// It is of a person who is not.
    Anothers,
    /// It names no owner, and such things were not asked for.
    Nobodys,
    /// It is too young, or does not tell its age.
    Young,
}

/// Whether an owner is one: a tag that is there without a word names nobody.
pub fn names_somebody(owner: &str) -> bool {
    !owner.trim().is_empty()
}

impl Filter {
    /// Whether `item` is meant, and else why not. What does not tell its age is not meant by a filter on that.
    pub fn judge(&self, item: &Item) -> Judgement {
        let old = self.before.is_none_or(|before| item.created_at.is_some_and(|made| made < before));
        let owner = item.owner.as_ref().filter(|owner| names_somebody(owner));
        match (owner, &self.whose) {
            _ if !old => Judgement::Young,
            (None, _) if self.untagged => Judgement::Meant,
            (None, _) => Judgement::Nobodys,
            (Some(_), Whose::All) => Judgement::Meant,
            (Some(owner), Whose::One(wanted)) if owner == wanted => Judgement::Meant,
            (Some(_), Whose::One(_)) => Judgement::Anothers,
        }
    }
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The item.
    pub item: Item,
    /// What became of it.
    pub fate: Fate,
}

/// Why the removal of an item was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The item.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// Where things of ours are. Nothing that is not ours is ever given by [`Account::find`], and nothing is ever made.
#[async_trait]
pub trait Account: Send + Sync {
    /// Where it looks, for people, for example a region.
    fn place(&self) -> &str;

    /// The kinds of things that may be there, in the order of removal.
    fn kinds(&self) -> Vec<ResourceKind>;

    /// The name of the journal's row for `item`, whoever wrote that row; none where rows have no name for such a thing.
    async fn row_name(&self, item: &Item) -> Result<Option<String>, Fault>;

    /// Everything of ours of one kind that is there or still going away.
    async fn find(&self, kind: ResourceKind) -> Result<Vec<Item>, Fault>;

    /// Which of the items of one kind machines use, and by which machine in words, wherever in the account it is and whoever
    /// made it; `ending` are the ids of machines that do not count. Asked for what could be taken from under a machine that
    /// lives: where the system itself refuses that, the answer may be empty.
    async fn users(
        &self,
        kind: ResourceKind,
        ids: &[String],
        ending: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Fault>;

    /// How many items [`Account::remove`] takes at once at most.
    fn batch(&self, kind: ResourceKind) -> usize;

    /// Asks for the removal of items of one kind; gives those that were refused. One that is not there is not refused, and
    /// one that is refused keeps no other from being removed.
    async fn remove(&self, kind: ResourceKind, ids: &[String]) -> Vec<Refusal>;

    /// Which of these are still there, with their state.
    async fn there(&self, kind: ResourceKind, ids: &[String]) -> Result<Vec<(String, String)>, Fault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn item(owner: Option<&str>, made: Option<i64>) -> Item {
        Item {
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
        let mine = Filter { whose: Whose::One("me@here".into()), untagged: false, before: None };
        assert_eq!(mine.judge(&item(Some("me@here"), None)), Judgement::Meant);
        assert_eq!(mine.judge(&item(Some("me@there"), None)), Judgement::Anothers);
        assert_eq!(mine.judge(&item(None, None)), Judgement::Nobodys);
        let all = Filter { whose: Whose::All, ..mine.clone() };
        assert_eq!(all.judge(&item(Some("me@there"), None)), Judgement::Meant);
        assert_eq!(all.judge(&item(None, None)), Judgement::Nobodys, "everybody is not nobody");
        let nobody = Filter { whose: Whose::One(String::new()), ..mine.clone() };
        for filter in [&mine, &all, &nobody] {
            for blank in ["", " "] {
                assert_eq!(filter.judge(&item(Some(blank), None)), Judgement::Nobodys, "a blank is no name");
            }
        }
        let untagged = Filter { untagged: true, ..mine };
        assert_eq!(untagged.judge(&item(Some(""), None)), Judgement::Meant);
        assert_eq!(untagged.judge(&item(None, None)), Judgement::Meant);
        assert_eq!(untagged.judge(&item(Some("me@there"), None)), Judgement::Anothers);
    }

    #[test]
    fn what_does_not_tell_its_age_is_not_old() {
        let old = Filter { whose: Whose::All, untagged: true, before: Some(at(100)) };
        assert_eq!(old.judge(&item(Some("me"), Some(99))), Judgement::Meant);
        for made in [Some(100), None] {
            assert_eq!(old.judge(&item(Some("me"), made)), Judgement::Young);
            assert_eq!(old.judge(&item(None, made)), Judgement::Young);
        }
    }
}
