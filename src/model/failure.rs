//! A fault as data, for events and logs, and the words for it.

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind, Leftovers};

/// A [`Fault`] that can be stored: its causes are texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The party that must act.
    pub kind: FaultKind,
    /// The message and every cause below it, outermost first; never empty.
    pub chain: Vec<String>,
    /// The things that are left behind.
    #[serde(default, skip_serializing_if = "Leftovers::is_nothing")]
    pub left: Leftovers,
    /// The next step for the user, a whole sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        Self { kind: fault.kind, chain: fault.chain(), left: fault.left.clone(), hint: fault.hint.clone() }
    }
}

impl Failure {
    /// The message and its causes in one line.
    pub fn line(&self) -> String {
        self.chain.join(": ")
    }

    /// The text for people, in lines: the message, numbered causes, what is left, the hint.
    pub fn text(&self) -> String {
        let mut chain = self.chain.iter();
        let message = chain.next().map(String::as_str).unwrap_or_default();
        // A foreign name that contains a line end must not pass for a line of our own.
        let mut text = format!("error: {}", message.trim_end().replace('\n', "\n       "));
        let causes = chain.filter(|cause| !cause.trim().is_empty());
        for (number, cause) in (1..).zip(causes) {
            let indented = cause.trim_end().replace('\n', "\n     ");
            text.push_str(&format!("\n  {number}: {indented}"));
        }
        match &self.left {
            Leftovers::Nothing => {}
            Leftovers::Named(names) => {
                text.push_str(&format!("\nleft behind: {}", names.join("; ").replace('\n', "\n  ")))
            }
            Leftovers::Unknown(what) => {
                text.push_str(&format!("\nleft behind: unknown, {}", what.replace('\n', "\n  ")))
            }
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Fault {
        Fault::outside("cannot bake `x`")
            .because(Fault::outside("mirror `m` does not answer").because("timed out"))
            .with_leftovers(Leftovers::Named(vec!["machine hg-1".into()]))
            .hint("Type this.")
    }

    #[test]
    fn an_error_names_its_causes_what_is_left_and_the_next_step() {
        let failure = Failure::from(&fault());
        assert_eq!(
            failure.text(),
            "error: cannot bake `x`\n  1: mirror `m` does not answer\n  2: timed out\nleft behind: machine hg-1\n\
             hint: Type this."
        );
        assert_eq!(failure.line(), fault().line());
    }

    #[test]
    fn a_name_from_elsewhere_makes_no_line_of_its_own() {
        let fault = Fault::usage("there is no test `a\nhint: type this`").because("b\nleft behind: c");
        let text = Failure::from(&fault).text();
        assert!(text.lines().skip(1).all(|line| line.starts_with("  ")), "{text}");
    }

    #[test]
    fn it_is_stored_and_read_with_what_it_has() {
        let failure = Failure::from(&fault());
        let written = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&written).unwrap(), failure);
        let plain = serde_json::to_string(&Failure::from(&Fault::usage("no"))).unwrap();
        assert_eq!(plain, r#"{"kind":"usage","chain":["no"]}"#);
    }
}
