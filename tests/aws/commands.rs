//! Commands on a machine that must succeed.

use model::connection::Connection;
use model::output::{OutputLimits, run_command};
use model::task::Command;

/// Runs `command`; what it prints.
pub(crate) async fn run(connection: &dyn Connection, command: &Command) -> String {
    let done = run_command(connection, command, OutputLimits::SMALL).await.unwrap();
    assert!(done.exit.is_success(), "{command:?}: {}", done.ending());
    done.stdout_text()
}

/// The same, for a line of shell.
pub(crate) async fn shell(connection: &dyn Connection, line: &str) -> String {
    run(connection, &Command::new("sh").args(["-c", line])).await
}
