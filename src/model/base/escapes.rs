//! Characters and sequences that would control a terminal: made visible in our own messages, filtered out of others'
//! output.

use std::borrow::Cow;

/// The longest sequence, in bytes, that is held back until its end has come. No terminal knows a longer one.
const LONGEST: usize = 256;

/// Whether a character is not shown but acts on the terminal or on the order of the characters beside it.
pub fn steers(c: char) -> bool {
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

fn escape_hidden<'a>(text: &'a str, hidden: impl Fn(char) -> bool, show: impl Fn(char, &mut String)) -> Cow<'a, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { show(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// `text` for a terminal: line ends and tabs stay, other control characters are shown as `\u{1b}` and the like.
pub fn plain(text: &str) -> Cow<'_, str> {
    escape_hidden(text, |c| steers(c) && c != '\n' && c != '\t', |c, out| out.extend(c.escape_default()))
}

/// The same in one line: a name that contains a line end must not pass for a line of our own.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape_hidden(text, steers, |c, out| out.extend(c.escape_default()))
}

/// JSON text with the same meaning, in whose strings control characters are escaped.
pub fn json(text: &str) -> Cow<'_, str> {
    // A serialiser leaves such characters only inside strings, where an escape means the same.
    escape_hidden(text, |c| steers(c) && c != '\n', |c, out| out.push_str(&format!("\\u{:04x}", u32::from(c))))
}

/// Removes from a stream the sequences that act on a terminal's window and not on its text: titles, the clipboard,
/// notifications, colours of the palette and everything else that travels as an operating system command or a device
/// control string (ECMA-48, 5.6 and 8.3.89), and window manipulations (`CSI ... t`). So do questions, whose answers would
/// arrive as if the person had typed them (ENQ, `CSI ... n`, `CSI ... c`), printing (`CSI ... i`) and the reset of the
/// terminal (`ESC c`). Text colours, cursor movements and all plain text stay, byte for byte.
#[derive(Debug, Default)]
pub struct TerminalFilter {
    state: FilterState,
    /// A sequence whose end has not come.
    held: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FilterState {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After the first byte of a character that may be a control of eight bits, which is two bytes in UTF-8.
    Wide,
    /// In a control sequence.
    Sequence,
    /// In a string that is left out, up to its terminator.
    Omitted,
    /// In such a string, after ESC.
    OmittedEscape,
    /// In such a string, after the first byte of a control of eight bits.
    OmittedWide,
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// It asks the terminal for its name.
const ENQ: u8 = 0x05;
/// The first byte of a control of eight bits in UTF-8.
const WIDE: u8 = 0xc2;

impl TerminalFilter {
    /// Takes the next bytes of the stream and gives those that may go to the terminal now.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.take(byte, &mut out);
        }
        out
    }

