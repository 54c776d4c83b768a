//! Commands on a machine that must succeed.

use automation::model::connection::Connection;
use automation::model::output::{Limits, output};
use automation::model::task::Command;

/// Runs `command`; what it prints.
pub async fn run(connection: &dyn Connection, command: &Command) -> String {
    let done = output(connection, command, Limits::SMALL).await.unwrap();
    assert!(done.exit.success(), "{command:?}: {}", done.ending());
    done.printed()
}

/// The same, for a line of shell.
pub async fn shell(connection: &dyn Connection, line: &str) -> String {
    run(connection, &Command::new("sh").args(["-c", line])).await
}
