//! Parameters of images: the choices that a user has besides the distribution, as data. They come from the image's
//! definition, so the code that reads options and settings knows none of their names.

use crate::base::text;

/// A parameter of an image's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, for example `python-version`.
    pub name: String,
    /// A line for people that says what it decides.
    pub help: String,
    /// The kind of values that it takes.
    pub takes: ParameterKind,
    /// A phrase for the allowed values that completes "takes"; none where `takes` gives one.
    pub allowed: Option<String>,
    /// Its value where none is given.
    pub default: String,
    /// The placeholder of the option's value where the parameter has an option of its own, `--NAME`.
    pub option: Option<String>,
    /// The key of the settings, `section.key`, that holds its value where no option gives one.
    pub setting: Option<String>,
}

/// The kind of values that a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterKind {
    /// One of some words.
    Words {
        /// All words that some distribution has, and patterns for words that only other machines have.
        known: Vec<String>,
    },
    /// A web or file address.
    Url,
    /// A line of text that is not taken for an option.
    Line,
}

impl Parameter {
    /// A phrase for the allowed values that completes "takes".
    pub fn allowed(&self) -> String {
        match (&self.allowed, &self.takes) {
            (Some(allowed), _) => allowed.clone(),
            (None, ParameterKind::Words { known }) => {
                known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
            }
            (None, ParameterKind::Url) => "a URL".to_owned(),
            (None, ParameterKind::Line) => "a line of text that does not begin with `-`".to_owned(),
        }
    }

    /// Whether `value` is allowed at all; a single distribution may allow fewer values.
    pub fn accepts(&self, value: &str) -> bool {
        match &self.takes {
            ParameterKind::Words { known } => known.iter().any(|word| matches(word, value)),
            ParameterKind::Url => text::is_url(value),
            ParameterKind::Line => {
                !value.is_empty() && !value.starts_with('-') && value.chars().all(|c| !c.is_control())
            }
        }
    }

    /// The words that it takes, without patterns; none where it takes other things.
    pub fn words(&self) -> Vec<String> {
        match &self.takes {
            ParameterKind::Words { known } => known.iter().filter(|word| !word.contains('#')).cloned().collect(),
            ParameterKind::Url | ParameterKind::Line => Vec::new(),
        }
    }

    /// The allowed word nearest to `value`.
    pub fn nearest(&self, value: &str) -> Option<&str> {
        match &self.takes {
            ParameterKind::Words { known } => text::nearest(value, known.iter().map(String::as_str)),
            ParameterKind::Url | ParameterKind::Line => None,
        }
    }

    /// Whether two calls of the tool may choose different values, so that images with all its values are useful. Other
    /// parameters are decided by the settings alone.
    pub fn varies(&self) -> bool {
        self.option.is_some() || self.setting.is_none()
    }
}

/// Whether `value` matches `word`, in which each `#` stands for one or more digits.
fn matches(word: &str, value: &str) -> bool {
    let Some((head, tail)) = word.split_once('#') else { return word == value };
    let Some(rest) = value.strip_prefix(head) else { return false };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    after.len() < rest.len() && matches(tail, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(takes: ParameterKind) -> Parameter {
        Parameter {
            name: "flavour".into(),
            help: String::new(),
            takes,
            allowed: None,
            default: "plain".into(),
            option: None,
            setting: None,
        }
    }

    #[test]
    fn a_word_is_one_of_those_that_are_known_or_has_numbers_where_they_belong() {
        let parameter = taking(ParameterKind::Words { known: vec!["plain".into(), "3.#".into()] });
        for good in ["plain", "3.1", "3.12"] {
            assert!(parameter.accepts(good), "{good}");
        }
        for bad in ["", "plai", "plain ", "3.", "3.1a", "3.#", "13.1", "3.1.2", "3.1/../x"] {
            assert!(!parameter.accepts(bad), "{bad}");
        }
        assert_eq!(parameter.allowed(), "`plain` or `3.#`");
        assert_eq!(parameter.nearest("plian"), Some("plain"));
    }

    #[test]
    fn text_is_one_line_that_is_no_option() {
        let (line, url) = (taking(ParameterKind::Line), taking(ParameterKind::Url));
        assert!(line.accepts("stable") && line.accepts("a b") && url.accepts("https://example.org/hg"));
        for bad in ["", "-r", "a\nb"] {
            assert!(!line.accepts(bad) && !url.accepts(bad), "{bad:?}");
        }
        assert!(!url.accepts("stable"));
    }

    #[test]
    fn what_the_settings_alone_decide_does_not_vary() {
        let mut parameter = taking(ParameterKind::Line);
        assert!(parameter.varies());
        parameter.setting = Some("x.y".into());
        assert!(!parameter.varies());
        parameter.option = Some("WORD".into());
        assert!(parameter.varies());
    }
}
