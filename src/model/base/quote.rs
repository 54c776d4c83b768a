//! Quoting for the shell that an SSH server hands a command to.

/// The error for a word with a NUL byte, which no shell can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a command's words and variables cannot hold a NUL byte")]
pub struct NulByte;

/// `words` as one line that a POSIX shell splits back into the very same words, whatever they hold.
pub fn join<S: AsRef<str>>(words: &[S]) -> Result<String, NulByte> {
    shlex::try_join(words.iter().map(AsRef::as_ref)).map_err(|_| NulByte)
}

/// One word, quoted where a POSIX shell needs it.
pub fn word(text: &str) -> Result<String, NulByte> {
    join(&[text])
}

/// The words of a line as a POSIX shell splits them, without expanding anything; `None` of a line that ends within a quote.
pub fn split(line: &str) -> Option<Vec<String>> {
    shlex::split(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_and_quotes_stay_text() {
        let words = ["echo", "$(touch /tmp/x)", "it's", "", "a b", "`id`", "\n"];
        let line = join(&words).unwrap();
        assert_eq!(split(&line).unwrap(), words);
        assert_eq!(split("it's"), None);
        let out = std::process::Command::new("sh").arg("-c").arg(format!("printf '%s|' {line}")).output().unwrap();
        assert_eq!(out.stdout, b"echo|$(touch /tmp/x)|it's||a b|`id`|\n|");
        assert!(join(&["a\0b"]).is_err());
    }
}
