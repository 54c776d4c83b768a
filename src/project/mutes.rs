//! The list of mutes, a file that lies with the source: which tests are known to fail, why, and until when.

use std::io::Read;
use std::path::Path;

use jiff::civil::Date;
use model::base::text;
use model::fault::Fault;
use model::mute::Mute;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

/// The longest list, in bytes; a longer file is something else. An entry takes about a hundred.
const CAP: u64 = 1 << 20;

/// The keys of an entry, for the hint at one that is not known.
const KEYS: [&str; 3] = ["test", "expires", "reason"];

/// What an entry looks like, for hints.
const EXAMPLE: &str =
    "An entry is `[[mute]]` with `test = \"test-merge1.t\"`, `expires = 2026-12-31` and `reason = \"issue 6789\"`.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    mute: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    test: Spanned<String>,
    expires: Spanned<Expiry>,
    reason: Spanned<String>,
}

/// A date, in quotes or without.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expiry {
    Date(Datetime),
    Text(String),
}

/// Reads the list at `path`, with entries that have expired. An error names the file and its line.
pub fn read(path: &Path) -> Result<Vec<Mute>, Fault> {
    let failed = |error: std::io::Error| {
        Fault::usage(format!("cannot read the list of mutes `{}`", path.display())).because(error)
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(CAP + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > CAP {
        let size = text::bytes(CAP);
        return Err(Fault::usage(format!("`{}` is no list of mutes: it has more than {size}", path.display())));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Fault::usage(format!("`{}` is no list of mutes: it is not UTF-8 text", path.display())))?;
    List { path, text: &text::unix(&text) }.mutes()
}

/// The text of a list.
struct List<'a> {
    path: &'a Path,
    text: &'a str,
}

impl List<'_> {
    fn mutes(&self) -> Result<Vec<Mute>, Fault> {
        let document: Document = toml::from_str(self.text).map_err(|error| self.not_taken(&error))?;
        document.mute.into_iter().map(|entry| self.mute(entry)).collect()
    }

    fn mute(&self, entry: Entry) -> Result<Mute, Fault> {
        for (key, value) in [("test", &entry.test), ("reason", &entry.reason)] {
            if value.get_ref().trim().is_empty() {
                return Err(self.fault(value.span().start, &format!("`{key}` is empty")).hint(EXAMPLE));
            }
        }
        let expires = match entry.expires.get_ref() {
            Expiry::Date(Datetime { date: Some(date), time: None, offset: None }) => date.to_string(),
            Expiry::Date(other) => other.to_string(),
            Expiry::Text(text) => text.clone(),
        };
        let at = entry.expires.span().start;
        // A time of day would be read as a date without a word about it.
        let date = expires.parse::<Date>().ok().filter(|date| date.to_string() == expires);
        let date = date.ok_or_else(|| {
            self.fault(at, &format!("`expires` takes a day such as `2026-12-31`, not `{expires}`")).hint(EXAMPLE)
        })?;
        Ok(Mute { test: entry.test.into_inner(), expires: date, reason: entry.reason.into_inner() })
    }

    /// The fault for an error of TOML's own reader.
    fn not_taken(&self, error: &toml::de::Error) -> Fault {
        let message = error.message().trim().replace('\n', "; ");
        let fault = self.fault(error.span().map_or(0, |span| span.start), &message);
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        match unknown.and_then(|name| text::nearest(name, KEYS)) {
            Some(near) => fault.hint(format!("Did you mean `{near}`?")),
            None => fault.hint(EXAMPLE),
        }
    }

    /// A fault about the byte `at`, whose line is counted from 1.
    fn fault(&self, at: usize, message: &str) -> Fault {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        Fault::usage(format!("{}:{line}: {message}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Mute>, Fault> {
        List { path: Path::new("mutes.toml"), text }.mutes()
    }

    /// Message and hint of the error.
    fn refused(text: &str) -> String {
        let fault = parse(text).unwrap_err();
        let hint = fault.hint.filter(|hint| hint != EXAMPLE);
        format!("{}\n{}", fault.message, hint.unwrap_or_default()).trim_end().to_owned()
    }

    const ENTRY: &str = "[[mute]]\ntest = \"test-a.t\"\nexpires = 2026-12-31\nreason = \"issue 1\"\n";

    #[test]
    fn entries_are_read_in_their_order_with_dates_in_quotes_or_without() {
        let second = ENTRY.replace("test-a.t", "b*[1]").replace("2026-12-31", "\"2027-01-02\"");
        let mutes = parse(&format!("# known failures\n{ENTRY}{second}")).unwrap();
        let shown: Vec<String> =
            mutes.iter().map(|mute| format!("{} {} {}", mute.test, mute.expires, mute.reason)).collect();
        assert_eq!(shown, ["test-a.t 2026-12-31 issue 1", "b*[1] 2027-01-02 issue 1"]);
        assert_eq!(parse("# nothing yet\n").unwrap(), []);
    }

    #[test]
    fn what_an_entry_lacks_and_what_nobody_knows_is_named_with_its_line() {
        let without = |key: &str| -> String {
            let lines = ENTRY.lines().filter(|line| !line.starts_with(key));
            format!("\n{}\n", lines.collect::<Vec<_>>().join("\n"))
        };
        insta::assert_snapshot!(refused(&without("expires")), @"mutes.toml:2: missing field `expires`");
        insta::assert_snapshot!(refused(&without("reason")), @"mutes.toml:2: missing field `reason`");
        insta::assert_snapshot!(refused(&without("test")), @"mutes.toml:2: missing field `test`");
        insta::assert_snapshot!(refused(&format!("{ENTRY}reson = \"x\"")), @r"
        mutes.toml:5: unknown field `reson`, expected one of `test`, `expires`, `reason`
        Did you mean `reason`?
        ");
        insta::assert_snapshot!(refused(&format!("{ENTRY}owner = \"ann\"")), @"mutes.toml:5: unknown field `owner`, expected one of `test`, `expires`, `reason`");
        insta::assert_snapshot!(refused(&ENTRY.replace("[[mute]]", "[[mutes]]")), @"mutes.toml:1: unknown field `mutes`, expected `mute`");
        insta::assert_snapshot!(refused(&ENTRY.replace("\"issue 1\"", "\" \"")), @"mutes.toml:4: `reason` is empty");
        insta::assert_snapshot!(refused(&ENTRY.replace("\"issue 1\"", "1")), @"mutes.toml:4: invalid type: integer `1`, expected a string");
        insta::assert_snapshot!(refused("[[mute]\n"), @"mutes.toml:1: unclosed array table, expected `]`");
    }

    #[test]
    fn an_expiry_is_a_day() {
        for bad in
            ["2026-02-30", "\"2026-13-01\"", "\"soon\"", "2026-12-31T10:00:00Z", "10:00:00", "\"2026-12-31T10:00\""]
        {
            let message = refused(&ENTRY.replace("2026-12-31", bad));
            assert!(message.starts_with("mutes.toml:3: "), "{bad}: {message}");
        }
        insta::assert_snapshot!(refused(&ENTRY.replace("2026-12-31", "\"soon\"")), @"mutes.toml:3: `expires` takes a day such as `2026-12-31`, not `soon`");
    }

    #[test]
    fn a_file_that_is_no_list_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutes.toml");
        assert!(read(&path).unwrap_err().message.starts_with("cannot read the list of mutes"));
        assert!(read(folder.path()).unwrap_err().message.starts_with("cannot read the list of mutes"));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).unwrap_err().message.ends_with("it is not UTF-8 text"));
        std::fs::write(&path, vec![b'#'; (CAP + 1) as usize]).unwrap();
        assert!(read(&path).unwrap_err().message.ends_with("it has more than 1.0 MiB"));
        std::fs::write(&path, format!("\u{feff}{}", ENTRY.replace('\n', "\r\n"))).unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
    }
}
