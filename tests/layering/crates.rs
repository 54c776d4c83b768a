//! What the manifests of crates may name.

use std::collections::BTreeMap;

/// The crates of the tool from the bottom, each with those that it may depend on. Adapters know no sibling but the archive.
const CRATES: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("guest", &["model"]),
    ("archive", &["guest", "model"]),
    ("connection", &["archive", "guest", "model"]),
    ("index", &["model"]),
    ("local", &["guest", "model"]),
    ("aws", &["archive", "guest", "model"]),
    ("state", &["guest", "model"]),
    ("project", &["guest", "model"]),
    ("report", &["guest", "model"]),
    ("flow", &["guest", "model"]),
    (
        "automation",
        &["archive", "aws", "connection", "flow", "guest", "index", "local", "model", "project", "report", "state"],
    ),
];

/// What of others' crates stays inside one crate or two.
const HOMES: [(&str, &[&str]); 23] = [
    ("anstyle", &["automation"]),
    ("askama", &["report"]),
    ("aws-config", &["aws", "automation"]),
    ("aws-sdk-", &["aws"]),
    ("clap", &["automation"]),
    ("dirs", &["automation"]),
    ("globset", &["flow", "project"]),
    ("include_dir", &["project"]),
    ("ipnet", &["aws", "automation"]),
    ("nix", &["automation", "local"]),
    ("pep440_rs", &["project"]),
    ("quick-junit", &["report"]),
    ("reqwest", &["index"]),
    ("rusqlite", &["state"]),
    ("russh", &["connection"]),
    ("rustls", &["index"]),
    ("semver", &["automation", "model"]),
    ("strsim", &["model"]),
    ("tar", &["archive"]),
    ("toml", &["project", "state"]),
    ("unicode-width", &["automation"]),
    ("webbrowser", &["automation"]),
    ("zip", &["project"]),
];

/// The crates of the workspace, those of tests and examples included.
fn members() -> Vec<String> {
    let workspace = std::fs::read_to_string(support::root().join("Cargo.toml")).unwrap();
    let workspace: toml::Table = workspace.parse().unwrap();
    let named = workspace["workspace"]["dependencies"].as_table().unwrap();
    named.iter().filter(|(_, of)| of.get("path").is_some()).map(|(name, _)| name.clone()).collect()
}

/// What is wrong with the manifest of the crate `own`.
fn forbidden(own: &str, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    // What is built on one system alone, or to build the crate, is a dependency too; so is one under another name.
    let kinds = ["dependencies", "build-dependencies"];
    let systems = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let systems = systems.filter_map(|(_, system)| system.as_table());
    let tables = std::iter::once(&manifest).chain(systems);
    let tables = tables.flat_map(|table| kinds.into_iter().filter_map(|kind| table.get(kind)));
    let named = tables.filter_map(toml::Value::as_table).flatten();
    let (_, allowed) = CRATES.iter().find(|(name, _)| *name == own).unwrap_or_else(|| panic!("`{own}` has no place"));
    let members = members();
    let is_wrong = |name: &str, of: &toml::Value| {
        let is_ours = of.get("path").is_some() || members.iter().any(|member| member == name);
        let home = HOMES.iter().find(|(start, _)| name.starts_with(start));
        if is_ours { !allowed.contains(&name) } else { home.is_some_and(|(_, at)| !at.contains(&own)) }
    };
    let named = named.map(|(name, of)| (of.get("package").and_then(toml::Value::as_str).unwrap_or(name), of));
    let wrong = named.filter(|(name, of)| is_wrong(name, of));
    wrong.map(|(name, _)| format!("`{own}` depends on `{name}`")).collect()
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
fn a_manifest_that_names_what_it_must_not_is_found() {
    let manifest = |own: &str, name: &str| forbidden(own, &format!("[dependencies]\n{name}.workspace = true\n")).len();
    let places = CRATES.iter().map(|(name, _)| *name);
    for (at, (own, allowed)) in CRATES.iter().enumerate() {
        for (other, name) in places.clone().enumerate() {
            assert_eq!(manifest(own, name), usize::from(!allowed.contains(&name)), "`{own}` on `{name}`");
            assert!(other < at || !allowed.contains(&name), "the table lets `{own}` depend upwards, on `{name}`");
        }
        for name in ["support", "aws-emulator"] {
            assert_eq!(manifest(own, name), 1, "a crate of tests or examples in `{own}`");
        }
    }
    for (start, homes) in HOMES {
        let name = if start.ends_with('-') { format!("{start}x") } else { start.to_owned() };
        for own in places.clone() {
            assert_eq!(manifest(own, &name), usize::from(!homes.contains(&own)), "`{own}` on `{name}`");
        }
    }
    assert_eq!(manifest("flow", "serde"), 0);
    let hidden = "[dependencies]\nx = { package = \"local\", path = \"../local\" }\nnew = { path = \"../new\" }\n\
                  [target.'cfg(unix)'.dependencies]\naws = {}\n[target.'cfg(unix)'.build-dependencies]\nflow = {}\n";
    assert_eq!(forbidden("state", hidden).len(), 4, "under another name, elsewhere, and on one system alone");
}
