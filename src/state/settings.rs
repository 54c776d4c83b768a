//! `config.toml`: read strictly, so that a typo is an error with its line and not a setting that does nothing.

mod edit;
mod reader;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::machine::{Network, ProviderKind};
use model::setting::{Key, Section, SettingKind};
use serde::Deserialize;
use toml::de::Deserializer;

pub use edit::{Draft, KnownKey, SettingsFile, known_key, known_keys, template};

use crate::file;
use crate::settings::reader::{Given, Reader};

/// The longest settings file, in bytes; a longer file is something else.
const CAP: u64 = 1 << 20;

/// The shortest and longest time that a machine may live without a sign of its driver.
const GRACE: SettingKind = SettingKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(24 * 3600) };

/// How many runs are kept: at least the one that ended just now, and at most what a journal has been measured with.
const KEEP: SettingKind = SettingKind::Count { min: 1, max: 100_000 };

/// The shortest and longest time for which runs are kept: an hour to ten years.
const OLDER_THAN: SettingKind =
    SettingKind::Duration { min: Duration::from_secs(3600), max: Duration::from_secs(10 * 365 * 24 * 3600) };

const MIRROR: SettingKind = SettingKind::url("a URL such as `http://deb.debian.org/debian`");

/// The sections that belong to the tool itself.
const OWN: [Section; 4] = [
    Section {
        name: "",
        keys: &[
            // A tool that was built without one of them says so when it is asked for machines.
            Key {
                name: "provider",
                kind: SettingKind::OneOf(&ProviderKind::CHOICE_NAMES),
                meaning: "Where machines come from",
                default: Some(ProviderKind::Local.name()),
            },
            Key {
                name: "grace",
                kind: GRACE,
                meaning: "How long a machine on this computer lives without a sign of its driver",
                default: Some("60s"),
            },
            Key {
                name: "releases",
                kind: SettingKind::url("a URL such as `https://releases.example.org/automation/`"),
                meaning: "Where releases of this tool are, for `upgrade --check`",
                default: None,
            },
        ],
    },
    Section {
        name: ProviderKind::Local.name(),
        keys: &[
            Key {
                name: "debian-mirror",
                kind: MIRROR,
                meaning: "The mirror of Debian's archive, else the one that this computer uses",
                default: None,
            },
            Key {
                name: "debian-security-mirror",
                kind: MIRROR,
                meaning: "The mirror of Debian's security archive, else the one that this computer uses",
                default: None,
            },
            Key {
                name: "ubuntu-mirror",
                kind: MIRROR,
                meaning: "The mirror of Ubuntu's archive, else the one that this computer uses",
                default: None,
            },
            Key {
                name: "keyring",
                kind: SettingKind::Text { allowed: "the absolute path of a file", check: is_absolute },
                meaning: "The keys that the mirrors' signatures are checked with, else those of the distribution",
                default: None,
            },
        ],
    },
    Section {
        name: "defaults",
        keys: &[
            Key {
                name: "distro",
                kind: SettingKind::Text { allowed: "a distribution's name such as `debian12`", check: is_name },
                meaning: "The distribution of machines",
                default: Some(DISTRO),
            },
            Key {
                name: "filesystem",
                kind: SettingKind::OneOf(&Filesystem::NAMES),
                meaning: "The file system of the work folder",
                default: Some("default"),
            },
            Key {
                name: "network",
                kind: SettingKind::OneOf(&["loopback", "host"]),
                meaning: "The network of a machine on this computer",
                default: Some("loopback"),
            },
            Key {
                name: "wait-gone",
                kind: SettingKind::OneOf(&["auto", "always", "never"]),
                meaning: "Whether a run waits until its machines are seen gone; `auto`: where the variable CI is set",
                default: Some(WAIT_GONE),
            },
        ],
    },
    Section {
        name: "runs",
        keys: &[
            Key {
                name: "keep",
                kind: KEEP,
                meaning: "How many of the newest runs stay when old ones are removed by themselves",
                default: None,
            },
            Key {
                name: "older-than",
                kind: OLDER_THAN,
                meaning: "The age up to which runs stay when old ones are removed by themselves",
                default: None,
            },
        ],
    },
];

/// When a run waits until its machines are seen gone, where nothing is said.
const WAIT_GONE: &str = "auto";

