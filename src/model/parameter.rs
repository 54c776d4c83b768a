//! What a user may choose of an image beside its distribution, as data: the definition says so, and whoever reads options and
//! settings needs to know no name.

use crate::base::text;

/// A parameter of an image's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, for example `python-version`.
    pub name: String,
    /// A line for people: what it decides.
    pub help: String,
    /// What it takes.
    pub takes: Takes,
    /// What is allowed, completes "takes"; none where the words of `takes` say it.
    pub allowed: Option<String>,
    /// Its value where nobody says one.
    pub default: String,
    /// Where it has an option of its own, `--NAME`: what the option's value is called.
    pub option: Option<String>,
    /// The key of the settings, `section.key`, that holds its value where nothing else is said.
    pub setting: Option<String>,
}

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    /// One of some words.
    Words {
        /// All words that some distribution has, and patterns of those that only other machines have.
        known: Vec<String>,
    },
    /// A web or file address.
    Url,
    /// A line of text that is not taken for an option.
    Line,
}

impl Parameter {
    /// What it takes, completes "takes".
    pub fn allowed(&self) -> String {
        match (&self.allowed, &self.takes) {
            (Some(allowed), _) => allowed.clone(),
            (None, Takes::Words { known }) => {
                known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
            }
            (None, Takes::Url) => "a URL".to_owned(),
            (None, Takes::Line) => "a line of text that does not begin with `-`".to_owned(),
        }
    }

    /// Whether it takes `value` at all; a distribution may have less.
    pub fn accepts(&self, value: &str) -> bool {
        match &self.takes {
            Takes::Words { known } => known.iter().any(|word| matches(word, value)),
            Takes::Url => text::is_url(value),
            Takes::Line => !value.is_empty() && !value.starts_with('-') && value.chars().all(|c| !c.is_control()),
        }
    }

    /// The allowed word that `value` may have been meant for.
    pub fn nearest(&self, value: &str) -> Option<&str> {
        match &self.takes {
            Takes::Words { known } => text::nearest(value, known.iter().map(String::as_str)),
            Takes::Url | Takes::Line => None,
        }
    }

    /// Whether one call of the tool may choose another value than the next one, so that images of all its values are of use: the
    /// settings alone decide of the others.
    pub fn varies(&self) -> bool {
        self.option.is_some() || self.setting.is_none()
    }
}

/// Whether `value` is `word`, in which each `#` stands for digits.
fn matches(word: &str, value: &str) -> bool {
    let Some((head, tail)) = word.split_once('#') else { return word == value };
    let Some(rest) = value.strip_prefix(head) else { return false };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    after.len() < rest.len() && matches(tail, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(takes: Takes) -> Parameter {
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
        let parameter = taking(Takes::Words { known: vec!["plain".into(), "3.#".into()] });
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
        let (line, url) = (taking(Takes::Line), taking(Takes::Url));
        assert!(line.accepts("stable") && line.accepts("a b") && url.accepts("https://example.org/hg"));
        for bad in ["", "-r", "a\nb"] {
            assert!(!line.accepts(bad) && !url.accepts(bad), "{bad:?}");
        }
        assert!(!url.accepts("stable"));
    }

    #[test]
    fn what_the_settings_alone_decide_does_not_vary() {
        let mut parameter = taking(Takes::Line);
        assert!(parameter.varies());
        parameter.setting = Some("x.y".into());
        assert!(!parameter.varies());
        parameter.option = Some("WORD".into());
        assert!(parameter.varies());
    }
}
