//! Keeps the borders of `docs/architecture.md`. Between crates the compiler keeps them, as long as no manifest names a crate that it
//! must not; within a crate this reads the source, and fails on a word that is used outside its border and on files that import each
//! other in a circle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The crates of the tool from the bottom, each with those that it may depend on. Adapters know no sibling but the archive.
const CRATES: [(&str, &[&str]); 11] = [
    ("model", &[]),
    ("guest", &["model"]),
    ("archive", &["guest", "model"]),
    ("connection", &["archive", "guest", "model"]),
    ("local", &["guest", "model"]),
    ("aws", &["archive", "guest", "model"]),
    ("state", &["guest", "model"]),
    ("project", &["guest", "model"]),
    ("report", &["guest", "model"]),
    ("flow", &["guest", "model"]),
    ("automation", &["archive", "aws", "connection", "flow", "guest", "local", "model", "project", "report", "state"]),
];

/// What of others' crates stays inside one crate or two.
const HOMES: [(&str, &[&str]); 16] = [
    ("aws-config", &["aws", "automation"]),
    ("aws-sdk-", &["aws"]),
    ("clap", &["automation"]),
    ("dirs", &["automation"]),
    ("globset", &["flow"]),
    ("include_dir", &["project"]),
    ("indicatif", &["automation"]),
    ("ipnet", &["aws", "automation"]),
    ("nix", &["automation", "local"]),
    ("pep440_rs", &["project"]),
    ("quick-junit", &["report"]),
    ("rusqlite", &["state"]),
    ("russh", &["connection"]),
    ("strsim", &["model"]),
    ("tar", &["archive"]),
    ("toml", &["project", "state"]),
];

/// The only files that construct providers, image stores and connectors.
const SITES: &str = "automation/compose/sites";
const EC2_SITES: &str = "automation/compose/ec2";