/// The distribution where nothing is said.
const DISTRO: &str = "debian12";

/// The settings, with defaults for keys that the file does not give. [`OWN`] lists the keys, and the reader has checked the file
/// against it before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Where machines come from.
    pub provider: ProviderKind,
    /// How long a machine lives without a sign of its driver.
    #[serde(deserialize_with = "span")]
    pub grace: Duration,
    /// Where releases of the tool itself are.
    pub releases: Option<String>,
    /// The local provider's.
    pub local: Local,
    /// The values that a command takes where its options give none.
    pub defaults: Defaults,
    /// Which runs stay when one ends.
    pub runs: Runs,
    /// The file that the settings were looked for in; empty where there is none.
    #[serde(skip)]
    file: PathBuf,
    /// Every value that the file holds.
    #[serde(skip)]
    given: Given,
}

/// `[local]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Local {
    /// Mirror of Debian's archive; the host's own when not given.
    pub debian_mirror: Option<String>,
    /// Mirror of Debian's security archive; the host's own when not given.
    pub debian_security_mirror: Option<String>,
    /// Mirror of Ubuntu's archive; the host's own when not given.
    pub ubuntu_mirror: Option<String>,
    /// Keyring that the mirrors' signatures are checked with.
    pub keyring: Option<PathBuf>,
}

/// `[runs]`: old runs are removed by themselves where one of the keys is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Runs {
    /// How many of the newest stay.
    pub keep: Option<usize>,
    /// The age up to which they stay.
    #[serde(deserialize_with = "some_span")]
    pub older_than: Option<Duration>,
}

/// `[defaults]`, without the keys that images have there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Defaults {
    /// The distribution; whether there is an image for it is known where images are.
    pub distro: String,
    /// The file system of the work folder.
    pub filesystem: Filesystem,
    /// The machine's network.
    pub network: Network,
    /// When a run waits until its machines are seen gone.
    pub wait_gone: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provider: ProviderKind::Local,
            grace: Duration::from_secs(60),
            releases: None,
            local: Local::default(),
            defaults: Defaults::default(),
            runs: Runs::default(),
            file: PathBuf::new(),
            given: Given::new(),
        }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            distro: DISTRO.to_owned(),
            filesystem: Filesystem::Default,
            network: Network::Loopback,
            wait_gone: WAIT_GONE.to_owned(),
        }
    }
}

/// A span of time that is given.
fn some_span<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    span(from).map(Some)
}

/// A span of time; a bare number is seconds.
fn span<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(u64),
        Text(String),
    }
    match Written::deserialize(from)? {
        Written::Seconds(seconds) => Ok(Duration::from_secs(seconds)),
        Written::Text(words) => text::parse_duration(&words).map_err(serde::de::Error::custom),
    }
}

impl Settings {
    /// Reads `path`; a missing file is the defaults. `extra` are the sections of providers and of images,
    /// which may add keys to those of the tool's own.
    ///
    /// Any key or value that is not known is a [`Fault`] of kind outside that names the file and the line.
    pub fn load(path: &Path, extra: &[Section]) -> Result<Self, Fault> {
        match read(path)? {
            Some(text) => Self::parse(path, &text::unix(&text), extra),
            None => Ok(Self::default()),
        }
    }

    fn parse(path: &Path, text: &str, extra: &[Section]) -> Result<Self, Fault> {
        let reader = Reader::new(path, text, OWN.iter().chain(extra));
        let table = reader.parse()?;
        let given = reader.given(table.get_ref())?;
        // Values of keys that are not the tool's own stay in `given`.
        let settings = Self::deserialize(Deserializer::from(table)).map_err(|error| reader.not_taken(&error))?;
        Ok(Self { file: path.to_owned(), given, ..settings })
    }

    /// The value of a key, as the file gives it; of one that is not the tool's own it is nowhere else. `key` is written as
    /// `defaults.distro`.
    pub fn extra(&self, key: &str) -> Option<&str> {
        self.given.get(key).map(|(value, _)| value.as_str())
    }

    /// Where a value comes from, `FILE:LINE`, for the message about a value that only later proves wrong; none when it
    /// is a default. `key` is written as `defaults.distro`.
    pub fn origin(&self, key: &str) -> Option<String> {
        self.given.get(key).map(|(_, line)| format!("{}:{line}", self.file.display()))
    }
}

