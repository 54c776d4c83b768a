//! Taking what a test printed for what is expected of it.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::fault::Fault;
use model::outcome::{Expectation, TestResult};
use model::sum::Sha256Sum;
use sha2::{Digest, Sha256};

/// The mode of a file that was not there before.
const NEW: u32 = 0o644;

/// A file of a checkout that gets what a test printed.
#[derive(Debug)]
pub struct Acceptance {
    path: PathBuf,
    /// What it holds now.
    present: Vec<u8>,
    content: Vec<u8>,
}

impl Acceptance {
    /// The file of the checkout at `root` that says what the test prints, and the output that the run's `folder` holds. Refuses a file
    /// that is another one than in the run. Writes nothing.
    pub fn plan(root: &Path, folder: &Path, test: &TestResult, expected: &Expectation) -> Result<Self, Fault> {
        let path = root.join(&expected.file);
        let Some(output) = &test.output_file else {
            let why = match test.output {
                Some(_) => "there was too much of it",
                None => "the run was ended before it came home",
            };
            return Err(Fault::usage(format!("the output of `{}` was not kept: {why}", test.name)));
        };
        let output = folder.join(output);
        let failed = |path: &Path, error| Fault::outside(format!("cannot read `{}`", path.display())).because(error);
        let content = std::fs::read(&output).map_err(|error| failed(&output, error))?;
        let present = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        if present.as_ref().and_then(|bytes| Sha256Sum::of_bytes(&Sha256::digest(bytes))) != expected.sha256 {
            return Err(Fault::usage(format!("`{}` is not what it was when `{}` ran", path.display(), test.name))
                .hint("Nothing was written. Run the test again, and accept what it prints then."));
        }
        Ok(Self { path, present: present.unwrap_or_default(), content })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both would write something else.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.content != other.content
    }

    /// Takes what another test printed for the same file as well: the cases of one test each change the lines that are theirs. False, and
    /// nothing is taken, where both would change the same lines.
    #[must_use]
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.content == other.content {
            return true;
        }
        match diffy::merge_bytes(&self.present, &self.content, &other.content) {
            Ok(merged) => {
                self.content = merged;
                true
            }
            Err(_) => false,
        }
    }

    /// Writes it whole or not at all; its mode stays.
    pub fn write(&self) -> Result<(), Fault> {
        self.put().map_err(|error| Fault::outside(format!("cannot write `{}`", self.path.display())).because(error))
    }

    fn put(&self) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(&self.content)?;
        let mode = std::fs::metadata(&self.path).map_or(NEW, |known| known.permissions().mode());
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::outcome::TestOutcome;

    fn sum(text: &str) -> Option<Sha256Sum> {
        Sha256Sum::of_bytes(&Sha256::digest(text))
    }

    #[test]
    fn a_file_gets_what_was_printed_and_keeps_its_mode_unless_it_is_another_one() {
        let (root, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (there, printed) = (root.path().join("test-a.t"), folder.path().join("test-a.t.err"));
        std::fs::write(&there, "old").unwrap();
        std::fs::set_permissions(&there, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(printed, "new").unwrap();
        let mut test = TestResult::of("test-a.t".into(), TestOutcome::Failed, None, None);
        let kept = Acceptance::plan(
            root.path(),
            folder.path(),
            &test,
            &Expectation { file: "test-a.t".into(), sha256: sum("old") },
        );
        assert!(kept.unwrap_err().message.ends_with("the run was ended before it came home"));
        test.output_file = Some("test-a.t.err".to_owned());
        let plan = |file: &str, sha256| {
            Acceptance::plan(root.path(), folder.path(), &test, &Expectation { file: file.to_owned(), sha256 })
        };
        assert!(plan("test-a.t", sum("other")).unwrap_err().message.contains("is not what it was when `test-a.t` ran"));
        assert!(plan("test-a.t", None).is_err(), "it was not there in the run");
        assert!(plan("test-b.t", sum("old")).is_err(), "it was removed since");
        plan("test-a.t", sum("old")).unwrap().write().unwrap();
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "new");
        assert_eq!(std::fs::metadata(&there).unwrap().permissions().mode() & 0o777, 0o755);
        plan("test-b.py.out", None).unwrap().write().unwrap();
        assert_eq!(std::fs::metadata(root.path().join("test-b.py.out")).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_the_cases_of_a_test_printed_goes_into_its_one_file() {
        let lines = |changed: &[(usize, &str)]| {
            let line = |n: usize| {
                changed.iter().find(|(at, _)| *at == n).map_or(format!("line {n}"), |(_, text)| (*text).into())
            };
            (0..40).map(|n| line(n) + "\n").collect::<String>().into_bytes()
        };
        let printed = |changed| Acceptance { path: "test-a.t".into(), present: lines(&[]), content: lines(changed) };
        let mut first = printed(&[(3, "alpha")]);
        assert!(first.merge(&printed(&[(30, "beta")])) && first.merge(&printed(&[(3, "alpha")])));
        assert_eq!(first.content, lines(&[(3, "alpha"), (30, "beta")]));
        assert!(!first.merge(&printed(&[(30, "gamma")])), "both change the same line");
        assert_eq!(first.content, lines(&[(3, "alpha"), (30, "beta")]));
    }
}
