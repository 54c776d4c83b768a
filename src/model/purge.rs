//! Emptying an account of everything that is ours, whatever any journal says of it.
//!
//! What is ours is decided by the [`Account`], by names and tags; what of that is meant is decided by [`Filter`]. The
//! order of removal is in `flow::purge`.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::model::fault::Fault;
use crate::model::resource::{Fate, ResourceKind};

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
    /// When it was made, where the system tells.
    pub created_at: Option<Timestamp>,
    /// Its state in the system's words; empty where there is only one.
    pub state: String,
}

/// Which items are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only what this person made.
    pub owner: Option<String>,
    /// Only what was made before this time.
    pub before: Option<Timestamp>,
}

impl Filter {
    /// Whether `item` is meant. What does not tell its maker or its age is not meant by a filter on that.
    pub fn means(&self, item: &Item) -> bool {
        let owned = self.owner.is_none() || self.owner == item.owner;
        let old = self.before.is_none_or(|before| item.created_at.is_some_and(|made| made < before));
        owned && old
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

    /// The name of the journal's row for `item`, whoever wrote that row; none where rows have no name for such a thing.
    async fn row_name(&self, item: &Item) -> Result<Option<String>, Fault>;

    /// Everything of ours of one kind that is there or still going away.
    async fn find(&self, kind: ResourceKind) -> Result<Vec<Item>, Fault>;

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

    #[test]
    fn a_filter_means_only_what_it_knows() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let item = |owner: Option<&str>, made: Option<i64>| Item {
            id: "i-1".into(),
            kind: ResourceKind::Instance,
            name: None,
            owner: owner.map(str::to_owned),
            created_at: made.map(at),
            state: String::new(),
        };
        assert!(Filter::default().means(&item(None, None)));
        let mine = Filter { owner: Some("me@here".into()), before: None };
        assert!(mine.means(&item(Some("me@here"), None)));
        assert!(!mine.means(&item(Some("me@there"), None)) && !mine.means(&item(None, None)));
        let old = Filter { owner: None, before: Some(at(100)) };
        assert!(old.means(&item(None, Some(99))));
        assert!(!old.means(&item(None, Some(100))) && !old.means(&item(None, None)));
    }
}
