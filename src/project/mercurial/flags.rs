//! The meaning of the user's flags for the test runner; most of them are passed on as they are.

/// Flags of the runner that name a Mercurial which is built already.
const READY: [&str; 4] = ["-l", "--local", "--with-hg", "--hg-wheel"];

/// Flags of the runner that have it build in a way of its own: other languages, other programs, coverage.
const OWN_BUILD: [&str; 14] = [
    "--with-chg",
    "--with-rhg",
    "--pure",
    "--rust",
    "--no-rust",
    "--rhg",
    "--pyoxidized",
    "--compiler",
    "-c",
    "-C",
    "-H",
    "--cover",
    "--annotate",
    "--htmlcov",
];

/// Whether one of `known` is among the flags. The runner takes any unambiguous beginning of a long flag, and refuses one
/// that is ambiguous.
fn has_any(flags: &[String], known: &[&str]) -> bool {
    flags.iter().any(|flag| {
        let name = flag.split('=').next().unwrap_or_default();
        let is_long = name.starts_with("--") && name.len() > 2;
        known.iter().any(|known| *known == name || is_long && known.starts_with(name))
    })
}

/// The first flag with which the runner runs no test, but says something about itself.
pub fn asking(flags: &[String]) -> Option<&String> {
    const ASKING: [&str; 4] = ["-h", "--help", "--version", "--list-tests"];
    flags.iter().find(|flag| has_any(std::slice::from_ref(flag), &ASKING))
}

/// Whether the runner with these flags tests a build of the source beside it.
pub fn builds(flags: &[String]) -> bool {
    !has_any(flags, &READY)
}

/// Whether the runner is to test a build that is in place, rather than one that it makes for itself.
pub(crate) fn builds_in_place(flags: &[String]) -> bool {
    builds(flags) && !has_any(flags, &OWN_BUILD)
}

/// Flags of the runner that choose among tests or add to them, and take a value.
const CHOOSING: [&str; 2] = ["--shard-", "--test-list"];

/// Flags of the runner that choose among tests by what an earlier run came to.
const CHOOSING_AGAIN: [&str; 4] = ["--ret", "--rest", "-r", "-R"];

/// The user's flags for a part of the tests that were listed under them, without those that would choose among them once more.
/// `at_once` of them run at once unless the user said so.
pub(crate) fn flags_for_part(flags: &[String], at_once: u32) -> Vec<String> {
    let mut kept: Vec<String> = if jobs(flags).is_none() { vec![format!("-j{at_once}")] } else { Vec::new() };
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        if CHOOSING.iter().any(|start| flag.starts_with(start)) {
            if !flag.contains('=') {
                rest.next();
            }
        } else if !CHOOSING_AGAIN
            .iter()
            .any(|start| if start.len() > 2 { flag.starts_with(start) } else { flag == start })
        {
            kept.push(flag.clone());
        }
    }
    kept
}

/// The flag for how many tests run at once.
const JOBS: &str = "--jobs";

/// How many tests the user's flags have run at once, if they say.
pub(crate) fn jobs(flags: &[String]) -> Option<u32> {
    let mut jobs = None;
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        let long = flag.split('=').next().filter(|name| name.len() > 2 && JOBS.starts_with(name));
        let value = match (flag.strip_prefix("-j"), long) {
            (Some(""), _) => rest.next().map(String::as_str),
            (Some(value), _) => Some(value),
            (None, Some(name)) if name.len() < flag.len() => Some(&flag[name.len() + 1..]),
            (None, Some(_)) => rest.next().map(String::as_str),
            (None, None) => continue,
        };
        jobs = value.and_then(|value| value.parse().ok()).filter(|jobs| *jobs > 0).or(jobs);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_how_many_tests_run_at_once() {
        let of = |flags: &[&str]| jobs(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        assert_eq!((of(&[]), of(&["-l", "--json"]), of(&["-j", "x"])), (None, None, None));
        assert_eq!(
            (of(&["-j4"]), of(&["-j", "4"]), of(&["--jobs=4"]), of(&["--job", "4"])),
            (Some(4), Some(4), Some(4), Some(4))
        );
        assert_eq!(of(&["-j4", "--jobs", "2"]), Some(2), "the last one counts");
    }

    #[test]
    fn flags_tell_where_the_build_comes_from() {
        let of = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            (builds(&flags), builds_in_place(&flags))
        };
        assert_eq!(of(&["-j4"]), (true, true));
        assert_eq!(of(&["--pure"]), (true, false));
        assert_eq!(of(&["--chg"]), (true, true), "a wrapper around the build that is in place");
        assert_eq!(of(&["--with-hg=/usr/bin/hg"]), (false, false));
        assert_eq!(of(&["--with-h=/usr/bin/hg"]), (false, false), "a beginning is enough");
        assert_eq!((of(&["--loc"]), of(&["--pur"]), of(&["--"])), ((false, false), (true, false), (true, true)));
        let asks = |flag: &str| asking(&["-j4".to_owned(), flag.to_owned()]).is_some();
        assert!(
            asks("--help") && asks("--list-tests") && asks("-h") && asks("--vers") && !asks("--verbose") && !asks("-v")
        );
    }
}
