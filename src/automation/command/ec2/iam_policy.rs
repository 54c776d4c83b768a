//! `automation iam-policy`.

use aws::ec2::policy::{self, Scope};
use model::base::text;
use model::fault::Fault;

use crate::command::error::exit;
use crate::compose;
use crate::ui;

/// The options of `automation iam-policy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commands, for example `run-tests-linux`
    #[arg(value_name = "COMMAND")]
    commands: Vec<String>,
    /// Only for what carries this owner's tag; `me` is you
    #[arg(long, value_name = "USER@HOST", value_parser = text::parse_owner)]
    owner: Option<String>,
    /// Also for what is known by its name alone, as what the tool before this one made
    #[arg(long)]
    untagged: bool,
}

/// Prints the policy.
pub(crate) fn run(args: &Args) -> Result<i32, Fault> {
    let known: Vec<&str> = policy::commands().collect();
    for command in &args.commands {
        if !known.contains(&command.as_str()) {
            let fault = Fault::usage(format!(
                "`{command}` is not a command that needs permissions of AWS (these are: {})",
                known.join(", ")
            ));
            return Err(match text::nearest(command, known.iter().copied()) {
                Some(near) => fault.hint(format!("Did you mean `{near}`?")),
                None => fault,
            });
        }
    }
    let named: Vec<&str> = args.commands.iter().map(String::as_str).collect();
    let owner = args.owner.as_deref().map(|owner| if owner == "me" { compose::owner() } else { owner.to_owned() });
    let scope = Scope { owner, untagged: args.untagged };
    let policy = policy::document(if named.is_empty() { &known } else { &named }, &scope);
    ui::print(&format!("{policy:#}\n"));
    Ok(exit::OK)
}
