//! Text for people: the nearest known name, sizes, spans of time.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::clock;

/// Length of the shortest word that is searched for inside other words.
const LEAST_SOUGHT: usize = 3;

/// The member of `known` that `given` most likely meant, when one is near enough to be worth naming.
///
/// A name with one letter off comes first; then the shortest that begins with `given`; then the nearest by
/// Damerau-Levenshtein distance, at most a third of the longer word and never more than 4; then the shortest that
/// contains `given`.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), *name))
        .filter(|(distance, name)| *distance <= (given.len().max(name.len()) / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance);
    let shortest = |fits: &dyn Fn(&str) -> bool| {
        let sought = given.len() >= LEAST_SOUGHT;
        known.iter().copied().filter(|name| sought && fits(name)).min_by_key(|name| name.len())
    };
    let near = |most: usize| near.filter(|(distance, _)| *distance <= most).map(|(_, name)| name);
    near(1)
        .or_else(|| shortest(&|name| name.starts_with(given)))
        .or_else(|| near(usize::MAX))
        .or_else(|| shortest(&|name| name.contains(given)))
}

/// `seconds` as `0.3s`, `12.4s`, `3m 05s` or `1h 02m`.
pub fn seconds(duration: Duration) -> String {
    let total = duration.as_secs_f64();
    let whole = total.round() as u64;
    match whole {
        0..60 => format!("{total:.1}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// How long ago something was, in one unit: `34s`, `12m`, `5h`, `3d`; never more than was.
pub fn age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// [`age`] of something at `then`: `12m ago`; what a clock elsewhere puts into the future is `0s ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(between(then, now)))
}

/// When something will be that is at `then`: `in 45s`, `in 1h 40m`, `in 3d 4h`; [`ago`] where it has been.
pub fn until(then: Timestamp, now: Timestamp) -> String {
    if then <= now {
        return ago(then, now);
    }
    let seconds = between(now, then).as_secs();
    match seconds {
        0..60 => format!("in {seconds}s"),
        60..3600 => format!("in {}m", seconds / 60),
        3600..86_400 => format!("in {}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("in {}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The time from `then` to `now`; none at all where clocks differ so much that it is negative.
pub fn between(then: Timestamp, now: Timestamp) -> Duration {
    clock::since(then, now)
}

/// `text` cut to about `cap` bytes, with the number of omitted bytes at its end: `beginning [… 12 bytes left out]`.
pub fn cut(text: &str, cap: usize) -> String {
    if text.len() <= cap {
        return text.to_owned();
    }
    let end = (0..=cap).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} [… {} left out]", &text[..end], pluralize(text.len() - end, "byte"))
}

/// A number with its noun: `1 test`, `3 tests`. For nouns whose plural ends in `s`.
pub fn pluralize<N: std::fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A program's output as text without the white space around it; bytes that are not UTF-8 are replaced.
pub fn trim_output(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Most names of people that are shown: a long list of names helps nobody.
const PEOPLE_NAMED: usize = 5;

/// `2 people (ann@here, bob@there)`.
pub fn people<S: AsRef<str>>(people: &[S]) -> String {
    let more = if people.len() > PEOPLE_NAMED { ", …" } else { "" };
    let names: Vec<&str> = people.iter().take(PEOPLE_NAMED).map(AsRef::as_ref).collect();
    let count = if people.len() == 1 { "1 person".to_owned() } else { format!("{} people", people.len()) };
    format!("{count} ({}{more})", names.join(", "))
}

/// The last `count` lines of `text` that are not empty.
pub fn last_lines(text: &str, count: usize) -> String {
    let mut lines: Vec<&str> =
        text.lines().rev().map(str::trim_end).filter(|line| !line.is_empty()).take(count).collect();
    lines.reverse();
    lines.join("\n")
}

/// `bytes` in binary units with one decimal: `512 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `text` as an editor on Unix would have saved it: without a byte order mark, and with lines that end in LF alone.
pub fn unix(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    text.strip_suffix('\r').map(str::to_owned).unwrap_or(text)
}

/// Reads an owner's name, which must not be blank: a blank owner would match everything that names no owner.
pub fn parse_owner(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it names nobody: give an owner such as `ann@build1`".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Reads a span of time such as `90s`, `2h`, `1h30m`, `1d12h`; a bare number is seconds. Zero and negative spans are
/// refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            span(text).ok_or_else(|| format!("`{text}` is not a span of time such as `90s`, `20m`, `2h` or `1d`"))?
        }
    };
    if seconds.is_zero() { Err("the span of time must be longer than zero".to_owned()) } else { Ok(seconds) }
}

/// Reads a span with units; a day is 24 hours, and days come first.
fn span(text: &str) -> Option<Duration> {
    let short = |text: &str| text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    if let Some(span) = short(text) {
        return Some(span);
    }
    let (days, rest) = text.split_once('d')?;
    let days = Duration::from_secs(days.trim().parse::<u64>().ok()?.checked_mul(24 * 3600)?);
    match rest.trim() {
        "" => Some(days),
        rest => days.checked_add(short(rest)?),
    }
}

/// Reads how long a machine may live without a sign of its driver: a second to a day. A shorter time is over before the
/// next sign can come, and a longer one does not protect.
pub fn parse_grace(text: &str) -> Result<Duration, String> {
    let grace = parse_duration(text)?;
    let day = Duration::from_secs(24 * 3600);
    if (Duration::from_secs(1)..=day).contains(&grace) {
        return Ok(grace);
    }
    Err(format!("`{text}` is not between `1s` and `24h`"))
}

/// Reads how long a machine may be kept: a second to thirty days, so that every machine has an end.
pub fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600)).contains(&ttl) {
        return Ok(ttl);
    }
    Err(format!("`{text}` is not between `1s` and `720h`, thirty days"))
}

