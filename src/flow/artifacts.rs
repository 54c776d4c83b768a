//! Bringing files home by pattern.
//!
//! Two commands on the machine, however many patterns and files there are: one lists what stands below the patterns' literal
//! beginnings, one sends what matches as one stream (one more where patterns are absolute as well as relative). Matching is done here,
//! so that a pattern means the same on every machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::base::text;
use crate::flow::collect::{Limits, collect as run};
use crate::model::artifact::Collected;
use crate::model::connection::Connection;
use crate::model::event::{Event, Sink};
use crate::model::fault::{Fault, FaultKind};
use crate::model::outcome::Exit;
use crate::model::task::Command;

/// What a machine may list: some 100 bytes for each of a few million files.
const LISTING: Limits = Limits { bytes: 512 << 20, time: Duration::from_secs(600) };

/// What begins a pattern's part that is not literal.
const SPECIAL: [char; 6] = ['*', '?', '[', ']', '{', '\\'];

/// A pattern, absolute or relative to the folder that the suite works in. `*` and `?` stay within a name; `**` does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// The pattern.
    pub glob: String,
    /// Whether something must match.
    pub required: bool,
}

/// What is to be brought home.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// The patterns, as they were given.
    pub patterns: Vec<Pattern>,
}

impl Wanted {
    /// Checks the patterns.
    pub fn new(required: &[String], optional: &[String]) -> Result<Self, Fault> {
        let pattern = |required| move |glob: &String| Pattern { glob: glob.clone(), required };
        let patterns = required.iter().map(pattern(true)).chain(optional.iter().map(pattern(false)));
        let wanted = Self { patterns: patterns.collect() };
        for pattern in &wanted.patterns {
            pattern.matcher()?;
        }
        Ok(wanted)
    }

    /// Whether there is nothing to bring.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl Pattern {
    fn absolute(&self) -> bool {
        self.glob.starts_with('/')
    }

    /// Without what means nothing.
    fn text(&self) -> &str {
        self.glob.strip_prefix("./").unwrap_or(&self.glob)
    }

    fn matcher(&self) -> Result<GlobMatcher, Fault> {
        let refused =
            |reason: &str| Fault::usage(format!("`{}` is no pattern for artifacts", self.glob)).because(reason);
        if self.text().trim_matches('/').is_empty() {
            return Err(refused("it names no file"));
        }
        if self.glob.ends_with('/') {
            return Err(refused("it names a folder").hint(format!("`{}**` is all that is in it.", self.glob)));
        }
        if self.glob.split('/').any(|part| part == "..") {
            return Err(refused("`..` leads out of the folder").hint("Give an absolute pattern."));
        }
        let glob = GlobBuilder::new(self.text()).literal_separator(true).backslash_escape(true).build();
        Ok(glob.map_err(|error| refused(&error.kind().to_string()))?.compile_matcher())
    }

    /// Where to look: the folder, or the file itself, that the pattern's literal beginning names.
    fn beginning(&self, root: &str) -> PathBuf {
        let base = if self.absolute() { PathBuf::from("/") } else { PathBuf::from(root) };
        let parts = self.text().split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.take_while(|part| !part.contains(SPECIAL)).fold(base, |path, part| path.join(part))
    }
}

/// A file on the machine that matches.
struct Found {
    bytes: u64,
    readable: bool,
}

/// Fetches what matches into the folder `into`, which is made where something does: relative patterns below `root` to the same
/// paths below it, absolute ones to their whole paths below it.
pub async fn collect(
    sink: &dyn Sink,
    connection: &dyn Connection,
    root: &str,
    wanted: &Wanted,
    into: &Path,
) -> Result<Collected, Fault> {
    let mut collected = Collected { folder: into.to_owned(), ..Collected::default() };
    if wanted.is_empty() {
        return Ok(collected);
    }
    let began = std::time::Instant::now();
    sink.event(Event::Step("Fetching artifacts".to_owned()));
    let listed = list(connection, root, wanted).await?;
    let mut matched: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    let mut total = 0;
    for pattern in &wanted.patterns {
        let (base, matcher) = (if pattern.absolute() { "/" } else { root }, pattern.matcher()?);
        let of_pattern = listed.iter().filter_map(|(path, found)| {
            let below = path.strip_prefix(base).ok()?;
            let matches = matcher.is_match(if pattern.absolute() { path.as_path() } else { below });
            matches.then(|| (path, below.to_owned(), found))
        });
        let mut any = false;
        let into = matched.entry(base).or_default();
        for (path, below, found) in of_pattern {
            any = true;
            if found.readable {
                total += found.bytes;
                into.push(below);
            } else {
                collected.unreadable.push(path.display().to_string());
            }
        }
        if !any && pattern.required {
            collected.missing.push(pattern.glob.clone());
        }
    }
    let moved = AtomicU64::new(0);
    let progress = |bytes: u64| {
        let done = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        sink.event(Event::Bytes { done, total: Some(total) });
    };
    for (base, mut paths) in matched {
        paths.sort();
        paths.dedup();
        if paths.is_empty() {
            continue;
        }
        std::fs::create_dir_all(into)
            .map_err(|error| Fault::outside(format!("cannot make `{}`", into.display())).because(error))?;
        let totals = connection.download_some(base, &paths, into, &progress).await?;
        collected.files += totals.files;
        collected.bytes += totals.bytes;
    }
    collected.unreadable.sort();
    collected.unreadable.dedup();
    let text = format!("Fetched {} artifacts, {}", collected.files, text::bytes(collected.bytes));
    sink.event(Event::StepDone { text, seconds: began.elapsed().as_secs_f64() });
    Ok(collected)
}

