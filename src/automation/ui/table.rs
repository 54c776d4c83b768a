//! Tables for people.

use model::base::escapes;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::ui::out;

/// The blanks between two columns.
const GAP: &str = "  ";

/// The narrowest that a column is cut to: a time such as `in 23h 59m` fits in.
const NARROWEST: usize = 10;

/// The mark of what was cut off.
const CUT: char = '…';

/// Lays `rows` out in columns below `header`, two spaces apart, without trailing blanks; every row has as many cells as
/// the header, and a cell is one line whatever it holds. On a terminal the lines are cut to its width, and the column
/// `whole` stays as it is, because a person copies from it.
pub fn render(header: &[&str], whole: usize, rows: &[Vec<String>]) -> String {
    fit(header, whole, rows, out::width())
}

/// The same for lines of at most `width` places of a terminal; none for lines of any length.
///
/// The widest of the other columns give way first, down to [`NARROWEST`]. Where that is not enough, the last of them are left out.
fn fit(header: &[&str], whole: usize, rows: &[Vec<String>], width: Option<usize>) -> String {
    let escape = |row: &Vec<String>| row.iter().map(|cell| escapes::one_line(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escape).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.width()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let columns = match width {
        Some(width) => shrink(&mut widths, whole, width),
        None => (0..widths.len()).collect(),
    };
    let line = |cells: &[&str]| line(columns.iter().filter_map(|at| Some((*widths.get(*at)?, *cells.get(*at)?))));
    let mut text = line(header);
    for row in &rows {
        text.push_str(&line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    text
}

/// Makes the columns narrower until they fit into `width`; gives those that are shown, in their order.
fn shrink(widths: &mut [usize], whole: usize, width: usize) -> Vec<usize> {
    let natural = widths.to_vec();
    let mut columns: Vec<usize> = (0..widths.len()).collect();
    while !narrow(widths, &columns, whole, width) {
        let Some(last) = columns.iter().copied().rfind(|at| *at != whole) else { break };
        columns.retain(|at| *at != last);
        widths.copy_from_slice(&natural);
    }
    columns
}

/// Takes from the widest of `columns` until they fit, none giving way more than another; whether they do.
fn narrow(widths: &mut [usize], columns: &[usize], whole: usize, width: usize) -> bool {
    loop {
        let cells: usize = columns.iter().filter_map(|at| widths.get(*at)).sum();
        if cells + GAP.len() * columns.len().saturating_sub(1) <= width {
            return true;
        }
        let others = columns.iter().copied().filter(|at| *at != whole);
        let widest = others.max_by_key(|at| widths.get(*at).copied().unwrap_or_default());
        match widest.and_then(|at| widths.get_mut(at)).filter(|width| **width > NARROWEST) {
            Some(width) => *width -= 1,
            None => return false,
        }
    }
}

fn line<'a>(cells: impl Iterator<Item = (usize, &'a str)>) -> String {
    let mut text = String::new();
    for (width, cell) in cells {
        let cell = cut(cell, width);
        let blanks = width.saturating_sub(cell.width());
        text.extend([cell.as_str(), &" ".repeat(blanks), GAP]);
    }
    format!("{}\n", text.trim_end())
}

/// `text` in at most `width` places; what is cut ends with [`CUT`].
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let taken = c.width().unwrap_or_default();
        let has_room = taken <= left;
        left = left.saturating_sub(taken);
        has_room
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push(CUT);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_line_up() {
        let rows = rows(&[&["a", "long cell"], &["bbbb", "c"]]);
        assert_eq!(fit(&["ID", "NAME"], 0, &rows, None), "ID    NAME\na     long cell\nbbbb  c\n");
    }

    #[test]
    fn a_name_from_elsewhere_is_no_row_of_its_own() {
        let rows = rows(&[&["a\u{1b}[2J\nb", "c"]]);
        assert_eq!(fit(&["ID", "NAME"], 0, &rows, None), "ID             NAME\na\\u{1b}[2J\\nb  c\n");
    }

    #[test]
    fn lines_are_cut_to_the_terminal_and_one_column_stays_whole() {
        let rows = rows(&[&["20261120-105301-abcdef", "a summary of some length", "and another one", "5 min ago"]]);
        let header = ["ID", "SUMMARY", "MORE", "AGE"];
        for width in 22..90 {
            let text = fit(&header, 0, &rows, Some(width));
            assert!(text.contains("20261120-105301-abcdef"), "{width}: {text}");
            assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
        }
        assert_eq!(fit(&header, 0, &rows, Some(80)), fit(&header, 0, &rows, None));
        insta::assert_snapshot!(fit(&header, 0, &rows, Some(64)), @r"
        ID                      SUMMARY         MORE           AGE
        20261120-105301-abcdef  a summary of …  and another …  5 min ago
        ");
        insta::assert_snapshot!(fit(&header, 0, &rows, Some(40)), @r"
        ID                      SUMMARY
        20261120-105301-abcdef  a summary of so…
        ");
    }

    #[test]
    fn wide_characters_take_two_places() {
        let rows = rows(&[&["測試測試測試", "x"], &["abc", "y"]]);
        assert_eq!(fit(&["T", "O"], 1, &rows, Some(13)), "T           O\n測試測試…   x\nabc         y\n");
    }
}
