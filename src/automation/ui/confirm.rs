//! Asks before something that cannot be undone.

use std::io::{BufRead, IsTerminal, Write};

use model::base::escapes;

/// Whether a person can answer: the question is shown on a terminal and the answer is typed on one.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks `question` on standard error, which others may write to meanwhile; only a clear yes counts.
pub fn confirm(question: &str) -> bool {
    ask(&mut std::io::stdin().lock(), &mut std::io::stderr(), question)
}

fn ask(input: &mut impl BufRead, output: &mut impl Write, question: &str) -> bool {
    if write!(output, "{} [y/N] ", escapes::plain(question)).and_then(|()| output.flush()).is_err() {
        // A question that nobody sees is not answered.
        return false;
    }
    let mut answer = String::new();
    let read = input.read_line(&mut answer).unwrap_or(0);
    read > 0 && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        let answer = |typed: &str| {
            let mut shown = Vec::new();
            let yes = ask(&mut typed.as_bytes(), &mut shown, "Remove 2 things?");
            assert_eq!(String::from_utf8(shown).unwrap(), "Remove 2 things? [y/N] ");
            yes
        };
        assert!(answer("y\n") && answer("Yes\n") && answer(" YES "));
        for no in ["", "\n", "n\n", "no\n", "yep\n", "yy\n"] {
            assert!(!answer(no), "{no:?}");
        }
    }
}
