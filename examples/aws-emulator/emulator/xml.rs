//! As much of XML as the replies of AWS need: elements, one string of attributes, and text, which stays escaped.

/// An element with its content: either children or text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Its attributes unchanged, with the space before them.
    attributes: String,
    /// The elements in it.
    pub children: Vec<Element>,
    /// Its text, escaped.
    pub text: String,
}

impl Element {
    /// An element with text, which is escaped here.
    pub fn leaf(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: escape(text), ..Self::default() }
    }

    /// An element with children.
    pub fn node(name: &str, children: Vec<Self>) -> Self {
        Self { name: name.to_owned(), children, ..Self::default() }
    }

    /// Reads a document; `None` if the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim_start();
        while rest.starts_with("<?") {
            rest = rest.get(rest.find("?>")? + 2..)?.trim_start();
        }
        Self::read(&mut rest)
    }

    fn read(rest: &mut &str) -> Option<Self> {
        let inner = rest.strip_prefix('<')?;
        let end = inner.find('>')?;
        let (tag, after) = (inner.get(..end)?, inner.get(end + 1..)?);
        *rest = after;
        let (tag, empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let split = tag.find(char::is_whitespace).unwrap_or(tag.len());
        let mut element =
            Self { name: tag.get(..split)?.to_owned(), attributes: tag.get(split..)?.to_owned(), ..Self::default() };
        if empty {
            return Some(element);
        }
        loop {
            let next = rest.find('<')?;
            element.text.push_str(rest.get(..next)?);
            *rest = rest.get(next..)?;
            if let Some(after) = rest.strip_prefix("</") {
                *rest = after.get(after.find('>')? + 1..)?;
                break;
            }
            element.children.push(Self::read(rest)?);
        }
        if !element.children.is_empty() {
            element.text.clear();
        }
        Some(element)
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first child of a name, mutable.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// The text at a path of names, unescaped; empty if the path does not exist.
    pub fn text_at(&self, path: &[&str]) -> String {
        let mut element = self;
        for name in path {
            match element.child(name) {
                Some(child) => element = child,
                None => return String::new(),
            }
        }
        unescape(&element.text)
    }

    /// The elements `item` in the child of a name.
    pub fn items(&self, name: &str) -> &[Self] {
        self.child(name).map_or(&[], |list| &list.children)
    }

    /// Replaces the first child of the same name by `child`, or adds it at the end.
    pub fn put(&mut self, child: Self) {
        match self.child_mut(&child.name) {
            Some(place) => *place = child,
            None => self.children.push(child),
        }
    }

    /// Removes every child of a name.
    pub fn remove(&mut self, name: &str) {
        self.children.retain(|child| child.name != name);
    }

    /// The element as text.
    pub fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// The element as a whole document.
    pub fn document(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", self.print())
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        out.push_str(&self.attributes);
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        out.push_str(&self.text);
        for child in &self.children {
            child.write(out);
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }
}

/// Text as a document writes it.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#x27;", "'");
    text.replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&")
}
