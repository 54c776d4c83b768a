//! Changes to the settings file: what the user wrote in it stays as it is, comments and order included, but for the value that changes.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use model::base::text;
use model::fault::Fault;
use model::setting::{Key, Section, SettingKind};
use tempfile::NamedTempFile;
use toml_edit::{Document, Item, TableLike, Value};

use crate::file;
use crate::settings::reader::{Reader, full_name, tables};
use crate::settings::{OWN, Settings};

/// A key with its whole name.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// The name, written as `defaults.distro`.
    pub name: String,
    /// The key.
    pub key: Key,
}

/// Every key that the file may hold, each once, in the order of their sections. `extra` are the sections of others.
pub fn known_keys(extra: &[Section]) -> Vec<KnownKey> {
    let mut known: Vec<KnownKey> = Vec::new();
    for table in tables(OWN.iter().chain(extra)) {
        for key in &table.keys {
            let name = full_name(&table, key.name);
            if known.iter().all(|other| other.name != name) {
                known.push(KnownKey { name, key: *key });
            }
        }
    }
    known
}

/// The key that is called `name`; a fault that names the nearest where there is none.
pub fn known_key(name: &str, extra: &[Section]) -> Result<KnownKey, Fault> {
    let mut known = known_keys(extra);
    if let Some(at) = known.iter().position(|known| known.name == name) {
        return Ok(known.swap_remove(at));
    }
    let leaf = |known: &&KnownKey| name == known.key.name || name.rsplit('.').next() == Some(known.key.name);
    let near: Vec<String> = match text::nearest(name, known.iter().map(|known| known.name.as_str())) {
        Some(near) => vec![format!("`{near}`")],
        None => known.iter().filter(leaf).map(|known| format!("`{}`", known.name)).collect(),
    };
    Err(Fault::usage(format!("there is no setting `{name}`")).hint(match near.is_empty() {
        true => "`automation config list` shows those there are.".to_owned(),
        false => format!("Did you mean {}?", near.join(" or ")),
    }))
}

impl KnownKey {
    /// Refuses a value that the key does not take.
    pub fn check(&self, value: &str) -> Result<(), Fault> {
        if self.key.kind.accepts(value) {
            return Ok(());
        }
        let fault = Fault::usage(format!("`{}` takes {}, not `{value}`", self.name, self.key.kind.allowed()));
        Err(match self.key.kind.nearest(value) {
            Some(near) => fault.hint(format!("Did you mean `{near}`?")),
            None => fault.hint(format!("It decides this: {}.", self.key.meaning)),
        })
    }

    /// The value as TOML has it.
    fn literal(&self, value: &str) -> Value {
        match (&self.key.kind, value.parse::<i64>()) {
            (SettingKind::Count { .. } | SettingKind::Duration { .. }, Ok(number)) => number.into(),
            _ => value.into(),
        }
    }
}

/// The settings file, for changes. It need not exist.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    path: PathBuf,
}

impl SettingsFile {
    /// The file `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text in it; none where it does not exist.
    pub fn read(&self) -> Result<Option<String>, Fault> {
        super::read(&self.path)
    }

    /// The settings that `text` would be, which must be right from beginning to end.
    pub fn check(&self, text: &str, extra: &[Section]) -> Result<Settings, Fault> {
        Settings::parse(&self.path, &text::unix(text), extra)
    }

    /// Replaces the whole file. A link leads to the file that is replaced, and its mode stays.
    pub fn write(&self, text: &str) -> Result<(), Fault> {
        let real = match std::fs::canonicalize(&self.path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(file::fault("find", &self.path, error)),
        };
        file::replace(&real, text.as_bytes())
    }

