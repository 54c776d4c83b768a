//! Reading what a machine's program said that lists tests: `run-tests.sh --list`, `run_tests.py --list`.

use model::base::id::TestName;
use model::exit::Exit;
use model::fault::Fault;
use model::output::Output;

use crate::mercurial::{names, report};

/// The exit code for a test that does not exist.
const UNKNOWN_TEST: Exit = Exit::Code(66);

/// The fault of arguments with which the runner would run nothing.
fn none_selected(stderr: &str) -> Fault {
    let said: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("run-tests: ")).collect();
    let fault = Fault::usage("the arguments select no test").hint("Without a name and without flags all tests run.");
    if said.is_empty() { fault } else { fault.because(said.join("\n")) }
}

/// The tests that would run, of the named `tests` with the runner's `flags`; or why they cannot be run.
pub(super) fn judge(tests: &[String], flags: &[String], done: &Output) -> Result<Vec<TestName>, Fault> {
    let (text, stderr) = (String::from_utf8_lossy(&done.stdout), done.stderr_text());
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let listed: Vec<String> = lines.take(report::MOST_TESTS + 1).map(str::to_owned).collect();
    if listed.len() > report::MOST_TESTS {
        return Err(Fault::outside(format!("the source has more than {} tests", report::MOST_TESTS)));
    }
    match &done.exit {
        Exit::Code(0) if listed.is_empty() => Err(none_selected(&stderr)),
        Exit::Code(0) => {
            names::check_listed(tests, flags, &listed)?;
            Ok(listed.into_iter().map(TestName::from).collect())
        }
        exit if *exit == UNKNOWN_TEST => {
            let unknown = stderr.lines().find_map(|line| line.strip_prefix("unknown test: ")).unwrap_or("?");
            Err(names::unknown_test(unknown, listed.iter().map(String::as_str)))
        }
        Exit::Code(_) => {
            Err(Fault::usage("the test runner does not accept the arguments").because(stderr.trim().to_owned()))
        }
        exit => Err(Fault::infrastructure(format!("cannot list the tests: {exit}"))),
    }
}
