//! `automation` without a word: what it is, what to begin with, what there is of it on this computer.

use model::base::text;
use model::fault::Fault;
use model::machine::Machine;

use crate::command::error::exit;
use crate::compose::{Context, state_path};
use crate::globals::Globals;
use crate::ui;

/// What it is, and the commands to begin with.
const TEXT: &str = "\
Ephemeral machines for builds and tests, made on this computer by default.

  automation demo                two tests on machines of their own, from nothing to nothing in a minute
  automation run -- make check   any command in the files of this folder, on a machine of its own
  automation run-tests-linux     the tests of the Mercurial checkout that you stand in
  automation doctor              what this computer can do

`automation --help` lists all commands, `automation COMMAND --help` says the rest of one.
";

/// Prints it. Nothing is made, not even the state directory.
pub fn run(globals: &Globals) -> Result<i32, Fault> {
    ui::print(TEXT);
    if !state_path(globals)?.is_dir() {
        ui::print("Nothing was made on this computer yet.\n");
        return Ok(exit::OK);
    }
    let context = Context::open_for_cleanup(globals, Vec::new())?;
    let (machines, runs) =
        (Machine::each_once(context.journal.machines()?).len(), context.journal.runs(usize::MAX)?.len());
    let (list, past) = (context.to_type("machine list"), context.to_type("runs list"));
    let (machines, runs) = (text::pluralize(machines, "machine"), text::pluralize(runs, "run"));
    ui::print(&format!("Here: {machines} (`{list}`), {runs} (`{past}`).\n"));
    Ok(exit::OK)
}
