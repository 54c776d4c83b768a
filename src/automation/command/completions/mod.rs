//! `automation completions`, and the answers to a shell that completes what somebody types.
//!
//! The script that a shell is given only asks this program, with a variable that says so; what there is to choose from is known here alone.

pub(crate) mod install;
mod values;

use std::ffi::OsString;

use clap::Command;
use clap_complete::env::{EnvCompleter, Shells};
use clap_complete::{CompleteEnv, Shell};
use model::fault::Fault;

use crate::command::error::exit;
use crate::compose::offers::Offers;
use crate::compose::{current_folder, variables};
use crate::globals::Globals;
use crate::ui;

/// The variable by which a shell's script asks; its value is the shell's name.
const ASKS: &str = "AUTOMATION_COMPLETE";

/// The variable in which the scripts of some shells say which word is completed.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";

/// The options of `automation completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell [default with `--install`: that of `SHELL`]
    #[arg(required_unless_present = "install")]
    shell: Option<Shell>,
    /// Write the script to where the shell looks for it, and say what else is needed
    #[arg(long)]
    install: bool,
    /// Only say what would be written, and where
    #[arg(long, requires = "install")]
    dry_run: bool,
}

/// Prints the script, or installs what loads it.
pub fn run(args: &Args) -> Result<i32, Fault> {
    if args.install {
        return install::run(args.shell, args.dry_run);
    }
    let script = args.shell.map(script).transpose()?.unwrap_or_default();
    ui::print(&script);
    Ok(exit::OK)
}

/// The script that lets a shell ask. It calls the program by its name: whoever types that has it, wherever it was built.
fn script(shell: Shell) -> Result<String, Fault> {
    let name = shell.to_string();
    let written = |of: &dyn EnvCompleter| {
        let mut script = Vec::new();
        of.write_registration(ASKS, "automation", "automation", "automation", &mut script).ok()?;
        String::from_utf8(script).ok()
    };
    let script = Shells::builtins().completer(&name).and_then(written);
    script.ok_or_else(|| Fault::usage(format!("there are no completions for `{name}`")))
}

/// Answers a shell that asks; none where none does. It gets what there is and never a message: that would stand in the middle of what
/// somebody types. `tree` has all commands; `read` takes what was typed so far as far as it makes sense.
pub fn answer(
    arguments: &[OsString],
    tree: impl Fn() -> Command,
    read: impl Fn(&[OsString]) -> Option<Globals>,
) -> Option<i32> {
    variables::value(ASKS.as_ref()).filter(|shell| !shell.is_empty() && shell != "0")?;
    let typed: Vec<OsString> = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let offers = read(&typed).map(|globals| Offers::of(&globals)).unwrap_or_default();
    let at = variables::value(INDEX.as_ref()).and_then(|index| index.to_str()?.parse::<usize>().ok());
    let word = typed.get(at.unwrap_or(typed.len().saturating_sub(1)));
    let is_option = word.is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let declared = || values::attached(tree(), &offers, &typed, is_option);
    let asked = CompleteEnv::with_factory(declared).var(ASKS).bin("automation").completer("automation");
    let done = asked.try_complete(arguments.to_vec(), current_folder().ok().as_deref());
    Some(if done.is_ok() { exit::OK } else { exit::OUTSIDE })
}
