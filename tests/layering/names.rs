//! What a path means in the end: a crate may offer a thing under another path than the one where it is made.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Module;

/// All modules by name.
pub(super) struct Names<'a>(BTreeMap<&'a [String], Vec<&'a Module>>);

impl<'a> Names<'a> {
    pub(super) fn of(modules: &'a [Module]) -> Self {
        let mut names: BTreeMap<&[String], Vec<&Module>> = BTreeMap::new();
        modules.iter().for_each(|module| names.entry(&module.name).or_default().push(module));
        Self(names)
    }

    /// The path itself, and every path that it stands for.
    pub(super) fn meanings(&self, path: &[String]) -> BTreeSet<Vec<String>> {
        let (mut known, mut open) = (BTreeSet::new(), vec![path.to_vec()]);
        while let Some(path) = open.pop() {
            if path.len() < 24 && known.insert(path.clone()) {
                open.extend(self.next(&path));
            }
        }
        known
    }

    /// One step along what the modules on the way import.
    fn next(&self, path: &[String]) -> Vec<Vec<String>> {
        let places = (1..path.len()).rev().filter_map(|length| Some((length, self.0.get(&path[..length])?)));
        let Some((length, modules)) = places.into_iter().next() else { return Vec::new() };
        let meant = modules.iter().flat_map(|module| module.meanings(&path[length]));
        meant.map(|meant| [&meant[..], &path[length + 1..]].concat()).collect()
    }
}
