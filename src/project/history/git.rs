//! A repository of Git's, made anew: packs of what can be reached from its branches and tags, these themselves, the index, and those of its
//! settings that say how files are compared. Nothing of it points elsewhere, so one made of a linked worktree or a sub-module is whole.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use model::fault::Fault;

use crate::history::{Outlook, PACKING, copy, failed, make, write};
use crate::program::{HgOutput, git, git_with};

/// How long a short question may take.
const QUESTION: Duration = Duration::from_secs(60);

/// The refs that travel. The stash is unfinished work, and what tools keep elsewhere is their own.
const REFS: [&str; 5] = ["refs/heads", "refs/tags", "refs/remotes", "refs/notes", "refs/replace"];

/// What the repository notes of a merge, a pick or a revert that is not committed yet; those that name commits come first.
const UNFINISHED: [&str; 6] =
    ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "MERGE_MSG", "MERGE_MODE", "SQUASH_MSG"];
const NAMING_COMMITS: usize = 3;

/// Settings that travel, wherever they are made: they say how files are compared, and where branches belong.
const SETTINGS: [&str; 14] = [
    "core.autocrlf",
    "core.eol",
    "core.filemode",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.safecrlf",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
    "diff.ignoresubmodules",
    "extensions.objectformat",
    "index.sparse",
    "status.renames",
    "status.showuntrackedfiles",
];

/// The same of sections with a name in the middle.
const NAMED_SETTINGS: [(&str, &[&str]); 3] = [
    ("branch", &["merge", "remote"]),
    ("remote", &["fetch", "url"]),
    ("submodule", &["active", "branch", "ignore", "url"]),
];

/// Settings of a partial clone, which has the rest of its history elsewhere.
const PARTIAL: &str = "^(extensions\\.partialclone|remote\\..*\\.promisor)$";

/// How many commits behind the first one lie in each pack but the last: an old pack stays as it is while new commits come, and is not sent again.
const STEPS: [u64; 2] = [1024, 32];

/// Looks at a repository; refuses one that cannot be made whole.
pub(super) async fn look(top: &Path) -> Result<Outlook, Fault> {
    let asked = git(top, &["config", "--get-regexp", PARTIAL], QUESTION).await?;
    if asked.code == Some(0) && !asked.stdout.is_empty() {
        return Err(Fault::usage(format!("the history of `{}` cannot be sent", top.display()))
            .because("it is a partial clone: parts of it are with its remote alone")
            .hint("Make a whole one of it: `git fetch --refetch --no-filter`, and unset `remote.NAME.promisor` and `extensions.partialClone`."));
    }
    let mut words = vec!["rev-list", "--branches", "--tags", "--remotes"];
    words.extend(is_born(top).await?.then_some("HEAD"));
    let number = async |further: &[&str]| {
        let said = demand(git(top, &[&words, further].concat(), PACKING).await?, top, "count the revisions")?;
        Ok::<_, Fault>(text(&said).parse().unwrap_or_default())
    };
    let revisions = number(&["--count"]).await?;
    let bytes = number(&["--objects", "--disk-usage"]).await?;
    Ok(Outlook { revisions, bytes, remark: filtered(top).await? })
}

/// Whether anything is committed where the working copy stands.
async fn is_born(top: &Path) -> Result<bool, Fault> {
    Ok(git(top, &["rev-parse", "--verify", "--quiet", "HEAD"], QUESTION).await?.code == Some(0))
}

/// What to say where files pass through a program of this computer on their way into the repository.
async fn filtered(top: &Path) -> Result<Option<String>, Fault> {
    let set = git(top, &["config", "--name-only", "--get-regexp", "^filter\\..*\\.(clean|process)$"], QUESTION).await?;
    if set.stdout.is_empty() {
        return Ok(None);
    }
    let files = git(top, &["ls-files", "-z", "--", ":(attr:filter)"], QUESTION).await?;
    let count = files.stdout.iter().filter(|byte| **byte == 0).count();
    Ok((count > 0).then(|| {
        format!(
            "{count} files of `{}` pass through a filter that is set up on this computer alone, as Git LFS is: Git calls them changed on the machine",
            top.display()
        )
    }))
}