/// `(text, folders and files below src where it may stand)`.
const BORDERS: [(&str, &[&str]); 26] = [
    ("aws_config", &["aws", "automation/compose"]),
    ("indicatif", &["automation/ui"]),
    ("println!", &["automation/ui"]),
    ("eprintln!", &["automation/ui"]),
    ("print!(", &["automation/ui"]),
    ("env::var", &["automation/command", "automation/compose"]),
    ("env::current_dir", &["automation/command", "automation/compose"]),
    ("home_dir", &["automation/compose"]),
    ("mercurial", &["project/mercurial", "project/lib", "automation/command", "automation/compose"]),
    ("clap", &["automation/cli", "automation/command"]),
    ("unsafe_code", &["local", "model/base/leash"]),
    // What an image can be told, and how its steps get it, its definition says.
    ("hg_", &["project/mercurial"]),
    (
        "python",
        &[
            "project/mercurial",
            "report",
            "model/outcome",
            "model/subject",
            "flow/testing/verdict",
            "automation/command/run_tests_linux",
        ],
    ),
    // One file builds what a run works with; an adapter's own folder may as well.
    ("localprovider::", &["local", SITES]),
    ("localimages::", &["local", SITES]),
    ("hostprovider::", &["connection/host", SITES]),
    ("ec2provider::", &["aws/ec2", EC2_SITES]),
    ("ec2images::", &["aws/ec2", EC2_SITES]),
    ("ec2account::", &["aws/ec2", EC2_SITES]),
    ("sshconnector::", &["connection", SITES, EC2_SITES, "automation/compose/without_ec2"]),
    ("ssmconnector::", &["aws/ssm", EC2_SITES]),
    ("byaddress {", &[EC2_SITES]),
    // What a machine's system is asked is the guest's to say.
    ("command::new(\"sh\")", &["guest"]),
    ("command::new(\"bash\")", &["guest"]),
    ("include_str!(\"", &["guest", "project"]),
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
    let root = support::root().join("src");
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

/// What is wrong with the words of one file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
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
fn words_stay_inside_their_borders() {
    let faults: Vec<String> = sources().iter().flat_map(|(path, text)| faults(path, text)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// What is wrong with the manifest of the crate `own`.
fn forbidden(own: &str, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    // What is built on one system alone, or to build the crate, is a dependency too; so is one under another name.
    let mut tables: Vec<&toml::Value> =
        ["dependencies", "build-dependencies"].iter().filter_map(|key| manifest.get(*key)).collect();
    let systems = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    tables.extend(systems.filter_map(|(_, system)| system.get("dependencies")));
    let tables = tables.into_iter().filter_map(toml::Value::as_table).flatten();
    let names: Vec<&str> =
        tables.map(|(name, of)| of.get("package").and_then(toml::Value::as_str).unwrap_or(name)).collect();
    let (_, allowed) = CRATES.iter().find(|(name, _)| *name == own).unwrap_or_else(|| panic!("`{own}` has no place"));
    let ours = |name: &str| CRATES.iter().any(|(known, _)| *known == name);
    let away =
        |name: &str| HOMES.iter().find(|(start, _)| name.starts_with(start)).is_some_and(|(_, at)| !at.contains(&own));
    let wrong = names.into_iter().filter(|name| if ours(name) { !allowed.contains(name) } else { away(name) });
    wrong.map(|name| format!("`{own}` depends on `{name}`")).collect()
}

#[test]
fn crates_depend_downwards_and_on_no_sibling() {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(support::root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let manifest = entry.path().join("Cargo.toml");
        let manifest = std::fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
        let name = entry.file_name().into_string().unwrap();
        found.insert(name.clone(), forbidden(&name, &manifest));
    }
    assert_eq!(found.len(), CRATES.len(), "a crate is not where this test looks for it: {:?}", found.keys());
    let faults: Vec<String> = found.into_values().flatten().collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_check_itself_finds_what_it_should() {
    let check = |path: &str, text: &str| faults(Path::new(path), text).len();
    assert_eq!(check("flow/x.rs", "    println!(\"x\");"), 1, "printing outside of ui");
    assert_eq!(check("automation/ui/x.rs", "    println!(\"x\");"), 0);
    assert_eq!(check("connection/x.rs", "let x = Command::new(\"sh\").arg(guest::X);"), 1, "a shell outside of guest");
    assert_eq!(check("state/x.rs", "let x = std::env::var(\"X\");"), 1, "the environment below the commands");
    assert_eq!(check("flow/x.rs", "let x = project::mercurial::y();"), 1, "a project in a flow");
    assert_eq!(check("flow/x.rs", "// println! is for ui\n\n#[cfg(test)]\nmod tests { fn f() { println!(); } }"), 0);
    assert_eq!(
        check("automation/command/x.rs", "let x = LocalProvider::new(y);"),
        1,
        "an adapter built beside the sites"
    );
    assert_eq!(check("automation/compose/sites.rs", "let x = LocalProvider::new(y);"), 0);
    let manifest = |own: &str, name: &str| forbidden(own, &format!("[dependencies]\n{name}.workspace = true\n")).len();
    assert_eq!(manifest("model", "flow"), 1, "upwards");
    assert_eq!(manifest("guest", "connection"), 1, "upwards");
    assert_eq!(manifest("state", "local"), 1, "sideways");
    assert_eq!(manifest("flow", "aws"), 1, "a provider in a flow");
    assert_eq!(manifest("flow", "model"), 0);
    assert_eq!(manifest("connection", "archive"), 0);
    assert_eq!(manifest("state", "russh-sftp"), 1, "a crate outside its border");
    assert_eq!(manifest("flow", "aws-sdk-ec2"), 1, "a crate outside its border");
    let hidden = "[dependencies]\nx = { package = \"local\", path = \"../local\" }\n[target.'cfg(unix)'.dependencies]\naws = {}\n";
    assert_eq!(forbidden("state", hidden).len(), 2, "under another name, and on one system alone");
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

/// What a file imports from its own crate, as paths from its root, groups taken apart. Other crates cannot import it in turn.
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

/// A file's place in the tree of modules, behind the name of its crate.
fn module(path: &Path) -> Vec<String> {
    let parts = path.with_extension("");
    let mut parts: Vec<String> = parts.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
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

/// `(folder below src, what it must not import of its own crate)`.
const UPWARDS: [(&str, &[&str]); 3] = [
    ("automation/ui", &["cli", "command", "compose"]),
    ("project/image", &["mercurial"]),
    ("project/mercurial", &["image"]),
];

/// What a file imports of its own crate that stands above it or beside it.
fn upwards(path: &Path, text: &str) -> Vec<String> {
    let mut wrong: Vec<Vec<String>> = imports(text);
    wrong.retain(|import| match path.starts_with("model/base") {
        true => import[0] != "base",
        false => UPWARDS.iter().any(|(folder, above)| path.starts_with(folder) && above.contains(&import[0].as_str())),
    });
    wrong.into_iter().map(|import| format!("{}: imports `{}`", path.display(), import.join("::"))).collect()
}

#[test]
fn within_a_crate_too_nothing_imports_what_stands_above_or_beside_it() {
    let faults: Vec<String> = sources().iter().flat_map(|(path, text)| upwards(path, text)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let check = |path: &str, text: &str| upwards(Path::new(path), text).len();
    assert_eq!(check("model/base/text.rs", "use crate::outcome::Verdict;"), 1);
    assert_eq!(check("model/base/text.rs", "use crate::base::id::RunId;"), 0);
    assert_eq!(check("automation/ui/mod.rs", "use crate::command::error::exit;"), 1);
    assert_eq!(check("project/image/source.rs", "use crate::mercurial::NAME;"), 1);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let modules: Vec<_> = sources
        .iter()
        .map(|(path, text)| {
            let name = module(path);
            let imports: Vec<_> = imports(text).into_iter().map(|path| [&name[..1], &path[..]].concat()).collect();
            (name, imports)
        })
        .collect();
    assert!(modules.iter().any(|(_, imports)| !imports.is_empty()));
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
