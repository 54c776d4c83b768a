//! What the words of code say: paths, macros, methods and strings, also those within a macro's arguments.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::UseTree;

/// Something that code says, and where.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    /// A path, or one name. One that begins a value of a struct ends in `{}`.
    Path(Vec<String>),
    /// A macro that is called.
    Macro(Vec<String>),
    /// A method that is called with arguments.
    Method(String),
    /// A name of any kind.
    Word(String),
    /// A string.
    Text(String),
}

/// What was found in one module, names as they are written.
#[derive(Default)]
pub(super) struct Found {
    pub(super) marks: Vec<Mark>,
    pub(super) imports: Vec<(usize, UseTree)>,
    /// Types by another name.
    pub(super) types: Vec<(String, Vec<String>)>,
    pub(super) end: usize,
}

impl Found {
    /// Looks at all of `tokens`.
    pub(super) fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += match token {
                TokenTree::Group(group) => {
                    self.scan(group.stream());
                    self.end = self.end.max(group.span_close().end().line);
                    1
                }
                TokenTree::Literal(literal) => {
                    let text = match syn::Lit::new(literal.clone()) {
                        syn::Lit::Str(text) => Some(text.value()),
                        syn::Lit::ByteStr(text) => Some(String::from_utf8_lossy(&text.value()).into_owned()),
                        _ => None,
                    };
                    let line = literal.span().start().line;
                    self.marks.extend(text.map(|text| Mark { line, what: What::Text(text) }));
                    1
                }
                TokenTree::Punct(punct) if punct.as_char() == '#' => 1 + comment(&tokens[at + 1..]),
                // A lifetime's name is no other name.
                TokenTree::Punct(punct) if punct.as_char() == '\'' => 2,
                TokenTree::Punct(_) => 1,
                TokenTree::Ident(ident) if ident == "use" && !is(tokens.get(at + 1), '<') => {
                    self.import(ident.span().end().line, &tokens[at..])
                }
                TokenTree::Ident(ident) => {
                    if ident == "type" {
                        self.rename(&tokens[at..]);
                    }
                    self.name(&tokens, at)
                }
            };
        }
    }

    /// Reads an import that begins here; gives its length.
    fn import(&mut self, line: usize, tokens: &[TokenTree]) -> usize {
        let end = tokens.iter().position(|token| is(Some(token), ';')).map_or(tokens.len(), |end| end + 1);
        // In the pattern of a macro it need not be one.
        if let Ok(import) = syn::parse2::<syn::ItemUse>(tokens[..end].iter().cloned().collect()) {
            self.imports.push((line, import.tree));
            return end;
        }
        1
    }

    /// Reads `type Name = path;` where it begins here.
    fn rename(&mut self, tokens: &[TokenTree]) {
        let end = tokens.iter().position(|token| is(Some(token), ';')).map_or(tokens.len(), |end| end + 1);
        let parsed = syn::parse2::<syn::ItemType>(tokens[..end].iter().cloned().collect());
        if let Ok(syn::ItemType { ident, ty, .. }) = parsed
            && let syn::Type::Path(of) = *ty
            && of.qself.is_none()
        {
            let path = of.path.segments.iter().map(|segment| segment.ident.to_string());
            self.types.push((ident.to_string(), path.collect()));
        }
    }

    /// Reads a name with all that hangs on it by `::`; gives its length.
    fn name(&mut self, tokens: &[TokenTree], start: usize) -> usize {
        let line = tokens[start].span().start().line;
        self.end = self.end.max(line);
        let mut mark = |what| self.marks.push(Mark { line, what });
        let (mut path, mut at) = (Vec::new(), start);
        while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
            let name = ident.to_string();
            let name = name.strip_prefix("r#").unwrap_or(&name).to_owned();
            mark(What::Word(name.clone()));
            path.push(name);
            at += 1;
            if !(is(tokens.get(at), ':') && is(tokens.get(at + 1), ':')) {
                break;
            }
            at += 2;
        }
        let before = |back: usize| start.checked_sub(back).and_then(|at| tokens.get(at));
        let is_member = is(before(1), '.') && !is(before(2), '.');
        let next = tokens.get(at);
        if is_member {
            if let Some(TokenTree::Group(group)) = next
                && group.delimiter() == Delimiter::Parenthesis
                && !group.stream().is_empty()
            {
                mark(What::Method(path.remove(0)));
            }
        } else if is(next, '!') && !is(tokens.get(at + 1), '=') {
            mark(What::Macro(path));
        } else {
            let is_type = is(before(1), '>') || is_word(before(1), "for") || is_word(before(1), "impl");
            if matches!(next, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace) && !is_type {
                mark(What::Path([&path[..], &["{}".to_owned()]].concat()));
            }
            mark(What::Path(path));
        }
        at - start
    }
}

/// Whether a token is this sign.
pub(super) fn is(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether a token is this word.
pub(super) fn is_word(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == wanted)
}

/// The length of a comment for readers of documents behind its `#`; nothing where another attribute stands there.
fn comment(tokens: &[TokenTree]) -> usize {
    let inner = usize::from(is(tokens.first(), '!'));
    match tokens.get(inner) {
        Some(TokenTree::Group(group)) if is_word(group.stream().into_iter().next().as_ref(), "doc") => inner + 1,
        _ => 0,
    }
}
