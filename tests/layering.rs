//! Keeps the layers of `docs/architecture.md`: reads the source and fails on an import that runs upwards or sideways, and
//! on a crate or a word that is used outside its border.

use std::path::{Path, PathBuf};

/// The layers by rank; an import may only go to a lower rank. Adapters share one: none may import a sibling.
const RANKS: [(&str, u8); 13] = [
    ("cli", 6),
    ("command", 5),
    ("flow", 4),
    ("connection", 3),
    ("image", 3),
    ("project", 3),
    ("provider", 3),
    ("report", 3),
    ("state", 3),
    ("ui", 3),
    ("guest", 2),
    ("model", 1),
    ("base", 0),
];

/// The only file that constructs providers, image stores and connectors.
const SITES: &str = "command/context/sites.rs";

/// `(text, folders below src where it may stand)`.
const BORDERS: [(&str, &[&str]); 30] = [
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
    // What an image can be told, and how its steps get it, its definition says.
    ("hg_", &["project"]),
    ("python", &["project", "report", "model/subject", "command/run_tests_linux"]),
    // What a machine's system is asked is the guest's to say.
    ("command::new(\"sh\")", &["guest"]),
    ("command::new(\"bash\")", &["guest"]),
    ("include_str!(\"", &["guest", "project"]),
    // One file builds what a run works with; an adapter's own folder may as well.
    ("localprovider::", &["provider/local", SITES]),
    ("localimages::", &["provider/local", SITES]),
    ("hostprovider::", &["provider/host.rs", SITES]),
    ("ec2provider::", &["provider/ec2", SITES]),
    ("ec2images::", &["provider/ec2", SITES]),
    ("ec2account::", &["provider/ec2", SITES]),
    ("sshconnector::", &["connection", SITES]),
    ("ssmconnector::", &["connection", SITES]),
    ("byaddress {", &["connection", SITES]),
    // It goes on into what is mounted below.
    ("remove_dir_all", &[]),
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

/// What is wrong with one file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let own = layer(path);
    for import in imports(text) {
        let (Some(mine), Some(other)) = (rank(own), rank(&import[0])) else { continue };
        if import[0] != own && other >= mine {
            faults.push(format!("{}: `{own}` imports `{}`", path.display(), import.join("::")));
        }
    }
    for (number, line) in production(text) {
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
    assert_eq!(check("model/x.rs", "use crate::{base::id::RunId, flow::{lease, release}};"), 2, "upwards in a group");
    assert_eq!(check("flow/x.rs", "use crate::model::task::Command;\nuse crate::base::id::RunId;"), 0);
    assert_eq!(check("state/x.rs", "use russh::client;"), 1, "a crate outside its border");
    assert_eq!(check("flow/x.rs", "    println!(\"x\");"), 1, "printing outside of ui");
    assert_eq!(check("guest/x.rs", "use crate::connection::ssh;"), 1, "upwards");
    assert_eq!(check("command/x.rs", "let x = LocalProvider::new(y);"), 1, "an adapter that is built beside the sites");
    assert_eq!(check("command/context/sites.rs", "let x = LocalProvider::new(y);"), 0);
    assert_eq!(
        check("connection/x.rs", "let x = Command::new(\"sh\").arg(crate::guest::X);"),
        1,
        "a shell outside of guest"
    );
    assert_eq!(check("flow/x.rs", "// println! is for ui\n\n#[cfg(test)]\nmod tests { use russh::x; }"), 0);
}

/// Lines of product code that a file may have: beyond them a noun is missing.
const LONGEST: usize = 500;

#[test]
fn no_file_is_longer_than_a_reader_wants() {
    let lines = |text: &str| production(text).last().map_or(0, |(number, _)| number);
    let sources = sources();
    let long = sources.iter().map(|(path, text)| (lines(text), path)).filter(|(lines, _)| *lines > LONGEST);
    assert_eq!(long.collect::<Vec<_>>(), [], "these have more than {LONGEST} lines before their tests");
    let text = include_str!("../docs/contributing.md");
    assert!(text.contains(&format!("{LONGEST} lines of product code a file")));
    let threshold = "too-many-lines-threshold = 70\n";
    assert!(text.contains("70 lines a function") && include_str!("../clippy.toml").contains(threshold));
}

#[test]
fn every_folder_of_the_source_has_a_rank() {
    for (path, _) in sources() {
        let own = layer(&path);
        assert!(rank(own).is_some() || matches!(own, "lib" | "main"), "{} is in no layer", path.display());
    }
}

/// What a file imports from this crate, as paths from its root, groups taken apart.
fn imports(text: &str) -> Vec<Vec<String>> {
    let code: String = production(text).map(|(_, line)| format!("{line} ")).collect();
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        // A group goes up to its closing brace, a path up to what no path can hold.
        let mut depth = 0;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth <= 0 && !(c.is_alphanumeric() || "_:}".contains(c))
        });
        spread(&rest[..end.unwrap_or(rest.len())], &[], &mut found);
    }
    found
}

