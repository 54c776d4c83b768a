//! What a Python project asks for.

use std::path::Path;

use model::base::quote;

use crate::starter::{Kind, apt, read};

/// The minor versions of Python 3 that Debian 12 and Debian 13 have.
const DEBIAN_12: u32 = 11;
const DEBIAN_13: u32 = 13;

/// The groups of dependencies that tests need.
const GROUPS: [&str; 4] = ["test", "tests", "testing", "dev"];

/// Lets `pip` install for all users, on a machine that is nobody's.
const PIP: &str = "PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore pip3 install";

/// The project in `folder`.
pub(super) fn kind(folder: &Path) -> Kind {
    let document: toml::Table = read(folder, "pyproject.toml").parse().unwrap_or_default();
    let needs = needs(folder, &document);
    let (setup, mut note) = match needs.is_empty() {
        true => (apt("python3-pytest"), unread(folder)),
        false => {
            let note = "What the project's files say that it needs: change this line with them.".to_owned();
            (format!("{} && {PIP} {}", apt("python3-pip python3-pytest"), needs.join(" ")), Some(note))
        }
    };
    let least = least_version(&document);
    if let Some(minor) = least.filter(|minor| *minor > DEBIAN_13) {
        note = Some(format!(
            "Debian 13 has Python 3.{DEBIAN_13}, and the project asks for 3.{minor}: name an image that has it."
        ));
    }
    // Modules that do not lie at the top are not found there.
    let env = folder.join("src").is_dir().then(|| "PYTHONPATH = \"src\"".to_owned());
    Kind {
        what: "a Python project",
        distro: least.filter(|minor| *minor > DEBIAN_12).map(|_| "debian13"),
        note,
        setup: Some(setup),
        env,
        check: "python3 -m pytest \"$@\"".to_owned(),
        suite: Some("preset = \"pytest\"".to_owned()),
        ..Kind::default()
    }
}

/// What is to be known where a program says what the project needs.
fn unread(folder: &Path) -> Option<String> {
    let found = ["setup.py", "setup.cfg"].into_iter().find(|name| read(folder, name).contains("install_requires"))?;
    let further = format!("apt-get install -y python3-pip python3-pytest && {PIP} NAME");
    Some(format!("`{found}` was not asked what it needs: add it here, as in `{further}`."))
}

/// The least minor version of Python 3 that the project runs on.
fn least_version(document: &toml::Table) -> Option<u32> {
    let wanted = document.get("project")?.get("requires-python")?.as_str()?;
    let bounds =
        wanted.split(',').filter_map(|bound| bound.trim().strip_prefix(">=").or(bound.trim().strip_prefix("~=")));
    let minor = |bound: &str| bound.trim().strip_prefix("3.")?.split('.').next()?.parse::<u32>().ok();
    bounds.filter_map(minor).max()
}

/// What it needs, each a word for the shell: by `pyproject.toml` and by `requirements*.txt`.
fn needs(folder: &Path, document: &toml::Table) -> Vec<String> {
    let name = document.get("project").and_then(|project| project.get("name")?.as_str().map(plain));
    let mut needs: Vec<String> = Vec::new();
    for need in declared(document).into_iter().chain(listed(folder)) {
        let is_itself = name.as_ref().is_some_and(|name| *name == plain(&need));
        if let Ok(word) = quote::word(&need)
            && !is_itself
            && !needs.contains(&word)
        {
            needs.push(word);
        }
    }
    needs
}

/// The name at the beginning of a requirement, as the index compares names.
fn plain(requirement: &str) -> String {
    let name = requirement.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).next().unwrap_or_default();
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// By `pyproject.toml`: its dependencies and those of its tests; of Poetry's own tables the names.
fn declared(document: &toml::Table) -> Vec<String> {
    let at = |path: &[&str]| {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(document.get(*first)?, |value, key| value.get(key))
    };
    let texts = |value: Option<&toml::Value>| -> Vec<String> {
        let all = value.and_then(toml::Value::as_array).into_iter().flatten();
        all.filter_map(|need| need.as_str().map(str::to_owned)).collect()
    };
    let names = |value: Option<&toml::Value>| -> Vec<String> {
        let all = value.and_then(toml::Value::as_table).into_iter().flat_map(|table| table.keys());
        all.filter(|name| *name != "python").cloned().collect()
    };
    let mut found = texts(at(&["project", "dependencies"]));
    for group in GROUPS {
        found.extend(texts(at(&["project", "optional-dependencies", group])));
        found.extend(texts(at(&["dependency-groups", group])));
    }
    found.extend(names(at(&["tool", "poetry", "dependencies"])));
    for group in GROUPS {
        found.extend(names(at(&["tool", "poetry", "group", group, "dependencies"])));
    }
    found
}

/// By the files `requirements*.txt`, in the order of their names, without options and what lies in the project itself.
fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_list = |name: &String| name.starts_with("requirements") && name.ends_with(".txt");
    let mut files: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_list).collect();
    files.sort();
    let need = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default();
        let line = line.split(" --").next().unwrap_or_default().trim_end_matches('\\').trim();
        line.starts_with(|first: char| first.is_ascii_alphanumeric()).then(|| line.to_owned())
    };
    files.iter().flat_map(|name| read(folder, name).lines().filter_map(need).collect::<Vec<_>>()).collect()
}
