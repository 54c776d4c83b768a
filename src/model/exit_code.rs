//! The exit codes of the tool: the one place that has their numbers. `docs/errors.md` says more of each.

/// Done; all ran and passed.
pub const OK: i32 = 0;
/// Some test failed.
pub const FAILED: i32 = 1;
/// The command line, or a value in it, is wrong.
pub const USAGE: i32 = 2;
/// A cause outside: settings, credentials, the host, a contract not met.
pub const OUTSIDE: i32 = 3;
/// A machine or connection was lost, or the verdict is incomplete.
pub const INFRASTRUCTURE: i32 = 4;
/// Something was left behind.
pub const LEFT_BEHIND: i32 = 5;
/// The task goes on by itself: its outcome is not known yet.
pub const DETACHED: i32 = 6;
/// Of `automation run`, whose other codes are its command's: the command was ended because its time was over, as by `timeout`.
pub const COMMAND_TIMED_OUT: i32 = 124;
/// Of `automation run`: everything else that is not the command's own end, as with `env`, `timeout` and the programs of containers.
pub const COMMAND_NOT_RUN: i32 = 125;
/// Interrupted by the user or the system; what a shell gives for SIGINT.
pub const INTERRUPTED: i32 = 130;

/// Every code, with what it says of a run of tests in the words of help and README.
pub const ALL: [(i32, &str); 8] = [
    (OK, "all ran and passed"),
    (FAILED, "some failed"),
    (USAGE, "usage"),
    (OUTSIDE, "a cause outside"),
    (INFRASTRUCTURE, "something was lost"),
    (LEFT_BEHIND, "something was left behind"),
    (DETACHED, "detached"),
    (INTERRUPTED, "interrupted"),
];
