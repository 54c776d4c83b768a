//! The tests that a checkout seems to have, for somebody who types.

use std::path::Path;

use crate::mercurial::checkout::{FoundSource, RUNNER, find_root};

/// The names of the test files in the checkout around `folder`, sorted; none where there is none. Which of them the runner would take, it alone knows.
pub fn test_files(folder: &Path) -> Vec<String> {
    let (FoundSource::Mercurial(root) | FoundSource::Git(root) | FoundSource::Unversioned(root)) = find_root(folder)
    else {
        return Vec::new();
    };
    let runner = root.join(RUNNER);
    let folder = runner.parent().filter(|_| runner.is_file());
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_test = |name: &String| name.starts_with("test-") && [".t", ".py"].iter().any(|end| name.ends_with(end));
    let mut tests: Vec<String> = names.filter(is_test).collect();
    tests.sort();
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_those_of_the_checkout_around_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let tests = folder.path().join("tests");
        std::fs::create_dir_all(folder.path().join(".hg")).unwrap();
        std::fs::create_dir(&tests).unwrap();
        for name in ["test-b.py", "test-a.t", "test-c.txt", "helper.py"] {
            std::fs::write(tests.join(name), "").unwrap();
        }
        assert!(test_files(&tests).is_empty(), "another project's repository");
        std::fs::write(tests.join("run-tests.py"), "").unwrap();
        assert_eq!(test_files(&tests), ["test-a.t", "test-b.py"]);
        assert_eq!(test_files(folder.path()), ["test-a.t", "test-b.py"]);
    }
}