    /// A copy of `text` for an editor, which goes with the value.
    pub fn draft(&self, text: &str) -> Result<Draft, Fault> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".automation-config-").suffix(".toml");
        // A copy that a killed process leaves lies with all else that the tool keeps.
        let made = match self.path.parent().filter(|folder| folder.is_dir()) {
            Some(folder) => builder.tempfile_in(folder),
            None => builder.tempfile(),
        };
        let file = made.map_err(|error| Fault::outside("cannot make a file to edit").because(error))?;
        std::fs::write(file.path(), text).map_err(|error| file::fault("write", file.path(), error))?;
        Ok(Draft { file })
    }

    /// `text` with `key` set to `value`.
    pub fn with(&self, text: &str, key: &KnownKey, value: &str) -> Result<String, Fault> {
        key.check(value)?;
        let mut document = self.parse(text)?.into_mut();
        let (section, name) = split(&key.name);
        let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
        let is_new = !section.is_empty() && !document.contains_key(section);
        let not_a_section = || Fault::outside(format!("{}: `{section}` is no section", self.path.display()));
        let table = table_of(document.as_table_mut(), section).ok_or_else(not_a_section)?;
        let literal = key.literal(value);
        match table.get_mut(name).and_then(Item::as_value_mut) {
            Some(old) => {
                let around = old.decor().clone();
                *old = literal;
                *old.decor_mut() = around;
            }
            None => drop(table.insert(name, Item::Value(literal))),
        }
        // What stands at the end of the file stays above what comes new.
        if let Some(table) = document.get_mut(section).and_then(Item::as_table_mut).filter(|_| is_new) {
            let apart = if text.trim().is_empty() { "" } else { "\n" };
            table.decor_mut().set_prefix(format!("{trailing}{apart}"));
            document.set_trailing("");
        }
        Ok(with_ends_of(text, &document.to_string()))
    }

    /// `text` without `key`; none where it does not hold it. Comments above it stay.
    pub fn without(&self, text: &str, key: &str) -> Result<Option<String>, Fault> {
        let document = self.parse(text)?;
        let (section, name) = split(key);
        let table: Option<&dyn TableLike> = match section {
            "" => Some(document.as_table()),
            section => document.as_table().get(section).and_then(Item::as_table_like),
        };
        let Some((key, item)) = table.and_then(|table| table.get_key_value(name)) else { return Ok(None) };
        let is_inline = document.as_table().get(section).is_some_and(Item::is_inline_table);
        if let (Some(from), Some(to), false) = (key.span(), item.span(), is_inline) {
            let lines = lines_around(text, from.start..to.end);
            return Ok(Some([text.get(..lines.start), text.get(lines.end..)].into_iter().flatten().collect()));
        }
        let mut document = document.into_mut();
        table_of(document.as_table_mut(), section).and_then(|table| table.remove(name));
        Ok(Some(with_ends_of(text, &document.to_string())))
    }

    /// The text as TOML; what is none is told as reading the settings tells it.
    fn parse<'a>(&self, text: &'a str) -> Result<Document<&'a str>, Fault> {
        Reader::new(&self.path, text, std::iter::empty()).parse()?;
        let unread = |error| Fault::outside(format!("cannot read `{}`", self.path.display())).because(error);
        Document::parse(text).map_err(|error: toml_edit::TomlError| unread(error))
    }
}

/// A copy of the settings that an editor may do with what it likes.
#[derive(Debug)]
pub struct Draft {
    file: NamedTempFile,
}

impl Draft {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The text in it. Many editors put another file in its place, so that it is found by its name.
    pub fn read(&self) -> Result<String, Fault> {
        super::read(self.path()).map(Option::unwrap_or_default)
    }
}

/// A file with every key in a comment, for somebody who has none yet.
pub fn template(extra: &[Section]) -> String {
    let mut text = "# The settings of automation. What stands behind a `#` is what holds without it.\n".to_owned();
    for table in tables(OWN.iter().chain(extra)) {
        if !table.name.is_empty() {
            text.push_str(&format!("\n[{}]\n", table.name));
        }
        for key in &table.keys {
            let literal = KnownKey { name: String::new(), key: *key }.literal(key.default.unwrap_or_default());
            text.push_str(&format!("# {}: {}\n#{} = {literal}\n", key.meaning, key.kind.allowed(), key.name));
        }
    }
    text
}

