//! Chooses the package mirror and the keys for a base: the host's own where that is of the same family.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use model::base::leash::Leash;
use model::image::BaseSpec;
use rustix::process::Signal;

use crate::computer;

/// The mirrors that the user's settings name; the host's are used for those that are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// For Debian, for example `http://deb.debian.org/debian`.
    pub debian: Option<String>,
    /// For Debian's security archive, for example `http://deb.debian.org/debian-security`.
    pub debian_security: Option<String>,
    /// For Ubuntu, for example `http://archive.ubuntu.com/ubuntu`.
    pub ubuntu: Option<String>,
}

/// The mirrors of one base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenMirrors {
    /// For the release.
    pub main: String,
    /// For its security suite, where that is in an archive of its own.
    pub security: String,
}

/// A package source of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PackageSource {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
}

/// The distribution of this computer: `ID` and `VERSION_CODENAME` of `/etc/os-release`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Host {
    family: String,
    suite: String,
}

/// Chooses the mirrors for `base`: those of the settings, otherwise those that this computer uses, otherwise the
/// distribution's well-known ones.
pub fn choose(base: &BaseSpec, settings: &Mirrors) -> ChosenMirrors {
    decide(base, settings, &host(), &configured_sources())
}

fn decide(base: &BaseSpec, settings: &Mirrors, host: &Host, sources: &[PackageSource]) -> ChosenMirrors {
    let find = |archive: &str, suite: &str| {
        // A host of the same family goes to the source of its own packages first, whatever the mirror calls the
        // archive.
        let own = sources.iter().find(|source| {
            host.family == base.family
                && source.suites.iter().any(|name| name == suite)
                && source.components.iter().any(|name| name == "main")
        });
        let named = sources.iter().find(|source| source.uri.rsplit('/').next() == Some(archive));
        own.or(named).map(|source| source.uri.clone())
    };
    if base.family == "ubuntu" {
        let main = settings.ubuntu.clone().or_else(|| find("ubuntu", &host.suite)).unwrap_or_else(ubuntu);
        return ChosenMirrors { security: main.clone(), main };
    }
    let main = settings.debian.clone().or_else(|| find("debian", &host.suite));
    let security =
        settings.debian_security.clone().or_else(|| find("debian-security", &format!("{}-security", host.suite)));
    ChosenMirrors {
        main: main.unwrap_or_else(|| "http://deb.debian.org/debian".to_owned()),
        security: security.unwrap_or_else(|| "http://deb.debian.org/debian-security".to_owned()),
    }
}

/// Ubuntu keeps its main architectures apart from the others.
fn ubuntu() -> String {
    let main = matches!(std::env::consts::ARCH, "x86_64" | "x86");
    if main { "http://archive.ubuntu.com/ubuntu" } else { "http://ports.ubuntu.com/ubuntu-ports" }.to_owned()
}

/// The lines of `sources.list` for `base`; `signed_by` names a keyring that lies inside of the base.
pub fn source_lines(base: &BaseSpec, chosen: &ChosenMirrors, signed_by: Option<&str>) -> Vec<String> {
    let components = base.components.join(" ");
    let option = signed_by.map(|path| format!("[signed-by={path}] ")).unwrap_or_default();
    let line = |mirror: &str, suite: &str| format!("deb {option}{mirror} {suite} {components}");
    let mut lines: Vec<String> = base.suites.iter().map(|suite| line(&chosen.main, suite)).collect();
    lines.extend(base.security_suite.iter().map(|suite| line(&chosen.security, suite)));
    lines
}

/// A distribution's keys on this host, if they are installed.
pub fn host_keyring(family: &str) -> Option<PathBuf> {
    KEYRING_NAMES
        .iter()
        .map(|ending| Path::new("/usr/share/keyrings").join(format!("{family}-archive-keyring.{ending}")))
        .find(|path| path.exists())
}

/// The endings of the names of distributions' keyrings.
pub const KEYRING_NAMES: [&str; 2] = ["gpg", "pgp"];

