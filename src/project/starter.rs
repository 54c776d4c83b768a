//! The file `automation.toml` that a project begins with, by what is seen of the project.

mod python;
mod rust;

use std::path::Path;

/// A project's first file, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// What the project is taken for, with what shows it.
    pub seen: String,
    /// The file.
    pub text: String,
}

/// What is known of a kind of project.
#[derive(Default)]
struct Kind {
    /// What it is, for people.
    what: &'static str,
    /// The distribution, where the usual one is too old for today's projects.
    distro: Option<&'static str>,
    /// What is to be known of the set-up, a sentence.
    note: Option<String>,
    /// The line that root runs once; none where nothing is needed.
    setup: Option<String>,
    /// Whether its command fetches from a registry.
    fetches: bool,
    /// A variable that its command needs, `NAME = "VALUE"`.
    env: Option<String>,
    /// The command that runs all tests, without single quotes.
    check: String,
    /// The keys of the table of its tests, where the runner is known.
    suite: Option<String>,
}

/// The first of these files that a folder has.
fn first(folder: &Path, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| folder.join(name).is_file())
}

/// The text of a file of the project; empty where it cannot be read.
fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// The line that installs packages of the distribution.
fn apt(packages: &str) -> String {
    format!("apt-get install -y {packages}")
}

/// The target of a Makefile that runs the tests; its default one where it has none of the usual names.
fn make_target(folder: &Path, name: &str) -> String {
    let text = read(folder, name);
    let has = |target: &str| {
        text.lines().any(|line| line.strip_prefix(target).is_some_and(|rest| rest.trim_start().starts_with(':')))
    };
    let target = ["check", "test", "tests"].into_iter().find(|target| has(target));
    target.map_or_else(|| "make \"$@\"".to_owned(), |target| format!("make {target} \"$@\""))
}

fn node(folder: &Path) -> Kind {
    let install = if folder.join("package-lock.json").is_file() { "npm ci" } else { "npm install" };
    // Other runners have no preset.
    let has_own_runner = read(folder, "package.json").contains("node --test");
    Kind {
        what: "a Node.js project",
        distro: Some("debian13"),
        setup: Some(apt("nodejs npm")),
        fetches: true,
        check: format!("{install} && npm test -- \"$@\""),
        suite: has_own_runner.then(|| format!("preset = \"node\"\nbuild = \"{install}\"")),
        ..Kind::default()
    }
}

fn cmake(folder: &Path) -> Kind {
    let text = read(folder, "CMakeLists.txt").to_lowercase();
    // Without one of them there is nothing for `ctest` to run.
    let has_tests = ["enable_testing", "include(ctest)", "add_test"].iter().any(|word| text.contains(word));
    let check = "cmake -B build && cmake --build build && ctest --test-dir build --output-on-failure \"$@\"";
    Kind {
        what: "a CMake project",
        setup: Some(apt("build-essential cmake")),
        check: check.to_owned(),
        suite: has_tests.then(|| "preset = \"ctest\"".to_owned()),
        ..Kind::default()
    }
}

fn configured(seen: &str) -> Kind {
    // A release has the script, and a checkout makes it.
    let (packages, before) = match seen {
        "configure" => ("build-essential", ""),
        _ => ("build-essential autoconf automake libtool", "autoreconf -fi && "),
    };
    Kind {
        what: "a project with configure",
        setup: Some(apt(packages)),
        check: format!("{before}./configure && make && make check \"$@\""),
        ..Kind::default()
    }
}

/// The kind of a project, with the file that shows it.
fn kind_of(folder: &Path) -> Option<(Kind, &'static str)> {
    if folder.join("mercurial/__init__.py").is_file()
        && let Some(seen) = first(folder, &["tests/run-tests.py"])
    {
        let packages = "gcc make gettext python3-dev python3-setuptools python3-setuptools-scm";
        let (what, check) = ("Mercurial itself", "make local \"$@\"".to_owned());
        return Some((Kind { what, setup: Some(apt(packages)), check, ..Kind::default() }, seen));
    }
    if let Some(seen) = first(folder, &["Cargo.toml"]) {
        return Some((rust::kind(folder), seen));
    }
    if let Some(seen) = first(folder, &["package.json"]) {
        return Some((node(folder), seen));
    }
    if let Some(seen) = first(folder, &["pyproject.toml", "setup.py", "setup.cfg"]) {
        return Some((python::kind(folder), seen));
    }
    if let Some(seen) = first(folder, &["go.mod"]) {
        let kind = Kind {
            what: "a Go project",
            distro: Some("debian13"),
            setup: Some(apt("golang-go ca-certificates")),
            fetches: true,
            check: "go test \"${@:-./...}\"".to_owned(),
            suite: Some("preset = \"go\"".to_owned()),
            ..Kind::default()
        };
        return Some((kind, seen));
    }
    if let Some(seen) = first(folder, &["CMakeLists.txt"]) {
        return Some((cmake(folder), seen));
    }
    if let Some(seen) = first(folder, &["configure", "configure.ac"]) {
        return Some((configured(seen), seen));
    }
    let seen = first(folder, &["GNUmakefile", "makefile", "Makefile"])?;
    let (what, check) = ("a project with a Makefile", make_target(folder, seen));
    Some((Kind { what, setup: Some(apt("build-essential")), check, ..Kind::default() }, seen))
}

