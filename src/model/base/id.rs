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

/// The error for a text that is not an id: ids are 1 to 64 ASCII letters, digits and hyphens, and do not start with a
/// hyphen.
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
    /// One start of a task on a machine: sixteen random characters. A task with the same id starts at most once.
    TaskId
}

/// The name of one test, as its runner calls it, for example `test-add.t` or `test-clone.t#stream-bundle2-v2`. A
/// machine may send any text as a name, so it must be escaped before it is shown and checked before it becomes a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TestName(String);

impl TestName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for TestName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl From<&str> for TestName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// The last `n` characters of a new ULID in lower case; up to 16 of them are random.
fn random_suffix(n: usize) -> String {
    let text = ulid::Ulid::generate().to_string().to_lowercase();
    text[text.len() - n..].to_owned()
}

impl RunId {
    /// A new id that starts with the time `now` in UTC.
    pub fn new(now: jiff::Timestamp) -> Self {
        Self(format!("{}-{}", now.strftime("%Y%m%d-%H%M%S"), random_suffix(6)))
    }

    /// The run whose folder has this name; none where [`RunId::new`] does not make such names, so that the folder is
    /// not ours.
    pub fn of_folder(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('-').collect();
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        match parts.as_slice() {
            [date, time, random] if digits(date, 8) && digits(time, 6) && random.len() == 6 => name.parse().ok(),
            _ => None,
        }
    }
}

impl MachineId {
    /// A new random id.
    pub fn random() -> Self {
        Self(format!("hg-{}", random_suffix(10)))
    }

    /// The machine whose folder has this name; none where [`MachineId::random`] does not make such names, so that the
    /// folder is not ours.
    pub fn of_folder(name: &std::ffi::OsStr) -> Option<Self> {
        name.to_str().filter(|name| name.starts_with("hg-"))?.parse().ok()
    }
}

impl ResourceId {
    /// A new id with a random part, which sorts by the time at which it was made.
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
    fn a_folder_of_ours_is_known_by_its_name() {
        let (run, machine) = (RunId::new(jiff::Timestamp::UNIX_EPOCH), MachineId::random());
        assert_eq!(RunId::of_folder(run.as_str()), Some(run));
        assert_eq!(MachineId::of_folder(machine.as_str().as_ref()), Some(machine));
        for other in ["notes", "x", "20261128-100000", "20261128-100000-aaaaaaa", "2026112a-100000-aaaaaa", "hg-.."] {
            assert_eq!(RunId::of_folder(other), None, "{other}");
            assert_eq!(MachineId::of_folder(other.as_ref()), None, "{other}");
        }
    }

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
