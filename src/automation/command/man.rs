//! `automation man`: manual pages, for those who make packages of the tool.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use model::fault::Fault;

use crate::command::error::exit;
use crate::command::help;
use crate::ui;

/// The options of `automation man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder for the pages, which is made where it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a page for the tool and one for each command of `tree`; `version` is as `--version` says it.
pub fn run(args: &Args, tree: &Command, version: &str) -> Result<i32, Fault> {
    let folder = args.folder.as_path();
    let unwritten = |path: &Path, error: std::io::Error| {
        Fault::outside(format!("cannot write `{}`", path.display())).because(error)
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
    let pages = pages(tree);
    for (name, command) in &pages {
        let path = folder.join(format!("{name}.1"));
        let text = page(command, name, version).map_err(|error| unwritten(&path, error))?;
        std::fs::write(&path, text).map_err(|error| unwritten(&path, error))?;
    }
    ui::complain(&format!("Wrote {} pages into `{}`.", pages.len(), folder.display()));
    Ok(exit::OK)
}

/// Every command with the name of its page; what all take stands on that of the tool alone.
fn pages(tree: &Command) -> Vec<(String, Command)> {
    let mut pages = vec![("automation".to_owned(), tree.clone())];
    let mut open: Vec<(String, String, Command)> = children("automation", "automation", tree);
    while let Some((name, line, command)) = open.pop() {
        open.extend(children(&name, &line, &command));
        let command = command.bin_name(line).display_name(name.clone()).disable_help_subcommand(true);
        pages.push((name, command));
    }
    pages
}

/// The commands below one, each with the name of its page and with the words that call it.
fn children(name: &str, line: &str, command: &Command) -> Vec<(String, String, Command)> {
    let shown = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    shown
        .map(|inner| (format!("{name}-{}", inner.get_name()), format!("{line} {}", inner.get_name()), inner.clone()))
        .collect()
}

fn page(command: &Command, name: &str, version: &str) -> std::io::Result<Vec<u8>> {
    // The date of the commit, so that the same source gives the same page.
    let date = version.trim_end_matches(')').rsplit_once(' ').map_or("", |(_, date)| date);
    let notes = command.get_after_help().map(ToString::to_string);
    let path = command.get_bin_name().unwrap_or_default().split(' ').skip(1).collect::<Vec<_>>().join(" ");
    let man = Man::new(command.clone()).title(name.to_uppercase()).date(date).manual("automation");
    let man = man.source(format!("automation {}", version.split(' ').next().unwrap_or_default()));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    if let Some(notes) = notes {
        rest.control("SH", ["NOTES"]).text([roman(notes)]);
    }
    let examples = help::examples_of(&path);
    if !examples.is_empty() {
        rest.control("SH", ["EXAMPLES"]);
    }
    for (line, what) in examples {
        rest.control("TP", []).text([bold(format!("automation {line}"))]).text([roman(what)]);
    }
    if !path.is_empty() {
        rest.control("SH", ["SEE ALSO"])
            .text([bold("automation"), roman("(1), which has the options that every command takes")]);
    }
    rest.to_writer(&mut text)?;
    Ok(text)
}
