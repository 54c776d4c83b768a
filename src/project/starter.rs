//! The file `automation.toml` that a project begins with, by what is seen of the project.

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
struct Kind {
    /// What it is, for people.
    what: &'static str,
    /// The distribution, where the usual one is too old for today's projects.
    distro: Option<&'static str>,
    /// What root installs once.
    packages: &'static str,
    /// Whether its command fetches from a registry.
    fetches: bool,
    /// A variable that its command needs.
    env: Option<&'static str>,
    /// The command that runs all tests.
    check: String,
    /// The table of its tests, where the runner is known.
    suite: Option<&'static str>,
}

/// The first of these files that a folder has.
fn first(folder: &Path, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| folder.join(name).is_file())
}

/// The target of a Makefile that runs the tests; its default one where it has none of the usual names.
fn make_target(folder: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let has = |target: &str| {
        text.lines().any(|line| line.strip_prefix(target).is_some_and(|rest| rest.trim_start().starts_with(':')))
    };
    let target = ["check", "test", "tests"].into_iter().find(|target| has(target));
    target.map_or_else(|| "make".to_owned(), |target| format!("make {target}"))
}

/// The kind of a project, with the file that shows it.
fn kind_of(folder: &Path) -> Option<(Kind, &'static str)> {
    let kind = |what, distro, packages, fetches, check: &str, suite| Kind {
        what,
        distro,
        packages,
        fetches,
        env: None,
        check: check.to_owned(),
        suite,
    };
    let node = match folder.join("package-lock.json").is_file() {
        true => "npm ci && npm test",
        false => "npm install && npm test",
    };
    let python = "python3 -m pytest \"$@\"";
    if folder.join("mercurial/__init__.py").is_file()
        && let Some(seen) = first(folder, &["tests/run-tests.py"])
    {
        let packages = "gcc make gettext python3-dev python3-setuptools python3-setuptools-scm";
        return Some((kind("Mercurial itself", None, packages, false, "make local", None), seen));
    }
    if let Some(seen) = first(folder, &["Cargo.toml"]) {
        return Some((kind("a Rust project", Some("debian13"), "cargo", true, "cargo test \"$@\"", None), seen));
    }
    if let Some(seen) = first(folder, &["package.json"]) {
        return Some((kind("a Node.js project", Some("debian13"), "nodejs npm", true, node, None), seen));
    }
    if let Some(seen) = first(folder, &["pyproject.toml", "setup.py", "setup.cfg"]) {
        let suite = Some("preset = \"pytest\"");
        // Modules that do not lie at the top are not found there.
        let env = folder.join("src").is_dir().then_some("PYTHONPATH = \"src\"");
        return Some((Kind { env, ..kind("a Python project", None, "python3-pytest", false, python, suite) }, seen));
    }
    if let Some(seen) = first(folder, &["go.mod"]) {
        let packages = "golang-go ca-certificates";
        return Some((kind("a Go project", Some("debian13"), packages, true, "go test \"${@:-./...}\"", None), seen));
    }
    if let Some(seen) = first(folder, &["CMakeLists.txt"]) {
        let check = "cmake -B build && cmake --build build && ctest --test-dir build --output-on-failure";
        return Some((kind("a CMake project", None, "build-essential cmake", false, check, None), seen));
    }
    if let Some(seen) = first(folder, &["configure", "configure.ac"]) {
        // A release has the script, and a checkout makes it.
        let (packages, check) = match seen {
            "configure" => ("build-essential", "./configure && make && make check"),
            _ => ("build-essential autoconf automake libtool", "autoreconf -fi && ./configure && make && make check"),
        };
        return Some((kind("a project with configure", None, packages, false, check, None), seen));
    }
    let seen = first(folder, &["GNUmakefile", "makefile", "Makefile"])?;
    let check = make_target(folder, seen);
    Some((kind("a project with a Makefile", None, "build-essential", false, &check, None), seen))
}

/// The file for the project in `folder`.
pub fn starter(folder: &Path) -> Starter {
    let Some((kind, file)) = kind_of(folder) else {
        let kind = Kind {
            what: "a project of no kind that is known here",
            distro: None,
            packages: "",
            fetches: false,
            env: None,
            check: "./check.sh".to_owned(),
            suite: None,
        };
        return Starter { seen: kind.what.to_owned(), text: render(&kind, kind.what) };
    };
    let seen = format!("{} (`{file}`)", kind.what);
    Starter { text: render(&kind, &seen), seen }
}

fn render(kind: &Kind, seen: &str) -> String {
    let distro = match kind.distro {
        Some(distro) => format!("distro = \"{distro}\""),
        None => "# distro = \"debian13\"".to_owned(),
    };
    let setup = match kind.packages {
        "" => "# setup = \"apt-get install -y PACKAGE\"".to_owned(),
        packages => format!("setup = \"apt-get install -y {packages}\""),
    };
    let env = match kind.env {
        Some(env) => format!("env = {{ {env} }}"),
        None => "# env = { CI = \"true\" }".to_owned(),
    };
    let network = if kind.fetches { "network = \"host\"" } else { "# network = \"host\"" };
    let suite = match kind.suite {
        // What is declared above is for commands; tests have variables of their own.
        Some(suite) => {
            let env = kind.env.map(|env| format!("env = {{ {env} }}\n")).unwrap_or_default();
            format!("\n# `automation run-tests`\n[tests.all]\n{suite}\n{env}")
        }
        None => String::new(),
    };
    format!(
        "# What `automation run` does here: {seen}.\n\
         # Options of the command line come before this file.\n\
         \n\
         # The machine: `automation image list` shows which images there are.\n\
         image = \"plain\"\n\
         {distro}\n\
         # A line for the shell, or a file, that root runs once; the result is kept as an image of its own.\n\
         {setup}\n\
         # A local machine has a network of its own, with nobody else on it, unless it is to see this computer's.\n\
         {network}\n\
         {env}\n\
         \n\
         # `automation run check`\n\
         [command.check]\n\
         description = \"All tests\"\n\
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

    #[test]
    fn each_kind_of_project_gets_a_file_that_can_be_read() {
        let cases: &[Case] = &[
            (&[("Cargo.toml", "")], "a Rust project", "cargo test \"$@\""),
            (&[("package.json", "")], "a Node.js project", "npm install && npm test"),
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
            (&[("README", "")], "no kind that is known", "./check.sh"),
        ];
        for (files, what, check) in cases {
            let (starter, file) = made(files);
            assert!(starter.seen.contains(what), "{}", starter.seen);
            let words = file.command("check", &[]).unwrap().words;
            assert!(words[2].starts_with(check), "{words:?}");
        }
        let (_, python) = made(&[("pyproject.toml", "")]);
        assert_eq!(python.suites(), ["all"]);
    }

    #[test]
    fn modules_below_src_are_found_by_commands_and_by_tests() {
        let (starter, _) = made(&[("pyproject.toml", ""), ("src/a/__init__.py", "")]);
        let (top, tests) = starter.text.split_once("[tests.all]").unwrap();
        let env = "env = { PYTHONPATH = \"src\" }";
        assert!(top.contains(env) && tests.contains(env), "{}", starter.text);
    }
}
