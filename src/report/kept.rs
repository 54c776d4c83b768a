//! What several runs together say of tests. Each view takes the results of one run after another and keeps a little of each
//! test, so that no more than one run's results are in memory.

pub mod flaky;
pub mod one;
pub mod slow;

use std::collections::BTreeMap;

use model::base::id::MachineId;
use model::matrix::Point;
use model::outcome::{Cell, Results, TestResult};
use serde::Serialize;

/// Where a test ran, as far as that changes how long it takes and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Surroundings {
    /// The distribution, by its own name.
    pub distro: Option<String>,
    /// The version of the Python that ran the tests.
    pub python: Option<String>,
    /// The file system of the work folder.
    pub filesystem: Option<String>,
    /// What else was chosen for its cell, such as an architecture.
    #[serde(skip_serializing_if = "is_blank")]
    pub point: Point,
}

fn is_blank(point: &Point) -> bool {
    point.0.is_empty()
}

/// The surroundings of each test of a run.
struct Places<'a> {
    results: &'a Results,
    cells: BTreeMap<&'a MachineId, &'a Cell>,
}

impl<'a> Places<'a> {
    fn of(results: &'a Results) -> Self {
        let cells = results.cells.iter().flat_map(|cell| cell.machines.iter().map(move |machine| (machine, cell)));
        Self { results, cells: cells.collect() }
    }

    /// Where a test ran: in its cell, or that of its machine, else where the run says.
    fn surroundings(&self, test: &TestResult) -> Surroundings {
        let of_machine = || test.attempt.as_ref().and_then(|attempt| self.cells.get(&attempt.machine).copied());
        let cell = self.results.cell_of(test).or_else(of_machine);
        let subject = &self.results.subject;
        let (distro, python, filesystem) = match cell {
            Some(cell) => (&cell.distro, &cell.python, &cell.filesystem),
            None => (&subject.distro, &subject.python, &subject.filesystem),
        };
        // What the machine says is more exact than what was chosen, and the same in a run without a matrix.
        let is_said = |axis: &str| match axis {
            "distro" => distro.is_some(),
            "python" => python.is_some(),
            "filesystem" => filesystem.is_some(),
            _ => false,
        };
        let chosen = cell.into_iter().flat_map(|cell| &cell.point.0);
        Surroundings {
            distro: distro.clone(),
            python: python.clone(),
            filesystem: filesystem.clone(),
            point: Point(chosen.filter(|coordinate| !is_said(&coordinate.axis)).cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::outcome::{Attempt, OtherAttempt, TestOutcome};
    use model::run::{Driver, RunRecord, RunState};

    use super::*;
    use crate::json::tests::{results, test};

    /// The record of a run that began so many days after the first.
    pub(super) fn record(number: i64) -> RunRecord {
        RunRecord {
            id: format!("r-{number}").parse().unwrap(),
            command: "run-tests-linux".into(),
            arguments: vec![],
            owner: "ann@example".into(),
            driver: Driver { pid: 1, started: 1, boot: "b".into() },
            state: RunState::Ended,
            started_at: jiff::Timestamp::from_second(1_795_000_000 + number * 86_400).unwrap(),
            ended_at: None,
            exit_code: None,
            summary: None,
        }
    }

    /// A test that was tried with these outcomes; the last counts.
    pub(super) fn tried(name: &str, outcomes: &[TestOutcome]) -> TestResult {
        let (last, others) = outcomes.split_last().unwrap();
        let mut result = test(name, *last, None);
        let attempt = |number| Attempt { machine: "hg-4x2k9q0d7m".parse().unwrap(), number };
        let other = |(number, outcome): (u32, &TestOutcome)| OtherAttempt {
            attempt: attempt(number),
            outcome: *outcome,
            took: None,
            reason: None,
            began_at: None,
        };
        result.others = (1..).zip(others).map(other).collect();
        result.attempt = Some(attempt(outcomes.len() as u32));
        result
    }

    pub(super) fn run(tests: &[TestResult]) -> Results {
        results(tests.to_vec())
    }

    #[test]
    fn a_test_of_a_cell_ran_where_the_cell_says_and_with_what_else_was_chosen_for_it() {
        let passed = || vec![tried("a", &[TestOutcome::Passed])];
        let mut results = crate::json::tests::in_cells(&[("default", passed()), ("tmpfs", passed())]);
        results.cells[1].point.0.push(model::matrix::Coordinate { axis: "arch".into(), value: "x86".into() });
        results.tests[1].cell = Some("tmpfs/x86".into());
        let places = Places::of(&results);
        let [first, second] = [0, 1].map(|at| places.surroundings(&results.tests[at]));
        assert_eq!((first.filesystem.as_deref(), first.point.0.len()), (Some("default"), 0));
        assert_eq!((second.filesystem.as_deref(), second.point.to_string().as_str()), (Some("tmpfs"), "x86"));
        // A test that no machine was to run is its cell's all the same.
        results.tests[1].attempt = None;
        assert_eq!(Places::of(&results).surroundings(&results.tests[1]).filesystem.as_deref(), Some("tmpfs"));
    }

    #[test]
    fn a_test_of_a_machine_in_no_cell_ran_where_the_run_says() {
        let mut results = run(&[tried("a", &[TestOutcome::Passed])]);
        results.cells[0].python = Some("pypy 3.10".into());
        assert_eq!(Places::of(&results).surroundings(&results.tests[0]).python.as_deref(), Some("pypy 3.10"));
        results.cells.clear();
        assert_eq!(Places::of(&results).surroundings(&results.tests[0]).python.as_deref(), Some("3.11.2"));
    }
}
