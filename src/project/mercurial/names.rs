//! Names of tests: as people type them, as a shell completes them, as the runner lists them.

use std::collections::BTreeMap;
use std::path::Path;

use model::base::text;
use model::fault::Fault;

/// Flags of the runner with which it leaves out tests that were named; it takes any unambiguous beginning of a long
/// flag.
const LEAVING_OUT: [&str; 5] = ["--sh", "--ret", "--rest", "-r", "-R"];

/// The runner's name of the test that was called `given` in the folder `current`. That is a file of the folder `tests`,
/// the checkout's if there is one, or a path as from the root of a checkout.
pub(crate) fn runner_name(given: &str, current: &Path, tests: Option<&Path>) -> String {
    let (path, case) = match given.split_once('#') {
        Some((path, case)) => (path, format!("#{case}")),
        None => (given, String::new()),
    };
    let Some((folder, name)) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty()) else {
        return given.to_owned();
    };
    let folder = if folder.is_empty() { "/" } else { folder };
    let meant = tests.and_then(|tests| tests.canonicalize().ok());
    if meant.is_some_and(|tests| current.join(folder).canonicalize().is_ok_and(|folder| folder == tests)) {
        return format!("{name}{case}");
    }
    let rest = path.trim_start_matches("./");
    let rest = rest.strip_prefix("tests/").unwrap_or(rest);
    if rest.is_empty() || rest.contains('/') { given.to_owned() } else { format!("{rest}{case}") }
}

/// The first of `names` that is not among `known`.
pub(crate) fn find_unknown<'a>(names: &'a [String], known: &[String]) -> Option<&'a str> {
    names.iter().map(String::as_str).find(|name| !known.iter().any(|test| test == file_of(name)))
}

/// The file of a test whose name may have a case: `test-a.t` of `test-a.t#case`.
pub(crate) fn file_of(name: &str) -> &str {
    name.split('#').next().unwrap_or_default()
}

/// Refuses names for which the runner, given `flags`, listed nothing. The runner skips names that it does not know, and
/// a run without a test that was asked for is not the run that was asked for.
pub(crate) fn check_listed(names: &[String], flags: &[String], listed: &[String]) -> Result<(), Fault> {
    if flags.iter().any(|flag| LEAVING_OUT.iter().any(|start| flag.starts_with(start))) {
        return Ok(());
    }
    let selects = |name: &str| {
        let base = name.rsplit('/').next().unwrap_or(name);
        listed.iter().any(|test| test == base || (!base.contains('#') && test.split('#').next() == Some(base)))
    };
    match names.iter().find(|name| !selects(name)) {
        Some(name) => Err(unknown_test(name, listed.iter().map(String::as_str))),
        None => Ok(()),
    }
}

/// The test that was most likely meant. All names begin and end alike, so only what lies between is compared: short names
/// would be near to everything otherwise.
fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let by_stem: BTreeMap<&str, &str> = known.into_iter().map(|name| (stem(name), name)).collect();
    text::nearest(stem(name), by_stem.keys().copied()).and_then(|near| by_stem.get(near).copied())
}

/// The part of a test's name that tells it from the others.
fn stem(name: &str) -> &str {
    let name = name.strip_prefix("test-").unwrap_or(name);
    name.strip_suffix(".t").or_else(|| name.strip_suffix(".py")).unwrap_or(name)
}

/// The fault of a name that is not the name of a test.
pub(crate) fn unknown_test<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Fault {
    let fault = Fault::usage(format!("there is no test `{name}` in the source under test"));
    if name.contains(['*', '?', '[']) {
        return fault.hint("A pattern is not a name: let the shell expand it in the `tests` folder.");
    }
    match nearest(name, known) {
        Some(near) => fault.hint(format!("Did you mean `{near}`?")),
        None => fault.hint("Tests are named after their files in Mercurial's `tests` folder; without a name all run."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_test_may_be_named_as_a_shell_completes_it() {
        let root = tempfile::tempdir().unwrap();
        let (tests, sub) = (root.path().join("tests"), root.path().join("mercurial/utils"));
        std::fs::create_dir_all(&tests).unwrap();
        std::fs::create_dir_all(&sub).unwrap();
        let from = |current: &Path, given: &str| runner_name(given, current, Some(&tests));
        for (current, given) in [
            (root.path(), "tests/test-a.t"),
            (root.path(), "./tests/test-a.t"),
            (tests.as_path(), "test-a.t"),
            (tests.as_path(), "./test-a.t"),
            (sub.as_path(), "../../tests/test-a.t"),
            (Path::new("/"), tests.join("test-a.t").to_str().unwrap()),
        ] {
            assert_eq!(from(current, given), "test-a.t", "{given}");
        }
        assert_eq!(from(root.path(), "tests/test-a.t#case-b"), "test-a.t#case-b");
        assert_eq!(from(root.path(), "other/test-a.t"), "other/test-a.t");
        assert_eq!(from(root.path(), "tests/"), "tests/");
        // Without a checkout only a path as from the root of one can be meant.
        for given in ["tests/test-a.t", "./test-a.t", "test-a.t"] {
            assert_eq!(runner_name(given, Path::new("/nowhere"), None), "test-a.t");
        }
    }

    fn hint_for(names: &[&str], known: &[String]) -> String {
        let names = owned(names);
        unknown_test(find_unknown(&names, known).unwrap(), known.iter().map(String::as_str)).hint.unwrap()
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let known = owned(&["test-add.t", "test-rename.t", "test-rebase-abort.t", "test-rebase-mq.t"]);
        let hint = |name: &str| hint_for(&["test-add.t", name], &known);
        assert_eq!(hint("test-ad.t"), "Did you mean `test-add.t`?");
        assert_eq!(hint("add"), "Did you mean `test-add.t`?");
        assert_eq!(hint("test-rebase"), "Did you mean `test-rebase-mq.t`?");
        assert_eq!(hint("rebase-abort"), "Did you mean `test-rebase-abort.t`?");
        for stranger in ["nonsense", "test-foo.t", "test-new.t"] {
            assert!(hint(stranger).starts_with("Tests are named after"), "{stranger}: {}", hint(stranger));
        }
        assert!(hint("test-rebase*").starts_with("A pattern is not a name"));
        let near = known.iter().cloned().chain(["test-rebase-base-flag.t".to_owned()]).collect::<Vec<_>>();
        assert_eq!(hint_for(&["test-rebase-base.t"], &near), "Did you mean `test-rebase-base-flag.t`?");
        assert_eq!(find_unknown(&owned(&["test-add.t#case"]), &known), None);
    }

    #[test]
    fn what_the_runner_passes_over_was_not_run() {
        let listed = owned(&["test-a.t", "test-b.t#x", "test-b.t#y"]);
        let names = |names: &[&str]| check_listed(&owned(names), &[], &listed);
        names(&["test-a.t", "test-b.t", "test-b.t#x", "../x/tests/test-a.t"]).unwrap();
        for missing in ["test-a.t#x", "test-b.t#z", "README", "test-c.t"] {
            let fault = names(&["test-a.t", missing]).unwrap_err();
            assert!(fault.message.contains(missing), "{}", fault.message);
        }
        check_listed(&owned(&["test-c.t"]), &owned(&["--shard-total", "2", "--shard-index=1"]), &listed).unwrap();
    }
}
