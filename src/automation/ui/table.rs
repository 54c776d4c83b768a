//! Tables for people.

use model::base::escapes;

/// Lays `rows` out in columns below `header`, two spaces apart, without trailing blanks. Widths are counted in
/// characters; every row has as many cells as the header, and a cell is one line whatever it holds.
pub fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escapes::one_line(cell).into_owned()).collect()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&widths, header.iter().copied());
    for row in &rows {
        text.push_str(&line(&widths, row.iter().map(String::as_str)));
    }
    text
}

fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for (width, cell) in widths.iter().zip(cells) {
        text.push_str(&format!("{cell:<width$}  "));
    }
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "long cell".to_owned()], vec!["bbbb".to_owned(), "c".to_owned()]];
        assert_eq!(super::render(&["ID", "NAME"], &rows), "ID    NAME\na     long cell\nbbbb  c\n");
    }

    #[test]
    fn a_name_from_elsewhere_is_no_row_of_its_own() {
        let rows = vec![vec!["a\u{1b}[2J\nb".to_owned(), "c".to_owned()]];
        assert_eq!(super::render(&["ID", "NAME"], &rows), "ID             NAME\na\\u{1b}[2J\\nb  c\n");
    }
}
