//! Text with colours where they mean something.
//!
//! Colour and text come together only here: every piece of text is made harmless first, and the sequences that colour it are put
//! around it afterwards. So no text from elsewhere can bring a sequence of its own along, whatever colours are on.

use anstyle::{AnsiColor, Style};
use model::base::escapes;

use super::measure;

/// What a piece of text is. The colour adds to a symbol or a word that says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ink {
    /// Ordinary text.
    #[default]
    Plain,
    /// What is as it should be.
    Good,
    /// What failed or was lost.
    Bad,
    /// What should be known, and is no failure.
    Caution,
    /// What differs from one try to the next.
    Odd,
    /// The name of a place in a file, or of a machine.
    Place,
    /// What matters less than what stands beside it.
    Faint,
}

impl Ink {
    fn style(self) -> Style {
        let colored = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Good => colored(AnsiColor::Green),
            Self::Bad => colored(AnsiColor::Red),
            Self::Caution => colored(AnsiColor::Yellow),
            Self::Odd => colored(AnsiColor::Magenta),
            Self::Place => colored(AnsiColor::Cyan),
            Self::Faint => Style::new().dimmed(),
        }
    }
}

/// One line in several inks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Painted(Vec<(Ink, String)>);

impl Painted {
    /// A line that is `text` in one ink.
    pub fn of(ink: Ink, text: &str) -> Self {
        Self::default().with(ink, text)
    }

    /// A line of a longer text, whose tabs stay.
    pub(super) fn line(ink: Ink, text: &str) -> Self {
        Self(vec![(ink, escapes::plain(text).into_owned())])
    }

    /// The line with more text at its end, which is made harmless and stays one line.
    #[must_use]
    pub fn with(mut self, ink: Ink, text: &str) -> Self {
        if !text.is_empty() {
            self.0.push((ink, escapes::one_line(text).into_owned()));
        }
        self
    }

    /// The line with another one at its end.
    #[must_use]
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns that it takes at most.
    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| measure::width(text)).sum()
    }

    /// The line in at most `columns`.
    #[must_use]
    pub(super) fn cut(self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns;
        let mut kept = Self::default();
        for (ink, text) in self.0 {
            let needed = measure::width(&text);
            // A piece that ends at the edge has more behind it, which must be seen.
            let piece = if needed < left { text } else { measure::cut(&format!("{text} "), left).into_owned() };
            left = left.saturating_sub(needed);
            kept.0.push((ink, piece));
            if left == 0 {
                break;
            }
        }
        kept
    }

    /// The line for a terminal that shows nothing else.
    #[must_use]
    pub(super) fn in_ascii(self) -> Self {
        let ascii = |c: char| match c {
            '…' => '~',
            c if c.is_ascii() => c,
            _ => '?',
        };
        Self(self.0.into_iter().map(|(ink, text)| (ink, text.chars().map(ascii).collect())).collect())
    }

    /// The line for a terminal or a file, without its end.
    pub fn render(&self, colored: bool) -> String {
        let mut whole = String::new();
        for (ink, text) in &self.0 {
            match (colored, ink) {
                (false, _) | (_, Ink::Plain) => whole.push_str(text),
                (true, ink) => {
                    let style = ink.style();
                    whole.push_str(&format!("{style}{text}{style:#}"));
                }
            }
        }
        whole
    }
}

/// The words at the beginning of a line that say what it is.
const LABELS: [(&str, Ink); 3] = [("error:", Ink::Bad), ("warning:", Ink::Caution), ("hint:", Ink::Place)];

/// A message as lines, each with the word that says what it is in the colour of that.
pub(super) fn message(text: &str) -> Vec<Painted> {
    text.split('\n').map(labelled).collect()
}

fn labelled(line: &str) -> Painted {
    let label = LABELS.iter().find(|(label, _)| line.starts_with(label));
    match label {
        Some((label, ink)) => Painted::of(*ink, label).and(Painted::line(Ink::Plain, &line[label.len()..])),
        None => Painted::line(Ink::Plain, line),
    }
}

/// `lines` as text, each with its end.
pub(super) fn lines_text(lines: &[Painted], colored: bool) -> String {
    lines.iter().map(|line| line.render(colored) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_brings_no_sequence_of_its_own_along() {
        let line = Painted::of(Ink::Bad, "✗ \u{1b}[32mfake\u{9b}0m").with(Ink::Plain, "\nnext");
        assert_eq!(line.render(true), "\u{1b}[31m✗ \\u{1b}[32mfake\\u{9b}0m\u{1b}[0m\\nnext");
        assert_eq!(line.render(false), "✗ \\u{1b}[32mfake\\u{9b}0m\\nnext");
    }

    #[test]
    fn a_message_has_colour_in_the_word_that_says_what_it_is() {
        let lines = message("error: no\tx\u{1b}[2J\n  1: y\r\nhint: z");
        let text = "\u{1b}[31merror:\u{1b}[0m no\tx\\u{1b}[2J\n  1: y\\r\n\u{1b}[36mhint:\u{1b}[0m z\n";
        assert_eq!(lines_text(&lines, true), text);
        assert_eq!(lines_text(&lines, false), "error: no\tx\\u{1b}[2J\n  1: y\\r\nhint: z\n");
    }

    #[test]
    fn a_line_is_cut_to_its_columns_whatever_its_inks_are() {
        let line = Painted::of(Ink::Good, "one ").with(Ink::Plain, "two ").with(Ink::Bad, "three");
        let cut = |columns| line.clone().cut(columns).render(false);
        assert_eq!(
            [cut(20), cut(13), cut(12), cut(8), cut(4), cut(1), cut(0)].join("|"),
            "one two three|one two three|one two thr…|one two…|one…|…|"
        );
        for columns in 0..14 {
            assert!(line.clone().cut(columns).width() <= columns, "{columns}");
        }
    }
}
