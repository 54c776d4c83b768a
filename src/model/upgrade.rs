//! Releases of the tool itself: which version is the newest, and whether that is newer than this one.

use std::cmp::Ordering;

use jiff::Timestamp;
use semver::Version;
use serde::Deserialize;

/// The name of the file that says which release is the newest.
pub const LATEST: &str = "latest.json";

/// The newest release, by what [`LATEST`] says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestRelease {
    /// Its version.
    pub version: Version,
    /// When it was made, where the file says so.
    pub released_at: Option<Timestamp>,
    /// The names of its files.
    pub files: Vec<String>,
}

#[derive(Deserialize)]
struct Written {
    version: String,
    #[serde(default)]
    released_at: Option<Timestamp>,
    #[serde(default)]
    files: Vec<WrittenFile>,
}

#[derive(Deserialize)]
struct WrittenFile {
    name: String,
}

impl NewestRelease {
    /// Reads the file's bytes; the error says what is wrong with them. Fields that are not known are left out.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let shown = |text: &str| text.escape_debug().to_string();
        let version = Version::parse(&written.version)
            .map_err(|error| format!("`{}` is not a version: {error}", shown(&written.version)))?;
        let files: Vec<String> = written.files.into_iter().map(|file| file.name).collect();
        match files.iter().find(|name| !is_name(name)) {
            Some(name) => Err(format!("`{}` is not the name of a file", shown(name))),
            None => Ok(Self { version, released_at: written.released_at, files }),
        }
    }

    /// Whether it is newer than `own`, as versions are ordered: a candidate comes before its release.
    pub fn is_newer_than(&self, own: &Version) -> bool {
        self.version.cmp_precedence(own) == Ordering::Greater
    }

    /// The package for Debian and Ubuntu, where there is one.
    pub fn debian_package(&self) -> Option<&str> {
        self.files.iter().map(String::as_str).find(|name| name.ends_with(".deb"))
    }
}

/// Whether it is a name that a command can be told without quotes, and no path.
fn is_name(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~+-".contains(&byte));
    plain && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_ordered_by_their_numbers_and_a_candidate_comes_before_its_release() {
        let newer = |theirs: &str, own: &str| {
            NewestRelease::read(format!("{{\"version\": \"{theirs}\"}}").as_bytes())
                .unwrap()
                .is_newer_than(&version(own))
        };
        for (older, newest) in
            [("0.9.0", "0.10.0"), ("0.1.0", "1.0.0-rc.1"), ("1.0.0-rc.2", "1.0.0-rc.10"), ("1.0.0-rc.10", "1.0.0")]
        {
            assert!(newer(newest, older) && !newer(older, newest), "{older} {newest}");
        }
        assert!(!newer("0.1.0", "0.1.0") && !newer("0.1.0+other", "0.1.0"));
    }

    #[test]
    fn what_is_no_release_is_refused_in_words() {
        let read = NewestRelease::read(
            br#"{"version": "0.2.0", "released_at": "2026-12-01T00:00:00Z", "new": 1, "files": [{"name": "a_0.2.0.deb", "size": 3}]}"#,
        );
        let read = read.unwrap();
        assert_eq!((read.version.clone(), read.debian_package()), (version("0.2.0"), Some("a_0.2.0.deb")));
        assert_eq!(read.released_at.unwrap().to_string(), "2026-12-01T00:00:00Z");
        for (text, told) in [
            ("", "EOF"),
            ("{}", "version"),
            (r#"{"version": "1.0; rm"}"#, "`1.0; rm` is not a version"),
            (r#"{"version": "v1.0.0"}"#, "is not a version"),
            (r#"{"version": "1.0.0", "files": [{"name": "../x.deb"}]}"#, "`../x.deb` is not the name of a file"),
            (r#"{"version": "1.0.0", "files": [{"name": "-x.deb"}]}"#, "is not the name of a file"),
            (r#"{"version": "1.0.0", "files": [{"name": "x;y.deb"}]}"#, "is not the name of a file"),
        ] {
            let error = NewestRelease::read(text.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
