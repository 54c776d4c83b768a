//! What of the code stands inside a border, and where that is.

use std::path::Path;

use super::names::Names;
use super::source::{Module, product};
use super::tokens::What;

/// Files and folders below `src`, files without `.rs`.
type Places = &'static [&'static str];

const EVERYWHERE: Places = &[""];

/// The only files that construct providers, image stores and connectors.
const SITES: &str = "automation/compose/sites";
const EC2_SITES: &str = "automation/compose/ec2";
const WITHOUT_EC2: &str = "automation/compose/without_ec2";

/// Where the options of commands are declared.
const OPTIONS: [&str; 3] = ["automation/cli", "automation/command", "automation/globals"];

/// `(path, where it may be named)`: a path with all below it; the longest that fits decides. `{}` is a value of a struct.
const PATHS: &[(&str, Places)] = &[
    ("anstyle", &["automation/ui"]),
    ("anstyle_query", &["automation/compose"]),
    ("askama", &["report/html"]),
    ("aws_config", &["aws", "automation/compose"]),
    ("clap", &OPTIONS),
    ("clap_complete", &["automation/command/completions"]),
    ("clap_mangen", &["automation/command/man"]),
    ("dirs", &["automation/compose"]),
    ("index::HttpIndex", &["index", "automation/compose/publication"]),
    ("project::mercurial", &["project/mercurial", "project/lib", "automation/command", "automation/compose"]),
    // Only the composition reads the environment; which options were typed, those who declare them ask. A build has one of its own.
    ("std::env", &["automation/compose", "automation/build"]),
    ("std::env::args_os", &["automation/main", "automation/globals"]),
    ("std::env::consts", EVERYWHERE),
    // Only `ui` prints. A machine's processes are none of the command's: they speak to the guard, and the guard to its driver.
    ("reqwest", &["index"]),
    ("std::io::stdout", &["automation/ui", "local/files", "local/probe"]),
    ("std::io::stderr", &["automation/ui", "local/files", "local/guard", "local/init"]),
    // Those that hand a stream on or compare it have nothing of their own to say.
    (
        "rustix::stdio::stdout",
        &["automation/ui", "automation/command/report_file", "archive/place", "connection/interactive", "local/guard"],
    ),
    (
        "rustix::stdio::stderr",
        &["automation/ui", "automation/command/report_file", "archive/place", "connection/interactive"],
    ),
    ("webbrowser", &["automation/compose/browser"]),
    ("tokio::io::stdout", &["automation/ui"]),
    ("unicode_width", &["automation/ui"]),
    ("tokio::io::stderr", &["automation/ui"]),
    // The composition builds what a run works with; an adapter's own folder may as well.
    ("local::LocalProvider", &["local", SITES]),
    ("local::images::LocalImages", &["local", SITES]),
    ("connection::host::HostProvider", &["connection/host", SITES]),
    ("connection::dummy", &["connection"]),
    ("connection::ssh::SshConnector", &["connection", SITES, EC2_SITES, WITHOUT_EC2]),
    ("aws::ec2::Ec2Provider", &["aws/ec2", EC2_SITES]),
    ("aws::ec2::images::Ec2Images", &["aws/ec2", EC2_SITES]),
    ("aws::ec2::purge::Ec2Account", &["aws/ec2", EC2_SITES]),
    ("aws::lambda::LambdaFunctions", &["aws/lambda", EC2_SITES]),
    ("aws::ssm::SsmConnector", &["aws/ssm", EC2_SITES]),
    ("automation::compose::ec2::by_address", &[EC2_SITES]),
    // What a machine's system is asked is the guest's to say; a user's own words are the user's.
    ("model::task::Command::new", &["model/task", "guest", "automation/command/machine/exec"]),
    ("model::task::Command::default", &["model/task", "guest"]),
    ("model::task::Command::{}", &["model/task", "guest"]),
    (
        "model::machine::Platform::Linux",
        &["model/machine", "guest", "project", "connection/dummy", "automation/compose/mod", "aws/ec2/platform"],
    ),
    (
        "model::machine::Platform::Windows",
        &["model/machine", "guest", "connection/names", "connection/process", "project", "aws/ec2/platform"],
    ),
    (
        "guest::linux",
        &[
            "guest",
            "local/images/bootstrap",
            "project/declared",
            "project/mercurial",
            "project/command",
            "project/work_folder",
        ],
    ),
    ("guest::Shell", &["guest"]),
    // Programs of this computer.
    (
        "std::process::Command",
        &["local", "model/base/leash", "automation/build", "automation/compose/editor", "automation/compose/releaser"],
    ),
    ("tokio::process", &["local", "model/base/leash", "project/program", "project/signing"]),
];

