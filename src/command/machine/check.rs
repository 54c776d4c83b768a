//! `automation machine check`.

use crate::command::context::Context;
use crate::command::error::exit;
use crate::command::session::Session;
use crate::flow::suite::{check, folder, put_parts, remove_folder};
use crate::model::check::Check;
use crate::model::connection::Connection;
use crate::model::fault::Fault;
use crate::model::suite::Suite;
use crate::project::mercurial::LinuxTests;
use crate::ui::table;

/// Verify that a machine keeps the contract of `docs/remote-machine.md`.
///
/// Any machine will do that answers to SSH. Nothing is installed on it, and the scripts that check are removed. Exit code
/// 0 when every clause holds, 3 otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine, or the id of one that was made here
    #[arg(value_name = "USER@HOST[:PORT]")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let own = context.journal.machines()?.into_iter().find(|machine| machine.id.as_str() == args.target);
    let machine = match own {
        Some(machine) => machine,
        None => context.host_machine(&args.target)?,
    };
    let suite = LinuxTests::for_checks(context.ssh()?);
    let connection = super::connect(&context, &machine).await?;
    let session = Session::begin(context, "machine check").await?;
    let checks = clauses(&session, connection.as_ref(), &suite).await;
    connection.close().await;
    let checks = match checks {
        Ok(checks) => checks,
        Err(fault) => return session.end(Err(fault)).await,
    };
    let broken = checks.iter().filter(|check| !check.ok && check.required).count();
    show(&session.context, &checks, args.json);
    let code = if broken == 0 { exit::OK } else { exit::OUTSIDE };
    let summary = format!("{} clauses, {broken} broken", checks.len());
    let ending = crate::command::session::Ending { code, summary, detached: None };
    session.end(Ok(ending)).await
}

/// What only this side can see, then what the machine says of itself.
async fn clauses(session: &Session, connection: &dyn Connection, suite: &dyn Suite) -> Result<Vec<Check>, Fault> {
    let folder = folder(&session.stage);
    let clause = |name: &str, ok: bool, found: String, remedy: &str| Check {
        name: name.to_owned(),
        ok,
        required: true,
        found,
        remedy: (!ok).then(|| remedy.to_owned()),
    };
    let mut checks = vec![clause("ssh", true, "key login, host key proved".to_owned(), "")];
    let put = put_parts(connection, suite, &folder).await;
    let remedy = "add `Subsystem sftp internal-sftp` to /etc/ssh/sshd_config and reload sshd";
    let found = put.as_ref().err().map_or_else(|| "works".to_owned(), |fault| fault.line());
    checks.push(clause("sftp", put.is_ok(), found, remedy));
    remove_folder(connection, &folder).await?;
    if put.is_ok() {
        checks.extend(check(&session.stage, connection, suite).await?);
    }
    Ok(checks)
}

fn show(context: &Context, checks: &[Check], json: bool) {
    if json {
        context.screen.json(&checks);
        return;
    }
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = match (check.ok, check.required) {
                (true, _) => "ok",
                (false, true) => "FAILS",
                (false, false) => "limited",
            };
            vec![check.name.clone(), verdict.to_owned(), check.found.clone()]
        })
        .collect();
    context.screen.data(&table::render(&["CLAUSE", "", "FOUND"], &rows));
    for check in checks.iter().filter(|check| !check.ok) {
        if let Some(remedy) = &check.remedy {
            context.screen.message(&format!("{}: {remedy}", check.name));
        }
    }
}
