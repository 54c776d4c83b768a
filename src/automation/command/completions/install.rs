//! `automation completions --install`: a file that lets a shell load the script when it is first needed, so that the script is always that of
//! the program that is called.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap_complete::Shell;
use model::fault::Fault;

use crate::command::error::exit;
use crate::compose::places::Places;
use crate::ui;

/// The first words of what this command writes; a file without them is somebody else's.
const MARK: &str = "# Written by `automation completions --install`.";

/// The file of a shell.
struct Loader {
    path: PathBuf,
    text: String,
    /// What else must be there for it to work.
    needs: String,
}

/// Writes the file for `shell`, or for the one that the user has.
pub(super) fn run(shell: Option<Shell>, dry_run: bool) -> Result<i32, Fault> {
    let places = Places::of_user()?;
    let shell = match shell {
        Some(shell) => shell,
        None => own_shell(&places)?,
    };
    let loader = loader(shell, &places)?;
    refuse_foreign(&loader.path)?;
    let path = loader.path.display();
    if dry_run {
        ui::print(&loader.text);
        ui::complain(&format!("Would write this to `{path}`.\n{}", loader.needs));
        return Ok(exit::OK);
    }
    write(&loader)?;
    ui::complain(&format!("Wrote `{path}`.\n{}", loader.needs));
    Ok(exit::OK)
}

/// The shell that the user logs in with.
fn own_shell(places: &Places) -> Result<Shell, Fault> {
    let name = places.shell.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let known = name.as_deref().and_then(|name| Shell::from_str(name, true).ok());
    known.ok_or_else(|| {
        let said = name.map_or_else(|| "`SHELL` is not set".to_owned(), |name| format!("`SHELL` is `{name}`"));
        Fault::usage(format!("cannot tell for which shell to install completions: {said}"))
            .hint("Name it: `automation completions --install bash`, or `zsh`, or `fish`.")
    })
}

fn loader(shell: Shell, places: &Places) -> Result<Loader, Fault> {
    match shell {
        Shell::Bash => Ok(Loader {
            path: places.bash.join("completions/automation"),
            text: format!("{MARK}\neval \"$(automation completions bash 2>/dev/null)\"\n"),
            needs: "It works in each new bash that has the package `bash-completion`.".to_owned(),
        }),
        Shell::Zsh => {
            let folder = places.data.join("zsh/site-functions");
            let needs = format!(
                "zsh finds it where its folder is in `fpath` before `compinit` runs: in `~/.zshrc`, above that,\n  fpath=({} $fpath)",
                folder.display()
            );
            let text = format!(
                "#compdef automation\n{MARK}\nsource <(automation completions zsh 2>/dev/null)\n\
                 (( $+functions[_clap_dynamic_completer_automation] )) && _clap_dynamic_completer_automation \"$@\"\n"
            );
            Ok(Loader { path: folder.join("_automation"), text, needs })
        }
        Shell::Fish => Ok(Loader {
            path: places.config.join("fish/completions/automation.fish"),
            text: format!("{MARK}\nautomation completions fish 2>/dev/null | source\n"),
            needs: "It works in each new fish.".to_owned(),
        }),
        other => Err(Fault::usage(format!("completions for `{other}` can be printed, not installed"))
            .hint(format!("Load what `automation completions {other}` prints where your shell starts."))),
    }
}

/// The files that this command wrote for the user, and that nobody has changed since.
pub(crate) fn installed() -> Result<Vec<PathBuf>, Fault> {
    let places = Places::of_user()?;
    let loaders = [Shell::Bash, Shell::Zsh, Shell::Fish].map(|shell| loader(shell, &places));
    let is_ours = |loader: &Loader| std::fs::read(&loader.path).is_ok_and(|bytes| bytes == loader.text.as_bytes());
    let loaders = loaders.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(loaders.into_iter().filter(is_ours).map(|loader| loader.path).collect())
}

/// Refuses to write over a file that this command did not write.
fn refuse_foreign(path: &Path) -> Result<(), Fault> {
    match std::fs::read(path) {
        Ok(bytes) if String::from_utf8_lossy(&bytes).contains(MARK) => Ok(()),
        Ok(_) => Err(Fault::usage(format!("`{}` is there, and this command did not write it", path.display())).hint(
            "Remove it, or move it away; `automation completions SHELL` prints the script for a place of your own.",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(state::file::fault("read", path, error)),
    }
}

fn write(loader: &Loader) -> Result<(), Fault> {
    let folder = loader.path.parent().unwrap_or(&loader.path);
    std::fs::create_dir_all(folder)
        .map_err(|error| Fault::outside(format!("cannot make the folder `{}`", folder.display())).because(error))?;
    state::file::write_atomic(&loader.path, loader.text.as_bytes())
}