/// The files and links below the beginnings of all patterns.
async fn list(connection: &dyn Connection, root: &str, wanted: &Wanted) -> Result<BTreeMap<PathBuf, Found>, Fault> {
    let mut starts: Vec<PathBuf> = wanted.patterns.iter().map(|pattern| pattern.beginning(root)).collect();
    starts.sort();
    // What is below another start would be listed twice.
    starts.dedup_by(|later, earlier| later.starts_with(earlier));
    let starts = starts.iter().map(|start| start.display().to_string());
    let tests = ["-type", "l", "-printf", "r0 %p\\0", "-o", "-type", "f"];
    let each = ["(", "-readable", "-printf", "r%s %p\\0", "-o", "-printf", "u%s %p\\0", ")"];
    let command = Command::new("find").env("LC_ALL", "C").args(starts).args(tests).args(each).stdin(Vec::new());
    let listed = run(connection, &command, LISTING).await?;
    match listed.exit {
        // A start that is not there is no error of ours: its pattern matches nothing.
        Exit::Code(0 | 1) if !listed.capped => Ok(listed.stdout.split(|byte| *byte == 0).filter_map(found).collect()),
        Exit::Code(0 | 1) => Err(Fault::outside("there are too many files below the patterns for artifacts")
            .hint("Let the patterns begin with the folders that are meant.")),
        Exit::Lost(reason) => {
            Err(Fault::new(FaultKind::Infrastructure, "the machine was lost while artifacts were looked for")
                .because(reason))
        }
        exit => Err(Fault::outside(format!("cannot look for artifacts: `find` on the machine: {exit}"))
            .because(String::from_utf8_lossy(&listed.stderr).trim().to_owned())),
    }
}

fn found(record: &[u8]) -> Option<(PathBuf, Found)> {
    let readable = match record.first()? {
        b'r' => true,
        b'u' => false,
        _ => return None,
    };
    let mut fields = record[1..].splitn(2, |byte| *byte == b' ');
    let bytes = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let path = PathBuf::from(OsStr::from_bytes(fields.next()?));
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    plain.then_some((path, Found { bytes, readable }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(glob: &str) -> Pattern {
        Pattern { glob: glob.to_owned(), required: true }
    }

    #[test]
    fn patterns_match_within_names_and_begin_where_they_are_literal() {
        let cases = [
            ("*.log", "/w", vec!["a.log"], vec!["b/a.log", "a.logs"]),
            ("out/**/*.xml", "/w/out", vec!["out/a.xml", "out/b/c/d.xml"], vec!["a.xml", "out/a.txt"]),
            ("./logs/**", "/w/logs", vec!["logs/a", "logs/b/c"], vec!["log/a"]),
            ("a b/[x-z]?.{txt,md}", "/w/a b", vec!["a b/x1.md", "a b/z2.txt"], vec!["a b/x.md", "a b/w1.md"]),
            ("exact/file", "/w/exact/file", vec!["exact/file"], vec!["exact/file2"]),
            ("/var/log/*.log", "/var/log", vec!["/var/log/x.log"], vec!["/var/log/a/x.log"]),
            ("star\\*", "/w", vec!["star*"], vec!["stars"]),
        ];
        for (glob, beginning, yes, no) in cases {
            let pattern = pattern(glob);
            assert_eq!(pattern.beginning("/w"), Path::new(beginning), "{glob}");
            let matcher = pattern.matcher().unwrap();
            for path in yes {
                assert!(matcher.is_match(path), "{glob} {path}");
            }
            for path in no {
                assert!(!matcher.is_match(path), "{glob} {path}");
            }
        }
        for bad in ["", "./", "/", "a/", "../a", "a/../b", "a[", "{a"] {
            assert!(Wanted::new(&[bad.to_owned()], &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_that_is_none_is_left_out() {
        assert!(found(b"r12 /a\nb").is_some_and(|(path, found)| path == Path::new("/a\nb") && found.bytes == 12));
        for bad in [&b""[..], b"x1 /a", b"rx /a", b"r1", b"r1 /a/../b"] {
            assert!(found(bad).is_none(), "{bad:?}");
        }
    }
}
