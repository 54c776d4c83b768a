//! The words of `machine ssh` and `machine exec`: a machine, where one is named, and a command for it.

use model::fault::Fault;

/// A machine, where one is named, and a command for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MachineCommand {
    /// The word that names the machine.
    pub(super) machine: Option<String>,
    /// The command; empty where there is none.
    pub(super) words: Vec<String>,
    /// Whether `--` stands before the command.
    pub(super) apart: bool,
}

impl MachineCommand {
    /// Splits the words of `machine VERB` that are no options. `line` is the whole command line: `--` before all of `words`, which
    /// the parser does not hand over, says that they are a command for the machine that is there alone. Any other `--` is one of
    /// `words`.
    pub(super) fn split(verb: &str, line: &[String], mut words: Vec<String>) -> Result<Self, Fault> {
        let behind = line.iter().position(|word| word == "--").map(|at| line.len() - at - 1);
        if behind == Some(words.len()) {
            return Ok(Self { machine: None, words, apart: true });
        }
        let machine = (!words.is_empty()).then(|| words.remove(0));
        if let Some(option) = machine.as_deref().filter(|word| word.starts_with('-')) {
            return Err(Fault::usage(format!("there is no option `{option}`"))
                .hint(format!("See `automation machine {verb} --help`.")));
        }
        let apart = words.first().is_some_and(|word| word == "--");
        if apart {
            words.remove(0);
        }
        Ok(Self { machine, words, apart })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str, words: &str) -> MachineCommand {
        let all = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        MachineCommand::split("exec", &all(line), all(words)).unwrap()
    }

    #[test]
    fn what_stands_behind_the_dashes_alone_is_a_command_and_no_machine() {
        for (line, words, machine, command) in [
            ("machine exec -- true", "true", None, "true"),
            ("machine exec --timeout 2s -- hg-1 x", "hg-1 x", None, "hg-1 x"),
            ("machine exec -- sh -- x", "sh -- x", None, "sh -- x"),
            ("machine exec hg-1 -- true", "hg-1 -- true", Some("hg-1"), "true"),
            ("machine exec hg-1 true", "hg-1 true", Some("hg-1"), "true"),
            ("machine exec hg-1 sh -- x", "hg-1 sh -- x", Some("hg-1"), "sh -- x"),
            ("machine ssh", "", None, ""),
            ("machine ssh --", "", None, ""),
        ] {
            let found = split(line, words);
            assert_eq!((found.machine.as_deref(), found.words.join(" ").as_str()), (machine, command), "{line}");
        }
        assert!(split("machine exec hg-1 -- true", "hg-1 -- true").apart);
        assert!(!split("machine exec hg-1 true", "hg-1 true").apart);
    }

    #[test]
    fn an_option_is_no_machine() {
        let line = ["machine", "ssh", "--colour", "hg-1"].map(str::to_owned);
        let fault = MachineCommand::split("ssh", &line, line[2..].to_vec()).unwrap_err();
        assert!(fault.message.contains("`--colour`"), "{}", fault.message);
    }
}
