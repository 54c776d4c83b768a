//! The subject of a run: the software that it tested and the environment, without which a verdict means nothing.

use serde::{Deserialize, Serialize};

use crate::filesystem::Filesystem;

/// How many digits of a revision name it for people.
const SHORT: usize = 12;

/// The tested software and the environment, as results name them. An unknown field is none, or empty; so are fields in
/// results and tasks that older builds of the tool wrote without them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TestSubject {
    /// The program under test, for example `hg`.
    #[serde(default)]
    pub program: String,
    /// The version according to the source, for example `7.2.4`.
    #[serde(default)]
    pub version: Option<String>,
    /// The revision, in full.
    #[serde(default)]
    pub revision: Option<String>,
    /// Whether uncommitted changes were tested with it.
    #[serde(default)]
    pub working_copy: bool,
    /// The machine's distribution by its own name, for example `debian13`.
    #[serde(default)]
    pub distro: Option<String>,
    /// The version of the Python that ran the tests, for example `3.13.5` or `pypy 3.10.13`.
    #[serde(default)]
    pub python: Option<String>,
    /// The file system of the work folder, `default` for the machine's own.
    #[serde(default)]
    pub filesystem: Option<String>,
    /// The flags that the test runner was given, unchanged.
    #[serde(default)]
    pub flags: Vec<String>,
}

impl TestSubject {
    /// What all of them have alike.
    pub fn common<'a>(mut all: impl Iterator<Item = &'a Self>) -> Self {
        fn same<T: PartialEq + Default>(a: T, b: &T) -> T {
            if a == *b { a } else { T::default() }
        }
        let both = |a: Self, b: &Self| Self {
            program: same(a.program, &b.program),
            version: same(a.version, &b.version),
            revision: same(a.revision, &b.revision),
            working_copy: a.working_copy || b.working_copy,
            distro: same(a.distro, &b.distro),
            python: same(a.python, &b.python),
            filesystem: same(a.filesystem, &b.filesystem),
            flags: same(a.flags, &b.flags),
        };
        let first = all.next().cloned().unwrap_or_default();
        all.fold(first, both)
    }

    /// Leaves out what an axis of a matrix chooses.
    pub fn forget(&mut self, axis: &str) {
        match axis {
            "distro" => self.distro = None,
            "filesystem" => self.filesystem = None,
            "python" => self.python = None,
            _ => {}
        }
    }

    /// The tested software, such as `hg 7.2.4 db34ec2475d1 + changes`; none where nothing is known of it.
    pub fn software(&self) -> Option<String> {
        let short = |revision: &str| revision.get(..SHORT).unwrap_or(revision).to_owned();
        let source = [
            Some(self.program.clone()).filter(|program| !program.is_empty()),
            self.version.clone(),
            self.revision.as_deref().map(short),
            self.working_copy.then(|| "+ changes".to_owned()),
        ];
        let source: Vec<String> = source.into_iter().flatten().collect();
        Some(source.join(" ")).filter(|source| !source.is_empty())
    }

    /// The parts of a text for people, such as `hg 7.2.4 db34ec2475d1 + changes · debian13 · python 3.13`; empty where
    /// nothing is known.
    pub fn words(&self) -> Vec<String> {
        let filesystem = self.filesystem.clone().filter(|filesystem| filesystem != Filesystem::Default.name());
        let parts = [self.software(), self.distro.clone(), self.python.as_deref().map(python), filesystem];
        parts.into_iter().flatten().collect()
    }
}

/// `python 3.13` of `3.13.5`, `pypy 3.10` of `pypy 3.10.13`.
fn python(version: &str) -> String {
    let (kind, number) = version.rsplit_once(' ').unwrap_or(("python", version));
    let short: Vec<&str> = number.splitn(3, '.').take(2).collect();
    format!("{kind} {}", short.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_named_by_what_is_known_of_it() {
        let mut subject = TestSubject {
            program: "hg".into(),
            version: Some("7.2.4".into()),
            revision: Some("db34ec2475d1f00d".repeat(2) + "01234567"),
            working_copy: true,
            distro: Some("debian13".into()),
            python: Some("3.13.5".into()),
            filesystem: Some("default".into()),
            flags: vec!["-j4".into()],
        };
        assert_eq!(subject.words().join(" · "), "hg 7.2.4 db34ec2475d1 + changes · debian13 · python 3.13");
        subject = TestSubject { version: None, working_copy: false, python: Some("pypy 3.10.13".into()), ..subject };
        subject.filesystem = Some("ext4".into());
        assert_eq!(subject.words().join(" · "), "hg db34ec2475d1 · debian13 · pypy 3.10 · ext4");
        assert!(TestSubject::default().words().is_empty());
    }
}
