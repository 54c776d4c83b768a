//! The results of a whole run from those of its cells.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::artifact::CollectedArtifacts;
use model::base::text::distinct;
use model::exit::Exit;
use model::matrix::Point;
use model::outcome::{Cell, Counts, Results, TestOutcome, TestResult, Verdict};
use model::subject::TestSubject;

use crate::run::Run;
use crate::testing::shards::outcome;

/// The results of a run from those of its cells, each with the folder of the cell. Of a run without a matrix they are those of its one cell.
pub(super) fn merge_cells(run: &Run, started_at: Timestamp, mut all: Vec<(Point, PathBuf, Results)>) -> Results {
    if let [(point, ..)] = all.as_slice()
        && point.name().is_none()
        && let Some((_, _, only)) = all.pop()
    {
        return only;
    }
    let parts = || all.iter().map(|(_, _, results)| results);
    let worst = || parts().max_by_key(|results| results.verdict.rank());
    let mut machines: Vec<_> = parts().flat_map(|results| results.machines.clone()).collect();
    machines.sort_by_key(|used| used.asked_at);
    let baking = parts().map(|results| results.time.image).max().unwrap_or_default();
    let named = |(point, _, results): &(Point, PathBuf, Results)| Some(format!("{point}: {}", results.gap.as_ref()?));
    let gaps: Vec<String> = all.iter().filter_map(named).collect();
    let caveats: Vec<String> = parts().flat_map(|results| results.caveats.clone()).collect();
    let mut results = Results {
        id: run.id.clone(),
        verdict: worst().map_or(Verdict::Incomplete, |results| results.verdict),
        counts: parts().fold(Counts::default(), |all, results| all + results.counts),
        time: outcome::time(run.now(), started_at, baking, &machines),
        image: distinct(parts().map(|results| results.image.clone())).join(", "),
        source: distinct(parts().map(|results| results.source.clone())).join(", "),
        built: agreed(parts().map(|results| results.built)),
        subject: TestSubject::common(
            parts().filter(|results| !results.tests.is_empty()).map(|results| &results.subject),
        ),
        caveats: distinct(caveats),
        gap: (!gaps.is_empty()).then(|| gaps.join("; ")),
        cost: parts().filter_map(|results| results.cost).reduce(|all, cost| all + cost),
        artifacts: None,
        runner: worst().map_or(Exit::Code(0), |results| results.runner.clone()),
        last_output: parts().find_map(|results| results.last_output.clone()),
        cells: Vec::new(),
        machines,
        tests: Vec::new(),
    };
    // What was chosen for each cell is no property of all of them, also where some never came to say theirs.
    for coordinate in all.iter().filter(|_| all.len() > 1).flat_map(|(point, ..)| &point.0) {
        results.subject.forget(&coordinate.axis);
    }
    for (point, folder, part) in all {
        add_cell(&mut results, &run_folder(&folder), &point, &folder, part);
    }
    results
}

/// The folder of the run in which a cell's folder lies, two levels above it.
fn run_folder(cell: &Path) -> PathBuf {
    cell.ancestors().nth(2).unwrap_or(cell).to_owned()
}

fn add_cell(results: &mut Results, run: &Path, point: &Point, folder: &Path, part: Results) {
    let name = point.to_string();
    if let Some(found) = part.artifacts {
        let of_cell = CollectedArtifacts { folder: found.folder.clone(), ..CollectedArtifacts::default() };
        let all = results.artifacts.get_or_insert(of_cell);
        all.add(&found, &name);
        if all.folder != found.folder {
            run.clone_into(&mut all.folder);
        }
    }
    let not_run = part.tests.iter().find(|test| test.outcome == TestOutcome::NotRun);
    let why = match &part.runner {
        Exit::Lost(why) => Some(why.clone()),
        _ => part.gap.clone().or_else(|| not_run.and_then(|test| test.reason.clone())),
    };
    results.cells.extend(part.cells.into_iter().map(|cell| Cell { point: point.clone(), why: why.clone(), ..cell }));
    results.tests.extend(part.tests.into_iter().map(|test| TestResult {
        output_file: test.output_file.map(|file| from_run(run, folder, &file)),
        cell: Some(name.clone()),
        ..test
    }));
}

/// The path of a file of a cell's `folder`, from that of the run.
fn from_run(run: &Path, folder: &Path, file: &str) -> String {
    folder.strip_prefix(run).unwrap_or(Path::new("")).join(file).display().to_string()
}

/// What all agree on.
fn agreed<T: PartialEq>(mut all: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = all.next()??;
    all.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cells_agree_on_is_that_of_the_run() {
        assert_eq!(agreed([Some(1), Some(1)].into_iter()), Some(1));
        assert_eq!(agreed([Some(1), Some(2)].into_iter()), None);
        assert_eq!(agreed([Some(1), None].into_iter()), None);
        assert_eq!(agreed::<u8>([].into_iter()), None);
    }

    #[test]
    fn a_file_of_a_cell_is_named_from_the_folder_of_the_run() {
        let (run, cell) = (Path::new("/runs/r-1"), Path::new("/runs/r-1/cells/001-tmpfs"));
        assert_eq!(run_folder(cell), run);
        assert_eq!(from_run(run, cell, "failed/test-a.t.err"), "cells/001-tmpfs/failed/test-a.t.err");
    }
}
