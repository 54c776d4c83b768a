//! The source of the product as the compiler sees it: modules, what each imports, and every name and string of their code. Comments, and
//! what is compiled for tests alone, are no part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree};

use super::tokens::{Found, Mark, What, is, is_word};

/// One module: a file, or a module that stands within one.
pub(super) struct Module {
    /// The file, below `src`.
    pub(super) path: PathBuf,
    /// Its name from the crate on.
    pub(super) name: Vec<String>,
    /// What the names that it imports or declares stand for, as they are written.
    aliases: BTreeMap<String, BTreeSet<Vec<String>>>,
    /// What its code says, with names that are resolved within the module.
    pub(super) marks: Vec<Mark>,
    /// The last line of its code.
    pub(super) end: usize,
}

/// A module that stands in another file.
struct Child {
    name: String,
    /// The files that attributes name for it, one for each set of features.
    files: Vec<String>,
    is_test: bool,
}

impl Module {
    /// The modules of one file's text, the file's own first.
    pub(super) fn of(path: &Path, text: &str) -> Vec<Self> {
        let (modules, _) = read(path, &name_of(path), text);
        modules
    }

    /// Every meaning of a path that is written in this module.
    pub(super) fn resolve(&self, path: &[String]) -> Vec<Vec<String>> {
        self.resolve_within(path, 4)
    }

    fn resolve_within(&self, path: &[String], depth: usize) -> Vec<Vec<String>> {
        let (head, rest) = (path[0].as_str(), &path[1..]);
        let parents = path.iter().take_while(|part| *part == "super").count();
        match head {
            "crate" => vec![[&self.name[..1], rest].concat()],
            "self" => vec![[&self.name[..], rest].concat()],
            "super" => {
                let above = self.name.len().saturating_sub(parents).max(1);
                vec![[&self.name[..above], &path[parents..]].concat()]
            }
            _ => match self.aliases.get(head).filter(|_| depth > 0) {
                Some(meant) => {
                    let own = |target: &&Vec<String>| target[0] == head;
                    let same = meant.iter().filter(own).map(|target| [&target[..], rest].concat());
                    let other = meant.iter().filter(|target| !own(target));
                    let other = other.flat_map(|target| self.resolve_within(&[&target[..], rest].concat(), depth - 1));
                    same.chain(other).collect()
                }
                None => vec![path.to_vec()],
            },
        }
    }

    /// What `name` of this module stands for, where it is not made here.
    pub(super) fn meanings(&self, name: &str) -> Vec<Vec<String>> {
        match self.aliases.contains_key(name) {
            true => self.resolve(&[name.to_owned()]),
            false => Vec::new(),
        }
    }
}

/// Every module of the product, and what is wrong with where they stand; read once.
pub(super) fn product() -> &'static (Vec<Module>, Vec<String>) {
    static PRODUCT: LazyLock<(Vec<Module>, Vec<String>)> = LazyLock::new(read_product);
    &PRODUCT
}

fn read_product() -> (Vec<Module>, Vec<String>) {
    let root = support::root().join("src");
    let mut open: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let roots = ["lib.rs", "main.rs", "build.rs"].map(|file| Path::new(&name).join(file));
        open.extend(roots.into_iter().filter(|file| root.join(file).exists()).map(|file| (file, vec![name.clone()])));
    }
    let (mut modules, mut known) = (Vec::new(), Vec::new());
    while let Some((path, name)) = open.pop() {
        let (found, children) = read(&path, &name, &std::fs::read_to_string(root.join(&path)).unwrap());
        modules.extend(found);
        known.push(path.clone());
        for child in children {
            let below = [&name[..], std::slice::from_ref(&child.name)].concat();
            let files = files_of(&path, &child).into_iter().filter(|file| root.join(file).exists());
            match child.is_test {
                true => known.extend(files.map(|file| file.with_extension(""))),
                false => open.extend(files.map(|file| (file, below.clone()))),
            }
        }
    }
    modules.sort_by(|a, b| (&a.path, &a.name).cmp(&(&b.path, &b.name)));
    let mut files = Vec::new();
    walk(&root, &mut files);
    let files = files.iter().map(|file| file.strip_prefix(&root).unwrap());
    // A folder of tests may have files of its own.
    let lost =
        files.filter(|file| !known.iter().any(|known| file.with_extension("").starts_with(known) || file == known));
    (modules, lost.map(|file| format!("{}: no module of the product or of its tests", file.display())).collect())
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// A file's place in the tree of modules, where no attribute says another.
fn name_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The files that can hold a module which the file at `path` declares.
fn files_of(path: &Path, child: &Child) -> Vec<PathBuf> {
    let beside = path.parent().unwrap();
    let stem = path.file_stem().unwrap();
    let folder = match ["mod", "lib", "main"].map(Path::new).contains(&Path::new(stem)) {
        true => beside.to_owned(),
        false => beside.join(stem),
    };
    let usual = [folder.join(format!("{}.rs", child.name)), folder.join(&child.name).join("mod.rs")];
    usual.into_iter().chain(child.files.iter().map(|file| beside.join(file))).collect()
}

