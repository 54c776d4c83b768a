//! Keeps the layers of `docs/architecture.md`: reads the source and fails on an import that runs upwards or sideways, and
//! on a crate or a word that is used outside its border.

use std::path::{Path, PathBuf};

/// The layers by rank; an import may only go to a lower rank. Adapters share one: none may import a sibling.
const RANKS: [(&str, u8); 12] = [
    ("cli", 5),
    ("command", 4),
    ("flow", 3),
    ("connection", 2),
    ("image", 2),
    ("project", 2),
    ("provider", 2),
    ("report", 2),
    ("state", 2),
    ("ui", 2),
    ("model", 1),
    ("base", 0),
];

/// `(text, folders below src where it may stand)`.
const BORDERS: [(&str, &[&str]); 15] = [
    ("aws_sdk", &["provider/ec2", "connection/ssm"]),
    ("aws_config", &["provider/ec2", "connection/ssm", "command/context"]),
    ("russh", &["connection"]),
    ("rusqlite", &["state"]),
    ("indicatif", &["ui"]),
    ("println!", &["ui"]),
    ("eprintln!", &["ui"]),
    ("print!(", &["ui"]),
    ("quick_junit", &["report"]),
    ("include_dir", &["image"]),
    ("env::var", &["command"]),
    ("env::current_dir", &["command"]),
    ("home_dir", &["command"]),
    ("mercurial", &["project", "command"]),
    ("clap", &["cli.rs", "command"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    assert!(found.len() > 30, "the source is not where this test looks for it");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// Code without comments and without the tests at its end.
fn production(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // What a file's own tests do is no part of the product.
    let end = text.find("\n#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn layer(path: &Path) -> &str {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs")
}

fn rank(layer: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

/// The layers that a line names by `crate::LAYER`.
fn named(line: &str) -> Vec<&str> {
    line.match_indices("crate::")
        .map(|(at, text)| &line[at + text.len()..])
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .filter(|name| rank(name).is_some())
        .collect()
}

/// What is wrong with one file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let own = layer(path);
    for (number, line) in production(text) {
        for other in named(line) {
            let Some(mine) = rank(own) else { continue };
            let allowed = other == own || rank(other).unwrap() < mine;
            if !allowed {
                faults.push(format!("{}:{number}: `{own}` imports `{other}`", path.display()));
            }
        }
        for (word, folders) in BORDERS {
            let held = line.to_lowercase().contains(word) && !line.contains("pub mod ");
            if held
                && !folders.iter().any(|folder| path.starts_with(folder) || path.with_extension("").starts_with(folder))
            {
                faults.push(format!("{}:{number}: `{word}` stands outside of {folders:?}", path.display()));
            }
        }
    }
    faults
}

#[test]
fn imports_run_downwards_and_borders_hold() {
    let faults: Vec<String> = sources().iter().flat_map(|(path, text)| faults(path, text)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_check_itself_finds_what_it_should() {
    let check = |path: &str, text: &str| faults(Path::new(path), text).len();
    assert_eq!(check("model/x.rs", "use crate::flow::lease::Lease;"), 1, "upwards");
    assert_eq!(check("state/x.rs", "let x = crate::provider::local::y();"), 1, "sideways");
    assert_eq!(check("flow/x.rs", "use crate::model::task::Command;\nuse crate::base::id::RunId;"), 0);
    assert_eq!(check("state/x.rs", "use russh::client;"), 1, "a crate outside its border");
    assert_eq!(check("flow/x.rs", "    println!(\"x\");"), 1, "printing outside of ui");
    assert_eq!(check("flow/x.rs", "// println! is for ui\n\n#[cfg(test)]\nmod tests { use russh::x; }"), 0);
}

#[test]
fn every_folder_of_the_source_has_a_rank() {
    for (path, _) in sources() {
        let own = layer(&path);
        assert!(rank(own).is_some() || matches!(own, "lib" | "main"), "{} is in no layer", path.display());
    }
}
