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

/// The exit code of a command that a signal ended, as a shell has it: 128 and the signal's number, or 128 alone for one that is not known.
pub fn code_of_signal(name: &str) -> i32 {
    128 + signal_number(name).unwrap_or(0)
}

/// The number of a signal by its name in the SSH protocol (RFC 4254, 6.10), as Linux has it. Signals beyond that list come
/// as `NAME@DOMAIN`.
fn signal_number(name: &str) -> Option<i32> {
    let number = match name.split('@').next().unwrap_or(name) {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "QUIT" => libc::SIGQUIT,
        "ILL" => libc::SIGILL,
        "ABRT" => libc::SIGABRT,
        "FPE" => libc::SIGFPE,
        "KILL" => libc::SIGKILL,
        "SEGV" => libc::SIGSEGV,
        "PIPE" => libc::SIGPIPE,
        "ALRM" => libc::SIGALRM,
        "USR1" => libc::SIGUSR1,
        "USR2" => libc::SIGUSR2,
        "TERM" => libc::SIGTERM,
        "BUS" => libc::SIGBUS,
        "TRAP" => libc::SIGTRAP,
        "SYS" => libc::SIGSYS,
        "XCPU" => libc::SIGXCPU,
        "XFSZ" => libc::SIGXFSZ,
        _ => return None,
    };
    Some(number)
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
