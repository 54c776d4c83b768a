//! Checking a machine against the machine contract.

use model::check::Check;
use model::connection::Connection;
use model::contract::Contract;
use model::fault::Fault;
use model::output::{Limits, output};

use crate::parts::{put_parts, remove_folder};
use crate::run::Run;
use crate::testing::{failed, folder};

/// Lets the machine check itself; the contract's files are put there first, and removed afterwards.
pub async fn check(run: &Run, connection: &dyn Connection, contract: &dyn Contract) -> Result<Vec<Check>, Fault> {
    // This is the run's own folder: whatever cuts the check short, the end of the run removes it.
    let folder = folder(run, connection.platform());
    let step = contract.check(&folder);
    let done = match put_parts(connection, &contract.parts(), &folder).await {
        Ok(()) => {
            output(connection, &step.command, Limits { bytes: 1 << 20, time: step.limit }).await.map_err(Fault::from)
        }
        Err(fault) => Err(fault),
    };
    let removed = remove_folder(connection, &folder).await;
    let done = done?;
    removed?;
    if done.exit.success() { contract.read(&done.stdout) } else { Err(failed(&step, &done)) }
}
