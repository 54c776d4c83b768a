//! Mutes: tests that are known to fail. They run all the same, and their failures are shown and do not count.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::base::id::TestName;

/// The character of a pattern that stands for any others.
const ANY: char = '*';

/// One entry of a list of mutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// The test's name, or a pattern for the names of several, in which `*` stands for any characters.
    pub test: String,
    /// The last day on which the entry holds, in UTC.
    pub expires: Date,
    /// Why the test is muted.
    pub reason: String,
}

/// The entry of a list of mutes that names a test, as its result shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muted {
    /// Why the test is muted.
    pub reason: String,
    /// The last day on which it is, in UTC.
    pub expires: Date,
}

impl Mute {
    /// Whether the entry holds at `now`.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        now.to_zoned(TimeZone::UTC).date() <= self.expires
    }

    /// Whether the entry names `test`. Brackets and other signs of shells mean themselves, because tests have them in
    /// their names (`test_sum[1-2]`); so does a `*` in a test that has this very name.
    pub fn names(&self, test: &TestName) -> bool {
        let name = test.as_str();
        if self.test == name {
            return true;
        }
        let mut pieces = self.test.split(ANY);
        let first = pieces.next().unwrap_or_default();
        let Some(last) = pieces.next_back() else { return false };
        let inner = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
        // Each piece takes the first place that it finds, which leaves the most for those behind it.
        let after = |rest: &'_ str, piece: &str| rest.find(piece).map(|at| at + piece.len());
        inner.is_some_and(|mut rest| pieces.all(|piece| after(rest, piece).map(|end| rest = &rest[end..]).is_some()))
    }
}

/// The first of `mutes` that names `test`, for its result whatever that is: whoever looks at a muted test that passes learns that it
/// need not be muted any more.
pub fn find(mutes: &[Mute], test: &TestName) -> Option<Muted> {
    let found = mutes.iter().find(|mute| mute.names(test))?;
    Some(Muted { reason: found.reason.clone(), expires: found.expires })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mute(test: &str) -> Mute {
        Mute { test: test.to_owned(), expires: "2026-12-31".parse().unwrap(), reason: format!("because {test}") }
    }

    #[test]
    fn an_entry_holds_to_the_end_of_its_day() {
        let at = |time: &str| mute("t").is_in_force(time.parse().unwrap());
        assert!(at("2026-12-31T23:59:59.999Z") && !at("2027-01-01T00:00:00Z"));
        assert!(!at("2026-12-31T23:30:00-01:00"), "the day is that of UTC");
    }

    #[test]
    fn a_pattern_names_what_its_pieces_stand_in_in_order() {
        let names = |pattern: &str, name: &str| mute(pattern).names(&name.into());
        assert!(names("test-a.t", "test-a.t") && !names("test-a.t", "test-a.t#case") && !names("test-a", "test-a.t"));
        assert!(names("test-a.t*", "test-a.t") && names("test-a.t*", "test-a.t#case"));
        assert!(names("*::sum[*]", "mod::sum[1-2]") && !names("*::sum[*]", "mod::sum1"));
        assert!(names("a*b*c", "a-b-b-c") && !names("a*b*c", "a-c-b") && !names("a*b*c", "acb"));
        assert!(!names("ab*ba", "aba"), "the pieces do not share a character");
        assert!(names("*", "") && names("**", "x\n\u{1b}") && names("é*", "éa") && !names("", "a"));
        assert!(names("a*", "a*") && names("[a]", "[a]") && !names("[a]", "a"));
        assert!(names(&"*a".repeat(50), &"a".repeat(10_000)), "and that is known at once");
    }

    #[test]
    fn the_first_entry_that_names_a_test_counts() {
        let mutes = [mute("test-a*"), mute("test-a.t")];
        let found = |name: &str| find(&mutes, &name.into()).map(|muted| muted.reason);
        assert_eq!((found("test-a.t").as_deref(), found("test-b.t")), (Some("because test-a*"), None));
    }
}