/// `(macro, where it may be called)`.
const MACROS: &[(&str, Places)] = &[
    // The other tells Cargo.
    ("println", &["automation/ui", "automation/build"]),
    ("eprintln", &["automation/ui"]),
    ("print", &["automation/ui"]),
    ("eprint", &["automation/ui"]),
    ("dbg", &[]),
    ("include_bytes", &["guest", "local/images", "project"]),
    ("include_dir", &["project"]),
    ("include_str", &["guest", "project"]),
];

/// `(method with arguments, where it may be called)`: what takes text for a machine's shell.
const METHODS: &[(&str, Places)] = &[
    ("text", &["guest", "project", "archive/read", "aws/ssm", "automation/command/man"]),
    ("line", &["guest", "automation/command/machine/exec", "automation/ui", "state/settings"]),
    ("quoted_line", &["guest", "automation/command/internal"]),
];

/// `(text within a name or a string, where it may stand)`, in lower case.
const WORDS: &[(&str, Places)] = &[
    (
        "mercurial",
        &[
            "project/mercurial",
            "project/lib",
            "project/program",
            "project/starter",
            "automation/command",
            "automation/compose",
        ],
    ),
    ("unsafe", &["local", "model/base/leash"]),
    // What an image can be told, and how its steps get it, its definition says.
    ("hg_", &["project/mercurial"]),
    (
        "python",
        &[
            "project/facts",
            "project/starter",
            "project/mercurial",
            "guest/windows",
            "report",
            "model/outcome",
            "model/subject",
            "flow/testing/verdict",
            "automation/command/run_tests_linux",
            "automation/command/run_tests_windows",
            "automation/command/build_windows_wheel",
            "automation/command/help/examples",
        ],
    ),
    // It goes on into what is mounted below.
    ("remove_dir_all", &[]),
];

/// `(folder, what of its own crate stands above it or beside it)`.
const UPWARDS: &[(&str, &[&str])] = &[
    ("automation/globals", &["cli", "command", "compose", "ui"]),
    ("automation/ui", &["cli", "command", "compose", "globals"]),
    ("automation/compose", &["cli", "command"]),
    ("automation/command", &["cli"]),
    ("project/image", &["declared", "mercurial", "reports"]),
    ("project/mercurial", &["declared", "image"]),
    ("project/declared", &["mercurial"]),
    ("project/reports", &["declared", "image", "mercurial"]),
];

fn is_within(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place) || path.with_extension("").starts_with(place))
}

