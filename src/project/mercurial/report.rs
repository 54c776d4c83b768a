//! What Mercurial's runner reports: where, and by which module.

use model::script::ScriptFile;

pub(super) use crate::reports::tally::MOST_TESTS;

/// The name of the report in the folder for the results.
pub(super) const FILE: &str = "events.jsonl";

/// The folder for the results of all tests, or of a part of them, where `folder` is that for all.
pub(super) fn results(folder: &str, part: Option<u32>) -> String {
    part.map_or_else(|| folder.to_owned(), |number| format!("{folder}/{number}"))
}

/// The module that writes the report; it lies beside the program that starts the runner.
pub(super) const EVENTS: ScriptFile =
    ScriptFile::built_in("run_tests_events.py", include_str!("../../../remote/mercurial/run_tests_events.py"));
