//! What is sent to the project's try server: a changeset with the drafts that it stands on, as a bundle, and what is
//! known of it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use model::fault::Fault;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::mercurial::checkout::{FoundSource, NOTHING, QUESTION, WORKING_COPY, changed_files, find_root, unresolved};
use crate::program::hg;

/// The function that takes it: the name that the project's own tool calls.
pub const TRY_FUNCTION: &str = "ci-try-server-upload";

/// How long the bundle may take. One that fits into a call is made within seconds; one of a whole large repository,
/// which will be refused for its size, takes minutes.
const BUNDLING: Duration = Duration::from_secs(600);

/// How bundles are called while they exist.
const BUNDLE_NAME: (&str, &str) = (".try-", ".tmp");

/// When a bundle belongs to nobody any more: long after the [`BUNDLING`] of whoever made it.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A changeset that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentChangeset {
    /// 40 hexadecimal digits.
    pub node: String,
    /// The first line of its description.
    pub summary: String,
}

/// A changeset that is to be tried, with the drafts that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TryPush {
    /// The repository's root.
    pub root: PathBuf,
    /// The changeset, 40 hexadecimal digits.
    pub node: String,
    /// Its branch.
    pub branch: String,
    /// Its author.
    pub user: String,
    /// Its whole description.
    pub message: String,
    /// All that is sent, the changeset itself last.
    pub changesets: Vec<SentChangeset>,
    /// How many files have uncommitted changes, which are not sent; counted where the user named no revision.
    pub uncommitted: usize,
}

/// What the function gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// How many bytes it has.
    pub size: u64,
    /// The payload; none where it has more bytes than were allowed.
    pub bytes: Option<Vec<u8>>,
}

/// A changeset as `hg log --template json` tells it.
#[derive(Deserialize)]
struct Logged {
    node: String,
    branch: String,
    phase: String,
    user: String,
    desc: String,
}

/// The payload with the names that the function knows.
#[derive(Serialize)]
struct Fields<'a> {
    bundle: &'a str,
    node: &'a str,
    branch: &'a str,
    user: &'a str,
    message: &'a str,
}

impl TryPush {
    /// Finds what `revision` means, by default what is checked out, in the checkout that holds `current`.
    ///
    /// Refused is a revision with nothing to send, for it is public, or one that is not to travel, for it is secret.
    pub async fn find(revision: Option<&str>, current: &Path) -> Result<Self, Fault> {
        let FoundSource::Mercurial(root) = find_root(current) else {
            return Err(Fault::usage(format!("`{}` is not in a Mercurial checkout", current.display()))
                .hint("Run it inside the checkout whose changesets are to be tried."));
        };
        let found = find_one(&root, revision).await?;
        match found.phase.as_str() {
            "draft" => {}
            "public" => {
                let what = revision.map_or("what is checked out".to_owned(), |revision| format!("`{revision}`"));
                return Err(Fault::usage(format!("{what} is public already, so there is nothing to send")).hint(
                    "Name a draft with `--rev`; `hg log --rev 'draft()'` lists them. What is public is tested without this.",
                ));
            }
            phase => {
                let shown = revision.unwrap_or(".");
                return Err(Fault::usage(format!("`{shown}` is {phase}, and only drafts are sent"))
                    .hint("`hg phase --draft` makes a secret changeset a draft."));
            }
        }
        let changesets = list_drafts(&root, &found.node).await?;
        let uncommitted = match revision {
            None => changed_files(&root).await?.len(),
            Some(_) => 0,
        };
        let Logged { node, branch, user, desc: message, .. } = found;
        Ok(Self { root, node, branch, user, message, changesets, uncommitted })
    }

    /// Makes the payload by a file in the folder `scratch`, of which nothing stays. A payload of more than `most`
    /// bytes is measured and not read.
    pub async fn payload(&self, scratch: &Path, most: u64) -> Result<Payload, Fault> {
        clear_stale(scratch, SystemTime::now());
        let place = |error: std::io::Error| {
            Fault::outside(format!("cannot make a bundle in `{}`", scratch.display())).because(error)
        };
        let (start, end) = BUNDLE_NAME;
        // Whoever gives up waiting drops it, which removes it too.
        let mut file = tempfile::Builder::new().prefix(start).suffix(end).tempfile_in(scratch).map_err(place)?;
        let payload = self.read_bundle(&mut file, most).await;
        file.close().map_err(|error| {
            Fault::outside(format!("cannot remove a bundle from `{}`", scratch.display())).because(error)
        })?;
        payload
    }

    async fn read_bundle(&self, file: &mut NamedTempFile, most: u64) -> Result<Payload, Fault> {
        let path = file.path().to_str().ok_or_else(|| Fault::outside("the path of a bundle is not UTF-8"))?;
        // Without a base that exists, `hg` before 7 compares with the default remote. The null changeset always does.
        let rev = format!("--rev={}", self.node);
        let args = ["bundle", "--type=gzip-v2", "--base=null", "--base=public()", &rev, path];
        let said = hg(&self.root, &args, BUNDLING).await?;
        match said.code {
            Some(0) => {}
            Some(1) => {
                return Err(Fault::usage(format!("{} has become public, so there is nothing to send", self.node)));
            }
            _ => {
                let what = format!("`hg` cannot bundle {} of `{}`", self.node, self.root.display());
                return Err(Fault::outside(what).because(said.stderr));
            }
        }
        let unreadable = |error: std::io::Error| Fault::outside("cannot read the bundle").because(error);
        // `hg` writes into the file that is there, or puts another in its place.
        let mut bundle = std::fs::File::open(file.path()).map_err(unreadable)?;
        let length = bundle.metadata().map_err(unreadable)?.len();
        let size = self.encode("")?.len() as u64 + length.div_ceil(3) * 4;
        if size > most {
            return Ok(Payload { size, bytes: None });
        }
        let mut bytes = Vec::new();
        bundle.read_to_end(&mut bytes).map_err(unreadable)?;
        let bytes = self.encode(&BASE64.encode(&bytes))?;
        Ok(Payload { size: bytes.len() as u64, bytes: Some(bytes) })
    }

