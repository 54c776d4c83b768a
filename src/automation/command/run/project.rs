//! What to run, and in which folder: by the options and by the project's own file.

use std::path::PathBuf;

use model::base::quote;
use model::fault::Fault;
use project::file::{ProjectCommand, ProjectFile};

use crate::command::run::Args;
use crate::compose::{current_folder, home};

/// What the project's file says of the command, and the folder whose files are sent.
pub(super) struct Project {
    /// The command.
    pub(super) command: ProjectCommand,
    /// The folder whose files are sent.
    pub(super) folder: PathBuf,
    /// The folder to which the file's own paths are relative.
    pub(super) root: PathBuf,
}

impl Project {
    /// What the options and the file say.
    pub(super) fn of(args: &Args) -> Result<Self, Fault> {
        let named = args.files.named()?;
        let folder = named.map_or_else(current_folder, |named| Ok(named.to_owned()))?;
        let file = ProjectFile::find(&folder, home().ok().as_deref())?;
        let root = file.as_ref().map_or(&*folder, ProjectFile::root).to_owned();
        let name = match args.names.as_slice() {
            [] => None,
            [name] => Some(name),
            words => {
                let line = quote::join(words).unwrap_or_else(|_| words.join(" "));
                return Err(Fault::usage(format!("a command stands behind `--`, and `{line}` does not"))
                    .hint(format!("Type `automation run -- {line}`.")));
            }
        };
        let Some(name) = name else {
            let command = file.as_ref().map(ProjectFile::usual).unwrap_or_default();
            if args.shell.as_ref().is_some_and(|line| line.trim().is_empty()) {
                return Err(Fault::usage("the line of `--shell` is blank, and would run nothing"));
            }
            let words = match &args.shell {
                Some(line) => ["bash", "-c", line].map(str::to_owned).to_vec(),
                None => args.words.clone(),
            };
            if words.is_empty() && !args.plan {
                return Err(nothing_to_run(file.as_ref()));
            }
            return Ok(Self { command: ProjectCommand { words, ..command }, folder, root });
        };
        let file = file.ok_or_else(|| {
            let (file, folder) = (project::file::NAME, folder.display());
            Fault::usage(format!("there is no `{file}` for `{folder}` that could have a command `{name}`"))
                .hint("A command that has no name there stands after `--`: `automation run -- COMMAND`.")
        })?;
        let command = file.command(name, &args.words)?;
        let folder = if named.is_some() { folder } else { root.clone() };
        Ok(Self { command, folder, root })
    }
}

fn nothing_to_run(file: Option<&ProjectFile>) -> Fault {
    let fault = Fault::usage("there is no command to run");
    let commands: Vec<String> = file
        .map(ProjectFile::commands)
        .into_iter()
        .flatten()
        .map(|(name, what)| match what {
            Some(what) => format!("`automation run {name}` ({what})"),
            None => format!("`automation run {name}`"),
        })
        .collect();
    match commands.is_empty() {
        true => fault.hint("Give it after `--`: `automation run -- make check`."),
        false => fault.hint(format!("The project has {}; any other stands after `--`.", commands.join(", "))),
    }
}
