//! Checks a file of settings against the known keys, no matter whose keys they are: an error names the file, the line,
//! and the key or value that may have been meant.

use std::collections::BTreeMap;
use std::path::Path;

use model::base::text;
use model::fault::Fault;
use model::setting::{Key, Section, SettingKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The keys that a table of the file may hold, no matter whose keys they are.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) keys: Vec<Key>,
}

/// The tables that `sections` make up, each once.
pub(super) fn tables<'a>(sections: impl Iterator<Item = &'a Section>) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for section in sections {
        match tables.iter_mut().find(|table| table.name == section.name) {
            Some(table) => table.keys.extend(section.keys),
            None => tables.push(Table { name: section.name, keys: section.keys.to_vec() }),
        }
    }
    tables
}

/// Checks a file against the keys that it may hold.
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    sections: Vec<Table>,
}

/// Every value of a file, by `section.key`, with its line.
pub(super) type Given = BTreeMap<String, (String, usize)>;

/// A fault, with the byte of the file that it is about.
type FaultAt = (usize, Fault);

impl<'a> Reader<'a> {
    /// A reader of the file `path` that holds `text`, in which `sections` may stand.
    pub(super) fn new(path: &'a Path, text: &'a str, sections: impl Iterator<Item = &'a Section>) -> Self {
        Self { path, text, sections: tables(sections) }
    }

    /// The file as TOML.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, Fault> {
        DeTable::parse(self.text).map_err(|error| self.not_taken(&error))
    }

    /// The fault for an error of TOML's own reader.
    pub(super) fn not_taken(&self, error: &toml::de::Error) -> Fault {
        let at = error.span().map_or(0, |span| span.start);
        or_mend(self.fault(at, error.message().trim().replace('\n', "; ")))
    }

    /// The values that the file gives, or the problem that comes first in it.
    pub(super) fn given(&self, table: &DeTable<'_>) -> Result<Given, Fault> {
        let mut given = Given::new();
        let mut problems = Vec::new();
        for (key, value) in table {
            let at = key.span().start;
            let name: &str = key.get_ref();
            let section = self.sections.iter().find(|section| !section.name.is_empty() && section.name == name);
            match (section, value.get_ref()) {
                (Some(section), DeValue::Table(inner)) => {
                    for (key, value) in inner {
                        self.take(section, key.get_ref(), key.span().start, value, &mut given, &mut problems);
                    }
                }
                (Some(_), _) => problems.push((at, self.fault(at, format!("`{name}` is a section: write `[{name}]`")))),
                (None, DeValue::Table(_)) if self.top().is_none_or(|top| !holds(top, name)) => {
                    problems.push((at, self.unknown_section(at, name)));
                }
                (None, _) => {
                    if let Some(top) = self.top() {
                        self.take(top, name, at, value, &mut given, &mut problems);
                    }
                }
            }
        }
        match problems.into_iter().min_by_key(|(at, _)| *at) {
            Some((_, fault)) => Err(or_mend(fault)),
            None => Ok(given),
        }
    }

    fn top(&self) -> Option<&Table> {
        self.sections.iter().find(|section| section.name.is_empty())
    }

    fn take(
        &self,
        section: &Table,
        name: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
        given: &mut Given,
        problems: &mut Vec<FaultAt>,
    ) {
        let full = full_name(section, name);
        let Some(key) = section.keys.iter().find(|key| key.name == name) else {
            problems.push((at, self.unknown_key(section, name, at)));
            return;
        };
        match plain(&key.kind, value.get_ref()) {
            Ok(text) if key.kind.accepts(&text) => {
                given.insert(full, (text, self.line(at)));
            }
            Ok(text) => {
                let mut fault = self.fault(at, format!("`{full}` takes {}, not `{text}`", key.kind.allowed()));
                fault.hint = key.kind.nearest(&text).map(|word| format!("Did you mean `{word}`?"));
                problems.push((at, fault));
            }
            Err(found) => {
                let quotes = if matches!(key.kind, SettingKind::Count { .. }) { "without quotes" } else { "in quotes" };
                let message = format!("`{full}` takes {}, {quotes}, not {found}", key.kind.allowed());
                problems.push((at, self.fault(at, message)));
            }
        }
    }

    fn unknown_key(&self, section: &Table, name: &str, at: usize) -> Fault {
        let fault = self.fault(at, format!("unknown key `{}`", full_name(section, name)));
        let known = || section.keys.iter().map(|key| key.name);
        if let Some(near) = text::nearest(name, known()) {
            return fault.hint(format!("Did you mean `{}`?", full_name(section, near)));
        }
        let home = self.sections.iter().find(|section| holds(section, name));
        match home.map(|section| section.name) {
            Some("") => fault.hint(format!("`{name}` belongs at the top of the file, above all sections.")),
            Some(home) => fault.hint(format!("`{name}` belongs below `[{home}]`.")),
            None => {
                let mut names: Vec<String> = known().map(|key| format!("`{}`", full_name(section, key))).collect();
                if section.name.is_empty() {
                    names.extend(self.section_names().map(|name| format!("`[{name}]`")));
                }
                fault.hint(format!("Known here: {}.", names.join(", ")))
            }
        }
    }

    fn unknown_section(&self, at: usize, name: &str) -> Fault {
        let fault = self.fault(at, format!("unknown section `[{name}]`"));
        match text::nearest(name, self.section_names()) {
            Some(near) => fault.hint(format!("Did you mean `[{near}]`?")),
            None => {
                let names: Vec<String> = self.section_names().map(|name| format!("`[{name}]`")).collect();
                fault.hint(format!("Known sections: {}.", names.join(", ")))
            }
        }
    }

    fn section_names(&self) -> impl Iterator<Item = &'static str> {
        self.sections.iter().map(|section| section.name).filter(|name| !name.is_empty())
    }

    fn fault(&self, at: usize, message: String) -> Fault {
        Fault::outside(format!("{}:{}: {message}", self.path.display(), self.line(at)))
    }

    /// The line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// The fault with a next step: a general one where there is no better one.
fn or_mend(fault: Fault) -> Fault {
    if fault.hint.is_some() { fault } else { fault.hint("Mend that line, or take it out for what holds without it.") }
}

fn holds(section: &Table, key: &str) -> bool {
    section.keys.iter().any(|known| known.name == key)
}

pub(super) fn full_name(section: &Table, key: &str) -> String {
    if section.name.is_empty() { key.to_owned() } else { format!("{}.{key}", section.name) }
}

/// A value as text, or what it is when its key takes no such thing.
fn plain(kind: &SettingKind, value: &DeValue<'_>) -> Result<String, String> {
    match (kind, value) {
        (SettingKind::Count { .. }, DeValue::String(text)) => Err(format!("the text `{text}`")),
        (_, DeValue::String(text)) => Ok(text.to_string()),
        (SettingKind::Duration { .. } | SettingKind::Count { .. }, DeValue::Integer(number))
            if number.radix() == 10 =>
        {
            Ok(number.as_str().to_owned())
        }
        (_, DeValue::Integer(number)) => Err(format!("the number {number}")),
        (_, DeValue::Float(number)) => Err(format!("the number {number}")),
        (_, other) => Err(match other.type_str() {
            "array" => "an array".to_owned(),
            other => format!("a {other}"),
        }),
    }
}
