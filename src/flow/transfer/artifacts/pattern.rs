//! Patterns for artifacts, which mean the same on every machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use model::fault::Fault;
use serde::{Deserialize, Serialize};

/// The characters by which a part of a pattern is not literal.
const SPECIAL: [char; 6] = ['*', '?', '[', ']', '{', '\\'];

/// A pattern, absolute or relative to the folder that the runner works in. `*` and `?` stay within a name; `**` does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// The pattern.
    pub glob: String,
    /// Whether something must match.
    pub required: bool,
}

/// The files to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Patterns {
    /// The patterns, as they were given.
    pub patterns: Vec<Pattern>,
    /// Patterns of files that are left where they are, although others match them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
}

impl Patterns {
    /// Checks the patterns.
    pub fn new(required: &[String], optional: &[String]) -> Result<Self, Fault> {
        let pattern = |required| move |glob: &String| Pattern { glob: glob.clone(), required };
        let patterns = required.iter().map(pattern(true)).chain(optional.iter().map(pattern(false)));
        let wanted = Self { patterns: patterns.collect(), excluded: Vec::new() };
        for pattern in &wanted.patterns {
            pattern.matcher()?;
        }
        Ok(wanted)
    }

    /// The same without the files that match one of these patterns.
    pub fn without(self, excluded: &[String]) -> Result<Self, Fault> {
        let all = Self { excluded: excluded.to_vec(), ..self };
        all.exclusions().map(|_| all)
    }

    /// What is left out.
    pub(crate) fn exclusions(&self) -> Result<Exclusions, Fault> {
        let one = |glob: &String| {
            let pattern = Pattern { glob: glob.clone(), required: false };
            Ok((pattern.is_absolute(), pattern.matcher()?))
        };
        self.excluded.iter().map(one).collect::<Result<_, Fault>>().map(Exclusions)
    }

    /// Whether there is nothing to fetch.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// What is left out, ready to be asked.
pub(crate) struct Exclusions(Vec<(bool, GlobMatcher)>);

impl Exclusions {
    /// Whether the file `path` is left out; relative patterns begin at `root`.
    pub(crate) fn has(&self, root: &str, path: &Path) -> bool {
        self.0.iter().any(|(is_absolute, matcher)| match is_absolute {
            true => matcher.is_match(path),
            false => path.strip_prefix(root).is_ok_and(|below| matcher.is_match(below)),
        })
    }
}

impl Pattern {
    pub(crate) fn is_absolute(&self) -> bool {
        self.glob.starts_with('/')
    }

    /// The pattern without a leading `./`, which means nothing.
    pub(super) fn text(&self) -> &str {
        self.glob.strip_prefix("./").unwrap_or(&self.glob)
    }

    pub(crate) fn matcher(&self) -> Result<GlobMatcher, Fault> {
        let refused =
            |reason: &str| Fault::usage(format!("`{}` is not a pattern for artifacts", self.glob)).because(reason);
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
    pub(super) fn beginning(&self, root: &str) -> PathBuf {
        let base = if self.is_absolute() { PathBuf::from("/") } else { PathBuf::from(root) };
        let parts = self.text().split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.take_while(|part| !part.contains(SPECIAL)).fold(base, |path, part| path.join(part))
    }
    /// Whether something in the folder `path`, which cannot be entered, may match; relative patterns begin at `root`.
    pub(super) fn may_match_in(&self, root: &str, path: &Path) -> bool {
        if self.beginning(root).starts_with(path) {
            return true;
        }
        let Ok(below) = path.strip_prefix(if self.is_absolute() { "/" } else { root }) else { return false };
        let parts: Vec<&str> = self.text().split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        // From this part on, parts are not single names: `**` is any number of them, and a group in braces may hold
        // slashes.
        let names = parts.iter().position(|part| part.contains("**") || part.contains('{'));
        let depth = below.components().count();
        if names.is_none() && depth >= parts.len() {
            return false;
        }
        let matches = |part: &str, name: &OsStr| {
            let glob = GlobBuilder::new(part).literal_separator(true).backslash_escape(true).build();
            glob.map_or(true, |glob| glob.compile_matcher().is_match(Path::new(name)))
        };
        parts.iter().take(names.unwrap_or(parts.len())).zip(below).all(|(part, name)| matches(part, name))
    }
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
            assert!(Patterns::new(&[bad.to_owned()], &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_closed_folder_counts_only_where_something_in_it_may_match() {
        for (glob, yes, no) in [
            ("**", vec!["a", "a/b"], vec![]),
            ("*.log", vec![], vec!["a"]),
            ("out/*.log", vec!["out"], vec!["out/a", "other"]),
            ("out/*/x", vec!["out", "out/a"], vec!["a/b", "out/a/b"]),
            ("o*/**/x", vec!["out", "out/a/b"], vec!["a/b"]),
            ("{a/b,c}/x", vec!["a", "a/b", "d"], vec![]),
            ("/var/**", vec![], vec!["a"]),
        ] {
            let reaches = |path: &str| pattern(glob).may_match_in("/w", &Path::new("/w").join(path));
            assert!(yes.iter().all(|path| reaches(path)) && !no.iter().any(|path| reaches(path)), "{glob}");
        }
        assert!(pattern("/var/**").may_match_in("/w", Path::new("/var/x")));
    }
}
