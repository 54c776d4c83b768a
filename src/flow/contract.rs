//! Checking a machine against the machine contract: the clauses that are the tool's, whatever is run there, and those of what is.

use std::time::Duration;

use model::check::Check;
use model::connection::Connection;
use model::fault::Fault;
use model::machine::Platform;
use model::output::{OutputLimits, run_command};
use model::script::ScriptFile;
use model::task::StepCommand;
use model::work::Work;
use serde::Deserialize;

use crate::lease::until_stopped;
use crate::run::Run;
use crate::task::durable::Durable;
use crate::task::files::{put_files, remove_folder};
use crate::task::step::failed;

/// The check asks a few dozen programs for a word each.
const LIMIT: Duration = Duration::from_secs(120);

/// The files that a check needs on a machine of `platform`. `own` are scripts with clauses of what is run there, see
/// `remote/linux/check-contract.sh`.
pub fn files(platform: Platform, own: &[ScriptFile]) -> Vec<ScriptFile> {
    guest::of(platform).contract_check().into_iter().chain(own.iter().cloned()).collect()
}

/// Lets the machine check itself; the contract's files are put there first, and removed afterwards.
pub async fn check(run: &Run, connection: &dyn Connection, own: &[ScriptFile]) -> Result<Vec<Check>, Fault> {
    // This is the run's own folder: whatever cuts the check short, the end of the run removes it.
    let guest = guest::of(connection.platform());
    let folder = guest.run_folder(&run.id);
    let [script, _] = guest.contract_check();
    let command = guest.script(&format!("{folder}/{}", script.name)).args(own.iter().map(|file| file.name.clone()));
    let step = StepCommand { work: Work::CheckingContract, command, limit: LIMIT };
    let done = match put_files(connection, &files(connection.platform(), own), &folder).await {
        Ok(()) => run_command(connection, &step.command, OutputLimits { bytes: 1 << 20, time: step.limit })
            .await
            .map_err(Fault::from),
        Err(fault) => Err(fault),
    };
    let removed = remove_folder(connection, &folder).await;
    let done = done?;
    removed?;
    if done.exit.is_success() { read(&done.stdout) } else { Err(failed(&step, &done)) }
}

/// Refuses a machine that breaks the contract, with the clauses that it breaks and their remedies.
pub async fn require(run: &Run, connection: &dyn Connection, own: &[ScriptFile]) -> Result<(), Fault> {
    let checks = check(run, connection, own).await.map_err(|fault| match fault.hint {
        None => fault.hint("`automation machine check USER@HOST` says what is wrong there, and how to mend it."),
        Some(_) => fault,
    })?;
    let broken: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok && check.required)
        .map(|check| format!("{}: {}", check.name, check.remedy.as_deref().unwrap_or(&check.found)))
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Fault::outside("the machine does not keep the contract")
        .because(broken.join("\n"))
        .hint("`docs/remote-machine.md` says what a machine must have; `automation machine check` shows every clause."))
}

/// Reads what the check printed, one line a clause; a line that cannot be read is an error.
fn read(printed: &[u8]) -> Result<Vec<Check>, Fault> {
    #[derive(Deserialize)]
    struct Clause {
        clause: String,
        ok: bool,
        required: bool,
        found: String,
        remedy: String,
    }
    let mut checks = Vec::new();
    for line in printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let clause: Clause = serde_json::from_slice(line).map_err(|error| {
            Fault::infrastructure(format!("cannot read `{}`", String::from_utf8_lossy(line))).because(error)
        })?;
        checks.push(Check {
            required: clause.required,
            name: clause.clause,
            ok: clause.ok,
            found: clause.found,
            remedy: Some(clause.remedy).filter(|remedy| !remedy.is_empty()),
        });
    }
    Ok(checks)
}

/// Does [`require`] on a machine that somebody else made; one that was made for this run keeps the contract.
///
/// The check does not run under the supervisor: it removes the folder in which the supervisor would be.
pub async fn require_where_it_stays(run: &Run, durable: &Durable, own: &[ScriptFile]) -> Result<(), Fault> {
    if !durable.machine().provider.machines_stay() {
        return Ok(());
    }
    until_stopped(run, async { require(run, durable.direct().await?.as_ref(), own).await }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_without_a_remedy_is_kept_and_not_all_are_required() {
        let printed = br#"{"clause": "mount works", "ok": false, "required": false, "found": "no", "remedy": "let it"}
{"clause": "bash", "ok": true, "required": true, "found": "yes", "remedy": ""}
"#;
        let checks = read(printed).unwrap();
        assert!(!checks[0].required && !checks[0].ok && checks[0].remedy.as_deref() == Some("let it"));
        assert!(checks[1].required && checks[1].ok && checks[1].remedy.is_none());
        assert!(read(b"bash: warning\n").unwrap_err().message.contains("`bash: warning`"));
    }
}
