//! `automation tests show`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::base::text;
use model::fault::Fault;
use report::kept::one::{PastResult, of_run};

use crate::command::error::exit;
use crate::command::tests::kept::KeptRuns;
use crate::command::tests::{RangeArgs, tell_left_out};
use crate::compose::Context;
use crate::ui::table;

/// `tests show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The test, by the name that results give it, with the case behind `#` where it has cases
    name: String,
    #[command(flatten)]
    range: RangeArgs,
}

/// Shows what became of it.
pub(super) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let mut runs = KeptRuns::of(context, args.range.since)?;
    let (mut past, mut others) = (Vec::new(), BTreeSet::new());
    for record in std::mem::take(&mut runs.records) {
        let Some(results) = runs.results(&record) else { continue };
        past.extend(of_run(&record, &results, &args.name));
        if past.is_empty() {
            others.extend(results.tests.into_iter().map(|test| test.name));
        }
    }
    if past.is_empty() {
        runs.tell_unreadable();
        let near = text::nearest(&args.name, others.iter().map(|name| name.as_str()));
        let hint = near.map_or_else(
            || {
                "Name it as results do, with the case behind `#` where it has cases; `--since` looks further back."
                    .to_owned()
            },
            |near| format!("Did you mean `{near}`?"),
        );
        return Err(Fault::usage(format!("no run had a test `{}` ({})", args.name, runs.words())).hint(hint));
    }
    let all = past.len();
    past.truncate(args.range.limit);
    if args.range.json {
        context.screen.json(&past);
    } else {
        let now = context.now();
        let mut rows: Vec<Vec<String>> = past.iter().map(|past| row(past, now)).collect();
        let mut header = vec!["AGE", "RUN", "OUTCOME", "TOOK", "WHY", "SOURCE", "DISTRO", "MACHINE"];
        if past.iter().any(|past| past.cell.is_some()) {
            header.insert(2, "CELL");
            for (row, past) in rows.iter_mut().zip(&past) {
                row.insert(2, past.cell.clone().unwrap_or_default());
            }
        }
        context.screen.data(&table::render(&header, 1, &rows));
        tell_left_out(context, all, &args.range);
    }
    runs.tell_unreadable();
    Ok(exit::OK)
}

fn row(past: &PastResult, now: Timestamp) -> Vec<String> {
    let reasons = past.others.iter().map(|other| &other.reason).chain([&past.reason]);
    let why = reasons.rev().find_map(|reason| report::terminal::first_line(reason.as_deref()));
    let muted = past.muted.as_ref().filter(|_| past.outcome.is_failure());
    let marks = [(past.flaky, "flaky"), (muted.is_some(), "muted")];
    let marks: String = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| format!(", {mark}")).collect();
    vec![
        text::ago(past.started_at, now),
        past.id.to_string(),
        format!("{}{marks}", past.outcome.words()),
        past.took.map(text::seconds).unwrap_or_default(),
        why.unwrap_or_default(),
        past.source.clone(),
        past.surroundings.distro.clone().unwrap_or_default(),
        past.attempt.as_ref().map(|attempt| attempt.machine.to_string()).unwrap_or_default(),
    ]
}