/// What was printed, where that came to a good end.
fn demand(said: HgOutput, top: &Path, what: &str) -> Result<HgOutput, Fault> {
    match said.code {
        Some(0) => Ok(said),
        _ => Err(Fault::outside(format!("`git` cannot {what} of `{}`", top.display())).because(said.stderr)),
    }
}

fn text(said: &HgOutput) -> String {
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// Makes the repository anew in the folder `into`.
pub(super) async fn pack(top: &Path, into: &Path) -> Result<(), Fault> {
    for folder in ["objects/pack", "objects/info", "refs/heads", "refs/tags", "info"] {
        make(&into.join(folder))?;
    }
    let said = demand(git(top, &["rev-parse", "--absolute-git-dir"], QUESTION).await?, top, "find the repository")?;
    let own = PathBuf::from(text(&said));
    let mut tips = refs(top, into).await?;
    tips.extend(head(top, into).await?);
    for (number, name) in UNFINISHED.into_iter().enumerate() {
        let to = into.join(name);
        if copy(&own.join(name), &to)? && number < NAMING_COMMITS {
            let text = std::fs::read_to_string(&to).map_err(|error| failed("read", &to, error))?;
            tips.extend(text.split_whitespace().map(str::to_owned));
        }
    }
    tips.extend(staged(top).await?);
    objects(top, into, tips).await?;
    index(top, into).await?;
    for name in ["info/attributes", "info/exclude", "info/sparse-checkout", "shallow"] {
        copy(&path_of(top, name).await?, &into.join(name))?;
    }
    write(&into.join("config"), settings(top).await?)
}

/// Where the repository keeps a file.
async fn path_of(top: &Path, name: &str) -> Result<PathBuf, Fault> {
    let words = ["rev-parse", "--path-format=absolute", "--git-path", name];
    Ok(PathBuf::from(text(&demand(git(top, &words, QUESTION).await?, top, "find the files")?)))
}

/// Writes the refs; gives the objects that they name.
async fn refs(top: &Path, into: &Path) -> Result<BTreeSet<String>, Fault> {
    let words = ["for-each-ref", "--format=%(objectname) %(symref) %(refname)"];
    let said = demand(git(top, &[&words[..], &REFS].concat(), QUESTION).await?, top, "list the branches and tags")?;
    let (mut packed, mut tips) = ("# pack-refs with: sorted \n".to_owned(), BTreeSet::new());
    for line in text(&said).lines() {
        let mut fields = line.splitn(3, ' ');
        let (Some(object), Some(target), Some(name)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if target.is_empty() {
            let _ = writeln!(packed, "{object} {name}");
            tips.insert(object.to_owned());
        } else {
            write(&into.join(name), format!("ref: {target}\n"))?;
        }
    }
    write(&into.join("packed-refs"), packed)?;
    Ok(tips)
}

/// Writes what is checked out; gives its commit, if there is one.
async fn head(top: &Path, into: &Path) -> Result<Option<String>, Fault> {
    let said = git(top, &["rev-parse", "--verify", "--quiet", "HEAD"], QUESTION).await?;
    let commit = Some(text(&said)).filter(|_| said.code == Some(0));
    let branch = git(top, &["symbolic-ref", "--quiet", "HEAD"], QUESTION).await?;
    match (branch.code, &commit) {
        (Some(0), _) => write(&into.join("HEAD"), format!("ref: {}\n", text(&branch)))?,
        (_, Some(commit)) => {
            write(&into.join("HEAD"), format!("{commit}\n"))?;
            // `git status` reads there what was checked out. A time of 0 would make the line a damaged one.
            let words =
                ["log", "--walk-reflogs", "--grep-reflog=^checkout: moving from", "-1", "--format=%H %gs", "HEAD"];
            let said = git(top, &words, QUESTION).await?;
            if let Some((to, what)) = text(&said).split_once(' ') {
                let line = format!("{} {to} automation <automation> 1 +0000\t{what}\n", "0".repeat(to.len()));
                write(&into.join("logs/HEAD"), line)?;
            }
        }
        (_, None) => {
            return Err(Fault::outside(format!("`git` cannot say what is checked out in `{}`", top.display()))
                .because(said.stderr));
        }
    }
    Ok(commit)
}

/// The objects of the index that no commit has yet.
async fn staged(top: &Path) -> Result<BTreeSet<String>, Fault> {
    let said = match is_born(top).await? {
        true => {
            let words = ["diff-index", "--cached", "--raw", "--no-renames", "-z", "HEAD", "--"];
            let said = demand(git(top, &words, QUESTION).await?, top, "list what is staged")?;
            let unmerged = git(top, &["ls-files", "--unmerged", "-z"], QUESTION).await?;
            let mut found = objects_of(&unmerged.stdout, 1);
            // A record begins with a colon, and the path behind it is another.
            let records: Vec<&[u8]> = said.stdout.split(|byte| *byte == 0).step_by(2).collect();
            found.extend(objects_of(&records.join(&0), 3));
            return Ok(found);
        }
        false => git(top, &["ls-files", "--stage", "-z"], QUESTION).await?,
    };
    Ok(objects_of(&said.stdout, 1))
}

/// The objects that stand in this field of each record; not those of other repositories, and not none.
fn objects_of(printed: &[u8], field: usize) -> BTreeSet<String> {
    let records = printed.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let objects = records.filter_map(|record| {
        let fields: Vec<&str> = record.split([' ', '\t']).collect();
        let object = fields.get(field)?;
        let is_link = fields.iter().take(field).any(|mode| *mode == "160000");
        (!is_link && object.bytes().any(|byte| byte != b'0')).then(|| (*object).to_owned())
    });
    objects.collect()
}

/// Packs all that can be reached from the tips. The packs of one state are the same each time, and those of old commits stay while new ones come.
async fn objects(top: &Path, into: &Path, tips: BTreeSet<String>) -> Result<(), Fault> {
    let mut before: Option<String> = None;
    for step in STEPS {
        let Some(commit) = commit_at(top, step).await?.filter(|commit| before.as_ref() != Some(commit)) else {
            continue;
        };
        pack_objects(top, into, std::iter::once(commit.clone()).chain(before.map(|commit| format!("^{commit}"))))
            .await?;
        before = Some(commit);
    }
    pack_objects(top, into, tips.into_iter().chain(before.map(|commit| format!("^{commit}")))).await
}

/// The last commit whose number in the line of first parents is a multiple of `step`; none where there are fewer.
async fn commit_at(top: &Path, step: u64) -> Result<Option<String>, Fault> {
    if !is_born(top).await? {
        return Ok(None);
    }
    let line = ["rev-list", "--first-parent"];
    let said = demand(git(top, &[&line[..], &["--count", "HEAD"]].concat(), PACKING).await?, top, "count the commits")?;
    let count: u64 = text(&said).parse().unwrap_or_default();
    if count < step {
        return Ok(None);
    }
    let skip = format!("--skip={}", count % step);
    let said = git(top, &[&line[..], &[&skip, "--max-count=1", "HEAD"]].concat(), PACKING).await?;
    Ok(Some(text(&demand(said, top, "list the commits")?)).filter(|commit| !commit.is_empty()))
}

async fn pack_objects(top: &Path, into: &Path, mut lines: impl Iterator<Item = String>) -> Result<(), Fault> {
    let input = tempfile::tempfile_in(into).and_then(|mut file| {
        use std::io::{Seek, Write};
        lines.try_for_each(|line| writeln!(file, "{line}"))?;
        file.rewind()?;
        Ok(file)
    });
    let input = input.map_err(|error| failed("write in", into, error))?;
    let prefix = into.join("objects/pack/pack");
    // One thread, because several pack the same objects in another way each time.
    let words = "-c pack.packSizeLimit=0 -c pack.writeReverseIndex=false pack-objects --revs --non-empty --delta-base-offset --threads=1 --quiet";
    let words: Vec<&std::ffi::OsStr> = words.split(' ').map(AsRef::as_ref).chain([prefix.as_os_str()]).collect();
    let variables = [("GIT_NO_REPLACE_OBJECTS", Path::new("1")), ("GIT_NO_LAZY_FETCH", Path::new("1"))];
    let said = git_with(top, &words, (Stdio::from(input), &variables), PACKING).await?;
    demand(said, top, "pack the history").map(drop)
}

/// Writes the index, without what it says of this computer's folders.
async fn index(top: &Path, into: &Path) -> Result<(), Fault> {
    let to = into.join("index");
    if !copy(&path_of(top, "index").await?, &to)? {
        return Ok(());
    }
    let words = "-c core.splitIndex=false -c core.untrackedCache=false update-index --no-split-index --no-untracked-cache --no-fsmonitor";
    let words: Vec<&str> = words.split(' ').collect();
    let said = git_with(top, &words, (Stdio::null(), &[("GIT_INDEX_FILE", &to)]), PACKING).await?;
    demand(said, top, "copy the index").map(drop)
}

/// The settings that travel, as a file.
async fn settings(top: &Path) -> Result<String, Fault> {
    let said = demand(git(top, &["config", "--list", "--null"], QUESTION).await?, top, "read the settings")?;
    let all = said.stdout.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let all: Vec<(String, String)> = all
        .filter_map(|record| record.split_once('\n').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let is_new = all.iter().any(|(key, _)| key == "extensions.objectformat");
    let mut text = format!("[core]\n\tbare = false\n\trepositoryformatversion = {}\n", u8::from(is_new));
    for name in SETTINGS {
        // The last one counts.
        if let (Some((_, value)), Some((section, key))) =
            (all.iter().rev().find(|(key, _)| key == name), name.split_once('.'))
        {
            let _ = write!(text, "[{section}]\n\t{key} = {}\n", quoted(value));
        }
    }
    for (key, value) in &all {
        let (Some((section, rest)), Some((_, last))) = (key.split_once('.'), key.rsplit_once('.')) else { continue };
        let Some(name) = rest.strip_suffix(last).and_then(|name| name.strip_suffix('.')) else { continue };
        let travels = NAMED_SETTINGS.iter().any(|(known, keys)| *known == section && keys.contains(&last));
        let value = if last == "url" { public_url(value) } else { Some(value.clone()) };
        if let (true, Some(value)) = (travels, value) {
            let _ = write!(text, "[{section} {}]\n\t{last} = {}\n", quoted(name), quoted(&value));
        }
    }
    Ok(text)
}

/// A text as it stands in a file of settings.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

/// An address without a user's name, password or token in it; none for one that leads somewhere on this computer.
fn public_url(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        // `HOST:PATH`, where a slash before the colon would make a path of it.
        let (host, _) = url.split_once(':')?;
        return (!host.contains('/')).then(|| url.to_owned());
    };
    if scheme == "file" {
        return None;
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    Some(format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_travel_without_what_is_secret_in_them() {
        for (url, public) in [
            ("https://ann:token@example.org/a/b.git", Some("https://example.org/a/b.git")),
            ("https://token@example.org/a?key=1", Some("https://example.org/a")),
            ("ssh://git@example.org:22/a", Some("ssh://example.org:22/a")),
            ("git@example.org:a/b.git", Some("git@example.org:a/b.git")),
            ("/home/ann/a", None),
            ("../a", None),
            ("./a:b", None),
            ("file:///home/ann/a", None),
        ] {
            assert_eq!(public_url(url).as_deref(), public, "{url}");
        }
        assert_eq!(quoted("a\\\"b"), "\"a\\\\\\\"b\"");
    }
}