fn split(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

/// The borders of paths, and the names by which modules know what is behind them.
struct Borders<'a> {
    names: Names<'a>,
    /// Every path with the row that it stands for.
    paths: Vec<(Vec<String>, &'static str, Places)>,
}

impl<'a> Borders<'a> {
    fn of(modules: &'a [Module]) -> Self {
        let names = Names::of(modules);
        let every = |(row, places): &(&'static str, Places)| {
            let (row, places) = (*row, *places);
            let meanings = names.meanings(&split(row)).into_iter();
            meanings.map(|path| (path, row, places)).collect::<Vec<_>>()
        };
        let paths = PATHS.iter().flat_map(every).collect();
        Self { names, paths }
    }
}

/// What is wrong with the code of one module.
fn faults(borders: &Borders<'_>, module: &Module) -> Vec<String> {
    let names = &borders.names;
    let mut faults = Vec::new();
    for mark in &module.marks {
        let mut outside = |what: &str, places: Places| {
            if !is_within(&module.path, places) {
                faults.push(format!("{}:{}: `{what}` stands outside of {places:?}", module.path.display(), mark.line));
            }
        };
        match &mark.what {
            What::Path(path) if path[path.len() - 1] == "*" => outside("*", &[]),
            What::Path(path) => {
                for path in names.meanings(path) {
                    let rows = borders.paths.iter().filter(|(row, ..)| path.starts_with(row));
                    if let Some((_, row, places)) = rows.max_by_key(|(row, ..)| row.len()) {
                        outside(row, places);
                    }
                }
            }
            What::Macro(path) => {
                let rows = MACROS.iter().filter(|(row, _)| path[path.len() - 1] == *row);
                rows.for_each(|(row, places)| outside(row, places));
            }
            What::Method(name) => {
                METHODS.iter().filter(|(row, _)| name == row).for_each(|(row, places)| outside(row, places));
            }
            What::Word(text) | What::Text(text) => {
                let text = text.to_lowercase();
                WORDS.iter().filter(|(row, _)| text.contains(row)).for_each(|(row, places)| outside(row, places));
            }
        }
    }
    faults.extend(upwards(names, module));
    faults.dedup();
    faults
}

/// What a module names of its own crate that stands above it or beside it.
fn upwards(names: &Names<'_>, module: &Module) -> Vec<String> {
    let own = &module.name[0];
    let is_above = |path: &[String]| match module.path.starts_with("model/base") {
        true => path[1] != "base",
        false => {
            UPWARDS.iter().any(|(folder, above)| module.path.starts_with(folder) && above.contains(&path[1].as_str()))
        }
    };
    let mut faults = Vec::new();
    for mark in &module.marks {
        let (What::Path(path) | What::Macro(path)) = &mark.what else { continue };
        let wrong = names.meanings(path).into_iter().find(|path| path.len() > 1 && path[0] == *own && is_above(path));
        faults
            .extend(wrong.map(|path| format!("{}:{}: names `{}`", module.path.display(), mark.line, path.join("::"))));
    }
    faults
}

#[test]
fn what_has_a_border_stays_inside_it() {
    let (modules, lost) = product();
    assert!(modules.len() > 200, "the source is not where this test looks for it");
    let borders = Borders::of(modules);
    let faults = modules.iter().flat_map(|module| faults(&borders, module));
    let faults: Vec<String> = lost.iter().cloned().chain(faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A row that names what is not there keeps nothing.
#[test]
fn every_row_names_something_of_the_product() {
    let source = support::root().join("src");
    let others = [MACROS, METHODS, WORDS].into_iter().flatten();
    for place in PATHS.iter().chain(others).flat_map(|(_, places)| *places) {
        assert!(source.join(place).is_dir() || source.join(format!("{place}.rs")).is_file(), "there is no `{place}`");
    }
    let (modules, _) = product();
    let names = Names::of(modules);
    let named = modules.iter().flat_map(|module| &module.marks).filter_map(|mark| match &mark.what {
        What::Path(path) => Some(path),
        _ => None,
    });
    let named: std::collections::BTreeSet<_> = named.flat_map(|path| names.meanings(path)).collect();
    let ours = PATHS.iter().filter(|(row, _)| source.join(split(row)[0].as_str()).is_dir());
    for (row, _) in ours {
        let mut row = split(row);
        // Nobody need make one by each of the ways.
        row.truncate(row.len() - usize::from(["new", "default", "{}"].contains(&row[row.len() - 1].as_str())));
        let is_named = names.meanings(&row).iter().any(|row| named.iter().any(|path| path.starts_with(row)));
        assert!(is_named, "nothing is called `{}`", row.join("::"));
    }
}

/// The faults of a text that would stand at `path` in the product.
struct Check(Borders<'static>);

impl Check {
    fn new() -> Self {
        Self(Borders::of(&product().0))
    }

    fn faults(&self, path: &str, text: &str) -> usize {
        Module::of(Path::new(path), text).iter().map(|module| faults(&self.0, module).len()).sum()
    }

    fn upwards(&self, path: &str, text: &str) -> usize {
        Module::of(Path::new(path), text).iter().map(|module| upwards(&self.0.names, module).len()).sum()
    }
}

/// A file that no row of the tables allows anything.
const OUTSIDE: &str = "flow/x.rs";

#[test]
fn a_path_that_crosses_its_border_is_found_however_it_is_written() {
    let check = Check::new();
    for (row, places) in PATHS.iter().filter(|(_, places)| *places != EVERYWHERE) {
        let path = row.strip_suffix("::{}").unwrap_or(row);
        let value = if path.len() < row.len() { " { a }" } else { "" };
        // A crate alone is named by imports.
        let path = &if path.contains("::") { path.to_owned() } else { format!("{path}::x") };
        let (above, last) = path.rsplit_once("::").unwrap();
        let mut ways = vec![
            format!("use {above} as up; fn f() {{ let x = up::{last}{value}; }}"),
            format!("use {above}::{{{last} as other}}; fn f() {{ let x = other{value}; }}"),
            format!("fn f() {{ let x = {path}{value}; }}"),
            format!("fn f() {{ format!(\"{{}}\", {path}{value}); }}"),
            format!("#[cfg(test)]\nmod tests {{}}\nfn f() {{ let u = \"http://x\"; let x = {path}{value}; }}"),
            format!("mod within {{ fn f() {{ let x = {path}{value}; }} }}"),
            format!("mod within {{ use {path} as other; fn f() {{ let x = other{value}; }} }}"),
            format!("type Other = {path}; fn f() {{ let x = Other{value}; }}"),
        ];
        if value.is_empty() {
            ways.extend([format!("use {path};"), format!("use {path} as other;")]);
        }
        for way in &ways {
            assert!(check.faults(OUTSIDE, way) > 0, "`{row}`: {way}");
        }
        for place in *places {
            assert_eq!(check.faults(&format!("{place}.rs"), &ways[2]), 0, "`{row}` in `{place}`");
        }
        let silent = [format!("// {path}"), format!("#[cfg(test)]\nmod tests {{ {} }}", ways[2])];
        silent.iter().for_each(|way| assert_eq!(check.faults(OUTSIDE, way), 0, "{way}"));
    }
}

#[test]
fn macros_methods_and_words_that_cross_their_borders_are_found() {
    let check = Check::new();
    let holds = |row: &str, places: &[&str], ways: &[String]| {
        for way in ways {
            assert!(check.faults(OUTSIDE, way) > 0, "`{row}`: {way}");
            let inside =
                |place: &&str| assert_eq!(check.faults(&format!("{place}.rs"), way), 0, "`{row}` in `{place}`");
            places.iter().for_each(inside);
        }
    };
    for (row, places) in MACROS {
        let call = format!("{row}!(\"x\");");
        let ways = [
            "fn f() { CALL }",
            "fn f() { let u = \"http://x\"; CALL }",
            "fn f() { std::CALL }",
            "fn f() { select! { _ = a => { CALL } } }",
        ];
        holds(row, places, &ways.map(|way| way.replace("CALL", &call)));
    }
    for (row, places) in METHODS {
        holds(row, places, &[format!("fn f() {{ guest.{row}(\"cd /tmp && ls\"); }}")]);
        assert_eq!(check.faults(OUTSIDE, &format!("fn f() {{ fault.{row}(); }}")), 0);
    }
    for (row, places) in WORDS.iter().filter(|(row, _)| *row != "unsafe") {
        holds(row, places, &[format!("fn {row}() {{}}"), format!("const A: &str = \"of {row}s\";")]);
    }
    holds(
        "unsafe",
        &["local/x", "model/base/leash"],
        &["#![expect(unsafe_code)]", "fn f() { unsafe { g() } }"].map(str::to_owned),
    );
}

#[test]
fn crossings_that_an_earlier_check_did_not_see_are_found() {
    let check = Check::new();
    for (path, text) in [
        ("flow/x.rs", "fn f() { writeln!(std::io::stdout(), \"x\"); }"),
        ("flow/x.rs", "use std::io; fn f() { io::stderr().write_all(b\"x\"); }"),
        ("automation/command/x.rs", "use model::task::Command as Task; fn f() { Task::new(\"sh\").arg(\"-c\"); }"),
        ("flow/x.rs", "use model::task::Command; fn f() { Command::new(\"rm\"); }"),
        ("flow/x.rs", "fn f(guest: &dyn Guest) { guest.text(\"cd /tmp && ls\"); }"),
        ("flow/x.rs", "use model::machine::Platform; fn f() { guest::of(Platform::Linux); }"),
        ("automation/command/x.rs", "use connection::dummy::provider::DummyProvider; fn f() { DummyProvider::new(); }"),
        ("automation/command/x.rs", "use local::images::LocalImages;"),
        ("automation/command/x.rs", "fn f() { std::env::var(\"TERM\"); }"),
        ("flow/x.rs", "use model::task::*;"),
    ] {
        assert!(check.faults(path, text) > 0, "{path}: {text}");
    }
}

#[test]
fn within_a_crate_too_what_stands_above_or_beside_is_found() {
    let check = Check::new();
    for (folder, above) in UPWARDS {
        let own = folder.split('/').next().unwrap();
        for above in *above {
            assert_eq!(
                check.upwards(&format!("{folder}/x.rs"), &format!("use crate::{above}::x;")),
                1,
                "{folder}: {above}"
            );
            assert_eq!(
                check.upwards(&format!("{folder}/x.rs"), &format!("use super::super::{above};")),
                1,
                "{folder}: {above}"
            );
            assert_eq!(check.upwards(&format!("{own}/x.rs"), &format!("use crate::{above}::x;")), 0, "{own}: {above}");
        }
    }
    assert_eq!(check.upwards("model/base/text.rs", "use crate::outcome::Verdict;"), 1);
    assert_eq!(check.upwards("model/base/text.rs", "use super::super::outcome::Verdict;"), 1);
    assert_eq!(check.upwards("model/base/text.rs", "use crate::base::id::RunId; use super::quote;"), 0);
}
