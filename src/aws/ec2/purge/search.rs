//! Filters for the server, and reading their results as items.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, Tag};
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use model::fault::Fault;
use model::purge::PurgeItem;
use model::resource::ResourceKind;

use crate::ec2::filters;
use crate::ec2::tags;

/// How many resources a page of a search holds; the API's own limit for most kinds.
pub(crate) const PAGE: i32 = 1000;

/// The searches that together find everything with our prefix or one of our tags: filters are joined by "and", so one
/// search is not enough.
pub(crate) fn searches() -> [Filter; 3] {
    let keys = format!("{}*", tags::KEY_PREFIX);
    [named(), filters::match_tag_key(&keys), filters::match_tag_key(tags::FINGERPRINT)]
}

/// The search for everything whose `Name` tag begins with our prefix.
pub(crate) fn named() -> Filter {
    filters::match_tag("Name", &format!("{}*", tags::PREFIX))
}

/// The item for a resource of `kind`, if it is ours. `name` is its proper name if the kind has one; else its tag
/// counts.
pub(crate) fn item(kind: ResourceKind, id: Option<&str>, name: Option<&str>, marks: &[Tag]) -> Option<PurgeItem> {
    let tag = tags::value(marks, tags::NAME);
    let ours = tags::is_ours(name, tags::keys(marks)) || tags::is_ours(tag, []);
    ours.then(|| PurgeItem {
        id: id.unwrap_or_default().to_owned(),
        kind,
        name: name.or(tag).map(str::to_owned),
        owner: tags::owner(marks).map(str::to_owned),
        why: why(tags::owner(marks), tags::keys(marks)),
        created_at: None,
        state: String::new(),
    })
    .filter(|item| !item.id.is_empty())
}

/// The reason why a resource is ours, for people: `owner` is the value of its owner tag, `keys` are the keys of all its
/// tags.
pub(crate) fn why<'a>(owner: Option<&str>, keys: impl IntoIterator<Item = &'a str>) -> String {
    let mark = || keys.into_iter().find(|key| tags::is_ours(None, [*key]));
    match (owner, mark) {
        (Some(owner), _) => format!("its tag `{}` is `{owner}`", tags::OWNER),
        (None, mark) => match mark() {
            Some(key) => format!("it has the tag `{key}`, and none that names its owner"),
            None => format!("its name begins with `{}`, and no tag names its owner", tags::PREFIX),
        },
    }
}

/// The SDK's time as a timestamp of whole seconds.
pub(crate) fn time(at: Option<&DateTime>) -> Option<Timestamp> {
    Timestamp::from_second(at?.secs()).ok()
}

/// The results of all [`searches`], which `ask` makes side by side.
pub(crate) async fn everywhere<F, Fut>(ask: F) -> Result<Vec<PurgeItem>, Fault>
where
    F: Fn(Filter) -> Fut,
    Fut: Future<Output = Result<Vec<PurgeItem>, Fault>>,
{
    Ok(merged(futures_util::future::try_join_all(searches().into_iter().map(ask)).await?))
}

/// The results of several searches as one, each item once.
pub(crate) fn merged(found: Vec<Vec<PurgeItem>>) -> Vec<PurgeItem> {
    let items: BTreeMap<String, PurgeItem> = found.into_iter().flatten().map(|item| (item.id.clone(), item)).collect();
    items.into_values().collect()
}

/// Asks `ask` about `ids`, as many at once as a filter takes, and joins the answers; ids that were not asked for are
/// left out.
pub(crate) async fn in_chunks<F, Fut>(ids: &[String], name: &str, ask: F) -> Result<Vec<(String, String)>, Fault>
where
    F: Fn(Filter) -> Fut,
    Fut: Future<Output = Result<Vec<(String, String)>, Fault>>,
{
    let mut found = Vec::new();
    for chunk in ids.chunks(filters::VALUES) {
        let values: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let answer = ask(filters::match_any(name, &values)).await?;
        found.extend(answer.into_iter().filter(|(id, _)| values.contains(&id.as_str())));
    }
    Ok(found)
}

/// The ids among `ids` that still exist by the answer to a listing; all ids where it failed, so that all are tried.
pub(super) fn left_of(ids: &[String], listed: Result<Vec<(String, String)>, Fault>) -> Vec<String> {
    listed.map_or(ids.to_vec(), |left| left.into_iter().map(|(id, _)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: Option<&str>, marks: &[(&str, &str)]) -> Option<PurgeItem> {
        let marks: Vec<Tag> = marks.iter().map(|(key, value)| tags::tag(key, value)).collect();
        item(ResourceKind::Volume, Some("vol-1"), name, &marks)
    }

    #[test]
    fn strangers_are_no_items_whatever_the_server_says() {
        assert!(of(None, &[("Name", "web")]).is_none());
        assert!(of(Some("hgweb"), &[("owner", "hg-me")]).is_none());
        assert!(of(None, &[]).is_none());
        assert!(item(ResourceKind::Volume, None, Some("hg-x"), &[]).is_none(), "nothing without an id");
    }

    #[test]
    fn prefix_or_tag_is_enough() {
        assert_eq!(of(None, &[("Name", "hg-a")]).unwrap().name.as_deref(), Some("hg-a"));
        assert_eq!(of(Some("hg-b"), &[("Name", "web")]).unwrap().name.as_deref(), Some("hg-b"));
        assert_eq!(of(None, &[("hg:owner", "me@here")]).unwrap().owner.as_deref(), Some("me@here"));
        let why = |name, marks: &[(&str, &str)]| of(name, marks).unwrap().why;
        assert_eq!(why(None, &[("Name", "hg-a"), ("hg:owner", "me@here")]), "its tag `hg:owner` is `me@here`");
        assert_eq!(why(Some("hg-web"), &[]), "its name begins with `hg-`, and no tag names its owner");
        let old = why(None, &[("Name", "hg-a"), ("HGIMAGEFINGERPRINT", "f")]);
        let blank = of(None, &[("hg:owner", " ")]).unwrap();
        assert_eq!(
            (blank.owner, blank.why.as_str()),
            (None, "it has the tag `hg:owner`, and none that names its owner")
        );
        assert_eq!(old, "it has the tag `HGIMAGEFINGERPRINT`, and none that names its owner");
        assert!(of(Some("web"), &[("HGIMAGEFINGERPRINT", "f")]).is_some());
        assert!(of(Some("web"), &[("Name", "hg-c")]).is_some());
    }

    #[test]
    fn an_item_that_two_searches_find_is_one() {
        let one = of(None, &[("Name", "hg-a"), ("hg:owner", "me")]).unwrap();
        assert_eq!(merged(vec![vec![one.clone()], vec![one.clone()]]), [one]);
    }
}
