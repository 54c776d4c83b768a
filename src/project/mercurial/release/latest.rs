//! `latest.dat`: which installers the download page offers to whom. A line for each, with tabs between priority, version,
//! pattern of the user agent, address and description.

use std::str::FromStr;

use jiff::Timestamp;
use model::release::LatestChange;
use pep440_rs::Version;

use super::ReleaseVersion;

/// The file's name, beside the installers.
pub const FILE: &str = "latest.dat";

/// Where the installers are found by those who download them.
const BASE: &str = "https://mercurial-scm.org/release/windows";

/// The priority of each line; the page knows others, but releases have always had this one.
const PRIORITY: &str = "10";

/// User agents that are offered the installer for 32 bits: all of Windows.
const ANY: &str = ".*Windows.*";

/// User agents that are offered the one for 64 bits.
const WIDE: &str = ".*Windows.*(WOW|x)64.*";

/// Whether the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatestWish {
    /// Where the release is for everybody and newer than what the file names.
    Auto,
    /// Whatever it names.
    Write,
    /// Never.
    Keep,
}

/// An installer, as the file describes it.
pub(super) struct Installer {
    pub(super) name: String,
    pattern: &'static str,
    description: String,
}

/// The installers of a release, in the order of the lines.
pub(super) fn installers(version: &str) -> [Installer; 4] {
    let of = |name: String, kind: &str, arch: &str, rights: &str, pattern: &'static str| Installer {
        name,
        pattern,
        description: format!("Mercurial {version} {kind} installer - {arch} Windows - {rights}"),
    };
    let inno = |arch: &str, pattern| {
        let name = format!("Mercurial-{version}-{arch}.exe");
        of(name, "Inno Setup", arch, "does not require admin rights", pattern)
    };
    let msi = |arch: &str, pattern| {
        of(format!("mercurial-{version}-{arch}.msi"), "MSI", arch, "requires admin rights", pattern)
    };
    [inno("x86", ANY), inno("x64", WIDE), msi("x86", ANY), msi("x64", WIDE)]
}

/// The content for a version.
fn content(version: &str) -> String {
    let line = |of: Installer| {
        let address = format!("{BASE}/{}", of.name);
        [PRIORITY, version, of.pattern, &address, &of.description].join("\t") + "\n"
    };
    installers(version).map(line).concat()
}

/// The newest version that a file names. Lines that name none are passed over.
fn newest(text: &str) -> Option<Version> {
    text.lines().filter_map(|line| Version::from_str(line.split('\t').nth(1)?.trim()).ok()).max()
}

/// What becomes of a file with the content `old`, or of one that is not there.
pub fn change(version: &ReleaseVersion, old: Option<&str>, wish: LatestWish) -> LatestChange {
    let new = content(version.as_str());
    if wish == LatestWish::Keep {
        return LatestChange::Keep("`--latest keep` was given".to_owned());
    }
    if old == Some(new.as_str()) {
        return LatestChange::Same;
    }
    if wish == LatestWish::Auto {
        if version.is_early() {
            return LatestChange::Keep(format!("{} is not a release for everybody", version.as_str()));
        }
        if let Some(named) = old.and_then(newest).filter(|named| *named > version.version) {
            return LatestChange::Keep(format!("it names {named}, which is newer"));
        }
    }
    LatestChange::Write(new)
}

/// The name under which an old file is kept: with the time, so that none replaces another.
pub fn name_backup(now: Timestamp) -> String {
    format!("{FILE}.{}", now.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> ReleaseVersion {
        ReleaseVersion::parse(text).unwrap()
    }

    #[test]
    fn the_file_has_four_lines_of_five_fields() {
        let text = content("7.2.4");
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert!(text.ends_with('\n') && rows.len() == 4);
        let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<_>>();
        assert_eq!(column(0), ["10"; 4]);
        assert_eq!(column(1), ["7.2.4"; 4]);
        assert_eq!(column(2), [ANY, WIDE, ANY, WIDE]);
        let base = "https://mercurial-scm.org/release/windows";
        let names = [
            "Mercurial-7.2.4-x86.exe",
            "Mercurial-7.2.4-x64.exe",
            "mercurial-7.2.4-x86.msi",
            "mercurial-7.2.4-x64.msi",
        ];
        assert_eq!(column(3), names.map(|name| format!("{base}/{name}")));
        assert_eq!(rows[3][4], "Mercurial 7.2.4 MSI installer - x64 Windows - requires admin rights");
        assert!(rows.iter().all(|row| row.len() == 5));
    }

    #[test]
    fn nobody_is_moved_back_or_to_a_candidate_unless_that_is_asked_for() {
        let (old, ours) = (content("7.2.4"), content("7.1.3"));
        let auto = |of: &str, old: Option<&str>| change(&version(of), old, LatestWish::Auto);
        assert_eq!(auto("7.2.4", Some(&old)), LatestChange::Same);
        assert_eq!(auto("7.2.4", None), LatestChange::Write(old.clone()));
        assert_eq!(auto("7.2.10", Some(&old)), LatestChange::Write(content("7.2.10")));
        assert_eq!(auto("7.1.3", Some(&old)), LatestChange::Keep("it names 7.2.4, which is newer".to_owned()));
        assert_eq!(auto("7.3rc0", Some(&old)), LatestChange::Keep("7.3rc0 is not a release for everybody".to_owned()));
        let written = old.replace("Inno Setup", "Inno");
        assert_eq!(
            auto("7.2.4", Some(&written)),
            LatestChange::Write(old.clone()),
            "of the same version, in other words"
        );
        assert_eq!(auto("7.1.3", Some("nonsense\n")), LatestChange::Write(ours.clone()));
        assert_eq!(change(&version("7.1.3"), Some(&old), LatestWish::Write), LatestChange::Write(ours));
        assert!(matches!(change(&version("7.3"), Some(&old), LatestWish::Keep), LatestChange::Keep(_)));
    }

    #[test]
    fn an_old_file_is_kept_by_its_time() {
        assert_eq!(name_backup("2026-11-29T16:05:09.5Z".parse().unwrap()), "latest.dat.20261129T160509Z");
    }
}
