//! `automation runs accept`: what tests printed becomes what is expected of them.

use std::path::{Component, Path, PathBuf};

use flow::testing::Acceptance;
use model::fault::Fault;
use model::outcome::{Expectation, Results, TestResult};

use crate::command::error::exit;
use crate::command::runs::{chosen, find_test, results};
use crate::compose::{Context, current_folder};

/// `runs accept`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: automation runs accept test-merge1.t --dry-run")]
pub struct Args {
    /// The tests [default: all of the run whose output was not what was expected]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// The run: its id, its beginning, or `latest`
    #[arg(long, value_name = "RUN", default_value = "latest")]
    from: String,
    /// The checkout [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Show which files would be written, and write none
    #[arg(long)]
    dry_run: bool,
}

/// Writes the files; none where one of them is refused.
pub(crate) fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let record = chosen::choose_test_run(context, &args.from)?;
    let Some(results) = results(context, &record.id)? else {
        return Err(Fault::usage(format!("run `{}` has no results yet", record.id)));
    };
    let tests = choose(&results, &args.tests)?;
    let root = find_root(args, &tests)?;
    let folder = context.state.runs().join(record.id.as_str());
    let plan = |(test, expected): &(&TestResult, &Expectation)| Acceptance::plan(&root, &folder, test, expected);
    let accepted: Vec<Acceptance> = tests.iter().map(plan).collect::<Result<_, _>>()?;
    for file in &accepted {
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
        let test = find_test(results, name)?;
        let why = || {
            Fault::usage(format!(
                "the output of `{name}` was not compared, or was as expected: it {}",
                test.outcome.words()
            ))
        };
        with(test).ok_or_else(why)
    };
    named.iter().map(find).collect()
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
