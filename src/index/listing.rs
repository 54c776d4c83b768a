//! The list of a project's files: as JSON (PEP 691), or as a page of links (PEP 503).

use std::collections::BTreeMap;

use model::release::IndexedFile;
use model::sum::Sha256Sum;
use reqwest::Url;
use serde::Deserialize;

#[derive(Deserialize)]
struct Listing {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Reads the JSON form; addresses are as from `page`.
pub(crate) fn read_json(text: &[u8], page: &Url) -> Result<Vec<IndexedFile>, String> {
    let listing: Listing = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let file = |entry: Entry| {
        let sum = entry.hashes.get("sha256").and_then(|sum| Sha256Sum::parse(sum));
        Ok(IndexedFile { name: entry.filename, url: address(page, &entry.url)?, sha256: sum })
    };
    listing.files.into_iter().map(file).collect()
}

/// Reads the page of links: the last part of each address is the file's name, and its fragment the sum.
pub(crate) fn read_html(text: &[u8], page: &Url) -> Result<Vec<IndexedFile>, String> {
    let text = String::from_utf8_lossy(text);
    if !text.contains('<') {
        return Err("it is no page of links".to_owned());
    }
    let mut files = Vec::new();
    for link in links(&text) {
        let url = page.join(&link).map_err(|error| format!("`{}`: {error}", link.escape_debug()))?;
        let sum = url.fragment().and_then(|fragment| fragment.strip_prefix("sha256=")).and_then(Sha256Sum::parse);
        let last = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        let name = decoded(last);
        if !name.is_empty() {
            let mut plain = url.clone();
            plain.set_fragment(None);
            files.push(IndexedFile { name, url: plain.to_string(), sha256: sum });
        }
    }
    Ok(files)
}

fn address(page: &Url, link: &str) -> Result<String, String> {
    let url = page.join(link).map_err(|error| format!("`{}`: {error}", link.escape_debug()))?;
    Ok(url.to_string())
}

/// The addresses of all links of a page.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let name = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if rest[..name].eq_ignore_ascii_case("a") {
            let (link, after) = href(&rest[name..]);
            links.extend(link);
            rest = after;
        }
    }
    links
}

/// The value of `href` among the attributes that begin here, and what follows the mark.
fn href(mut rest: &str) -> (Option<String>, &str) {
    let mut found = None;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() || rest.starts_with('>') {
            return (found, rest);
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=>/".contains(c)).unwrap_or(rest.len()).max(1);
        let end = (end..=rest.len()).find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after.trim_start();
        let Some(value) = rest.strip_prefix('=') else { continue };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ => value.split_at(value.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(value.len())),
        };
        rest = after;
        if name.eq_ignore_ascii_case("href") && found.is_none() {
            found = Some(unescaped(value));
        }
    }
}

/// An attribute's value, with the references that may stand in an address resolved.
fn unescaped(value: &str) -> String {
    [
        ("&#43;", "+"),
        ("&#x2B;", "+"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(value.to_owned(), |text, (mark, meant)| text.replace(mark, meant))
}

/// A part of an address with its `%` resolved.
fn decoded(part: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), part.as_bytes());
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Url {
        Url::parse("https://index.org/simple/mercurial/").unwrap()
    }

    fn shown(files: &[IndexedFile]) -> Vec<(&str, &str, bool)> {
        files.iter().map(|file| (file.name.as_str(), file.url.as_str(), file.sha256.is_some())).collect()
    }

    #[test]
    fn json_is_read_with_and_without_sums() {
        let sum = "ab".repeat(32);
        let text = format!(
            r#"{{"meta": {{}}, "files": [{{"filename": "a.whl", "url": "../../files/a.whl", "hashes": {{"sha256": "{sum}"}}}},
            {{"filename": "b.whl", "url": "https://cdn.org/b.whl", "hashes": {{"md5": "x"}}, "yanked": true}}]}}"#
        );
        let files = read_json(text.as_bytes(), &page()).unwrap();
        assert_eq!(
            shown(&files),
            [("a.whl", "https://index.org/files/a.whl", true), ("b.whl", "https://cdn.org/b.whl", false)]
        );
        assert_eq!(files[0].sha256.as_ref().unwrap().as_str(), sum);
        assert!(read_json(b"<html>", &page()).is_err() && read_json(b"{}", &page()).is_err());
    }

    #[test]
    fn a_page_of_links_is_read_as_servers_write_it() {
        let sum = "0F".repeat(32);
        let text = format!(
            "<!DOCTYPE html><html><head><meta charset=utf-8></head><body><h1>Links</h1>\n<!-- <a href=\"no.whl\">no</a> -->\n\
             <abbr href='x.whl'>x</abbr><A class=x HREF='/packages/a%2B1.whl#sha256={sum}' data-requires-python=\"&gt;=3.9\">a</A><br>\n\
             <a href=\"b.whl?x=1&amp;y=2#md5=0\">b</a><a href = c.whl>c</a><a name='d'>d</a><a\nhref='../'>up</a></body>"
        );
        let files = read_html(text.as_bytes(), &page()).unwrap();
        assert_eq!(
            shown(&files),
            [
                ("a+1.whl", "https://index.org/packages/a%2B1.whl", true),
                ("b.whl", "https://index.org/simple/mercurial/b.whl?x=1&y=2", false),
                ("c.whl", "https://index.org/simple/mercurial/c.whl", false),
            ]
        );
        assert!(read_html(b"nothing here", &page()).is_err());
        assert_eq!(read_html(b"<html></html>", &page()).unwrap(), []);
        for torn in ["<a", "<a href", "<a href=", "<a href='x", "<a \u{e9}=", "<!--"] {
            drop(read_html(torn.as_bytes(), &page()));
        }
    }
}
