//! Running one of our scripts on a machine.

use model::base::deadline::Deadline;
use model::connection::Connection;
use model::exit::Exit;
use model::fault::Fault;
use model::output::follow;
use model::script::Script;
use model::task::Chunk;

use crate::task::durable::Durable;
use crate::task::files::write_files;

/// Runs `script` from a file in the durable connection's folder and hands its output to `output` as it comes.
///
/// The script is a file on the machine and its input is arguments and variables, so that nothing of it passes through
/// another shell. It goes on while the connection is broken. A script that runs out of its time is ended, and its exit
/// is [`Exit::Lost`].
pub async fn run(durable: &Durable, script: &Script, output: &mut (dyn FnMut(Chunk) + Send)) -> Result<Exit, Fault> {
    let base = script.name.rsplit('/').next().unwrap_or(&script.name);
    let path = format!("{}/{base}", durable.folder());
    durable.prepare().await?;
    durable.write_file(&path, script.text.as_bytes(), 0o755).await?;
    write_files(durable, &script.files, durable.folder()).await?;
    let mut command = durable.guest().script(&path).args(script.args.iter().cloned());
    command.env.clone_from(&script.env);
    let deadline = Deadline::after(script.limit, format!("`{}` to end", script.name));
    Ok(follow(durable, &command, &deadline, output).await?)
}
