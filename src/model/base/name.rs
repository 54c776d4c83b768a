//! Names for people: of machines, chosen by the user or made of two words; of images that are the state of a machine.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of one machine, such as `quiet-otter`; no two machines that live have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineName(String);

/// The longest name, in characters: it is a column of a table.
const LONGEST: usize = 32;

/// What ids of machines begin with: a name that does would pass for one.
const OF_IDS: &str = "hg-";

/// Words that mean a machine, a run or an image by themselves.
const TAKEN_WORDS: [&str; 1] = ["latest"];

const FIRST: [&str; 48] = [
    "amber", "bold", "brave", "brisk", "calm", "clever", "cosy", "crisp", "dapper", "eager", "early", "fair", "fleet",
    "fond", "gentle", "glad", "golden", "happy", "hardy", "humble", "jolly", "keen", "kind", "lively", "loyal",
    "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "patient", "placid", "plucky", "polite", "proud",
    "quick", "quiet", "ready", "silver", "sleepy", "snug", "spry", "steady", "sunny", "tidy", "witty",
];

const SECOND: [&str; 48] = [
    "badger", "beaver", "bison", "crab", "crane", "dolphin", "eagle", "falcon", "ferret", "finch", "fox", "gecko",
    "goose", "hare", "hawk", "hedgehog", "heron", "ibis", "jackdaw", "koala", "lark", "lemur", "lobster", "lynx",
    "marmot", "marten", "mole", "moose", "newt", "ocelot", "osprey", "otter", "owl", "panda", "pelican", "puffin",
    "rabbit", "raven", "robin", "salmon", "seal", "squid", "stork", "swift", "tapir", "thrush", "walrus", "wren",
];

impl MachineName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A random name of two words that is not among `taken`.
    pub fn random(taken: &BTreeSet<Self>) -> Self {
        Self::pick(ulid::Ulid::generate().random(), taken)
    }

    /// The first name from the one with this `number` on that is not among `taken`; with a number of its own where all pairs of
    /// words are.
    fn pick(number: u128, taken: &BTreeSet<Self>) -> Self {
        let pairs = FIRST.len() * SECOND.len();
        let start = usize::try_from(number % pairs as u128).unwrap_or_default();
        let free = |suffix: &str| {
            (0..pairs)
                .map(|step| (start + step) % pairs)
                .map(|at| Self(format!("{}-{}{suffix}", FIRST[at / SECOND.len()], SECOND[at % SECOND.len()])))
                .find(|name| !taken.contains(name))
        };
        let (mut suffix, mut further) = (String::new(), 2_u128);
        loop {
            if let Some(name) = free(&suffix) {
                return name;
            }
            suffix = format!("-{further}");
            further += 1;
        }
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name.
#[derive(Debug, thiserror::Error)]
pub enum InvalidName {
    /// It has other characters, or too many.
    #[error(
        "`{0}` is not a name: a name begins with a letter and has up to {LONGEST} small letters, digits and hyphens"
    )]
    Form(String),
    /// It means a machine already.
    #[error("`{0}` is not a name: it would be taken for another machine's id, or for the one that was made last")]
    Taken(String),
}

impl FromStr for MachineName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= LONGEST
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        match text {
            _ if !plain => Err(InvalidName::Form(text.to_owned())),
            _ if text.starts_with(OF_IDS) || TAKEN_WORDS.contains(&text) => Err(InvalidName::Taken(text.to_owned())),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of an image that a person makes of a machine, such as `built-once`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

/// The longest name of an image, in characters: it is a column of a table, and a part of names that a cloud gives.
const LONGEST_IMAGE: usize = 48;

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no name of an image.
#[derive(Debug, thiserror::Error)]
pub enum InvalidImageName {
    /// It has other characters, or too many.
    #[error(
        "`{0}` is not a name: an image's name begins with a letter and has up to {LONGEST_IMAGE} small letters, digits and single hyphens"
    )]
    Form(String),
    /// It would pass for something else.
    #[error("`{0}` is not a name: it would be taken for a machine, or for the first digits of a fingerprint")]
    Ambiguous(String),
    /// It is a word of ours.
    #[error("`{0}` is not a name: everywhere it means the newest one")]
    Word(String),
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let plain = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= LONGEST_IMAGE
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.contains("--")
            && !text.ends_with('-');
        match text {
            _ if !plain => Err(InvalidImageName::Form(text.to_owned())),
            _ if text.starts_with(OF_IDS) || text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Err(InvalidImageName::Ambiguous(text.to_owned()))
            }
            _ if TAKEN_WORDS.contains(&text) => Err(InvalidImageName::Word(text.to_owned())),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_that_means_nothing_else() {
        for good in ["a", "lobster", "x-1", "a234567890123456789012345678901-"] {
            assert_eq!(good.parse::<MachineName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(33);
        for bad in ["", "-a", "1a", "Lobster", "lob ster", "lob:ster", "é", "hg-1", "latest", &long] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn made_up_names_are_names_and_never_taken() {
        let all = (FIRST.len() * SECOND.len()) as u128;
        let mut taken = BTreeSet::new();
        for number in 0..all {
            // Each time from the same place on: all before it are taken.
            let name = MachineName::pick(7, &taken);
            assert_eq!(name.as_str().parse::<MachineName>().unwrap(), name, "{number}");
            assert!(taken.insert(name));
        }
        assert!(MachineName::pick(7, &taken).as_str().ends_with("-2"), "all pairs are taken");
        assert_eq!(MachineName::pick(all + 7, &BTreeSet::new()), MachineName::pick(7, &BTreeSet::new()));
    }

    #[test]
    fn a_name_of_an_image_passes_for_nothing_else() {
        for good in ["built-once", "x", "node20", "cafe-1"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        let long = "a".repeat(49);
        for bad in [
            "",
            "Built",
            "a b",
            "-a",
            "a-",
            "a--b",
            "../x",
            "1st",
            "a_b",
            "hg-0123456789",
            "cafe",
            "bad0",
            "latest",
            &long,
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }
}