/// Reads a size in bytes such as `512M`, `2G`, `1048576`; units are binary.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is not a size such as `512M` or `2G`");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(error()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| error())?;
    match number.checked_mul(factor) {
        Some(0) => Err(format!("`{text}` is nothing: give a size such as `512M` or `2G`")),
        Some(size) => Ok(size),
        None => Err(format!("`{text}` is more than any disk or memory: give a size such as `512M` or `2G`")),
    }
}

/// Whether `text` has the form `scheme://rest` (or `file:/path`) without white space or control characters.
pub fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let rooted = if scheme == "file" { rest.starts_with('/') } else { rest.len() > 2 && rest.starts_with("//") };
    plain && rooted && !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase() || b == b'+')
}

/// Each text once, without blank ones, in their order.
pub fn distinct(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|text| !text.is_empty() && seen.insert(text.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_no_blanks() {
        for good in ["http://deb.debian.org/debian", "file:///srv/mirror", "file:/srv", "ssh://me@host/x"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["deb.debian.org", "http://", "://x", "http://a b", "-o x://y", ""] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!([pluralize(0_u64, "file"), pluralize(1_u64, "file")], ["0 files", "1 file"]);
        assert_eq!(pluralize(2_usize, "test"), "2 tests");
    }

    #[test]
    fn of_many_people_a_few_are_named() {
        assert_eq!(people(&["ann"]), "1 person (ann)");
        assert!(people(&["a", "b", "c", "d", "e", "f"]).starts_with("6 people (a, b, c, d, e, …)"));
    }

    #[test]
    fn the_last_lines_are_those_that_hold_something() {
        assert_eq!(last_lines("a\nb \n\nc\n\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines(" \n\n", 2), "");
    }

    #[test]
    fn an_age_is_said_in_one_unit() {
        let age = |seconds| age(Duration::from_secs(seconds));
        assert_eq!([age(0), age(59), age(60), age(759)], ["0s", "59s", "1m", "12m"]);
        assert_eq!([age(3599), age(7199), age(86_399), age(86_400)], ["59m", "1h", "23h", "1d"]);
        assert_eq!(age(90 * 86_400), "90d");
        let then = Timestamp::UNIX_EPOCH;
        let now = then + Duration::from_secs(759);
        assert_eq!([ago(then, now), ago(now, then)], ["12m ago", "0s ago"]);
    }

    #[test]
    fn what_will_be_is_said_in_two_units() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        let until = |seconds| until(now + Duration::from_secs(seconds), now);
        assert_eq!([until(1), until(59), until(60), until(3599)], ["in 1s", "in 59s", "in 1m", "in 59m"]);
        assert_eq!([until(6000), until(86_399), until(86_400)], ["in 1h 40m", "in 23h 59m", "in 1d 0h"]);
        assert_eq!(super::until(now, now), ago(now, now), "what is now has been");
    }

    #[test]
    fn what_is_cut_says_how_much() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("a€b", 2), "a [… 4 bytes left out]");
    }

    #[test]
    fn a_text_that_is_there_already_and_a_blank_one_are_left_out() {
        assert_eq!(distinct(["a", "", "b", "a"].map(str::to_owned)), ["a", "b"]);
    }

    #[test]
    fn nearest_names_a_typo_but_not_a_stranger() {
        let known = ["debian12", "debian13", "ubuntu22.04"];
        assert_eq!(nearest("debian21", known), Some("debian12"));
        assert_eq!(nearest("debain13", known), Some("debian13"));
        assert_eq!(nearest("windows", known), None);
        assert_eq!(nearest("ubuntu", known), Some("ubuntu22.04"), "by its beginning");
        assert_eq!(nearest("22.04", known), Some("ubuntu22.04"), "by a part");
        assert_eq!((nearest("", known), nearest("2", known)), (None, None));
    }

    #[test]
    fn a_file_that_was_saved_on_windows_is_read_as_any_other() {
        assert_eq!(unix("\u{feff}#!/bin/bash\r\nset -e\r\nfalse\r"), "#!/bin/bash\nset -e\nfalse");
        assert_eq!(unix("a\rb\n\u{feff}\n"), "a\rb\n\u{feff}\n", "only what an editor adds");
    }

    #[test]
    fn spans_and_sizes_read_back() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert!(parse_duration("0").is_err() && parse_duration("-5s").is_err() && parse_duration("soon").is_err());
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86400)));
        assert_eq!(parse_duration("1d 12h30m"), Ok(Duration::from_secs(131_400)));
        assert_eq!(parse_duration("5 seconds"), Ok(Duration::from_secs(5)));
        for bad in ["", "d", "-1d", "1d2", "99999999999999999999d", "1 day ago"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_bytes("2G"), Ok(2 << 30));
        assert!(parse_bytes("0").is_err() && parse_bytes("x").is_err() && parse_bytes("99999999999T").is_err());
        assert_eq!(seconds(Duration::from_secs(185)), "3m 05s");
        assert_eq!(bytes(1_572_864), "1.5 MiB");
    }
}
