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

/// How a command ended in one of several cells, for the exit code of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellCode {
    /// The command's own status.
    Own(i32),
    /// A code of ours: it was interrupted, was lost or not run, ran out of its time, or its files did not come home.
    Ours(i32),
}

/// The exit code of several cells, the worst: of ours, before all statuses of commands, [`INTERRUPTED`] before [`COMMAND_NOT_RUN`] and any other
/// before [`COMMAND_TIMED_OUT`]; of the commands' own the largest. Where there is none, [`OK`].
pub fn worst(cells: impl IntoIterator<Item = CellCode>) -> i32 {
    let rank = |cell: CellCode| match cell {
        CellCode::Own(code) => (0, code),
        CellCode::Ours(COMMAND_TIMED_OUT) => (1, COMMAND_TIMED_OUT),
        CellCode::Ours(INTERRUPTED) => (3, INTERRUPTED),
        CellCode::Ours(code) => (2, code),
    };
    cells.into_iter().map(rank).max().map_or(OK, |(_, code)| code)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_worse_than_every_status_of_a_command_and_of_those_the_largest_counts() {
        use CellCode::{Ours, Own};
        for (cells, code) in [
            (vec![], 0),
            (vec![Own(0), Own(0)], 0),
            (vec![Own(0), Own(3), Own(7), Own(1)], 7),
            (vec![Own(255), Ours(124), Own(3)], 124),
            (vec![Ours(124), Ours(125), Own(1)], 125),
            (vec![Ours(125), Ours(130), Ours(124)], 130),
            // A command that ends so by itself.
            (vec![Own(130), Ours(124)], 124),
            (vec![Own(130), Own(125)], 130),
        ] {
            assert_eq!(worst(cells.clone()), code, "{cells:?}");
            assert_eq!(worst(cells.iter().rev().copied()), code, "{cells:?}, in another order");
        }
    }
}
