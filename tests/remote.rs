//! The scripts of `remote/`: each is embedded once, so that what runs on machines is what can be read and checked there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    support::root()
}

/// All files below `folder`, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What a source file embeds as text, by its path from the top of the repository.
fn embedded(source: &Path, text: &str) -> Vec<PathBuf> {
    let names = text.match_indices("include_str!(\"").map(|(at, start)| &text[at + start.len()..]);
    let names = names.filter_map(|rest| rest.split('"').next());
    let folder = source.parent().unwrap();
    names.map(|name| flat(&folder.join(name))).collect()
}

/// A path without `..`.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            flat.pop();
        } else {
            flat.push(part)
        }
    }
    flat
}

#[test]
fn each_script_is_embedded_by_exactly_one_constant() {
    let mut counts: BTreeMap<PathBuf, usize> =
        files(&root().join("remote")).into_iter().map(|path| (path, 0)).collect();
    assert!(counts.len() > 15, "the scripts are not where this test looks for them");
    let homes = [("remote/linux", "src/guest"), ("remote/mercurial", "src/project/mercurial")];
    for source in files(&root().join("src")) {
        let Ok(text) = std::fs::read_to_string(&source) else { continue };
        for path in embedded(&source, &text) {
            let home = homes.iter().find(|(folder, _)| path.starts_with(root().join(folder)));
            assert!(
                home.is_none_or(|(_, home)| source.starts_with(root().join(home))),
                "{} does not belong to {}",
                path.display(),
                source.display()
            );
            counts.entry(path).and_modify(|count| *count += 1);
        }
    }
    let odd: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(odd.is_empty(), "embedded by none, or by several: {odd:?}");
}

#[test]
fn an_embedded_file_is_found_by_its_path() {
    let text = "const A: &str = include_str!(\"../../remote/x.sh\");\nlet b = include_str!(\"y.sh\");";
    assert_eq!(embedded(Path::new("src/a/b.rs"), text), [PathBuf::from("remote/x.sh"), PathBuf::from("src/a/y.sh")]);
}
