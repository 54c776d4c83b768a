//! The files of Mercurial's source that its build reads.

/// Whether a build reads the file. A file that is not known to be read in place may be part of a build.
pub(super) fn shapes_build(path: &str) -> bool {
    const IN_PLACE: [&str; 6] =
        ["tests/", "doc/", "relnotes/", "mercurial/helptext/", "mercurial/templates/", "mercurial/defaultrc/"];
    // Build scripts are written in Python too.
    const BUILDS: [&str; 3] = ["setup.py", "contrib/python-zstandard/", "mercurial/cffi/"];
    let starts = |known: &[&str]| known.iter().any(|start| path.starts_with(start));
    starts(&BUILDS) || !(path.ends_with(".py") || starts(&IN_PLACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_reads_makes_a_build_stale_and_nothing_else_does() {
        for path in
            ["mercurial/commands.py", "hgext/rebase.py", "tests/test-add.t", "tests/x.c", "mercurial/helptext/urls.txt"]
        {
            assert!(!shapes_build(path), "{path}");
        }
        for path in [
            "setup.py",
            "pyproject.toml",
            "hg",
            "mercurial/cext/revlog.c",
            "mercurial/cffi/bdiffbuild.py",
            "contrib/python-zstandard/setup_zstd.py",
            "i18n/de.po",
            "rust/hg-core/src/lib.rs",
        ] {
            assert!(shapes_build(path), "{path}");
        }
    }
}
