//! The keys of the settings file, as data: a project or provider declares its own keys, and the reader of the file
//! needs to know neither.

use std::time::Duration;

use crate::base::text;
use crate::parameter::Parameter;

/// A table of the settings file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name in brackets; empty for the keys above all tables.
    pub name: &'static str,
    /// The keys it may hold.
    pub keys: &'static [Key],
}

/// One key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The kind of values that it takes.
    pub kind: SettingKind,
    /// What it decides, as a line for people.
    pub meaning: &'static str,
    /// The value that holds where none is given; none where no single value does.
    pub default: Option<&'static str>,
}

/// The kind of values that a key takes.
#[derive(Debug, Clone, Copy)]
pub enum SettingKind {
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A span of time between two limits; a bare number is seconds.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A whole number between two limits.
    Count {
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// Text that passes a check.
    Text {
        /// A phrase for the allowed values that completes "takes", for example ``a URL such as
        /// `http://deb.debian.org/debian` ``.
        allowed: &'static str,
        /// Whether a text is allowed.
        check: fn(&str) -> bool,
    },
    /// A value of a parameter of images.
    Parameter(&'static Parameter),
}

impl SettingKind {
    /// A web or file address.
    pub const fn url(allowed: &'static str) -> Self {
        Self::Text { allowed, check: text::is_url }
    }

    /// A phrase for the allowed values that completes "takes".
    pub fn allowed(&self) -> String {
        match self {
            Self::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Self::Duration { min, max } => {
                let span = |duration: &Duration| format!("{}s", duration.as_secs());
                format!("a span of time from `{}` to `{}`, such as `90s` or `5m`", span(min), span(max))
            }
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Text { allowed, .. } => (*allowed).to_owned(),
            Self::Parameter(parameter) => parameter.allowed(),
        }
    }

    /// The words that are allowed, where words are.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::OneOf(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            Self::Parameter(parameter) => parameter.words(),
            Self::Duration { .. } | Self::Count { .. } | Self::Text { .. } => Vec::new(),
        }
    }

    /// The allowed word nearest to `value`.
    pub fn nearest(&self, value: &str) -> Option<&str> {
        match self {
            Self::OneOf(words) => text::nearest(value, words.iter().copied()),
            Self::Parameter(parameter) => parameter.nearest(value),
            Self::Duration { .. } | Self::Count { .. } | Self::Text { .. } => None,
        }
    }

    /// Whether `value` is allowed.
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Self::OneOf(words) => words.contains(&value),
            Self::Duration { min, max } => text::parse_duration(value).is_ok_and(|span| span >= *min && span <= *max),
            Self::Count { min, max } => value.parse::<usize>().is_ok_and(|count| count >= *min && count <= *max),
            Self::Text { check, .. } => check(value),
            Self::Parameter(parameter) => parameter.accepts(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_limits() {
        let kind = SettingKind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(60) };
        assert!(kind.accepts("1s") && kind.accepts("60") && !kind.accepts("61") && !kind.accepts("0"));
        let kind = SettingKind::Count { min: 1, max: 60 };
        assert!(
            kind.accepts("1") && kind.accepts("60") && !kind.accepts("61") && !kind.accepts("0") && !kind.accepts("x")
        );
    }
}
