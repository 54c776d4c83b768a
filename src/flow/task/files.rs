//! Our files on a machine, in the folder of a run, which belongs to us alone.
use model::connection::{Connection, ConnectionError};
use model::exit::Exit;
use model::fault::Fault;
use model::output::{OutputLimits, run_command};
use model::script::ScriptFile;

/// Puts files into `folder` on the machine. The folder is made, or is left from an earlier try and belongs to us alone.
pub async fn put_files(connection: &dyn Connection, files: &[ScriptFile], folder: &str) -> Result<(), Fault> {
    make_folder(connection, folder).await?;
    write_files(connection, files, folder).await
}

/// Makes `folder` on the machine, or makes sure that an existing one belongs to us alone.
pub async fn make_folder(connection: &dyn Connection, folder: &str) -> Result<(), Fault> {
    // Another user of the machine could have put a program there.
    let command = guest::of(connection.platform()).own_folder(folder);
    let made = run_command(connection, &command, OutputLimits::SMALL).await?;
    let (message, reason) = (format!("cannot make `{folder}` on the machine"), made.stderr_text());
    match made.exit {
        exit if exit.is_success() => Ok(()),
        Exit::Lost(reason) => Err(Fault::infrastructure(message).because(reason)),
        exit if reason.is_empty() => Err(Fault::outside(message).because(exit.to_string())),
        _ => Err(Fault::outside(message).because(reason)),
    }
}

/// Writes files into our folder on the machine.
pub async fn write_files(connection: &dyn Connection, files: &[ScriptFile], folder: &str) -> Result<(), Fault> {
    let writes = files.iter().map(|file| {
        let path = format!("{folder}/{}", file.name);
        async move { connection.write_file(&path, file.text.as_bytes(), 0o755).await }
    });
    let written: Result<Vec<()>, ConnectionError> = futures_util::future::join_all(writes).await.into_iter().collect();
    written?;
    Ok(())
}

/// Removes a folder that [`put_files`] made.
pub async fn remove_folder(connection: &dyn Connection, folder: &str) -> Result<(), Fault> {
    let command = guest::of(connection.platform()).remove_folder(folder);
    let removed = run_command(connection, &command, OutputLimits::SMALL).await?;
    if removed.exit.is_success() {
        return Ok(());
    }
    let reason = removed.stderr_text();
    let reason = if reason.is_empty() { removed.exit.to_string() } else { reason };
    Err(Fault::infrastructure(format!("cannot remove `{folder}` on the machine")).because(reason))
}
