//! The meaning of the user's flags for the test runner; most of them are passed on as they are.

/// Flags of the runner that name a Mercurial which is built already.
const READY: [&str; 4] = ["-l", "--local", "--with-hg", "--hg-wheel"];

/// Flags of the runner that have it build in a way of its own: other languages, other programs, coverage.
const OWN_BUILD: [&str; 15] = [
    "--with-chg",
    "--with-rhg",
    "--pure",
    "--rust",
    "--no-rust",
    "--chg",
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
pub(crate) fn flags_for_part(flags: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_tell_where_the_build_comes_from() {
        let of = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            (builds(&flags), builds_in_place(&flags))
        };
        assert_eq!(of(&["-j4"]), (true, true));
        assert_eq!(of(&["--pure"]), (true, false));
        assert_eq!(of(&["--with-hg=/usr/bin/hg"]), (false, false));
        assert_eq!(of(&["--with-h=/usr/bin/hg"]), (false, false), "a beginning is enough");
        assert_eq!((of(&["--loc"]), of(&["--pur"]), of(&["--"])), ((false, false), (true, false), (true, true)));
        let asks = |flag: &str| asking(&["-j4".to_owned(), flag.to_owned()]).is_some();
        assert!(
            asks("--help") && asks("--list-tests") && asks("-h") && asks("--vers") && !asks("--verbose") && !asks("-v")
        );
    }
}
