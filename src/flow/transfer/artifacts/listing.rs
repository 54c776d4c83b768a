//! The entries of a machine below the beginnings of patterns.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use model::connection::Connection;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::output::{OutputLimits, run_command};

use crate::transfer::artifacts::pattern::{Exclusions, Patterns};

/// The longest listing of a machine: some 100 bytes for each of a few million files.
const LISTING: OutputLimits = OutputLimits { bytes: 512 << 20, time: Duration::from_secs(600) };

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListedKind {
    /// A file, or a link to one.
    File {
        /// Its bytes, with holes counted.
        bytes: u64,
        /// Whether the machine's user may read it.
        readable: bool,
    },
    Folder,
    /// A link to a folder, to nothing, or to something else that is not a file.
    Link,
}

/// The entries that were found.
#[derive(Debug, Default)]
pub(crate) struct FileListing {
    /// The entries by path.
    pub(crate) found: BTreeMap<PathBuf, ListedKind>,
    /// Folders that the machine's user may not look into.
    pub(crate) closed: Vec<PathBuf>,
}

impl FileListing {
    /// Forgets what is left out.
    pub(super) fn leave_out(&mut self, exclusions: &Exclusions, root: &str) {
        self.found.retain(|path, _| !exclusions.has(root, path));
    }
}

/// Lists the entries below the beginnings of all patterns. A link is followed where a pattern names it, not below `**`.
pub(crate) async fn list(connection: &dyn Connection, root: &str, wanted: &Patterns) -> Result<FileListing, Fault> {
    let mut starts: Vec<PathBuf> = wanted.patterns.iter().map(|pattern| pattern.beginning(root)).collect();
    starts.sort();
    starts.dedup();
    // Patterns are text, so nothing is lost here.
    let starts: Vec<String> = starts.iter().map(|start| start.display().to_string()).collect();
    let command = guest::of(connection.platform()).list_files(&starts);
    let listed = run_command(connection, &command, LISTING).await?;
    match &listed.exit {
        // A start that does not exist is not an error: its pattern matches nothing.
        Exit::Code(0 | 1) if !listed.capped => Ok(FileListing {
            found: listed.stdout.split(|byte| *byte == 0).filter_map(parse_record).collect(),
            closed: parse_closed(&listed.stderr, root),
        }),
        Exit::Code(0 | 1) => Err(Fault::outside("there are too many files below the patterns for artifacts")
            .hint("Let the patterns begin with the folders that are meant.")),
        Exit::Lost(reason) => {
            Err(Fault::new(FaultKind::Infrastructure, "the machine was lost while artifacts were looked for")
                .because(reason.clone()))
        }
        _ => Err(Fault::outside(format!("cannot look for artifacts: `find` on the machine: {}", listed.exit))
            .because(listed.stderr_text())),
    }
}

fn parse_record(record: &[u8]) -> Option<(PathBuf, ListedKind)> {
    let mut fields = record.get(1..)?.splitn(2, |byte| *byte == b' ');
    let bytes = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let kind = match record.first()? {
        b'r' => ListedKind::File { bytes, readable: true },
        b'u' => ListedKind::File { bytes, readable: false },
        b'd' => ListedKind::Folder,
        b'l' => ListedKind::Link,
        _ => return None,
    };
    let path = PathBuf::from(OsStr::from_bytes(fields.next()?));
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    plain.then_some((path, kind))
}

/// The folders that `find` reports it may not enter. `lost+found`, which a file system has at its root, is left out:
/// nobody's files are in it.
fn parse_closed(said: &[u8], root: &str) -> Vec<PathBuf> {
    let lines = said.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| {
        let path = line.strip_prefix(b"find: '")?.strip_suffix(b"': Permission denied")?;
        Some(PathBuf::from(OsStr::from_bytes(path)))
    });
    paths.filter(|path| *path != Path::new(root).join("lost+found")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_none_is_left_out() {
        let file = ListedKind::File { bytes: 12, readable: true };
        assert_eq!(parse_record(b"r12 /a\nb"), Some((PathBuf::from("/a\nb"), file)));
        for bad in [&b""[..], b"x1 /a", b"rx /a", b"r1", b"r1 /a/../b"] {
            assert!(parse_record(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn only_what_may_not_be_entered_is_closed() {
        let said = b"find: '/w/a b': Permission denied\nfind: '/none': No such file or directory\n\
            find: '/w/lost+found': Permission denied\nelse\n";
        assert_eq!(parse_closed(said, "/w"), [PathBuf::from("/w/a b")]);
    }
}
