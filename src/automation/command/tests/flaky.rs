//! `automation tests flaky`.

use model::base::text;
use model::fault::Fault;
use report::kept::flaky::{FlakySearch, FlakyTest, SourceKey};

use crate::command::error::exit;
use crate::command::tests::kept::KeptRuns;
use crate::command::tests::{RangeArgs, percent, tell_left_out};
use crate::compose::Context;
use crate::ui::table;

/// Lists them.
pub(super) fn run(context: &Context, args: &RangeArgs) -> Result<i32, Fault> {
    let mut runs = KeptRuns::of(context, args.since)?;
    // Source by source, so that of one source alone the tries of each test are in memory.
    let records = std::mem::take(&mut runs.records);
    let mut sources: Vec<(Option<SourceKey>, usize)> = Vec::new();
    for (at, record) in records.iter().enumerate() {
        if let Some(outline) = runs.outline(record) {
            sources.push((SourceKey::of(&outline), at));
        }
    }
    sources.sort();
    let mut search = FlakySearch::default();
    let mut present: Option<&SourceKey> = None;
    for (key, at) in &sources {
        // A run whose source is not known, or had changes, is a source of its own.
        if key.is_none() || key.as_ref() != present {
            search.next_source();
        }
        present = key.as_ref();
        if let Some(record) = records.get(*at)
            && let Some(results) = runs.results(record)
        {
            search.add(record, &results);
        }
    }
    let mut tests = search.finish();
    let all = tests.len();
    tests.truncate(args.limit);
    if args.json {
        context.screen.json(&tests);
    } else if tests.is_empty() {
        context.screen.message(&format!("No test was flaky in {}.", runs.words()));
    } else {
        show(context, &tests);
        tell_left_out(context, all, args);
    }
    runs.tell_unreadable();
    Ok(exit::OK)
}

fn show(context: &Context, tests: &[FlakyTest]) {
    let now = context.now();
    let row = |test: &FlakyTest| {
        vec![
            test.id.to_string(),
            format!("{}, {} of {}", percent(test.rate), test.failed, test.tries),
            text::ago(test.last_failed_at, now),
            seen(test),
            test.runs.to_string(),
            test.last_run.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = tests.iter().map(row).collect();
    let header = ["TEST", "FAILS", "LAST FAILED", "SEEN", "RUNS", "LAST IN RUN"];
    context.screen.data(&table::render(&header, 0, &rows));
}

/// Where a test was seen to be flaky: `within 2 runs, between runs of 1 source`.
fn seen(test: &FlakyTest) -> String {
    let within = (test.flaky_runs > 0).then(|| format!("within {}", text::pluralize(test.flaky_runs, "run")));
    let between = (test.changed_sources > 0)
        .then(|| format!("between runs of {}", text::pluralize(test.changed_sources, "source")));
    let parts: Vec<String> = within.into_iter().chain(between).collect();
    parts.join(", ")
}