/// Reads a file as the module `name`.
fn read(path: &Path, name: &[String], text: &str) -> (Vec<Module>, Vec<Child>) {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut tests = Vec::new();
    let tell = &mut |name| tests.push(Child { name, files: Vec::new(), is_test: true });
    let file = syn::parse2::<syn::File>(without_tests(tokens, tell));
    let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut modules = Vec::new();
    let mut children = read_items(path, name, &file.attrs, file.items, &mut modules);
    children.extend(tests);
    modules.reverse();
    (modules, children)
}

/// Reads the items of one module; those of modules within it become modules of their own.
fn read_items(
    path: &Path,
    name: &[String],
    attributes: &[Attribute],
    items: Vec<Item>,
    modules: &mut Vec<Module>,
) -> Vec<Child> {
    let mut found = Found::default();
    let (mut children, mut declared) = (Vec::new(), Vec::new());
    attributes.iter().for_each(|attribute| found.scan(attribute.to_token_stream()));
    for item in items {
        children.extend(child_of(&item));
        let Item::Mod(module) = item else {
            found.scan(item.to_token_stream());
            continue;
        };
        let below = [name, &[module.ident.unraw().to_string()]].concat();
        declared.push(below.clone());
        if let Some((brace, items)) = module.content {
            found.end = found.end.max(brace.span.close().end().line);
            let deeper = read_items(path, &below, &module.attrs, items, modules);
            assert!(deeper.is_empty(), "{}: a file's module within a module is not looked for", path.display());
        }
    }
    let mut aliases: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
    let mut alias = |name: &str, target: Vec<String>| {
        aliases.entry(name.to_owned()).or_default().insert(target);
    };
    let mut marks = Vec::new();
    for (line, tree) in &found.imports {
        spread(tree, &[], &mut |written, target| {
            marks.push(Mark { line: *line, what: What::Path(target.clone()) });
            alias(written, target);
        });
    }
    found.types.into_iter().for_each(|(name, target)| alias(&name, target));
    let in_crate = |path: &[String]| [&["crate".to_owned()], &path[1..]].concat();
    declared.iter().for_each(|path| alias(&path[path.len() - 1], in_crate(path)));
    let mut module =
        Module { path: path.to_owned(), name: name.to_owned(), aliases, marks: Vec::new(), end: found.end };
    marks.extend(found.marks);
    module.marks = marks.into_iter().flat_map(|mark| resolved(&module, mark)).collect();
    modules.push(module);
    children
}

fn resolved(module: &Module, mark: Mark) -> Vec<Mark> {
    let line = mark.line;
    match mark.what {
        // A name that was not imported is a variable, or something of this module.
        What::Path(path) if path.len() == 1 && module.meanings(&path[0]).is_empty() => Vec::new(),
        What::Path(path) => {
            module.resolve(&path).into_iter().map(|path| Mark { line, what: What::Path(path) }).collect()
        }
        What::Macro(path) => {
            module.resolve(&path).into_iter().map(|path| Mark { line, what: What::Macro(path) }).collect()
        }
        what => vec![Mark { line, what }],
    }
}

