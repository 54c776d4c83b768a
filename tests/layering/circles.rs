//! Which modules of a crate import which.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use super::source::{Module, product};
use super::tokens::What;

/// The modules that each module's code names, from the crate on.
fn arrows(modules: &[Module]) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let names = Names::of(modules);
    // A module within a file counts as its file.
    let files: BTreeMap<_, _> = modules.iter().rev().map(|module| (&module.path, &module.name)).collect();
    let files: BTreeSet<&Vec<String>> = files.into_values().collect();
    let file = |path: &[String]| {
        let known = (1..=path.len()).rev().map(|length| path[..length].to_vec());
        known.into_iter().find(|known| files.contains(known))
    };
    let mut arrows: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for module in modules {
        let Some(from) = file(&module.name) else { continue };
        let to = module.marks.iter().filter_map(|mark| match &mark.what {
            What::Path(path) | What::Macro(path) => Some(path),
            _ => None,
        });
        let to = to.filter(|path| path[0] == from[0]).flat_map(|path| names.meanings(path));
        let to: BTreeSet<_> = to.filter_map(|path| file(&path)).filter(|to| *to != from).collect();
        arrows.entry(from).or_default().extend(to);
    }
    arrows
}

/// Circles of modules that import each other, a module and those below it aside: these are one thing in several files.
fn circles(modules: &[Module]) -> Vec<String> {
    let related = |a: &[String], b: &[String]| a.starts_with(b) || b.starts_with(a);
    let all = arrows(modules);
    let mut apart = all.clone();
    apart.iter_mut().for_each(|(from, to)| to.retain(|to| !related(from, to)));
    // A module may import those below it, and they what it declares; but no circle leads through them to another.
    let led =
        knots(&all).into_iter().filter(|knot| !knot.iter().any(|top| knot.iter().all(|name| name.starts_with(top))));
    let found: BTreeSet<_> = knots(&apart).into_iter().chain(led).collect();
    found.iter().map(|knot| knot.iter().map(|name| name.join("::")).collect::<Vec<_>>().join(" ")).collect()
}

/// The sets of modules of which each leads to every other.
fn knots(arrows: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> BTreeSet<BTreeSet<&Vec<String>>> {
    let reach = |from| {
        let (mut known, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            open.extend(arrows.get(at).into_iter().flatten().filter(|to| known.insert(*to)));
        }
        known
    };
    let reached: BTreeMap<_, _> = arrows.keys().map(|from| (from, reach(from))).collect();
    let knot = |from: &Vec<String>| reached[from].iter().copied().filter(|to| reached[to].contains(from)).collect();
    arrows.keys().map(knot).filter(|knot: &BTreeSet<_>| knot.len() > 1).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let (modules, _) = product();
    assert!(arrows(modules).values().filter(|to| !to.is_empty()).count() > 100);
    assert_eq!(circles(modules), [""; 0], "these import each other");
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let of = |files: &[(&str, &str)]| {
        let modules: Vec<_> =
            files.iter().flat_map(|(path, text)| Module::of(std::path::Path::new(path), text)).collect();
        circles(&modules)
    };
    let below = ("flow/durable/task.rs", "use crate::durable::Durable; fn f() { super::g(); }");
    let above = ("flow/durable.rs", "mod task; use crate::durable::task::Begin; fn g() { task::h(); }");
    assert_eq!(of(&[above, below]), [""; 0], "a module and one below it");
    let a = "use crate::x::b::X;";
    for b in [
        "use crate::x::a::Y;",
        "use crate::{other, x::{a::{Y}, c}};",
        "use super::a::Y;",
        "use super::{a::Y as Z, c};",
        "use super::a;",
        "use crate::x as up; fn f() { up::a::y(); }",
        "fn f() { super::a::y(); }",
        "fn f() { use super::a::y; y(); }",
        "fn f() { println!(\"{}\", super::a::y()); }",
        "#[cfg(test)]\nmod tests { use super::*; }\nfn f() { super::a::y(); }",
        "mod within { use super::super::a::Y; }",
        "impl super::a::Y for Z {}",
        "use super::Y;",
    ] {
        let files = [("flow/x/mod.rs", "mod a; mod b; pub use a::Y;"), ("flow/x/a.rs", a), ("flow/x/b.rs", b)];
        assert_eq!(of(&files), ["flow::x::a flow::x::b"], "{b}");
    }
    for b in [
        "// use super::a::Y;",
        "#[cfg(test)]\nmod tests { use super::super::a::Y; }",
        "const A: &str = \"crate::x::a::Y\";",
    ] {
        let files = [("flow/x/mod.rs", "mod a; mod b;"), ("flow/x/a.rs", a), ("flow/x/b.rs", b)];
        assert_eq!(of(&files), [""; 0], "{b}");
    }
    let through = [
        ("flow/x.rs", "mod a; use crate::y::Y;"),
        ("flow/x/a.rs", "const A: u8 = 0;"),
        ("flow/y.rs", "use crate::x::a::A;"),
    ];
    assert_eq!(of(&through), [""; 0], "a part of a module that imports nothing");
    let through = [
        ("flow/x.rs", "mod a; use crate::y::Y;"),
        ("flow/x/a.rs", "use super::B;"),
        ("flow/y.rs", "use crate::x::a::A;"),
    ];
    assert_eq!(of(&through), ["flow::x flow::x::a flow::y"], "a circle through a part of a module");
}