fn host() -> Host {
    parse_host(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn parse_host(text: &str) -> Host {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    Host { family: value("ID"), suite: value("VERSION_CODENAME") }
}

fn configured_sources() -> Vec<PackageSource> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let folder = std::fs::read_dir("/etc/apt/sources.list.d");
    let mut more: Vec<PathBuf> = folder.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    more.sort();
    files.append(&mut more);
    files
        .iter()
        .filter_map(|file| {
            let text = std::fs::read_to_string(file).ok()?;
            match file.extension().and_then(|name| name.to_str()) {
                Some("sources") => Some(parse_stanzas(&text)),
                Some("list") => Some(parse_lines(&text)),
                _ => None,
            }
        })
        .flatten()
        .filter(|source| source.uri.starts_with("http://") || source.uri.starts_with("https://"))
        .collect()
}

/// The one-line form: `deb [options] URI suite components…`.
fn parse_lines(text: &str) -> Vec<PackageSource> {
    let parse = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut rest = line.strip_prefix("deb ")?.trim_start();
        if rest.starts_with('[') {
            rest = rest.split_once(']')?.1;
        }
        let mut words = rest.split_whitespace();
        let uri = words.next()?.trim_end_matches('/').to_owned();
        let suites = vec![words.next()?.to_owned()];
        Some(PackageSource { uri, suites, components: words.map(str::to_owned).collect() })
    };
    text.lines().filter_map(parse).collect()
}

/// The form of `.sources` files: stanzas of `Key: values` lines.
fn parse_stanzas(text: &str) -> Vec<PackageSource> {
    let mut sources = Vec::new();
    for stanza in text.split("\n\n") {
        let values = |key: &str| -> Vec<String> {
            stanza
                .lines()
                .filter_map(|line| line.split_once(':'))
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case(key))
                .flat_map(|(_, rest)| rest.split_whitespace().map(str::to_owned))
                .collect()
        };
        let enabled = values("Enabled").first().is_none_or(|value| value.eq_ignore_ascii_case("yes"));
        if !enabled || !values("Types").iter().any(|kind| kind == "deb") {
            continue;
        }
        for uri in values("URIs") {
            let uri = uri.trim_end_matches('/').to_owned();
            sources.push(PackageSource { uri, suites: values("Suites"), components: values("Components") });
        }
    }
    sources
}

/// The host's proxies as lines of `apt`'s configuration: those of its `apt`, else those of `environment`.
pub fn proxies(environment: &[(OsString, OsString)]) -> Vec<String> {
    let output = computer::find_program("apt-config")
        .and_then(|program| std::process::Command::new(program).arg("dump").leash(Signal::KILL).output().ok());
    let configured = output.map(|output| parse_proxies(&String::from_utf8_lossy(&output.stdout)));
    add_environment(configured.unwrap_or_default(), environment)
}

/// Adds the proxies that only the environment names. Of `no_proxy`, `apt` can use only whole host names.
fn add_environment(mut lines: Vec<String>, environment: &[(OsString, OsString)]) -> Vec<String> {
    let plain = |text: &&str| !text.is_empty() && !text.contains(['"', '\\']) && !text.contains(char::is_control);
    let value = |name: &str| {
        let found = environment.iter().find(|(known, _)| known == name)?;
        found.1.to_str().filter(plain)
    };
    let mut schemes = Vec::new();
    for scheme in ["http", "https"] {
        let key = format!("Acquire::{scheme}::Proxy");
        let known = lines.iter().any(|line| line.split(' ').next().is_some_and(|name| name.eq_ignore_ascii_case(&key)));
        let name = format!("{scheme}_proxy");
        let proxy = value(&name).or_else(|| value(&name.to_ascii_uppercase())).filter(|_| !known);
        if let Some(proxy) = proxy {
            lines.push(format!("{key} \"{proxy}\";"));
            schemes.push(scheme);
        }
    }
    let direct = value("no_proxy").or_else(|| value("NO_PROXY")).unwrap_or_default();
    for host in direct.split(',').map(str::trim).filter(|host| host.starts_with(char::is_alphanumeric)) {
        lines.extend(schemes.iter().map(|scheme| format!("Acquire::{scheme}::Proxy::{host} \"DIRECT\";")));
    }
    lines
}

/// A text with every `USER:PASSWORD@` taken out of its URLs.
pub fn without_userinfo(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let authority = part.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default();
        let userinfo = authority.rfind('@').map_or(0, |at| at + 1);
        shown.push_str("://");
        shown.push_str(part.get(userinfo..).unwrap_or_default());
    }
    shown
}

