//! `automation config list|get|set|unset|path|edit`: the settings.

use model::fault::Fault;
use serde::Serialize;
use state::settings::KnownKey;

use crate::command::error::{exit, render};
use crate::compose::config::{Config, Origin};
use crate::compose::editor::Editor;
use crate::globals::Globals;
use crate::ui::{self, confirm, table};

/// Subcommands of `config`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List every setting: its value, who decides it, what it is for
    ///
    /// A value comes from the settings file, from a variable that takes its place, or is the default. A setting without a value leaves the choice to
    /// what it is for, as its last column says.
    List(ListArgs),
    /// Print the value of one setting
    ///
    /// What holds is printed, wherever it comes from, and nothing where there is no value.
    Get(KeyArgs),
    /// Set a setting in the file
    ///
    /// Key and value are checked as at every command. Comments and the order of the file stay, and it is replaced as a whole.
    Set(SetArgs),
    /// Take a setting out of the file, so that its default holds again
    Unset(KeyArgs),
    /// Print where the settings file is, or would be
    Path,
    /// Open the settings file in your editor, and take over only what is right
    ///
    /// `VISUAL`, else `EDITOR`, names the editor. You edit a copy: it becomes the settings when you leave the editor and every line of it is right;
    /// otherwise you are told which is not, and may go back. Where there is no file yet you begin with one that has every key in a comment.
    Edit,
}

/// `config list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A key that is named.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The setting, as `config list` shows it
    key: String,
}

/// `config set`.
#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// The setting, as `config list` shows it
    key: String,
    /// The value, without the quotes that it may have in the file
    value: String,
}

impl Command {
    /// Runs it.
    pub fn run(self, globals: &Globals, words: &[String]) -> Result<i32, Fault> {
        let config = Config::of(globals, words)?;
        match self {
            Self::List(args) => list(&config, &args),
            Self::Get(args) => get(&config, &args.key),
            Self::Set(args) => set(&config, &args.key, &args.value),
            Self::Unset(args) => unset(&config, &args.key),
            Self::Path => {
                config.screen.data(&format!("{}\n", config.file().path().display()));
                Ok(exit::OK)
            }
            Self::Edit => edit(&config),
        }
    }
}

/// A setting.
#[derive(Serialize)]
struct Row {
    id: String,
    /// None where the choice is left to what it is for.
    value: Option<String>,
    /// `default`, `file` or `environment`.
    from: &'static str,
    /// The line of the file, or the variable.
    origin: Option<String>,
    default: Option<&'static str>,
    meaning: &'static str,
    /// A phrase for the allowed values.
    takes: String,
}

impl Row {
    fn new(known: KnownKey, (value, origin): (Option<String>, Origin)) -> Self {
        let (from, origin) = match origin {
            Origin::Default => ("default", None),
            Origin::File(line) => ("file", Some(line)),
            Origin::Environment(variable) => ("environment", Some(variable.to_owned())),
        };
        let (default, meaning, takes) = (known.key.default, known.key.meaning, known.key.kind.allowed());
        Self { id: known.name, value, from, origin, default, meaning, takes }
    }

    fn cells(&self) -> Vec<String> {
        // The path of the file would be the same in each line.
        let line = self.origin.as_deref().and_then(|line| Some(format!("line {}", line.rsplit_once(':')?.1)));
        let from = match self.from {
            "file" => line.unwrap_or_default(),
            from => self.origin.clone().unwrap_or_else(|| from.to_owned()),
        };
        vec![self.id.clone(), self.value.clone().unwrap_or_else(|| "-".to_owned()), from, self.meaning.to_owned()]
    }
}

fn list(config: &Config, args: &ListArgs) -> Result<i32, Fault> {
    let settings = config.settings()?;
    let row = |known: KnownKey| {
        let value = config.value(&settings, &known);
        Row::new(known, value)
    };
    let rows: Vec<Row> = config.keys().into_iter().map(row).collect();
    if args.json {
        config.screen.json(&rows);
        return Ok(exit::OK);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    config.screen.data(&table::render(&["KEY", "VALUE", "FROM", "MEANING"], 0, &cells));
    Ok(exit::OK)
}

fn get(config: &Config, name: &str) -> Result<i32, Fault> {
    let known = config.key(name)?;
    match config.value(&config.settings()?, &known) {
        (Some(value), _) => config.screen.data(&format!("{value}\n")),
        (None, _) => config.screen.message(&format!("`{name}` has no value. {}.", known.key.meaning)),
    }
    Ok(exit::OK)
}

fn set(config: &Config, name: &str, value: &str) -> Result<i32, Fault> {
    let known = config.key(name)?;
    config.change(|text| config.file().with(text.unwrap_or_default(), &known, value).map(Some))?;
    config.screen.message(&format!("`{name}` is `{value}` now."));
    tell_overridden(config, &known)?;
    Ok(exit::OK)
}

fn unset(config: &Config, name: &str) -> Result<i32, Fault> {
    let found = config.change(|text| match text {
        Some(text) => config.file().without(text, name),
        None => Ok(None),
    })?;
    // What stands in the file can be taken out, known or not.
    let known = if found { config.key(name).ok() } else { Some(config.key(name)?) };
    config.screen.message(&match (found, known.as_ref().and_then(|known| known.key.default)) {
        (false, _) => format!("`{name}` is not in the file."),
        (true, Some(default)) => format!("`{name}` is the default `{default}` now."),
        (true, None) => format!("`{name}` is not set any more."),
    });
    if let Some(known) = known {
        tell_overridden(config, &known)?;
    }
    Ok(exit::OK)
}

/// Says where the file does not decide.
fn tell_overridden(config: &Config, known: &KnownKey) -> Result<(), Fault> {
    if let (Some(value), Origin::Environment(variable)) = config.value(&config.settings()?, known) {
        config.screen.message(&format!("The variable `{variable}` takes its place here: `{value}`."));
    }
    Ok(())
}

fn edit(config: &Config) -> Result<i32, Fault> {
    let editor = Editor::chosen()?;
    let before = config.file().read()?;
    let start = before.clone().unwrap_or_else(|| config.template());
    let draft = config.file().draft(&start)?;
    let text = loop {
        editor.open(draft.path())?;
        let text = draft.read()?;
        if text == start {
            config.screen.message("Nothing was changed.");
            return Ok(exit::OK);
        }
        match config.check(&text) {
            Ok(_) => break text,
            Err(fault) if confirm::can_ask() => {
                ui::complain(&render(&fault));
                if !confirm::confirm("Go back to the editor?") {
                    config.screen.message("Nothing was changed.");
                    return Ok(fault.kind.exit_code());
                }
            }
            Err(fault) => return Err(Fault { message: format!("{}; nothing was changed", fault.message), ..fault }),
        }
    };
    config.replace(before.as_deref(), &text)?;
    config.screen.message(&format!("`{}` was changed.", config.file().path().display()));
    Ok(exit::OK)
}
