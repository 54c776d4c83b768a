//! Commands on a machine that must succeed.

use model::connection::Connection;
use model::output::{Limits, output};
use model::task::Command;

/// Runs `command`; what it prints.
pub(crate) async fn run(connection: &dyn Connection, command: &Command) -> String {
    let done = output(connection, command, Limits::SMALL).await.unwrap();
    assert!(done.exit.success(), "{command:?}: {}", done.ending());
    done.printed()
}

/// The same, for a line of shell.
pub(crate) async fn shell(connection: &dyn Connection, line: &str) -> String {
    run(connection, &Command::new("sh").args(["-c", line])).await
}