fn parse_proxies(dump: &str) -> Vec<String> {
    dump.lines()
        .filter(|line| {
            let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
            name.starts_with("acquire::http") && name.contains("::proxy") && !line.ends_with("\"\";")
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bookworm() -> BaseSpec {
        BaseSpec {
            family: "debian".into(),
            suite: "bookworm".into(),
            suites: vec!["bookworm".into(), "bookworm-updates".into()],
            security_suite: Some("bookworm-security".into()),
            components: vec!["main".into()],
            packages: vec![],
        }
    }

    const STANZAS: &str = "Types: deb deb-src\nURIs: https://mirror.example/deb12/\nSuites: bookworm bookworm-updates\n\
                           Components: main contrib\n\n# off\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian\n\
                           Suites: bookworm\nComponents: main\n";

    #[test]
    fn the_hosts_own_mirror_serves_its_family() {
        let host = parse_host("NAME=x\nID=debian\nVERSION_CODENAME=bookworm\n");
        let sources = parse_stanzas(STANZAS);
        let chosen = decide(&bookworm(), &Mirrors::default(), &host, &sources);
        assert_eq!(chosen.main, "https://mirror.example/deb12");
        assert_eq!(chosen.security, "http://deb.debian.org/debian-security");
        let lines = source_lines(&bookworm(), &chosen, None);
        assert_eq!(lines[1], "deb https://mirror.example/deb12 bookworm-updates main");
        assert_eq!(lines[2], "deb http://deb.debian.org/debian-security bookworm-security main");
    }

    #[test]
    fn another_family_gets_its_well_known_mirror() {
        let host = Host { family: "ubuntu".into(), suite: "noble".into() };
        let sources = parse_lines("deb [arch=amd64] http://de.archive.ubuntu.com/ubuntu/ noble main # x\n#deb x y z\n");
        assert_eq!(decide(&bookworm(), &Mirrors::default(), &host, &sources).main, "http://deb.debian.org/debian");
        let base = BaseSpec { family: "ubuntu".into(), ..bookworm() };
        let chosen = decide(&base, &Mirrors::default(), &host, &sources);
        assert_eq!(chosen.main, "http://de.archive.ubuntu.com/ubuntu");
        let settings = Mirrors { ubuntu: Some("http://u".into()), ..Mirrors::default() };
        assert_eq!(decide(&base, &settings, &host, &sources).security, "http://u");
    }

    #[test]
    fn only_proxies_that_are_set_are_taken_over() {
        let dump = "Acquire \"\";\nAcquire::http::Proxy \"http://p:3128\";\nAcquire::https::Proxy \"\";\nAPT \"\";\n";
        assert_eq!(parse_proxies(dump), ["Acquire::http::Proxy \"http://p:3128\";"]);
    }

    #[test]
    fn proxies_of_the_environment_fill_in_what_apt_does_not_say() {
        let environment = [
            ("http_proxy", "http://e:1"),
            ("HTTPS_PROXY", "http://u:p@e:2"),
            ("no_proxy", "localhost, .corp,m.corp"),
            ("ftp_proxy", "http://e:3"),
        ];
        let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let own = "Acquire::http::Proxy \"http://p:3128\";".to_owned();
        let https = "Acquire::https::Proxy \"http://u:p@e:2\";".to_owned();
        let direct = |host: &str| format!("Acquire::https::Proxy::{host} \"DIRECT\";");
        let lines = add_environment(vec![own.clone()], &environment);
        assert_eq!(lines, [own, https, direct("localhost"), direct("m.corp")]);
        assert_eq!(add_environment(vec![], &environment[..1]), ["Acquire::http::Proxy \"http://e:1\";"]);
        let broken = [(OsString::from("http_proxy"), OsString::from("x\"; Evil \"1"))];
        assert!(add_environment(vec![], &broken).is_empty());
    }

    #[test]
    fn passwords_are_not_shown() {
        let text = "Get:1 http://user:p@ss@m.example/debian x a@b.c https://m/@x ftp://u@h";
        assert_eq!(without_userinfo(text), "Get:1 http://m.example/debian x a@b.c https://m/@x ftp://h");
        assert_eq!(without_userinfo("nothing"), "nothing");
    }
}
