//! Pictures of a terminal: what a run shows, as SVG that any page can carry.
//!
//! A picture is text in a monospaced font of the reader's, on a ground of its own, so that it reads the same on a light page and on a dark
//! one. Every piece of a line has its place and its width, so that no font moves what stands behind it.

use std::fmt::Write;

use vt100::{Color, Screen};

/// What a piece of a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary.
    Plain,
    /// Less than what stands beside it.
    Faint,
    /// What failed.
    Red,
    /// What is as it should be.
    Green,
    /// What should be known.
    Yellow,
    /// What is flaky.
    Magenta,
    /// A place, or a machine.
    Cyan,
}

impl Tone {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Plain, "p", "#d7dae0"),
        (Self::Faint, "f", "#8b93a1"),
        (Self::Red, "r", "#f47174"),
        (Self::Green, "g", "#7fd18b"),
        (Self::Yellow, "y", "#e3c267"),
        (Self::Magenta, "m", "#d39be6"),
        (Self::Cyan, "c", "#6fc8d6"),
    ];

    fn class(self) -> &'static str {
        Self::ALL.iter().find(|(tone, ..)| *tone == self).map(|(_, class, _)| *class).unwrap()
    }

    fn of(cell: &vt100::Cell) -> Self {
        match cell.fgcolor() {
            _ if cell.dim() => Self::Faint,
            Color::Idx(1 | 9) => Self::Red,
            Color::Idx(2 | 10) => Self::Green,
            Color::Idx(3 | 11) => Self::Yellow,
            Color::Idx(5 | 13) => Self::Magenta,
            Color::Idx(6 | 14) => Self::Cyan,
            _ => Self::Plain,
        }
    }
}

/// A line: pieces, each in one tone.
pub type Line = Vec<(Tone, String)>;

/// A line in the ordinary tone.
pub fn plain(text: &str) -> Line {
    vec![(Tone::Plain, text.to_owned())]
}

/// The text of a line.
pub fn text(line: &Line) -> String {
    line.iter().map(|(_, text)| text.as_str()).collect()
}

/// The lines of a screen, as they look; one that is longer than the screen is wide is one all the same.
pub fn of_screen(screen: &Screen) -> Vec<Line> {
    let (rows, columns) = screen.size();
    let mut lines: Vec<Line> = Vec::new();
    for row in 0..rows {
        let mut line = if row > 0 && screen.row_wrapped(row - 1) { lines.pop() } else { None }.unwrap_or_default();
        for cell in (0..columns).filter_map(|column| screen.cell(row, column)) {
            let (tone, text) = (Tone::of(cell), if cell.has_contents() { cell.contents() } else { " " });
            match line.last_mut() {
                Some((last, before)) if *last == tone => before.push_str(text),
                _ => line.push((tone, text.to_owned())),
            }
        }
        lines.push(line);
    }
    lines
}

/// The size of a character, and of what is around the text, in pixels.
const COLUMN: f64 = 8.4;
const ROW: f64 = 19.0;
const EDGE: f64 = 16.0;
const HEAD: f64 = 34.0;

/// The most characters of a row.
const WIDEST: usize = 100;

/// The rows of a line: it goes on below where the next word would not fit.
fn rows(line: &Line) -> Vec<Line> {
    let (mut rows, mut used) = (vec![Line::new()], 0);
    for (tone, text) in line {
        for word in text.split_inclusive(' ') {
            let (whole, shown) = (word.chars().count(), word.trim_end().chars().count());
            if shown > 0 && used > 0 && used + shown > WIDEST {
                rows.push(Line::new());
                used = 0;
            }
            used += whole;
            let row = rows.last_mut().unwrap();
            match row.last_mut() {
                Some((last, before)) if last == tone => before.push_str(word),
                _ => row.push((*tone, word.to_owned())),
            }
        }
    }
    rows
}

/// The picture of `lines` in a window called `title`.
pub fn svg(title: &str, lines: &[Line]) -> String {
    let lines: Vec<Vec<Line>> = lines.iter().map(rows).collect();
    let widest = lines.iter().flatten().map(|row| text(row).trim_end().chars().count()).max().unwrap_or_default();
    let count: usize = lines.iter().map(Vec::len).sum();
    let (width, height) = (widest as f64 * COLUMN + 2.0 * EDGE, count as f64 * ROW + HEAD + EDGE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>{}</title>\n<style>\ntext {{ font: 14px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre }}\n",
        escape(title)
    );
    for (_, class, color) in Tone::ALL {
        writeln!(svg, ".{class} {{ fill: {color} }}").unwrap();
    }
    svg.push_str("</style>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1f2329\" stroke=\"#3a404a\"/>\n");
    for (at, color) in ["#f47174", "#e3c267", "#7fd18b"].iter().enumerate() {
        writeln!(svg, "<circle cx=\"{}\" cy=\"17\" r=\"5\" fill=\"{color}\"/>", 20 + 18 * at).unwrap();
    }
    let mut y = HEAD + 14.0;
    for line in &lines {
        svg.push_str("<g>\n");
        for row in line {
            write_row(&mut svg, row, y);
            y += ROW;
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Writes the pieces of a row, each at its place and in its width.
fn write_row(svg: &mut String, row: &Line, y: f64) {
    let mut column = 0;
    for (tone, piece) in row {
        let shown = piece.trim();
        let before = piece.chars().count() - piece.trim_start().chars().count();
        if !shown.is_empty() {
            let (x, width) = (EDGE + (column + before) as f64 * COLUMN, shown.chars().count() as f64 * COLUMN);
            let (class, shown) = (tone.class(), escape(shown));
            writeln!(
                svg,
                "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.0}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\">{shown}</text>"
            )
            .unwrap();
        }
        column += piece.chars().count();
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a picture shows but for what differs from run to run: a line for each of its lines, with the tones and the words of its pieces. A
/// number, a time, a machine's name and a test's are each the same as any other, and a bar is the same at any length.
pub fn structure(svg: &str) -> String {
    let lines = svg.split("<g>\n").skip(1).map(|group| {
        let pieces = group.lines().filter_map(|line| line.strip_prefix("<text class=\"")).map(|piece| {
            let (head, rest) = piece.split_once('>').unwrap();
            (head[..1].to_owned(), rest.strip_suffix("</text>").unwrap().to_owned())
        });
        let mut line: Vec<(String, String)> = Vec::new();
        // What is left of the time is shown where there is something to reckon it by.
        for (class, words) in pieces.filter(|(_, words)| !words.starts_with(", about ")) {
            match line.last_mut() {
                Some((last, before)) if *last == class => *before = format!("{before} {words}"),
                _ => line.push((class, words)),
            }
        }
        line.iter().map(|(class, words)| format!("{class}:{}", common(words))).collect::<Vec<_>>().join(" ")
    });
    lines.map(|line| line + "\n").collect()
}

/// Words without what differs from run to run.
fn common(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
        let word = match () {
            () if bare.starts_with("hg-") => "MACHINE",
            () if bare.starts_with("test-") => "TEST",
            () if bare.starts_with(|c: char| c.is_ascii_digit()) => "N",
            // A changeset.
            () if bare.len() == 12 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) => "N",
            () if word.starts_with(['━', '─']) => "━",
            () => word,
        };
        // `1m 05s` is one time as `12s` is.
        if words.last() != Some(&word) {
            words.push(word);
        }
    }
    words.join(" ")
}