/// The table of a section, which is made where it is missing; none where something else has its name.
fn table_of<'a>(document: &'a mut toml_edit::Table, section: &str) -> Option<&'a mut dyn TableLike> {
    if section.is_empty() {
        return Some(document);
    }
    document.entry(section).or_insert_with(toml_edit::table).as_table_like_mut()
}

/// Section and key of a whole name.
fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or(("", name))
}

/// The whole lines in which `range` lies.
fn lines_around(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.get(..range.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end = text.get(range.end..).and_then(|behind| behind.find('\n')).map_or(text.len(), |at| range.end + at + 1);
    start..end
}

/// `new` with its lines ended as those of `old` are.
fn with_ends_of(old: &str, new: &str) -> String {
    let new = new.replace("\r\n", "\n");
    if old.contains("\r\n") { new.replace('\n', "\r\n") } else { new }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const SAMPLE: Section = Section {
        name: "sample",
        keys: &[Key {
            name: "word",
            kind: SettingKind::OneOf(&["plain", "full"]),
            meaning: "A word",
            default: Some("plain"),
        }],
    };

    fn file() -> SettingsFile {
        SettingsFile::at(PathBuf::from("/s/config.toml"))
    }

    fn set(text: &str, name: &str, value: &str) -> String {
        let new = file().with(text, &known_key(name, &[SAMPLE]).unwrap(), value).unwrap();
        let settings = file().check(&new, &[SAMPLE]).unwrap();
        assert_eq!(settings.extra(name), Some(value), "{new}");
        new
    }

    fn unset(text: &str, name: &str) -> Option<String> {
        let new = file().without(text, name).unwrap()?;
        assert_eq!(file().check(&new, &[SAMPLE]).unwrap().extra(name), None, "{new}");
        Some(new)
    }

    const MINE: &str = "\
# mine
provider = 'local'   # for now

# the mirrors at work
[local]
  debian-mirror = \"http://a/debian\" # fast

[runs]
# enough
keep = 50
# at the end
";

    #[test]
    fn what_changes_is_a_value_and_nothing_else() {
        assert_eq!(set(MINE, "provider", "host"), MINE.replace("'local'  ", "\"host\"  "));
        assert_eq!(set(MINE, "runs.keep", "7"), MINE.replace("50", "7"));
        let mirror = set(MINE, "local.debian-mirror", "http://b/debian");
        assert_eq!(mirror, MINE.replace("http://a", "http://b"));
        assert_eq!(set(MINE, "grace", "2m"), MINE.replace("# for now\n", "# for now\ngrace = \"2m\"\n"));
        assert_eq!(set(MINE, "grace", "90"), MINE.replace("# for now\n", "# for now\ngrace = 90\n"));
        let older = set(MINE, "runs.older-than", "90d");
        assert_eq!(older, MINE.replace("keep = 50\n", "keep = 50\nolder-than = \"90d\"\n"));
        assert_eq!(set(MINE, "sample.word", "full"), format!("{MINE}\n[sample]\nword = \"full\"\n"));
        let windows = MINE.replace('\n', "\r\n");
        assert_eq!(set(&windows, "sample.word", "full"), format!("{windows}\r\n[sample]\r\nword = \"full\"\r\n"));
        assert_eq!(set("", "sample.word", "full"), "[sample]\nword = \"full\"\n");
        assert_eq!(set("", "grace", "2m"), "grace = \"2m\"\n");
        assert_eq!(set("sample = { word = \"plain\" }\n", "sample.word", "full"), "sample = { word = \"full\" }\n");
        assert_eq!(set("sample.word = \"plain\"\n", "sample.word", "full"), "sample.word = \"full\"\n");
    }

    #[test]
    fn what_goes_is_a_line_and_the_comments_above_it_stay() {
        assert_eq!(unset(MINE, "runs.keep").unwrap(), MINE.replace("keep = 50\n", ""));
        assert_eq!(unset(MINE, "provider").unwrap(), MINE.replace("provider = 'local'   # for now\n", ""));
        let windows = MINE.replace('\n', "\r\n");
        assert_eq!(unset(&windows, "runs.keep").unwrap(), windows.replace("keep = 50\r\n", ""));
        assert_eq!(unset("provider = \"host\"", "provider").unwrap(), "");
        assert_eq!(unset("sample.word = \"plain\"\n", "sample.word").unwrap(), "");
        let inline = "sample = { word = \"plain\" } # short\n";
        assert!(unset(inline, "sample.word").unwrap().contains("# short"));
        for absent in ["grace", "sample.word", "local.keyring"] {
            assert_eq!(unset(MINE, absent), None, "{absent}");
        }
        // A key that nobody knows is what somebody wants to be rid of.
        assert_eq!(file().without("provder = \"x\"\n", "provder").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn a_key_or_a_value_that_is_not_known_is_refused_with_the_nearest() {
        let hint = |name: &str| known_key(name, &[SAMPLE]).unwrap_err().hint.unwrap();
        assert_eq!(hint("provder"), "Did you mean `provider`?");
        assert_eq!(hint("sample.wird"), "Did you mean `sample.word`?");
        assert_eq!(hint("keep"), "Did you mean `runs.keep`?");
        assert_eq!(hint("frobnicate"), "`automation config list` shows those there are.");
        let refused = |name: &str, value: &str| {
            let fault = file().with("", &known_key(name, &[SAMPLE]).unwrap(), value).unwrap_err();
            format!("{}\n{}", fault.message, fault.hint.unwrap())
        };
        insta::assert_snapshot!(refused("provider", "locla"), @r"
        `provider` takes `local` or `ec2` or `host`, not `locla`
        Did you mean `local`?
        ");
        insta::assert_snapshot!(refused("runs.keep", "0"), @r"
        `runs.keep` takes a whole number from 1 to 100000, not `0`
        It decides this: How many of the newest runs stay when old ones are removed by themselves.
        ");
        let broken = file().with("a = [", &known_key("grace", &[]).unwrap(), "2m").unwrap_err();
        assert!(broken.message.starts_with("/s/config.toml:1: "), "{}", broken.message);
        let taken = file().with("sample = 3", &known_key("sample.word", &[SAMPLE]).unwrap(), "full").unwrap_err();
        assert_eq!(taken.message, "/s/config.toml: `sample` is no section");
    }

    #[test]
    fn the_defaults_that_are_told_are_those_that_hold() {
        let template = template(&[SAMPLE]);
        let empty = Settings { file: file().path, ..Settings::default() };
        assert_eq!(file().check(&template, &[SAMPLE]).unwrap(), empty);
        let (mut text, mut told) = (template, 0);
        for known in known_keys(&[SAMPLE]) {
            if let Some(default) = known.key.default {
                text = set(&text, &known.name, default);
                told += 1;
            }
            assert!(!known.key.meaning.is_empty() && !known.key.meaning.contains('\n'), "{}", known.name);
        }
        assert!(told >= 5, "{told}");
        let all = file().check(&text, &[SAMPLE]).unwrap();
        assert_eq!(Settings { given: Default::default(), ..all }, empty);
    }

    #[test]
    fn a_write_keeps_mode_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("dotfiles.toml"), folder.path().join("config.toml"));
        let file = SettingsFile::at(link.clone());
        assert_eq!(file.read().unwrap(), None);
        file.write("grace = 1\n").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&link), file.read().unwrap().as_deref()), (0o600, Some("grace = 1\n")));
        std::fs::rename(&link, &real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).unwrap();
        file.write("grace = 2\n").unwrap();
        assert!(link.is_symlink() && mode(&real) == 0o644);
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "grace = 2\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
