//! How wide text is on a terminal, and text cut to a width.
//!
//! Widths are counted character by character, which is never less than what a terminal shows of a sequence of characters that
//! it joins, so that a line that fits here fits there.

use std::borrow::Cow;

use model::base::escapes;
use unicode_width::UnicodeWidthChar;

/// The most characters of a name or a line that are kept for the screen: more than the widest terminal shows.
const BRIEF: usize = 512;

/// The most characters without a width that stay behind another: letters of every script need no more, and a tower of them would
/// be drawn over the lines above.
const STACKED: usize = 2;

/// A sign that asks for a coloured picture of the character before it, which some terminals draw two columns wide.
const PICTURE: char = '\u{fe0f}';

/// What stands in place of what was cut off.
const ELLIPSIS: char = '…';

/// The columns that a character takes; a character that some terminals draw wide counts as wide.
fn char_width(c: char) -> usize {
    if c == PICTURE { 1 } else { c.width().unwrap_or(0) }
}

/// The columns that `text` takes at most.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// `text` in at most `columns`, with an ellipsis where its end was cut off; empty where there is no room for any of it.
pub(super) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let fits = char_width(*c) <= left;
        left -= if fits { char_width(*c) } else { 0 };
        fits
    };
    let mut kept: String = text.chars().take_while(fits).collect();
    if columns > 0 {
        kept.push(ELLIPSIS);
    }
    Cow::Owned(kept)
}

/// `text` in at most `columns`, with an ellipsis where its beginning was cut off; empty where there is no room for any of it.
pub(super) fn cut_start(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let (mut left, mut from) = (columns.saturating_sub(1), text.len());
    for (at, c) in text.char_indices().rev() {
        if char_width(c) > left {
            break;
        }
        left -= char_width(c);
        from = at;
    }
    let ellipsis = if columns > 0 { String::from(ELLIPSIS) } else { String::new() };
    Cow::Owned(ellipsis + &text[from..])
}

/// The beginning of a name or a line that a machine sent, of bounded length, in one line that steers nothing.
pub(super) fn brief(text: &str) -> String {
    let end = text.char_indices().nth(BRIEF).map_or(text.len(), |(at, _)| at);
    let mut stacked = 0;
    let low = |c: &char| {
        stacked = if char_width(*c) == 0 { stacked + 1 } else { 0 };
        stacked <= STACKED
    };
    let whole = escapes::one_line(&text[..end]);
    let mut kept: String = whole.chars().filter(low).collect();
    if end < text.len() {
        kept.push(ELLIPSIS);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_ends_with_an_ellipsis_and_never_takes_more_than_its_columns() {
        assert_eq!(cut("test-a.t", 8), "test-a.t");
        assert_eq!(cut("test-a.t", 7), "test-a…");
        assert_eq!((cut("ab", 1), cut("ab", 0)), ("…".into(), "".into()));
        // A wide character that would cross the edge is left out whole.
        assert_eq!(cut("漢字漢字", 6), "漢字…");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        for text in ["漢字漢字", "a漢b字c", "e\u{301}e\u{301}", "☃\u{fe0f}☃\u{fe0f}", "👩\u{200d}👩\u{200d}👧"]
        {
            for columns in 0..10 {
                assert!(width(&cut(text, columns)) <= columns, "{text} in {columns}");
                assert!(width(&cut_start(text, columns)) <= columns, "{text} in {columns}");
            }
        }
    }

    #[test]
    fn a_cut_beginning_leaves_the_end() {
        assert_eq!(
            (cut_start("debian12/tmpfs", 14), cut_start("debian12/tmpfs", 9)),
            ("debian12/tmpfs".into(), "…12/tmpfs".into())
        );
        assert_eq!(
            (cut_start("漢字漢字", 6), cut_start("ab", 1), cut_start("ab", 0)),
            ("…漢字".into(), "…".into(), "".into())
        );
    }

    #[test]
    fn what_a_machine_sends_is_one_short_line_that_steers_nothing() {
        assert_eq!(brief("a\u{1b}[2J\nb\t\u{202e}"), "a\\u{1b}[2J\\nb\\t\\u{202e}");
        let long = brief(&"x".repeat(1 << 20));
        assert_eq!((long.chars().count(), long.ends_with('…')), (BRIEF + 1, true));
        assert_eq!(brief(&format!("a{}b", "\u{301}".repeat(500))), "a\u{301}\u{301}b");
    }
}
