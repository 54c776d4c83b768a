//! The section `[ec2]` of the settings file.

use std::time::Duration;

use model::machine::ProviderKind;
use model::setting::{Key, Section, SettingKind};

/// `[ec2]`.
pub const SETTINGS: Section = Section {
    name: ProviderKind::Ec2.name(),
    keys: &[
        Key {
            name: "region",
            kind: SettingKind::Text { allowed: "a region such as `us-west-2`", check: is_region },
            meaning: "The region of machines, else that of the AWS configuration, else us-west-2",
            default: None,
        },
        Key {
            name: "instance-type",
            kind: SettingKind::Text { allowed: "instance types such as `c5.9xlarge,c5a.8xlarge`", check: are_types },
            meaning: "The types of machines, the most wanted first, else what suits the command",
            default: None,
        },
        // The grace is much longer than for local machines: a laptop that sleeps for a while must not lose its machine.
        Key {
            name: "grace",
            kind: SettingKind::Duration { min: Duration::from_secs(60), max: Duration::from_secs(24 * 3600) },
            meaning: "How long a machine on EC2 lives without a sign of its driver",
            default: Some("540s"),
        },
        Key {
            name: "trust-images-of",
            kind: SettingKind::Text { allowed: "owners such as `ann@build1,bob@build2`, or `all`", check: are_owners },
            meaning: "Whose images machines may boot from beside yours, else nobody's",
            default: None,
        },
        Key {
            name: "address-url",
            kind: SettingKind::url("a URL such as `https://checkip.amazonaws.com`"),
            meaning: "The URL that answers with this computer's public address",
            default: Some(ADDRESS_URL),
        },
    ],
};

/// How long a machine lives without a sign of its driver, by default. It takes up to a minute to switch itself off, so
/// that is ten minutes in all.
pub const GRACE: Duration = Duration::from_secs(540);

/// The default URL that answers with this computer's public address: Amazon's own service for that.
pub const ADDRESS_URL: &str = "https://checkip.amazonaws.com";

/// Whether `text` has the shape of a region's name: words of letters and digits, and a number at the end.
pub fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let number = parts.next_back().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    let words: Vec<&str> = parts.collect();
    let word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    number && words.len() >= 2 && words.iter().all(word)
}

/// Whether `text` is a list of owners, or the word for all.
fn are_owners(text: &str) -> bool {
    text.split(',')
        .map(str::trim)
        .all(|word| word == "all" || word.split_once('@').is_some_and(|(user, _)| !user.is_empty()))
}

/// Whether `text` is a list of names such as `c5.9xlarge`.
fn are_types(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name = |name: &str| {
        name.trim().split_once('.').is_some_and(|(family, size)| {
            !family.is_empty() && !size.is_empty() && family.chars().all(plain) && size.chars().all(plain)
        })
    };
    text.split(',').all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_shapes() {
        for good in ["us-west-2", "ap-southeast-1", "us-gov-west-1", "eu-central-1"] {
            assert!(is_region(good), "{good}");
        }
        for bad in ["", "us", "west-2", "us-west", "us-west-2a", "US-WEST-2", "us--2", "a b-c-1"] {
            assert!(!is_region(bad), "{bad}");
        }
        assert!(are_types("c5.9xlarge") && are_types("c5.9xlarge, m6i.metal-24xl"));
        assert!(are_owners("all") && are_owners("ann@here, bob@there") && !are_owners("") && !are_owners("ann"));
        assert!([",", " ", " , "].iter().all(|blank| !are_types(blank) && !are_owners(blank)));
        assert!(!are_types("") && !are_types("c5") && !are_types("c5.9xlarge,") && !are_types("C5.large"));
    }
}
