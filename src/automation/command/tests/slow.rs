//! `automation tests slow`.

use std::time::Duration;

use model::base::text;
use model::fault::Fault;
use report::kept::slow::{Durations, SlowTest};

use crate::command::error::exit;
use crate::command::tests::kept::KeptRuns;
use crate::command::tests::{RangeArgs, percent, tell_left_out};
use crate::compose::Context;
use crate::ui::table;

/// Lists them.
pub(super) fn run(context: &Context, args: &RangeArgs) -> Result<i32, Fault> {
    let mut runs = KeptRuns::of(context, args.since)?;
    let mut durations = Durations::default();
    for record in std::mem::take(&mut runs.records) {
        if let Some(results) = runs.results(&record) {
            durations.add(&results);
        }
    }
    let mut tests = durations.finish();
    let all = tests.len();
    tests.truncate(args.limit);
    // As in the results: a duration has three decimals.
    for test in &mut tests {
        for span in [&mut test.median, &mut test.shortest, &mut test.longest] {
            *span = Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        }
    }
    if args.json {
        context.screen.json(&tests);
    } else if tests.is_empty() {
        context.screen.message(&format!("No test ran to its end in {}.", runs.words()));
    } else {
        show(context, &tests);
        tell_left_out(context, all, args);
    }
    runs.tell_unreadable();
    Ok(exit::OK)
}

fn show(context: &Context, tests: &[SlowTest]) {
    let row = |test: &SlowTest| {
        vec![
            test.id.to_string(),
            text::seconds(test.median),
            format!("{} to {}", text::seconds(test.shortest), text::seconds(test.longest)),
            test.runs.to_string(),
            percent(test.share),
            test.distro.clone().unwrap_or_default(),
            test.filesystem.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = tests.iter().map(row).collect();
    let header = ["TEST", "MEDIAN", "SPREAD", "RUNS", "SHARE", "DISTRO", "FILE SYSTEM"];
    context.screen.data(&table::render(&header, 0, &rows));
}