/// Takes a tree of imports apart: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(tree: &str, before: &[String], found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        let path = tree.split("::").map(|name| name.split_whitespace().next().unwrap_or_default().to_owned());
        return found.push(before.iter().cloned().chain(path).collect());
    };
    let path = path.trim_end_matches("::").split("::").filter(|name| !name.is_empty()).map(str::to_owned);
    let path: Vec<String> = before.iter().cloned().chain(path).collect();
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            let part = &group[from..at];
            from = at + 1;
            if !part.trim().is_empty() {
                spread(part, &path, found);
            }
        }
    }
}

/// A file's place in the tree of modules.
fn module(path: &Path) -> Vec<String> {
    let parts = path.with_extension("");
    let mut parts: Vec<String> = parts.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// A circle of modules that import each other, a module and those below it aside: these are one thing in several files.
fn circle(modules: &[(Vec<String>, Vec<Vec<String>>)]) -> Option<Vec<String>> {
    let known = |path: &[String]| {
        let lengths = (1..=path.len()).rev();
        lengths.filter_map(|length| modules.iter().position(|(name, _)| *name == path[..length])).next()
    };
    let related = |a: &[String], b: &[String]| a.starts_with(b) || b.starts_with(a);
    let arrows: Vec<Vec<usize>> = modules
        .iter()
        .map(|(name, imports)| {
            imports.iter().filter_map(|path| known(path)).filter(|to| !related(name, &modules[*to].0)).collect()
        })
        .collect();
    // Whatever imports nothing that is left is in no circle.
    let mut left: Vec<usize> = (0..modules.len()).collect();
    loop {
        let before = left.len();
        let kept = left.clone();
        left.retain(|from| arrows[*from].iter().any(|to| kept.contains(to)));
        if left.len() == before {
            break;
        }
    }
    let names = left.iter().map(|at| modules[*at].0.join("::")).collect::<Vec<_>>();
    (!names.is_empty()).then_some(names)
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules: Vec<_> = sources().iter().map(|(path, text)| (module(path), imports(text))).collect();
    assert_eq!(circle(&modules), None, "these import each other, or what does");
}

#[test]
fn a_circle_is_found_also_through_groups() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let file = |name: &str, text: &str| (path(name), imports(text));
    assert_eq!(
        imports("use crate::a::{b, c::{D, e}};\nfn f() { crate::x::y(); }"),
        ["a::b", "a::c::D", "a::c::e", "x::y"].map(path)
    );
    let below = file("flow::durable::task", "use crate::flow::durable::Durable;");
    let above = file("flow::durable", "use crate::flow::durable::task::Begin;");
    assert_eq!(circle(&[above, below]), None, "a module and one below it");
    let (a, b) = (file("flow::a", "use crate::{base::id, flow::b::{X}};"), file("flow::b", "use crate::flow::a::Y;"));
    assert_eq!(circle(&[a, b]), Some(vec!["flow::a".to_owned(), "flow::b".to_owned()]));
}
