//! `automation doctor`.

use model::fault::Fault;

use crate::command::error::exit;
use crate::compose::Context;
use crate::ui::table;

/// The options of `automation doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let checks = context.sites.doctor().await?;
    let code = if checks.iter().any(|check| check.required && !check.ok) { exit::OUTSIDE } else { exit::OK };
    if args.json {
        context.screen.json(&checks);
        return Ok(code);
    }
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = match (check.ok, check.required) {
                (true, _) => "ok",
                (false, true) => "MISSING",
                (false, false) => "limited",
            };
            vec![check.name.clone(), verdict.to_owned(), check.found.clone()]
        })
        .collect();
    context.screen.data(&table::render(&["CHECK", "", "FOUND"], 2, &rows));
    for check in checks.iter().filter(|check| !check.ok) {
        if let Some(remedy) = &check.remedy {
            context.screen.data(&format!("\n{}: {remedy}\n", check.name));
        }
    }
    Ok(code)
}
