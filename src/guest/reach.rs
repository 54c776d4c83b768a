//! What a machine reaches: what to do where a program on it finds nobody.

/// How programs say that a name stands for no address: the C library, Python and `apt` among those that use it, curl, Git, Node, Go.
const SIGNS: [&str; 7] = [
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Name or service not known",
    "Could not resolve host",
    "getaddrinfo EAI_AGAIN",
    "getaddrinfo ENOTFOUND",
    "dial tcp: lookup ",
];

/// What to do, where `output` says that a program found nobody under a name.
pub fn advice(output: &str) -> Option<&'static str> {
    SIGNS.iter().any(|sign| output.contains(sign)).then_some(
        "A machine of this computer reaches nobody but itself unless it is given this computer's network: `--network host`, or `network = \"host\"` in \
         `automation.toml`. `--setup LINE` has that network, and what it installs is kept.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_nobody_is_told_that_a_machine_has_no_network() {
        for said in [
            "curl: (6) Could not resolve host: example.org",
            "fatal: unable to access 'https://example.org/': Could not resolve host: example.org",
            "W: Failed to fetch http://deb.debian.org/  Temporary failure resolving 'deb.debian.org'",
            "npm error errno EAI_AGAIN: getaddrinfo EAI_AGAIN registry.example.org",
        ] {
            assert!(advice(said).is_some_and(|advice| advice.contains("--network host")), "{said}");
        }
        assert_eq!(advice("make: *** No rule to make target"), None);
    }
}
