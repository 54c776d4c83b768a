//! Errors for people: the exit codes, and the words of [`Failure`].

use model::failure::Failure;
use model::fault::Fault;

pub use model::exit_code as exit;

/// The exit code of a run that would end with `code`, where something is `left` behind, which takes precedence. An
/// interrupted run says in words what is left and keeps its code.
pub fn with_left(code: i32, left: bool) -> i32 {
    if left && code != exit::INTERRUPTED { exit::LEFT_BEHIND } else { code }
}

/// A fault as text: the message, numbered causes, what is left, a hint.
pub fn render(fault: &Fault) -> String {
    Failure::from(fault).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_behind_is_stronger_than_any_end_but_an_interruption() {
        for code in [exit::OK, exit::FAILED, exit::USAGE, exit::OUTSIDE, exit::INFRASTRUCTURE] {
            assert_eq!((with_left(code, false), with_left(code, true)), (code, exit::LEFT_BEHIND));
        }
        assert_eq!(with_left(exit::INTERRUPTED, true), exit::INTERRUPTED);
    }
}
