//! Ids are types, never bare strings, so that a run's id cannot be handed where a machine's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let plain = !text.is_empty()
                    && text.len() <= 64
                    && !text.starts_with('-')
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if plain { Ok(Self(text.to_owned())) } else { Err(InvalidId(text.to_owned())) }
            }
        }
    };
}

/// A text that is not an id: ids are 1 to 64 ASCII letters, digits and hyphens, and do not start with a hyphen.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an id: ids consist of letters, digits and hyphens")]
pub struct InvalidId(String);

id_type! {
    /// One invocation by a user: `YYYYMMDD-HHMMSS-xxxxxx`, UTC, so that names sort by age.
    RunId
}
id_type! {
    /// One machine: `hg-` and ten random characters; also its host name.
    MachineId
}
id_type! {
    /// One row of the journal: a ULID in lower case.
    ResourceId
}
id_type! {
    /// One start of a task on a machine: sixteen random characters. What bears the same id starts at most once.
    TaskId
}

/// The last `n` characters of a fresh ULID in lower case: all of them from its random part for `n` up to 16.
fn random_suffix(n: usize) -> String {
    let text = ulid::Ulid::generate().to_string().to_lowercase();
    text[text.len() - n..].to_owned()
}

impl RunId {
    /// A new id that starts with the time `now` in UTC.
    pub fn new(now: jiff::Timestamp) -> Self {
        Self(format!("{}-{}", now.strftime("%Y%m%d-%H%M%S"), random_suffix(6)))
    }
}

impl MachineId {
    /// A new random id.
    pub fn random() -> Self {
        Self(format!("hg-{}", random_suffix(10)))
    }
}

impl ResourceId {
    /// A new random id that sorts by the time it was made.
    pub fn random() -> Self {
        Self(random_suffix(26))
    }
}

impl TaskId {
    /// A new random id.
    pub fn random() -> Self {
        Self(random_suffix(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_time_and_differ_within_a_second() {
        let now: jiff::Timestamp = "2026-11-20T10:53:01Z".parse().unwrap();
        let later: jiff::Timestamp = "2026-11-20T10:53:02Z".parse().unwrap();
        let (a, b, c) = (RunId::new(now), RunId::new(now), RunId::new(later));
        assert!(a.as_str().starts_with("20261120-105301-"));
        assert_ne!(a, b);
        assert!(c > a && c > b);
    }

    #[test]
    fn an_id_cannot_be_a_path_or_a_flag() {
        for bad in ["", "../x", "a/b", "-rf", "a b", "é"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
        assert!("hg-0123456789".parse::<MachineId>().is_ok());
    }
}
