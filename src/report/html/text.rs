//! Text of machines and tests, made fit for the page. All of it is hostile: control characters are shown as escapes here,
//! and the templates escape what means something in HTML.

use std::time::Duration;

use model::base::{escapes, text};
use model::outcome::TestResult;

/// Most bytes of a test's name: pytest and JUnit name cases by their parameters, and a name may have 10,000 characters.
const NAME: usize = 160;

/// Most bytes of the name of a cell: some values of a matrix.
const CELL: usize = 80;

/// Most bytes of a reason: a sentence or two.
const REASON: usize = 300;

/// A name in one line.
pub(super) fn name(text: &str) -> String {
    one_line(text, NAME)
}

/// The name of a cell in one line.
pub(super) fn cell_name(text: &str) -> String {
    one_line(text, CELL)
}

/// The name of a test, and of its cell where the run has a matrix: the same test is another one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) cell: Option<String>,
}

impl Named {
    pub(super) fn of(test: &TestResult) -> Self {
        Self { name: name(test.name.as_str()), cell: test.cell.as_deref().map(cell_name) }
    }

    /// Its length in the page.
    pub(super) fn weight(&self) -> usize {
        weight(&self.name) + self.cell.as_deref().map_or(0, |cell| weight(cell) + "<em></em> ".len())
    }

    /// Both as plain text: `test-disk.t [tmpfs]`.
    pub(super) fn text(&self) -> String {
        let cell = self.cell.as_deref().map(|cell| format!(" [{cell}]")).unwrap_or_default();
        format!("{}{cell}", self.name)
    }
}

/// A reason in one line.
pub(super) fn reason(text: &str) -> String {
    one_line(text.trim(), REASON)
}

/// Any text in one line, cut after about `cap` bytes.
pub(super) fn one_line(text: &str, cap: usize) -> String {
    escapes::one_line(&text::cut(text, cap)).into_owned()
}

/// How long something took, or a dash.
pub(super) fn took(span: Option<Duration>) -> String {
    span.map(text::seconds).unwrap_or_else(|| "–".to_owned())
}

/// The length of `text` in the page, where five characters become five bytes each.
pub(super) fn weight(text: &str) -> usize {
    text.len() + 4 * text.bytes().filter(|byte| b"<>&\"'".contains(byte)).count()
}

/// A link to a file beside the page: a relative path never names another scheme or host.
pub(super) fn link(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("./{}", path.bytes().map(encode).collect::<String>())
}

/// A share of a whole in per cent with two decimals, as style sheets take it.
pub(super) fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    let text = format!("{share:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The room that is left in a part of the page, in bytes.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Room {
    pub(super) fn of(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Takes room for something of this weight; false, and nothing is taken, where there is not enough.
    pub(super) fn take(&mut self, weight: usize) -> bool {
        let left = self.0.checked_sub(weight);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// The members of a list for which there is room, and how many there was none for.
#[derive(Debug, Default)]
pub(super) struct Fitting<T> {
    pub(super) shown: Vec<T>,
    pub(super) left_out: usize,
}

impl<T> Fitting<T> {
    /// The longest beginning of `all` that fits; `weigh` gives the weight of a member.
    pub(super) fn of(all: impl IntoIterator<Item = T>, room: &mut Room, weigh: impl Fn(&T) -> usize) -> Self {
        let mut fitting = Self { shown: Vec::new(), left_out: 0 };
        for member in all {
            if fitting.left_out == 0 && room.take(weigh(&member)) {
                fitting.shown.push(member);
            } else {
                fitting.left_out += 1;
            }
        }
        fitting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_in_its_folder_s_scheme() {
        assert_eq!(link("outputs/test-a.t#b.err"), "./outputs/test-a.t%23b.err");
        assert_eq!(link("javascript:alert(1)"), "./javascript%3Aalert%281%29");
    }

    #[test]
    fn a_share_is_short_and_never_beyond_its_whole() {
        assert_eq!([percent(1.0, 3.0), percent(5.0, 1.0), percent(1.0, 0.0)], ["33.33", "100", "0"]);
        assert_eq!(percent(10.0, 100.0), "10");
    }

    #[test]
    fn a_name_of_a_machine_s_choice_takes_one_line_of_limited_length() {
        assert_eq!(name("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert!(name(&"x".repeat(10_000)).ends_with("[… 9840 bytes left out]"));
        assert_eq!(weight("<a & b>"), 7 + 3 * 4);
    }

    #[test]
    fn a_list_is_cut_where_its_room_ends_and_says_how_much_is_missing() {
        let fitting = Fitting::of(["aa", "bbb", "c"], &mut Room::of(4), |text| text.len());
        assert_eq!((fitting.shown, fitting.left_out), (vec!["aa"], 2));
    }
}
