//! `automation machine check`.

use flow::contract::{check, files};
use flow::preparation::folder;
use flow::shell;
use flow::task::files::{make_folder, remove_folder, write_files};
use model::check::Check;
use model::connection::Connection;
use model::fault::{Fault, FaultKind};
use model::script::ScriptFile;
use project::mercurial::clauses_on;

use crate::command::error::exit;
use crate::command::machine::chosen::find_whole;
use crate::command::session::Session;
use crate::compose::Context;
use crate::ui::table;

/// The options of `machine check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine, or the id or the name of one that was made here
    #[arg(value_name = "USER@HOST[:PORT]")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let machine = match find_whole(&context, &args.target)? {
        Some(machine) => machine,
        None => context.sites.host_machine(&args.target)?,
    };
    let connection = super::connect(&context, &machine).await?;
    let session = Session::begin(context, "machine check").await?;
    let checks = clauses(&session, connection.as_ref(), &[clauses_on(machine.platform)], &machine.user).await;
    connection.close().await;
    let checks = match checks {
        Ok(checks) => checks,
        Err(fault) => return session.end(Err(fault)).await,
    };
    let broken = checks.iter().filter(|check| !check.ok && check.required).count();
    show(&session.context, &checks, args.json);
    let code = if broken == 0 { exit::OK } else { exit::OUTSIDE };
    let summary = format!("{} clauses, {broken} broken", checks.len());
    let ending = crate::command::session::Ending { code, summary, detached: Vec::new() };
    session.end(Ok(ending)).await
}

/// The clauses that only this side can check, then those that the machine checks itself. A clause that cannot be
/// checked because an earlier one is broken is left out.
async fn clauses(
    session: &Session,
    connection: &dyn Connection,
    own: &[ScriptFile],
    user: &str,
) -> Result<Vec<Check>, Fault> {
    let folder = folder(&session.run, connection.platform());
    let mut checks = vec![clause("ssh", None, "key login, host key proved")];
    let noise = match shell::look(connection, user).await {
        Ok(noise) => noise,
        Err(fault) if fault.kind == FaultKind::Outside => {
            let remedy = fault.hint.clone().unwrap_or_default();
            checks.push(clause("login shell runs commands", Some(remedy), fault.line()));
            return Ok(checks);
        }
        Err(fault) => return Err(fault),
    };
    if let Err(fault) = make_folder(connection, &folder).await {
        let remedy = format!("make room for `{folder}`, and let the user make it");
        checks.push(clause("a folder of ours", Some(remedy), fault.line()));
        return Ok(checks);
    }
    let put = write_files(connection, &files(connection.platform(), own), &folder).await;
    match &put {
        Ok(()) => checks.push(clause("sftp", None, "works")),
        Err(fault) => {
            let remedy = shell::file_server_remedy(connection, noise.as_deref()).await;
            checks.push(clause("sftp", Some(remedy), fault.line()));
        }
    }
    remove_folder(connection, &folder).await?;
    if put.is_ok() {
        checks.extend(check(&session.run, connection, own).await?);
    }
    Ok(checks)
}

/// A clause that holds unless there is a remedy.
fn clause(name: &str, remedy: Option<String>, found: impl Into<String>) -> Check {
    Check { name: name.to_owned(), ok: remedy.is_none(), required: true, found: found.into(), remedy }
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
    context.screen.data(&table::render(&["CLAUSE", "", "FOUND"], 2, &rows));
    for check in checks.iter().filter(|check| !check.ok) {
        if let Some(remedy) = &check.remedy {
            context.screen.message(&format!("{}: {remedy}", check.name));
        }
    }
}
