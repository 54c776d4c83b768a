//! The options by which a user chooses values of an image's parameters. The definitions say which parameters exist.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command, Error};
use model::fault::Fault;
use model::parameter::Parameter;
use project::image::{self, Definition, GivenValue, ImageChoice};

use crate::compose::Context;

/// The option for parameters that have none of their own.
const ANY: &str = "parameter";

/// Values of parameters as they were typed. `USUAL`: a parameter with an option of its own whose option is not typed has the value
/// that the settings give; otherwise its default.
#[derive(Debug, Clone, Default)]
pub struct ParameterArgs<const USUAL: bool> {
    typed: BTreeMap<String, GivenValue>,
}

/// The built-in parameters that have an option of their own. Built-in definitions that cannot be read give none; the command that
/// needs them says why.
fn options() -> impl Iterator<Item = (&'static Parameter, &'static str)> {
    let all = image::built_in_parameters().unwrap_or_default();
    all.iter().filter_map(|parameter| Some((parameter, parameter.option.as_deref()?)))
}

fn option(parameter: &'static Parameter, value: &'static str, usual: bool) -> Arg {
    let setting = parameter.setting.as_ref().filter(|_| usual).map(|key| format!(", or the settings' `{key}`"));
    let help = format!("{} [default: {}{}]", parameter.help, parameter.default, setting.unwrap_or_default());
    Arg::new(parameter.name.as_str()).long(parameter.name.as_str()).value_name(value).help(help)
}

/// Splits `NAME=VALUE`.
pub(super) fn parse_any(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write the parameter's name, `=` and the value".to_owned()),
    }
}

impl<const USUAL: bool> clap::Args for ParameterArgs<USUAL> {
    fn augment_args(command: Command) -> Command {
        let any = Arg::new(ANY)
            .long(ANY)
            .value_name("NAME=VALUE")
            .value_parser(parse_any)
            .action(ArgAction::Append)
            .help("A parameter of the image's definition, by name; may be repeated");
        let command = command.args(options().map(|(parameter, value)| option(parameter, value, USUAL)));
        // It shares the display order of the next option, so that later options keep their places in the help.
        let next = command.get_arguments().filter(|argument| !argument.is_positional()).count();
        command.arg(any.display_order(next)).next_display_order(next)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const USUAL: bool> clap::FromArgMatches for ParameterArgs<USUAL> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let own = options().filter_map(|(parameter, _)| {
            Some((parameter.name.clone(), matches.get_one::<String>(&parameter.name)?.clone()))
        });
        let any = matches.get_many::<(String, String)>(ANY).into_iter().flatten().cloned();
        for (name, value) in own.chain(any) {
            if self.typed.contains_key(&name) {
                let message = format!("the parameter `{name}` is given twice\n");
                return Err(Error::raw(clap::error::ErrorKind::ArgumentConflict, message));
            }
            self.typed.insert(name, GivenValue { value, origin: None });
        }
        Ok(())
    }
}

impl<const USUAL: bool> ParameterArgs<USUAL> {
    /// The name of the first parameter that was typed and has no option of its own: a machine without an image has no
    /// use for it.
    pub fn first_without_option(&self) -> Option<&str> {
        self.typed.keys().map(String::as_str).find(|name| !options().any(|(parameter, _)| parameter.name == **name))
    }

    /// Whether the user typed a value of any parameter.
    pub fn is_given(&self) -> bool {
        !self.typed.is_empty()
    }

    /// Whether the user typed a value of this parameter.
    pub fn has(&self, name: &str) -> bool {
        self.typed.contains_key(name)
    }

    /// Chooses a value as if the user had typed it.
    pub fn choose(&mut self, name: &str, value: &str) {
        self.typed.insert(name.to_owned(), GivenValue { value: value.to_owned(), origin: None });
    }

    /// An image of a definition with these values.
    pub fn choice(&self, context: &Context, definition: &Definition, distro: &str) -> Result<ImageChoice, Fault> {
        self.choice_over(context, definition, distro, &BTreeMap::new())
    }

    /// The same, with `declared` values where none was typed.
    pub fn choice_over(
        &self,
        context: &Context,
        definition: &Definition,
        distro: &str,
        declared: &BTreeMap<String, GivenValue>,
    ) -> Result<ImageChoice, Fault> {
        let mut choice = ImageChoice::new(context.base_choice()?, distro);
        choice.values = context.values(definition.parameters(), USUAL);
        choice.values.extend(declared.clone());
        choice.values.extend(self.typed.clone());
        Ok(choice)
    }

    /// The values of the built-in parameters for a machine that has no image; a value that a parameter does not accept
    /// is refused.
    pub fn without_image(&self, context: &Context) -> Result<BTreeMap<String, String>, Fault> {
        let parameters = image::built_in_parameters()?;
        let mut given = context.values(parameters, USUAL);
        given.extend(self.typed.clone());
        let value = |parameter: &Parameter| {
            let Some(given) = given.get(&parameter.name) else { return Ok(parameter.default.clone()) };
            if parameter.accepts(&given.value) {
                return Ok(given.value.clone());
            }
            let (name, allowed) = (&parameter.name, parameter.allowed());
            let fault = Fault::usage(format!("parameter `{name}` takes {allowed}, not `{}`", given.value));
            Err(fault.hint("Choose one of these."))
        };
        parameters.iter().map(|parameter| Ok((parameter.name.clone(), value(parameter)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn typed(words: &[&str]) -> Result<Vec<(String, String)>, String> {
        let command = ParameterArgs::<true>::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from([&["x"], words].concat()).map_err(|error| error.to_string())?;
        let args = ParameterArgs::<true>::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Ok(args.typed.into_iter().map(|(name, given)| (name, given.value)).collect())
    }

    #[test]
    fn a_parameter_is_given_by_its_option_or_by_name_and_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(typed(&["--python-version", "pypy3"]), Ok(vec![pair("python-version", "pypy3")]));
        let both = typed(&["--parameter", "source=upstream", "--parameter", "flavour=a=b"]);
        assert_eq!(both, Ok(vec![pair("flavour", "a=b"), pair("source", "upstream")]));
        let twice = typed(&["--python-version", "pypy3", "--parameter", "python-version=3.12"]).unwrap_err();
        assert!(twice.contains("`python-version` is given twice"), "{twice}");
        for bad in ["", "flavour", "=x"] {
            let told = typed(&["--parameter", bad]).unwrap_err();
            assert!(told.contains("name, `=` and the value"), "{told}");
        }
    }

    #[test]
    fn the_help_says_where_a_value_comes_from_otherwise() {
        let help = |command: Command| {
            let text = command.max_term_width(500).term_width(500).render_long_help().to_string();
            text.lines().find(|line| line.contains("The Python")).unwrap().trim().to_owned()
        };
        let machine = help(ParameterArgs::<true>::augment_args(Command::new("x")));
        let usual = "[default: system3, or the settings' `defaults.python-version`]";
        assert_eq!(machine, format!("The Python to run with: system3, pypy3 or 3.N {usual}"));
        let image = help(ParameterArgs::<false>::augment_args(Command::new("x")));
        assert_eq!(image, "The Python to run with: system3, pypy3 or 3.N [default: system3]");
    }
}
