//! Running a script of ours on a machine.

use crate::base::deadline::Deadline;
use crate::model::connection::{Chunk, Connection};
use crate::model::fault::Fault;
use crate::model::outcome::Exit;
use crate::model::task::{Command, Script};

/// Runs `script` with `bash` from a file in `folder` (made when missing) and hands its output to `output` as it comes.
///
/// The script is a file on the machine and its input is arguments and variables, so that nothing of it passes through
/// another shell. A script that runs out of its time is [`Exit::Lost`]: its channel is closed, which ends it.
pub async fn run(
    connection: &dyn Connection,
    folder: &str,
    script: &Script,
    output: &mut (dyn FnMut(Chunk) + Send),
) -> Result<Exit, Fault> {
    let base = script.name.rsplit('/').next().unwrap_or(&script.name);
    let path = format!("{folder}/{base}");
    collect_quiet(connection, &Command::new("mkdir").arg("-p").arg(folder)).await?;
    connection.write_file(&path, script.text.as_bytes(), 0o755).await?;
    let mut command = Command::new("bash").arg(&path).args(script.args.iter().cloned()).stdin(Vec::new());
    command.env.clone_from(&script.env);
    follow(connection, &command, &Deadline::after(script.limit, format!("`{}` to end", script.name)), output).await
}

/// Runs `command` and hands its output on until its channel closes or the deadline passes.
pub async fn follow(
    connection: &dyn Connection,
    command: &Command,
    deadline: &Deadline,
    output: &mut (dyn FnMut(Chunk) + Send),
) -> Result<Exit, Fault> {
    let mut process = connection.start(command).await?;
    let reading = async {
        while let Some(chunk) = process.next().await {
            output(chunk);
        }
        process.exit()
    };
    match deadline.bound(reading).await {
        Ok(exit) => Ok(exit),
        Err(expired) => Ok(Exit::Lost(expired.to_string())),
    }
}

async fn collect_quiet(connection: &dyn Connection, command: &Command) -> Result<(), Fault> {
    let collected = crate::flow::collect::collect(connection, command, crate::flow::collect::SMALL).await?;
    if collected.exit.success() {
        return Ok(());
    }
    Err(Fault::infrastructure(format!("`{}` on the machine: {}", command.program, collected.exit))
        .because(String::from_utf8_lossy(&collected.stderr).trim().to_owned()))
}