/// The text of a settings file; none where there is no such file.
fn read(path: &Path) -> Result<Option<String>, Fault> {
    let bytes = match std::fs::metadata(path).and_then(|meta| {
        let fits = meta.is_file() && meta.len() <= CAP;
        if fits { std::fs::read(path).map(Some) } else { Ok(None) }
    }) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(Fault::outside(format!("`{}` is not a settings file", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file::fault("read", path, error)),
    };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Fault::outside(format!("`{}` is not UTF-8 text", path.display())))
}

fn is_absolute(text: &str) -> bool {
    text.starts_with('/') && !text.contains('\0')
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Section = Section {
        name: "sample",
        keys: &[
            Key {
                name: "source",
                kind: SettingKind::OneOf(&["distribution", "upstream"]),
                meaning: "A source",
                default: None,
            },
            Key { name: "upstream-url", kind: SettingKind::url("a URL"), meaning: "A URL", default: None },
        ],
    };

    /// A key in a table that others have keys in.
    const MORE: Section = Section {
        name: "defaults",
        keys: &[Key {
            name: "flavour",
            kind: SettingKind::OneOf(&["plain", "full"]),
            meaning: "A flavour",
            default: None,
        }],
    };

    fn parse(text: &str) -> Result<Settings, Fault> {
        Settings::parse(Path::new("/s/config.toml"), text, &[SAMPLE, MORE])
    }

    /// Message and hint of the error.
    fn refused(text: &str) -> String {
        let fault = parse(text).unwrap_err();
        assert_eq!(fault.kind, model::fault::FaultKind::Outside);
        // The general hint stands where there is no better one.
        let hint = fault.hint.filter(|hint| !hint.starts_with("Mend that line"));
        format!("{}\n{}", fault.message, hint.unwrap_or_default())
    }

    #[test]
    fn a_missing_or_empty_file_is_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(&dir.path().join("config.toml"), &[]).unwrap(), Settings::default());
        let empty = parse("# nothing\n").unwrap();
        assert_eq!((empty.provider, empty.grace), (ProviderKind::Local, Duration::from_secs(60)));
        assert_eq!(empty.defaults.distro, "debian12");
    }

    #[test]
    fn every_key_is_taken() {
        let text = r#"
provider = "host"
grace = "2m"
[local]
debian-mirror = "http://mirror/debian"
debian-security-mirror = "http://mirror/security"
ubuntu-mirror = "file:///srv/ubuntu"
keyring = "/etc/keys.gpg"
[defaults]
distro = "ubuntu24.04"
filesystem = "ext4"
flavour = "full"
network = "host"
[runs]
keep = 50
older-than = "90d"
[sample]
source = "upstream"
"#;
        let settings = parse(text).unwrap();
        assert_eq!((settings.provider, settings.grace.as_secs()), (ProviderKind::Host, 120));
        assert_eq!(settings.local.debian_mirror.as_deref(), Some("http://mirror/debian"));
        assert_eq!(settings.local.debian_security_mirror.as_deref(), Some("http://mirror/security"));
        assert_eq!(settings.local.ubuntu_mirror.as_deref(), Some("file:///srv/ubuntu"));
        assert_eq!(settings.local.keyring.as_deref(), Some(Path::new("/etc/keys.gpg")));
        let defaults = &settings.defaults;
        assert_eq!((defaults.distro.as_str(), defaults.filesystem), ("ubuntu24.04", Filesystem::Ext4));
        assert_eq!(defaults.network, Network::Host);
        let kept = Duration::from_secs(90 * 24 * 3600);
        assert_eq!(settings.runs, Runs { keep: Some(50), older_than: Some(kept) });
        assert_eq!(parse("").unwrap().runs, Runs::default());
        assert_eq!(settings.extra("defaults.flavour"), Some("full"));
        assert_eq!(settings.extra("sample.source"), Some("upstream"));
        assert_eq!(settings.extra("sample.upstream-url"), None);
        assert_eq!(settings.origin("defaults.distro").as_deref(), Some("/s/config.toml:10"));
        assert_eq!(settings.origin("local.keyring.x"), None);
        assert_eq!(parse("grace = 90").unwrap().grace.as_secs(), 90);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_one() {
        insta::assert_snapshot!(refused("\nprovder = \"local\""), @r"
        /s/config.toml:2: unknown key `provder`
        Did you mean `provider`?
        ");
        insta::assert_snapshot!(refused("[local]\ndebian-miror = \"x\""), @r"
        /s/config.toml:2: unknown key `local.debian-miror`
        Did you mean `local.debian-mirror`?
        ");
        insta::assert_snapshot!(refused("[sample]\nurl = 3"), @r"
        /s/config.toml:2: unknown key `sample.url`
        Did you mean `sample.upstream-url`?
        ");
        insta::assert_snapshot!(refused("frobnicate = 1"), @r"
        /s/config.toml:1: unknown key `frobnicate`
        Known here: `provider`, `grace`, `releases`, `[local]`, `[defaults]`, `[runs]`, `[sample]`.
        ");
        insta::assert_snapshot!(refused("distro = \"debian12\""), @r"
        /s/config.toml:1: unknown key `distro`
        `distro` belongs below `[defaults]`.
        ");
        insta::assert_snapshot!(refused("[defaults]\ngrace = 5"), @r"
        /s/config.toml:2: unknown key `defaults.grace`
        `grace` belongs at the top of the file, above all sections.
        ");
    }

    #[test]
    fn an_unknown_section_is_told_from_a_key() {
        insta::assert_snapshot!(refused("[locale]\nx = 1"), @r"
        /s/config.toml:1: unknown section `[locale]`
        Did you mean `[local]`?
        ");
        insta::assert_snapshot!(refused("[windows]"), @r"
        /s/config.toml:1: unknown section `[windows]`
        Known sections: `[local]`, `[defaults]`, `[runs]`, `[sample]`.
        ");
        insta::assert_snapshot!(refused("local = 3"), @"/s/config.toml:1: `local` is a section: write `[local]`");
        insta::assert_snapshot!(refused("[provider]"), @"/s/config.toml:1: `provider` takes `local` or `ec2` or `host`, in quotes, not a table");
    }

    #[test]
    fn a_wrong_value_names_what_is_allowed() {
        insta::assert_snapshot!(refused("provider = \"locla\""), @r"
        /s/config.toml:1: `provider` takes `local` or `ec2` or `host`, not `locla`
        Did you mean `local`?
        ");
        insta::assert_snapshot!(refused("grace = \"soon\""), @"/s/config.toml:1: `grace` takes a span of time from `1s` to `86400s`, such as `90s` or `5m`, not `soon`");
        insta::assert_snapshot!(refused("[defaults]\nflavour = 3.12"), @"/s/config.toml:2: `defaults.flavour` takes `plain` or `full`, in quotes, not the number 3.12");
        insta::assert_snapshot!(refused("[runs]\nkeep = 0"), @"/s/config.toml:2: `runs.keep` takes a whole number from 1 to 100000, not `0`");
        insta::assert_snapshot!(refused("[runs]\nkeep = \"50\""), @"/s/config.toml:2: `runs.keep` takes a whole number from 1 to 100000, without quotes, not the text `50`");
        insta::assert_snapshot!(refused("[local]\nkeyring = \"~/keys\""), @"/s/config.toml:2: `local.keyring` takes the absolute path of a file, not `~/keys`");
    }

    #[test]
    fn of_several_problems_the_first_in_the_file_is_told() {
        assert!(refused("zzz = 1\naaa = 2").contains(":1: unknown key `zzz`"));
    }

    #[test]
    fn what_is_no_toml_names_its_line() {
        assert!(refused("provider = \"local\"\nprovider = \"host\"").starts_with("/s/config.toml:2: duplicate key"));
        assert!(refused("grace = \"60s\"\n[local\n").starts_with("/s/config.toml:2: "));
        let dir = tempfile::tempdir().unwrap();
        assert!(Settings::load(dir.path(), &[]).unwrap_err().message.contains("is not a settings file"));
        std::fs::write(dir.path().join("windows"), "\u{feff}grace = \"90s\"\r\n[defaults]\r\n").unwrap();
        assert_eq!(Settings::load(&dir.path().join("windows"), &[]).unwrap().grace.as_secs(), 90);
        std::fs::write(dir.path().join("x"), [0xff, 0xfe]).unwrap();
        assert!(Settings::load(&dir.path().join("x"), &[]).unwrap_err().message.contains("is not UTF-8 text"));
    }
}
