//! Output of many sources on one screen: whole lines, each behind the name of its source.

/// The longest line that is kept until it ends, bytes; a longer line is shown in pieces.
const LONGEST: usize = 64 << 10;

/// One stream of one source. Bytes pass as they are, text or not.
#[derive(Debug)]
pub struct Prefixed {
    prefix: Vec<u8>,
    /// A line that has not ended yet.
    rest: Vec<u8>,
}

impl Prefixed {
    /// A stream whose lines get `name`, filled up to `width` characters, and a bar before them.
    pub fn new(name: &str, width: usize) -> Self {
        Self { prefix: format!("{name:width$} | ").into_bytes(), rest: Vec::new() }
    }

    /// A stream whose lines get nothing before them.
    pub fn bare() -> Self {
        Self { prefix: Vec::new(), rest: Vec::new() }
    }

    /// The lines that `bytes` complete, to be shown at once.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() >= LONGEST {
                self.show(&mut shown);
            }
        }
        shown
    }

    /// The rest at the end of the stream, as a line.
    pub fn end(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        if !self.rest.is_empty() {
            self.show(&mut shown);
        }
        shown
    }

    fn show(&mut self, shown: &mut Vec<u8>) {
        shown.extend_from_slice(&self.prefix);
        shown.append(&mut self.rest);
        if !shown.ends_with(b"\n") {
            shown.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_the_last_needs_no_end() {
        let mut stream = Prefixed::new("hg-1", 6);
        assert_eq!(stream.push(b"a"), b"");
        assert_eq!(stream.push(b"b\n\nc\xff\0"), b"hg-1   | ab\nhg-1   | \n");
        assert_eq!(stream.push(b"d\r\n"), b"hg-1   | c\xff\0d\r\n");
        assert_eq!(stream.end(), b"");
        stream.push(b"last");
        assert_eq!((stream.end(), stream.end()), (b"hg-1   | last\n".to_vec(), Vec::new()));
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut stream = Prefixed::new("m", 1);
        let shown = stream.push(&vec![b'x'; LONGEST]);
        assert_eq!(shown.len(), b"m | ".len() + LONGEST + 1);
        assert_eq!(stream.end(), b"");
    }
}
