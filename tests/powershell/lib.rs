//! What is wrong with a script for Windows PowerShell 5.1, as far as its text tells.
//!
//! Two grammars read it, since each takes something for good that the other refuses: `tree-sitter-powershell` misses `!=` as an
//! operator, and `ps-parser` assignments to a static property. Both accept what only later PowerShells know, which the list below
//! refuses. That a command or a parameter exists, none of them proves.
//!
//! A package of its own, because `ps-parser` brings some 130 others: the everyday build of the tool needs none of them.

use ps_parser::PowerShellSession;
use tree_sitter::{Node, Parser, Tree};

/// What later PowerShells know: `(sign, what it is)`.
const LATER: [(&str, &str); 5] = [
    ("&&", "a chain of commands"),
    ("||", "a chain of commands"),
    ("??", "an operator for null"),
    ("?.", "an operator for null"),
    ("?[", "an operator for null"),
];

/// What a script must hold: `(text, why)`.
const NEEDED: [(&str, &str); 3] = [
    ("Set-StrictMode -Version", "a name that was never set is an error"),
    ("$ErrorActionPreference = 'Stop'", "an error ends it"),
    ("param(", "its input is arguments"),
];

/// Every flaw of the script, each one line; none if it is sound.
pub fn flaws(script: &str) -> Vec<String> {
    let mut flaws = Vec::new();
    match tree(script) {
        Some(tree) => {
            broken(tree.root_node(), &mut flaws);
            let code = code(script, tree.root_node());
            flaws.extend(later(&code));
            flaws.extend(missing(script, &code));
        }
        None => flaws.push("the first grammar reads nothing of it".to_owned()),
    }
    // It would also compute what it can; only what it cannot read counts.
    if let Err(error) = PowerShellSession::new().parse_script(script) {
        flaws.push(format!("the second grammar: {error}"));
    }
    flaws
}

fn tree(script: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).ok()?;
    parser.parse(script, None)
}

fn children(node: Node<'_>) -> Vec<Node<'_>> {
    node.children(&mut node.walk()).collect()
}

fn broken(node: Node<'_>, flaws: &mut Vec<String>) {
    if node.is_error() || node.is_missing() {
        flaws.push(format!("the first grammar: line {}: `{}`", node.start_position().row + 1, node.kind()));
    }
    children(node).into_iter().for_each(|child| broken(child, flaws));
}

/// The script with blanks where it has comments and text within quotes.
fn code(script: &str, root: Node<'_>) -> String {
    let mut code = script.as_bytes().to_vec();
    blank(root, &mut code);
    String::from_utf8_lossy(&code).into_owned()
}

fn blank(node: Node<'_>, code: &mut [u8]) {
    if matches!(node.kind(), "comment" | "string_literal") {
        let within = code.get_mut(node.byte_range()).unwrap_or_default();
        within.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        return;
    }
    children(node).into_iter().for_each(|child| blank(child, code));
}

fn later(code: &str) -> Vec<String> {
    let mut flaws = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let known = LATER.iter().filter(|(sign, _)| line.contains(sign));
        flaws.extend(known.map(|(sign, what)| format!("line {}: `{sign}` is {what}, of PowerShell 7 only", at + 1)));
        // `?` alone is also a short name for a command, which no script of ours uses.
        if line.split_whitespace().any(|word| word == "?") {
            flaws.push(format!("line {}: `?` chooses between two values in PowerShell 7 only", at + 1));
        }
    }
    flaws
}

fn missing(script: &str, code: &str) -> Vec<String> {
    // Some of it is text within quotes, so that is looked for in whole lines that are not comments.
    let lines: Vec<&str> = script.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let needed = NEEDED.iter().filter(|(text, _)| !lines.iter().any(|line| line.starts_with(text)));
    let mut flaws: Vec<String> =
        needed.map(|(text, why)| format!("no line begins with `{text}`, by which {why}")).collect();
    let last = code.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if !last.starts_with("exit ") {
        flaws.push("it does not end with `exit CODE`: whoever started it would see 0 or 1".to_owned());
    }
    flaws
}

#[cfg(test)]
mod tests;
