//! Finds the parts of a file on the machine that hold data, so that the holes of a sparse file need not travel.

use std::ops::Range;
use std::time::Duration;

use model::connection::Connection;
use model::output::OutputLimits;

use crate::blocks::command_output;

/// The machine reads no byte of the file, so that the time is short. The output has room for about 50,000 parts; a file
/// with more of them is fetched with its holes.
const LIMITS: OutputLimits = OutputLimits { bytes: 1 << 20, time: Duration::from_secs(10) };

/// The parts of a file that hold data; `None` where the file is not sparse or the machine cannot tell.
pub(super) async fn remote_extents(connection: &dyn Connection, path: &str, size: u64) -> Option<Vec<Range<u64>>> {
    parse(&command_output(connection, &guest::of(connection.platform()).data_extents(path), LIMITS).await?, size)
}

/// The parts, or `None` where they are not in order and within the file.
fn parse(text: &str, size: u64) -> Option<Vec<Range<u64>>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for line in text.lines() {
        let (start, end) = line.split_once(' ')?;
        let part = start.parse::<u64>().ok()?..end.parse::<u64>().ok()?.min(size);
        if part.is_empty() || parts.last().is_some_and(|last| last.end > part.start) {
            return None;
        }
        parts.push(part);
    }
    Some(parts)
}

/// The parts that lie at or behind `start`; a part that crosses it is cut there.
pub(super) fn parts_from(parts: Vec<Range<u64>>, start: u64) -> impl Iterator<Item = Range<u64>> {
    parts.into_iter().map(move |part| part.start.max(start)..part.end).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_only_in_order_and_within_the_file() {
        assert_eq!(parse("0 5\n7 20\n", 10), Some(vec![0..5, 7..10]));
        assert_eq!(parse("", 10), Some(vec![]));
        for wrong in ["5 3", "0 5\n4 6", "0", "a b", "12 20"] {
            assert_eq!(parse(wrong, 10), None, "{wrong}");
        }
    }

    #[test]
    fn what_lies_behind_is_cut_where_it_begins() {
        assert_eq!(parts_from(vec![0..5, 7..20, 30..31], 9).collect::<Vec<_>>(), [9..20, 30..31]);
        assert_eq!(parts_from(vec![0..3, 4..5], 5).count(), 0);
    }
}