/// The file for the project in `folder`.
pub fn starter(folder: &Path) -> Starter {
    let Some((kind, file)) = kind_of(folder) else {
        let what = "a project of no kind that is known here";
        let kind = Kind { what, check: "ls -l \"$@\"".to_owned(), ..Kind::default() };
        return Starter { seen: what.to_owned(), text: render(&kind, what, false) };
    };
    let seen = format!("{} (`{file}`)", kind.what);
    Starter { text: render(&kind, &seen, true), seen }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The file; `is_known` says whether its command runs the project's tests, or only shows that it works.
fn render(kind: &Kind, seen: &str, is_known: bool) -> String {
    let distro = match kind.distro {
        Some(distro) => format!("distro = \"{distro}\""),
        None => "# distro = \"debian13\"".to_owned(),
    };
    let note = kind.note.as_ref().map(|note| format!("# {note}\n")).unwrap_or_default();
    let setup = match &kind.setup {
        None => "# setup = \"apt-get install -y PACKAGE\"".to_owned(),
        Some(setup) => format!("setup = {}", quoted(setup)),
    };
    let env = match &kind.env {
        Some(env) => format!("env = {{ {env} }}"),
        None => "# env = { CI = \"true\" }".to_owned(),
    };
    let network = if kind.fetches { "network = \"host\"" } else { "# network = \"host\"" };
    let suite = match &kind.suite {
        // What is declared above is for commands; tests have variables of their own.
        Some(suite) => {
            let env = kind.env.as_ref().map(|env| format!("env = {{ {env} }}\n")).unwrap_or_default();
            format!("\n# `automation run-tests`\n[tests.all]\n{suite}\n{env}")
        }
        None => String::new(),
    };
    let (own, description) = match is_known {
        true => ("", "All tests"),
        false => (
            "# It lists the files, and stands here for your own: what runs the tests, such as \"./test.sh\".\n",
            "The files",
        ),
    };
    format!(
        "# What `automation run` does here: {seen}.\n\
         # Options of the command line come before this file.\n\
         \n\
         # The machine: `automation image list` shows which images there are.\n\
         image = \"plain\"\n\
         {distro}\n\
         # A line for the shell, or a file, that root runs once; the result is kept as an image of its own.\n\
         {note}{setup}\n\
         # A local machine has a network of its own, with nobody else on it, unless it is to see this computer's.\n\
         {network}\n\
         {env}\n\
         \n\
         # `automation run check`\n\
         {own}[command.check]\n\
         description = \"{description}\"\n\
         run = '{check}'\n\
         # timeout = \"30m\"\n\
         # artifacts = [\"out/*\"]\n\
         {suite}",
        check = kind.check,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{NAME, ProjectFile};

    /// The files of a project, what it is taken for, and how its command begins.
    type Case = (&'static [(&'static str, &'static str)], &'static str, &'static str);

    fn made(files: &[(&str, &str)]) -> (Starter, ProjectFile) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let starter = starter(folder.path());
        std::fs::write(folder.path().join(NAME), &starter.text).unwrap();
        let file = ProjectFile::find(folder.path(), None).unwrap().unwrap();
        for suite in file.suites() {
            crate::declared::load_suite(&file.path, suite).unwrap();
        }
        (starter, file)
    }

    fn setup(files: &[(&str, &str)]) -> String {
        made(files).1.usual().setup.unwrap().text
    }

    #[test]
    fn each_kind_of_project_gets_a_file_that_can_be_read() {
        let cases: &[Case] = &[
            (&[("Cargo.toml", "")], "a Rust project", "cargo test \"$@\""),
            (&[("package.json", "")], "a Node.js project", "npm install && npm test -- \"$@\""),
            (&[("package.json", ""), ("package-lock.json", "")], "a Node.js project", "npm ci && npm test"),
            (&[("configure", ""), ("Makefile", "")], "a project with configure", "./configure && make && make check"),
            (&[("configure.ac", "")], "a project with configure", "autoreconf -fi"),
            (&[("setup.py", ""), ("Makefile", "")], "a Python project", "python3 -m pytest"),
            (&[("go.mod", "")], "a Go project", "go test \"${@:-./...}\""),
            (&[("CMakeLists.txt", "")], "a CMake project", "cmake -B build"),
            (&[("Makefile", "all:\n\ntest : all\n\t./t\n")], "a project with a Makefile", "make test"),
            (&[("Makefile", "all:\n\ttesting: x\n")], "a project with a Makefile", "make"),
            (
                &[("mercurial/__init__.py", ""), ("tests/run-tests.py", ""), ("setup.py", "")],
                "Mercurial itself",
                "make local",
            ),
            (&[("README", "")], "no kind that is known", "ls -l \"$@\""),
        ];
        for (files, what, check) in cases {
            let (starter, file) = made(files);
            assert!(starter.seen.contains(what), "{}", starter.seen);
            let words = file.command("check", &["further".to_owned()]).unwrap().words;
            assert!(words[2].starts_with(check), "{words:?}");
        }
    }

    #[test]
    fn tests_are_declared_where_a_preset_runs_them() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("pyproject.toml", "")], "pytest"),
            (&[("Cargo.toml", "")], "cargo-nextest"),
            (&[("go.mod", "")], "go"),
            (&[("CMakeLists.txt", "Include(CTest)\n")], "ctest"),
            (&[("package.json", "{\"scripts\": {\"test\": \"node --test\"}}")], "node"),
        ];
        for (files, preset) in cases {
            let (starter, file) = made(files);
            assert_eq!(file.suites(), ["all"], "{}", starter.text);
            assert!(starter.text.contains(&format!("preset = \"{preset}\"\n")), "{}", starter.text);
        }
        assert!(made(&[("CMakeLists.txt", "project(x)\n")]).1.suites().is_empty(), "it has no tests");
        assert!(made(&[("package.json", "{}")]).1.suites().is_empty(), "its runner is not known");
    }

    #[test]
    fn modules_below_src_are_found_by_commands_and_by_tests() {
        let (starter, _) = made(&[("pyproject.toml", ""), ("src/a/__init__.py", "")]);
        let (top, tests) = starter.text.split_once("[tests.all]").unwrap();
        let env = "env = { PYTHONPATH = \"src\" }";
        assert!(top.contains(env) && tests.contains(env), "{}", starter.text);
    }

    #[test]
    fn what_a_python_project_needs_is_installed() {
        let project = "[project]\nname = \"My.App\"\nrequires-python = \">=3.12\"\ndependencies = [\"requests >=2; python_version<'4'\"]\n\
                       [project.optional-dependencies]\ntest = [\"pytest-mock\", \"my-app[x]\"]\ndocs = [\"sphinx\"]\n\
                       [dependency-groups]\ndev = [\"attrs\", {include-group = \"x\"}]\n";
        let lines = "# first\nattrs\n-r requirements-dev.txt\n./local\nidna==3.7 --hash=sha256:00 \\\n    --hash=sha256:01\nsix # why\n";
        let files = [("pyproject.toml", project), ("requirements-dev.txt", lines)];
        let line = setup(&files);
        let (packages, needs) = line.split_once("pip3 install ").unwrap();
        assert!(packages.contains("python3-pip") && packages.contains("python3-pytest"), "{line}");
        let words = model::base::quote::split(needs).unwrap();
        assert_eq!(words, ["requests >=2; python_version<'4'", "pytest-mock", "attrs", "idna==3.7", "six"]);
        assert_eq!(made(&files).1.usual().distro.as_deref(), Some("debian13"), "debian12 has Python 3.11");

        let poetry = "[tool.poetry.dependencies]\npython = \"^3.9\"\nrich = \"^13\"\n[tool.poetry.group.dev.dependencies]\npytest = \"*\"\n";
        assert!(setup(&[("pyproject.toml", poetry)]).ends_with("pip3 install rich pytest"));
        assert_eq!(setup(&[("pyproject.toml", "")]), "apt-get install -y python3-pytest");
        let (starter, _) = made(&[("setup.py", "setup(install_requires=['x'])")]);
        assert!(starter.text.contains("# `setup.py` was not asked what it needs"), "{}", starter.text);
    }

    #[test]
    fn a_rust_project_gets_the_version_that_it_asks_for() {
        let package = |version: &str| format!("[package]\nname = \"x\"\nrust-version = \"{version}\"\n");
        assert_eq!(setup(&[("Cargo.toml", &package("1.85"))]), "apt-get install -y cargo");
        let newer = made(&[("Cargo.toml", "[workspace.package]\nrust-version = \"1.86.1\"\n")]);
        assert!(newer.0.text.contains("Debian 13 has Rust 1.85, and `Cargo.toml` asks for 1.86.1"), "{}", newer.0.text);
        let of_newer = newer.1.usual();
        assert!(of_newer.setup.unwrap().text.contains("rustup default stable"));
        assert_eq!(of_newer.env["RUSTUP_HOME"], "/opt/rustup");
        let pinned =
            setup(&[("Cargo.toml", ""), ("rust-toolchain.toml", "[toolchain]\nchannel = \"nightly-2026-01-01\"\n")]);
        assert!(pinned.contains("rustup default nightly-2026-01-01"), "{pinned}");
        assert!(setup(&[("Cargo.toml", ""), ("rust-toolchain", "1.70.0\n")]).contains("rustup default 1.70.0"));
    }
}
