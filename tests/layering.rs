//! Keeps the borders of `docs/architecture.md`. Between crates the compiler keeps them, as long as no manifest names a crate that it
//! must not; within a crate this reads the source as the compiler does, and fails on what is named outside its border and on files that
//! import each other in a circle.

mod borders;
mod circles;
mod crates;
mod names;
mod source;
mod tokens;

use std::collections::BTreeMap;

/// Lines of product code that a file may have: beyond them a noun is missing.
const LONGEST: usize = 500;

#[test]
fn no_file_is_longer_than_a_reader_wants() {
    let (modules, _) = source::product();
    let mut lines = BTreeMap::new();
    for module in modules {
        let known = lines.entry(&module.path).or_insert(0);
        *known = module.end.max(*known);
    }
    lines.retain(|_, lines| *lines > LONGEST);
    assert_eq!(lines, BTreeMap::new(), "these have more than {LONGEST} lines before their tests");
    let text = include_str!("../docs/contributing.md");
    assert!(text.contains(&format!("{LONGEST} lines of product code a file")));
    let threshold = "too-many-lines-threshold = 70\n";
    assert!(text.contains("70 lines a function") && include_str!("../clippy.toml").contains(threshold));
}