/// Takes a tree of imports apart: `a::{b, c as d}` is `b` for `a::b` and `d` for `a::c`.
fn spread(tree: &UseTree, before: &[String], tell: &mut impl FnMut(&str, Vec<String>)) {
    let with = |name: &syn::Ident| [before, &[name.unraw().to_string()]].concat();
    match tree {
        UseTree::Path(path) => spread(&path.tree, &with(&path.ident), tell),
        UseTree::Group(group) => group.items.iter().for_each(|item| spread(item, before, tell)),
        UseTree::Glob(_) => tell("*", [before, &["*".to_owned()]].concat()),
        UseTree::Name(name) if name.ident == "self" && !before.is_empty() => {
            tell(&before[before.len() - 1], before.to_vec());
        }
        UseTree::Name(name) => tell(&name.ident.unraw().to_string(), with(&name.ident)),
        UseTree::Rename(name) if name.ident == "self" && !before.is_empty() => {
            tell(&name.rename.to_string(), before.to_vec());
        }
        UseTree::Rename(name) => tell(&name.rename.unraw().to_string(), with(&name.ident)),
    }
}

/// The module in another file that an item declares.
fn child_of(item: &Item) -> Option<Child> {
    let Item::Mod(module) = item else { return None };
    let files = module.attrs.iter().flat_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => text_of(&pair.value).into_iter().collect(),
        Meta::List(list) if list.path.is_ident("cfg_attr") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .unwrap()
            .iter()
            .filter_map(|meta| meta.require_name_value().ok().filter(|pair| pair.path.is_ident("path")))
            .filter_map(|pair| text_of(&pair.value))
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let child = Child { name: module.ident.unraw().to_string(), files: files.collect(), is_test: false };
    module.content.is_none().then_some(child)
}

fn text_of(value: &syn::Expr) -> Option<String> {
    match value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        _ => false,
    }
}

/// Drops what is compiled for tests alone, and tells of each module in another file that is.
fn without_tests(tokens: TokenStream, tell: &mut impl FnMut(String)) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // The attributes of one thing.
        let mut after = at;
        while is(tokens.get(after), '#') && matches!(tokens.get(after + 1), Some(TokenTree::Group(_))) {
            after += 2;
        }
        let is_for_tests = tokens[at..after].iter().any(|token| match token {
            TokenTree::Group(attribute) => syn::parse2::<Meta>(attribute.stream()).is_ok_and(|meta| match meta {
                Meta::List(list) => list.path.is_ident("cfg") && list.parse_args().is_ok_and(|of| needs_test(&of)),
                _ => false,
            }),
            _ => false,
        });
        if is_for_tests {
            let end = after + length(&tokens[after..]);
            let words: Vec<String> = tokens[after..end].iter().map(TokenTree::to_string).collect();
            if let [.., word, name, end] = &words[..]
                && word == "mod"
                && end == ";"
            {
                tell(name.clone());
            }
            at = end;
            continue;
        }
        kept.extend(tokens[at..after].iter().cloned());
        kept.extend(tokens.get(after).map(|token| match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_tests(group.stream(), tell));
                inner.set_span(group.span());
                TokenTree::Group(inner)
            }
            token => token.clone(),
        }));
        at = after + 1;
    }
    kept.into_iter().collect()
}

/// The length of one item or statement, or of one field, variant or argument, which ends at a comma.
fn length(tokens: &[TokenTree]) -> usize {
    let is_visible = usize::from(is_word(tokens.first(), "pub"));
    let begins = is_visible + usize::from(is_visible > 0 && matches!(tokens.get(1), Some(TokenTree::Group(_))));
    // Whether it is called something rather than begins with the word for what it is.
    let next = tokens.get(begins + 1);
    let is_part = is(next, ',') || is(next, ':') && !is(tokens.get(begins + 2), ':');
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ';' || is_part && punct.as_char() == ',' => return at + 1,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_part => {
                return at + 1 + usize::from(is(tokens.get(at + 1), ';'));
            }
            _ => {}
        }
    }
    tokens.len()
}
