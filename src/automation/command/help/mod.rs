//! How the help is laid out: the commands in groups, what every command takes folded into a line, examples below; and `automation help`.
//!
//! All of it is made from the parser's own definitions. Only what each group holds, and the examples, are lists of their own.

mod examples;
mod groups;
mod topics;

use clap::builder::StyledStr;
use clap::builder::styling::Style;
use clap::{Arg, Command};

pub use examples::of as examples_of;
pub use topics::{Args, answer, behind_group, topic_names};

/// The heading of options of Amazon EC2, which have a topic of their own.
const EC2: &str = "Amazon EC2";

/// The tree of commands with its help laid out. What is parsed stays the same.
pub fn lay_out(tree: Command) -> Command {
    let of_ec2: Vec<Arg> = tree.get_arguments().filter(|arg| is_of_ec2(arg)).cloned().collect();
    let header = *tree.get_styles().get_header();
    let groups = groups::text(&tree);
    let layout = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}{{after-help}}\n\n{header}Options:{header:#}\n{{options}}\n\n{}\n",
        topics::line(&tree)
    );
    let shared = topics::line(&tree);
    tree.mut_args(fold)
        .mut_subcommands(|command| {
            let path = vec![command.get_name().to_owned()];
            lay_out_command(command, &path, &of_ec2, &shared)
        })
        .after_help(StyledStr::from(groups))
        .help_template(StyledStr::from(layout))
}

/// The same for one command and those below it. `path` is its name, `of_ec2` are the options of EC2 that every command takes, `shared` is
/// the line that stands for what every command takes.
fn lay_out_command(command: Command, path: &[String], of_ec2: &[Arg], shared: &str) -> Command {
    let is_own = path.first().is_some_and(|name| topics::is_ec2_command(name));
    let command = if is_own {
        // Those that are declared here are not handed down folded.
        let missing = of_ec2.iter().filter(|arg| command.get_arguments().all(|own| own.get_id() != arg.get_id()));
        let missing: Vec<Arg> = missing.cloned().collect();
        command.args(missing)
    } else {
        command
    };
    let names: Vec<String> = command.get_arguments().filter(|arg| is_of_ec2(arg)).filter_map(long).collect();
    let folded =
        if is_own { command } else { command.mut_args(|arg| if is_of_ec2(&arg) { arg.hide(true) } else { arg }) };
    let mut below: Vec<String> = folded.get_after_help().map(StyledStr::to_string).into_iter().collect();
    let ec2 = (!is_own && !names.is_empty()).then(|| topics::ec2_line(&names));
    below.push(std::iter::once(shared.to_owned()).chain(ec2).collect::<Vec<_>>().join("\n"));
    below.extend(examples::text(path, *folded.get_styles().get_header()));
    let folded = folded.after_help(StyledStr::from(below.join("\n\n")));
    folded.mut_subcommands(|inner| {
        let path = [path, &[inner.get_name().to_owned()]].concat();
        lay_out_command(inner, &path, of_ec2, shared)
    })
}

/// What every command takes is shown by its topic alone.
fn fold(arg: Arg) -> Arg {
    let is_global = arg.is_global_set();
    arg.hide(is_global)
}

fn is_of_ec2(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(EC2)
}

/// An option as it is typed.
fn long(arg: &Arg) -> Option<String> {
    arg.get_long().map(|name| format!("--{name}"))
}

/// A heading as the parser writes its own.
fn heading(text: &str, style: Style) -> String {
    format!("{style}{text}:{style:#}")
}
