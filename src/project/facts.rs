//! The facts about the machine that `remote/mercurial/run-tests.sh --list` prints beside the list.

/// The beginning of the line that holds them.
const MARK: &str = "run-tests: on ";

/// The longest word that is taken: a revision has 40 characters.
const LONGEST: usize = 64;

/// The facts that a machine reports about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MachineFacts {
    /// The distribution with its version, for example `debian13`.
    pub distro: Option<String>,
    /// The version of the Python that runs the tests, for example `3.13.5` or `pypy 3.10.13`.
    pub python: Option<String>,
}

impl MachineFacts {
    /// Finds them in the text of standard error.
    pub(crate) fn read(told: &str) -> Self {
        let mut facts = Self::default();
        let words = told.lines().find_map(|line| line.strip_prefix(MARK)).unwrap_or_default();
        for (name, value) in words.split(' ').filter_map(|word| word.split_once('=')) {
            match name {
                "distro" => facts.distro = word(value),
                "python" => facts.python = word(value),
                "pypy" => facts.python = word(value).map(|version| format!("pypy {version}")),
                _ => {}
            }
        }
        facts
    }
}

/// `text` where it is a word that can stand in a line for people as it is.
pub(crate) fn word(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (!text.is_empty() && text.len() <= LONGEST && text.chars().all(plain)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_it_is_in_one_line() {
        let facts =
            MachineFacts::read("Welcome!\nrun-tests: on distro=debian13 python=3.13.5\nrun-tests: on distro=other\n");
        assert_eq!(facts.distro.as_deref(), Some("debian13"));
        assert_eq!(facts.python.as_deref(), Some("3.13.5"));
        assert_eq!(MachineFacts::read("run-tests: on pypy=3.10.13").python.as_deref(), Some("pypy 3.10.13"));
        assert_eq!(MachineFacts::read("run-tests: on distro= python=\u{1b}[2J pythons=1"), MachineFacts::default());
        assert_eq!(MachineFacts::read(""), MachineFacts::default());
    }
}
