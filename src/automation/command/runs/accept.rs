//! `automation runs accept`: what tests printed becomes what is expected of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Component, Path, PathBuf};

use flow::testing::Acceptance;
use model::base::id::TestName;
use model::fault::Fault;
use model::outcome::{Expectation, Results, TestOutcome, TestResult};

use crate::command::error::exit;
use crate::command::runs::{check_cell, chosen, find_test, no_results, results};
use crate::compose::{Context, current_folder};

/// `runs accept`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tests [default: all of the run whose output was not what was expected]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// The run: its id, its beginning, or `latest`
    #[arg(long, value_name = "RUN", default_value = "latest")]
    from: String,
    /// Only what was printed in this cell of the run's matrix, by its name
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    /// The checkout [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Show which files would be written and how what was printed differs, and write none
    #[arg(long)]
    dry_run: bool,
}

/// Writes the files; none where one of them is refused.
pub(crate) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let record = chosen::choose_test_run(context, &args.from)?;
    let mut results = results(context, &record.id)?.ok_or_else(|| no_results(context, &record))?;
    check_cell(&results, args.cell.as_deref())?;
    results.tests.retain(|test| args.cell.is_none() || test.cell == args.cell);
    let tests = choose(&results, &args.tests)?;
    refuse_passed_elsewhere(&results, &tests)?;
    let root = find_root(args, &tests)?;
    let folder = context.state.runs().join(record.id.as_str());
    let accepted = merge(&tests, &|test, expected| Acceptance::plan(&root, &folder, test, expected))?;
    if args.dry_run {
        let shown: Vec<_> = tests.iter().map(|(test, _)| report::terminal::test(test)).collect();
        context.screen.report(&shown.join(&report::terminal::plain("")));
    }
    for file in accepted.values() {
        if !args.dry_run {
            file.write()?;
        }
        context.screen.message(&format!(
            "{} {}",
            if args.dry_run { "Would write" } else { "Wrote" },
            file.path().display()
        ));
    }
    Ok(exit::OK)
}

/// What each file gets. The cases of one test have one file, in which each changes the lines that are its own; what a test printed in one
/// cell would fail in another that printed something else.
fn merge(
    tests: &[(&TestResult, &Expectation)],
    plan: &dyn Fn(&TestResult, &Expectation) -> Result<Acceptance, Fault>,
) -> Result<BTreeMap<PathBuf, Acceptance>, Fault> {
    let refuse = |file: &Acceptance, why: &str| {
        Err(Fault::usage(format!("`{}` would get what two tests printed, and they differ{why}", file.path().display()))
            .hint("Nothing was written. Name one of the tests, or with `--cell` one cell."))
    };
    let mut cells: BTreeMap<(PathBuf, Option<&str>), Acceptance> = BTreeMap::new();
    for (test, expected) in tests {
        let file = plan(test, expected)?;
        match cells.entry((file.path().to_owned(), test.cell.as_deref())) {
            Entry::Vacant(place) => drop(place.insert(file)),
            Entry::Occupied(mut before) => {
                if !before.get_mut().merge(&file) {
                    return refuse(&file, " in the same lines");
                }
            }
        }
    }
    let mut files: BTreeMap<PathBuf, Acceptance> = BTreeMap::new();
    for ((path, _), file) in cells {
        if files.get(&path).is_some_and(|before| before.contradicts(&file)) {
            return refuse(&file, " between cells");
        }
        files.insert(path, file);
    }
    Ok(files)
}

/// Refuses a test that passed in another cell: there it would fail from then on.
fn refuse_passed_elsewhere(results: &Results, tests: &[(&TestResult, &Expectation)]) -> Result<(), Fault> {
    let passed = results.tests.iter().rev().filter(|test| test.outcome == TestOutcome::Passed);
    let passed: BTreeMap<&TestName, &TestResult> = passed.map(|test| (&test.name, test)).collect();
    for (test, _) in tests {
        let Some(passed) = passed.get(&test.name) else { continue };
        let (here, there) = (test.cell.as_deref().unwrap_or_default(), passed.cell.as_deref().unwrap_or_default());
        return Err(Fault::usage(format!("`{}` differs in cell `{here}` and passed in `{there}`", test.name))
            .hint(format!("Nothing was written. `--cell {here}` takes what it printed there all the same.")));
    }
    Ok(())
}

/// The tests that are asked for, each with what says what it prints.
fn choose<'a>(results: &'a Results, named: &[String]) -> Result<Vec<(&'a TestResult, &'a Expectation)>, Fault> {
    let with = |test: &'a TestResult| Some((test, test.expected.as_ref()?));
    if named.is_empty() {
        let all: Vec<_> = results.tests.iter().filter_map(with).collect();
        if all.is_empty() {
            return Err(Fault::usage(format!(
                "no test of run `{}` printed something else than is expected",
                results.id
            )));
        }
        return Ok(all);
    }
    let find = |name: &String| {
        let first = find_test(results, name)?;
        let found: Vec<_> = results.tests.iter().filter(|test| test.name.as_str() == name).filter_map(with).collect();
        if found.is_empty() {
            let outcome = first.outcome.words();
            return Err(Fault::usage(format!(
                "the output of `{name}` was not compared, or was as expected: it {outcome}"
            )));
        }
        Ok(found)
    };
    Ok(named.iter().map(find).collect::<Result<Vec<_>, Fault>>()?.into_iter().flatten().collect())
}

/// The top of the checkout: the nearest folder that has the folders of these files.
fn find_root(args: &Args, tests: &[(&TestResult, &Expectation)]) -> Result<PathBuf, Fault> {
    let start = match &args.source {
        Some(source) => source.clone(),
        None => current_folder()?,
    };
    for (test, expected) in tests {
        // Paths come from the machine.
        if !Path::new(&expected.file).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Fault::usage(format!("what `{}` is expected to print does not lie in the source", test.name)));
        }
    }
    let has_all =
        |root: &&Path| tests.iter().all(|(_, expected)| root.join(&expected.file).parent().is_some_and(Path::is_dir));
    let start =
        std::path::absolute(&start).map_err(|error| Fault::outside("cannot tell the current folder").because(error))?;
    start.ancestors().find(has_all).map(Path::to_owned).ok_or_else(|| {
        Fault::usage(format!("`{}` is not in the checkout that was tested", start.display()))
            .hint("Run it inside the checkout, or name that with `--source DIR`.")
    })
}