    fn take(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.state, byte) {
            (FilterState::Text, ESC) => self.hold(FilterState::Escape, byte),
            (FilterState::Text, WIDE) => self.hold(FilterState::Wide, byte),
            (FilterState::Text, ENQ) => {}
            (FilterState::Text, _) => out.push(byte),
            (FilterState::Escape, b'[') => self.hold(FilterState::Sequence, byte),
            // `ESC k` sets the title of a window of `screen`.
            (FilterState::Escape, b']' | b'P' | b'X' | b'^' | b'_' | b'k') => self.leave_out(),
            (FilterState::Wide, 0x9b) => self.hold(FilterState::Sequence, byte),
            (FilterState::Wide, 0x90 | 0x98 | 0x9d..=0x9f) => self.leave_out(),
            (FilterState::Escape, b'c') => self.forget(),
            (FilterState::Escape | FilterState::Wide, _) => self.pass_on(byte, out),
            (FilterState::Sequence, b't' | b'n' | b'c' | b'i') => self.forget(),
            (FilterState::Sequence, 0x20..=0x3f) if self.held.len() < LONGEST => self.hold(FilterState::Sequence, byte),
            (FilterState::Sequence, _) => self.pass_on(byte, out),
            (FilterState::Omitted, BEL) | (FilterState::OmittedEscape, b'\\') | (FilterState::OmittedWide, 0x9c) => {
                self.forget()
            }
            (FilterState::Omitted, ESC) => self.state = FilterState::OmittedEscape,
            (FilterState::Omitted, WIDE) => self.state = FilterState::OmittedWide,
            // No such string contains a line end, so the text after a string without terminator is shown again.
            (FilterState::Omitted, b'\n') => self.pass_on(byte, out),
            // CAN and SUB cancel a sequence.
            (FilterState::Omitted, 0x18 | 0x1a) => self.forget(),
            (FilterState::Omitted, _) => {}
            (FilterState::OmittedEscape, _) => {
                self.state = FilterState::Text;
                self.take(ESC, out);
                self.take(byte, out);
            }
            (FilterState::OmittedWide, _) => {
                self.state = FilterState::Omitted;
                self.take(byte, out);
            }
        }
    }

    fn hold(&mut self, state: FilterState, byte: u8) {
        self.state = state;
        self.held.push(byte);
    }

    fn leave_out(&mut self) {
        self.held.clear();
        self.state = FilterState::Omitted;
    }

    fn forget(&mut self) {
        self.held.clear();
        self.state = FilterState::Text;
    }

    /// Releases the held sequence, which turned out harmless, and handles the byte anew where it may begin another
    /// sequence.
    fn pass_on(&mut self, byte: u8, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = FilterState::Text;
        match byte {
            ESC | WIDE => self.take(byte, out),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_ours_steer_nothing() {
        assert_eq!(plain("a\tb\n\u{1b}]0;owned\u{7}c"), "a\tb\n\\u{1b}]0;owned\\u{7}c");
        assert_eq!(one_line("x\nhint: type this\r\u{9b}2J\u{202e}"), "x\\nhint: type this\\r\\u{9b}2J\\u{202e}");
        assert!(matches!(plain("né 漢\n"), Cow::Borrowed(_)));
        let value = serde_json::json!({"name": "a\u{1b}\u{9b}2J\u{7f}\nb"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = json(&text);
        assert!(!safe.contains(|c: char| c.is_control() && c != '\n'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    /// The filtered bytes, which must be the same wherever the stream is cut.
    fn filtered(bytes: &[u8]) -> Vec<u8> {
        let whole = TerminalFilter::default().push(bytes);
        for at in 0..bytes.len() {
            let mut filter = TerminalFilter::default();
            let mut parts = filter.push(&bytes[..at]);
            parts.extend(filter.push(&bytes[at..]));
            assert_eq!(parts, whole, "cut at {at}");
        }
        whole
    }

    #[test]
    fn titles_and_the_clipboard_are_left_out() {
        for sequence in [
            "\u{1b}]0;title\u{7}",
            "\u{1b}]2;title\u{1b}\\",
            "\u{1b}]52;c;ZXZpbA==\u{7}",
            "\u{1b}]1337;File=x:AAAA\u{7}",
            "\u{1b}Ptmux;\u{1b}\u{1b}]0;title\u{7}\u{1b}\\",
            "\u{1b}ktitle\u{1b}\\",
            "\u{1b}_Gx\u{1b}\\",
            "\u{9d}0;title\u{9c}",
            "\u{90}q\u{9c}",
            "\u{1b}[21t",
            "\u{1b}[3;0;0t",
            "\u{9b}21t",
            "\u{1b}]0;cut off\u{18}",
        ] {
            let text = format!("a{sequence}b");
            let shown = String::from_utf8(filtered(text.as_bytes())).unwrap();
            assert!(!shown.contains("title") && !shown.contains("ZXZ") && !shown.contains('\u{9d}'), "{shown:?}");
            assert!(shown.starts_with('a') && shown.ends_with('b'), "{text:?} gave {shown:?}");
        }
    }

    #[test]
    fn questions_printing_and_the_reset_are_left_out() {
        for sequence in
            ["\u{5}", "\u{1b}[6n", "\u{1b}[?6n", "\u{1b}[c", "\u{1b}[>0c", "\u{9b}0c", "\u{1b}[5i", "\u{1b}c"]
        {
            let text = format!("a{sequence}b");
            assert_eq!(String::from_utf8(filtered(text.as_bytes())).unwrap(), "ab", "{text:?}");
        }
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        let mut all: Vec<u8> = "\u{1b}[1;31mred\u{1b}[0m\u{1b}[2K\r\u{1b}7\u{1b}(B né \u{a0}\t\u{7}".into();
        all.extend([0xff, 0x9d, b'x', 0xc2, b'y', 0x1b, b'\n']);
        assert_eq!(filtered(&all), all);
        // A string without terminator hides no more than its line.
        assert_eq!(filtered(b"\x1b]0;never ends\nnext\n"), b"\nnext\n");
        let long = [b"\x1b[".to_vec(), vec![b'1'; 1000], b"mx".to_vec()].concat();
        assert_eq!(filtered(&long), long);
    }
}