    fn encode(&self, bundle: &str) -> Result<Vec<u8>, Fault> {
        let Self { node, branch, user, message, .. } = self;
        let encoded = serde_json::to_vec(&Fields { bundle, node, branch, user, message });
        encoded.map_err(|error| Fault::outside("cannot write the payload as JSON").because(error))
    }
}

/// The one changeset that `revision` means.
async fn find_one(root: &Path, revision: Option<&str>) -> Result<Logged, Fault> {
    let shown = revision.unwrap_or(".");
    if shown.trim().is_empty() {
        return Err(Fault::usage("`--rev` is empty").hint("Without it, what is checked out is sent."));
    }
    let said = hg(root, &["log", "--limit=2", &format!("--rev={shown}"), "--template=json"], QUESTION).await?;
    if said.code != Some(0) {
        return Err(unresolved(root, shown, said.stderr));
    }
    let found: Vec<Logged> = serde_json::from_slice(&said.stdout)
        .map_err(|error| Fault::outside(format!("cannot read what `hg log` says of `{shown}`")).because(error))?;
    let nothing = || Fault::usage(format!("`{shown}` names no changeset"));
    match <[Logged; 1]>::try_from(found) {
        Ok([found]) if found.node == WORKING_COPY => {
            Err(Fault::usage(format!("`{shown}` is the working copy, not a changeset"))
                .hint("Only changesets are sent: `hg commit` makes one."))
        }
        Ok([found]) if found.node == NOTHING && revision.is_none() => {
            Err(Fault::usage(format!("nothing is checked out in `{}`", root.display()))
                .hint("`hg update` checks a changeset out, `--rev` names one."))
        }
        Ok([found]) if found.node == NOTHING => Err(nothing()),
        Ok([found]) => Ok(found),
        Err(found) if found.is_empty() => Err(nothing()),
        Err(_) => Err(Fault::usage(format!("`{shown}` names more than one changeset"))
            .hint("One is tried; the drafts that it stands on are sent with it.")),
    }
}

/// The drafts that are sent for the sake of `node`, which is the last of them.
async fn list_drafts(root: &Path, node: &str) -> Result<Vec<SentChangeset>, Fault> {
    let rev = format!("--rev=only({node}, public())");
    let said = hg(root, &["log", &rev, "--template={node} {desc|firstline}\\n"], QUESTION).await?;
    if said.code != Some(0) {
        return Err(Fault::outside(format!("cannot list the drafts of `{}`", root.display())).because(said.stderr));
    }
    Ok(read_list(&String::from_utf8_lossy(&said.stdout)))
}

fn read_list(lines: &str) -> Vec<SentChangeset> {
    let changeset = |line: &str| {
        let (node, summary) = line.split_once(' ')?;
        Some(SentChangeset { node: node.to_owned(), summary: summary.to_owned() })
    };
    // A description may hold further characters that some take for a line's end.
    lines.split('\n').filter_map(changeset).collect()
}

/// Removes bundles of processes that were killed. One that cannot be removed disturbs nobody, and `uninstall` says so.
fn clear_stale(scratch: &Path, now: SystemTime) {
    let (start, end) = BUNDLE_NAME;
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_bundle = name.to_str().is_some_and(|name| name.starts_with(start) && name.ends_with(end));
        let made = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = made.and_then(|made| now.duration_since(made).ok()).unwrap_or_default();
        if is_bundle && age > STALE {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(message: &str) -> TryPush {
        TryPush {
            root: "/r".into(),
            node: "1".repeat(40),
            branch: "stable".into(),
            user: "Ann <ann@here>".into(),
            message: message.into(),
            changesets: Vec::new(),
            uncommitted: 0,
        }
    }

    #[test]
    fn the_payload_has_the_names_that_the_function_knows() {
        let payload = push("first\n\n\"second\" \u{e4}").encode("SEcyMA==").unwrap();
        let read: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let expected = serde_json::json!({
            "bundle": "SEcyMA==",
            "node": "1".repeat(40),
            "branch": "stable",
            "user": "Ann <ann@here>",
            "message": "first\n\n\"second\" \u{e4}",
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_list_has_a_line_a_changeset() {
        let list = read_list("aa one two\nbb \ncc x\u{85}y\u{2028}z\n");
        let shown: Vec<_> = list.iter().map(|it| (it.node.as_str(), it.summary.as_str())).collect();
        assert_eq!(shown, [("aa", "one two"), ("bb", ""), ("cc", "x\u{85}y\u{2028}z")]);
    }

    #[test]
    fn a_bundle_that_a_kill_left_is_removed_by_the_next_day() {
        let folder = tempfile::tempdir().unwrap();
        let names = [".try-aB3.tmp", ".try-aB3.new", "20261120-110000-aaaaaa"];
        names.iter().for_each(|name| std::fs::write(folder.path().join(name), "x").unwrap());
        let left = || names.map(|name| folder.path().join(name).exists());
        clear_stale(folder.path(), SystemTime::now() + STALE / 2);
        assert_eq!(left(), [true, true, true]);
        clear_stale(folder.path(), SystemTime::now() + STALE * 2);
        assert_eq!(left(), [false, true, true]);
    }
}
