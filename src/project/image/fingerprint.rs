//! Fingerprints: SHA-256 over everything that shapes a layer, each chained to the one below.

use data_encoding::HEXLOWER;
use model::image::{BASE_REVISION, BaseSpec, CloudBase, Fingerprint};
use model::script::ScriptFile;
use sha2::{Digest, Sha256};

/// Raised when the way of making layers changes in the tool itself, so that layers made before are not taken for new.
const GENERATION: &str = "1";

/// Hashes parts with their lengths, so that no two lists of parts hash alike.
struct PartsHasher(Sha256);

impl PartsHasher {
    fn new(kind: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.add(kind);
        parts.add(GENERATION);
        parts
    }

    fn add(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
    }

    fn list(&mut self, list: &[String]) {
        self.0.update((list.len() as u64).to_le_bytes());
        for part in list {
            self.add(part);
        }
    }

    fn end(self) -> Fingerprint {
        Fingerprint(HEXLOWER.encode(&self.0.finalize()))
    }
}

/// The fingerprint of a bootstrapped userland. The mirror does not take part: mirrors carry the same packages.
pub(crate) fn base(base: &BaseSpec, architecture: &str) -> Fingerprint {
    revised_base(base, architecture, BASE_REVISION)
}

fn revised_base(base: &BaseSpec, architecture: &str, revision: u32) -> Fingerprint {
    let mut parts = PartsHasher::new("base");
    parts.add(&revision.to_string());
    for part in [&base.family, &base.suite] {
        parts.add(part);
    }
    parts.list(&base.suites);
    parts.add(base.security_suite.as_deref().unwrap_or_default());
    parts.list(&base.components);
    parts.list(&base.packages);
    parts.add(architecture);
    parts.end()
}

/// The fingerprint of a distribution's own image for a cloud. Which of its releases is the newest does not take part, as the
/// day of a bootstrap does not.
pub(crate) fn cloud(base: &CloudBase) -> Fingerprint {
    let mut parts = PartsHasher::new("cloud");
    for part in [&base.owner, &base.name, &base.user] {
        parts.add(part);
    }
    parts.add(base.parameter.as_deref().unwrap_or_default());
    parts.end()
}

/// The fingerprint of a script's layer on top of `below`.
pub(crate) fn script(below: &Fingerprint, text: &str, files: &[ScriptFile], env: &[(String, String)]) -> Fingerprint {
    // A step without files has the fingerprint that it had before there were any.
    let mut parts = PartsHasher::new(if files.is_empty() { "script" } else { "script-with-files" });
    parts.add(&below.0);
    parts.add(text);
    if !files.is_empty() {
        let all: Vec<String> = files.iter().flat_map(|file| [file.name.to_string(), file.text.to_string()]).collect();
        parts.list(&all);
    }
    for (name, value) in env {
        parts.add(name);
        parts.add(value);
    }
    parts.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_borders_count_too() {
        let below = Fingerprint("0".repeat(64));
        let env = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let one = script(&below, "text", &[], &env("A", "bc"));
        assert_eq!(one, script(&below, "text", &[], &env("A", "bc")));
        assert_ne!(one, script(&below, "text", &[], &env("Ab", "c")));
        assert_ne!(one, script(&below, "texts", &[], &env("A", "bc")));
        assert_ne!(one, script(&one, "text", &[], &env("A", "bc")));
        let beside = [ScriptFile::built_in("a", "bc"), ScriptFile::built_in("ab", "c")];
        let with = |files: &[ScriptFile]| script(&below, "text", files, &env("A", "bc"));
        assert!(one != with(&beside[..1]) && with(&beside[..1]) != with(&beside[1..]));
        assert_eq!(one.0.len(), 64);
    }

    #[test]
    fn a_base_of_another_revision_is_another_base() {
        let spec = BaseSpec {
            family: "debian".into(),
            suite: "bookworm".into(),
            suites: vec!["bookworm".into()],
            security_suite: None,
            components: vec!["main".into()],
            packages: vec![],
        };
        let made = base(&spec, "x86_64");
        assert_eq!(made, revised_base(&spec, "x86_64", BASE_REVISION));
        assert_ne!(made, revised_base(&spec, "x86_64", BASE_REVISION + 1));
        assert_ne!(made, base(&spec, "aarch64"));
    }
}
