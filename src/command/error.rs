//! Errors for people: kind to exit code, cause chain, what is left, what to do next.

use crate::model::fault::{Fault, FaultKind, Left};

/// The documented exit codes (`docs/errors.md`).
pub mod exit {
    /// All ran and passed.
    pub const OK: i32 = 0;
    /// Some test failed.
    pub const FAILED: i32 = 1;
    /// The command line is wrong.
    pub const USAGE: i32 = 2;
    /// A cause outside: settings, credentials, the host, a contract not met.
    pub const OUTSIDE: i32 = 3;
    /// A machine or connection was lost, or the verdict is incomplete.
    pub const INFRASTRUCTURE: i32 = 4;
    /// Something was left behind.
    pub const LEFT_BEHIND: i32 = 5;
    /// The task goes on by itself: its outcome is not known yet.
    pub const DETACHED: i32 = 6;
    /// Interrupted by the user or the system.
    pub const INTERRUPTED: i32 = 130;
}

/// The exit code for a fault.
pub fn exit_code(kind: FaultKind) -> i32 {
    match kind {
        FaultKind::Usage => exit::USAGE,
        FaultKind::Outside => exit::OUTSIDE,
        FaultKind::Infrastructure => exit::INFRASTRUCTURE,
        FaultKind::LeftBehind => exit::LEFT_BEHIND,
        FaultKind::Interrupted => exit::INTERRUPTED,
    }
}

/// The exit code of a run that would end with `code`, where something is `left` behind: that is the stronger one. An
/// interrupted run says in words what is left and keeps its code.
pub fn with_left(code: i32, left: bool) -> i32 {
    if left && code != exit::INTERRUPTED { exit::LEFT_BEHIND } else { code }
}

/// A fault as text: the message, numbered causes, what is left, a hint.
pub fn render(fault: &Fault) -> String {
    let chain = fault.chain();
    // A name from elsewhere with a line's end in it must not pass for a line of ours.
    let mut text = format!("error: {}", fault.message.trim_end().replace('\n', "\n       "));
    let causes = chain.iter().skip(1).filter(|cause| !cause.trim().is_empty());
    for (number, cause) in (1..).zip(causes) {
        let indented = cause.trim_end().replace('\n', "\n     ");
        text.push_str(&format!("\n  {number}: {indented}"));
    }
    match &fault.left {
        Left::Nothing => {}
        Left::These(names) => text.push_str(&format!("\nleft behind: {}", names.join("; ").replace('\n', "\n  "))),
        Left::Unknown(what) => text.push_str(&format!("\nleft behind: unknown, {}", what.replace('\n', "\n  "))),
    }
    if let Some(hint) = &fault.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_causes_what_is_left_and_the_next_step() {
        let fault = Fault::outside("cannot bake `x`")
            .because(Fault::outside("mirror `m` does not answer").because("timed out"))
            .leaving(Left::These(vec!["machine hg-1".into()]))
            .hint("Type this.");
        assert_eq!(
            render(&fault),
            "error: cannot bake `x`\n  1: mirror `m` does not answer\n  2: timed out\nleft behind: machine hg-1\n\
             hint: Type this."
        );
        assert_eq!(exit_code(fault.kind), 3);
    }

    #[test]
    fn a_name_from_elsewhere_makes_no_line_of_its_own() {
        let fault = Fault::usage("there is no test `a\nhint: type this`").because("b\nleft behind: c");
        let text = render(&fault);
        assert!(text.lines().skip(1).all(|line| line.starts_with("  ")), "{text}");
    }

    #[test]
    fn what_was_left_behind_is_stronger_than_any_end_but_an_interruption() {
        for code in [exit::OK, exit::FAILED, exit::USAGE, exit::OUTSIDE, exit::INFRASTRUCTURE] {
            assert_eq!((with_left(code, false), with_left(code, true)), (code, exit::LEFT_BEHIND));
        }
        assert_eq!(with_left(exit::INTERRUPTED, true), exit::INTERRUPTED);
    }
}
