//! `automation completions`.

use clap_complete::Shell;
use model::fault::Fault;

use crate::command::error::exit;
use crate::ui;

/// Print the completions for a shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to print them for
    shell: Shell,
}

/// Prints the script for the commands of `tree`.
pub fn run(args: Args, mut tree: clap::Command) -> Result<i32, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut tree, "automation", &mut script);
    ui::print(&String::from_utf8_lossy(&script));
    Ok(exit::OK)
}
