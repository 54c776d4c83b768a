//! Errors for people: the exit codes, and the words of [`Failure`].

use model::failure::Failure;
use model::fault::Fault;

/// The documented exit codes (`docs/errors.md`).
pub mod exit {
    use model::fault::FaultKind;

    /// All ran and passed.
    pub const OK: i32 = 0;
    /// Some test failed.
    pub const FAILED: i32 = 1;
    /// The command line is wrong.
    pub const USAGE: i32 = FaultKind::Usage.exit_code();
    /// A cause outside: settings, credentials, the host, a contract not met.
    pub const OUTSIDE: i32 = FaultKind::Outside.exit_code();
    /// A machine or connection was lost, or the verdict is incomplete.
    pub const INFRASTRUCTURE: i32 = FaultKind::Infrastructure.exit_code();
    /// Something was left behind.
    pub const LEFT_BEHIND: i32 = FaultKind::LeftBehind.exit_code();
    /// The task goes on by itself: its outcome is not known yet.
    pub const DETACHED: i32 = 6;
    /// Interrupted by the user or the system.
    pub const INTERRUPTED: i32 = FaultKind::Interrupted.exit_code();
}

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
