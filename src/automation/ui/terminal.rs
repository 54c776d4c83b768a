//! The terminal of standard error: lines that stay, and below them a region that is drawn again and again.
//!
//! Between two frames the cursor rests on an empty line above the region. What anybody else writes then (a person's Ctrl-C, another
//! program) harms nothing, everything from there on is erased before lines are added, and a terminal that wraps the lines of the
//! region anew when it is resized moves the cursor with its own line, so that the next frame begins in the right place. Crates that
//! were looked at (indicatif 0.18 among them) leave the cursor at the end and count lines backwards, which is wrong after a resize.
//!
//! Whoever has lines to add only queues them, and never waits for a terminal that was stopped with Ctrl-S: the thread that draws
//! writes them with its next frame.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::base::text;

use super::paint::{Painted, lines_text};

/// The most bytes of lines that wait for the next frame; a terminal that is stopped shows that lines are missing, and the run's log
/// has them.
const WAITING: usize = 1 << 20;

/// Erases from the cursor's line to the end of the screen.
const ERASE: &str = "\r\u{1b}[J";

static QUEUE: Mutex<Queue> = Mutex::new(Queue { lines: String::new(), left_out: 0 });
static PEN: Mutex<Pen> = Mutex::new(Pen { is_drawn: false, is_closed: false });

/// Which frames may still be drawn: one that was laid out before the region was erased must not come back.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Lines that wait for the next frame.
struct Queue {
    lines: String,
    left_out: usize,
}

/// The right to write to the terminal, and what is on it.
struct Pen {
    is_drawn: bool,
    is_closed: bool,
}

impl Queue {
    fn push(&mut self, lines: &str) {
        if self.left_out > 0 || self.lines.len() + lines.len() > WAITING {
            self.left_out += lines.lines().count();
        } else {
            self.lines.push_str(lines);
        }
    }

    fn take(&mut self) -> String {
        let mut lines = std::mem::take(&mut self.lines);
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            lines.push_str(&format!("… {} left out; the run's log has them\n", text::pluralize(left_out, "line")));
        }
        lines
    }
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pen() -> MutexGuard<'static, Pen> {
    PEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pen {
    /// What clears the region away, and the lines that wait.
    fn clear(&mut self) -> String {
        let mut bytes = if std::mem::take(&mut self.is_drawn) { ERASE.to_owned() } else { String::new() };
        bytes.push_str(&queue().take());
        bytes
    }
}

fn put(bytes: &str) {
    if !bytes.is_empty() {
        // A reader that went away is not a reason to lose a run.
        drop(std::io::stderr().lock().write_all(bytes.as_bytes()));
    }
}

/// Adds lines above the region with its next frame.
pub(super) fn add(lines: &str) {
    queue().push(lines);
}

/// Writes lines at once, above where the region will be drawn again.
pub(super) fn say(lines: &str) {
    let mut pen = pen();
    let mut bytes = pen.clear();
    bytes.push_str(lines);
    put(&bytes);
}

/// Does what writes to the terminal by another way, while no region is on it.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    let mut pen = pen();
    put(&pen.clear());
    write()
}

/// The present epoch, to be asked for before a frame is laid out.
pub(super) fn epoch() -> u64 {
    EPOCH.load(Ordering::Acquire)
}

/// Writes what waits and draws the region below it; nothing where it was erased since `epoch`.
pub(super) fn draw(epoch: u64, lines: &[Painted], colored: bool) {
    let mut pen = pen();
    if pen.is_closed || epoch != EPOCH.load(Ordering::Acquire) {
        return;
    }
    let waiting = queue().take();
    put(&frame(&mut pen.is_drawn, &waiting, lines, colored));
}

/// Erases the region and writes what waits; frames that are laid out already come to nothing.
pub(super) fn erase() {
    let mut pen = pen();
    EPOCH.fetch_add(1, Ordering::AcqRel);
    put(&pen.clear());
}

/// The same for good: the process is about to end.
pub fn close() {
    let mut pen = pen();
    pen.is_closed = true;
    put(&pen.clear());
}

/// The bytes of one frame, which are written at once.
fn frame(is_drawn: &mut bool, waiting: &str, lines: &[Painted], colored: bool) -> String {
    let mut bytes = String::new();
    if *is_drawn && (!waiting.is_empty() || lines.is_empty()) {
        bytes.push_str(ERASE);
    }
    bytes.push_str(waiting);
    *is_drawn = !lines.is_empty();
    if lines.is_empty() {
        return bytes;
    }
    // No line may wrap, whatever the terminal thinks of the width of its characters: the way back up is counted in lines.
    bytes.push_str("\u{1b}[?7l\r\u{1b}[K");
    for line in lines_text(lines, colored).lines() {
        bytes.extend(["\r\n", line, "\u{1b}[K"]);
    }
    bytes.push_str(&format!("\u{1b}[J\u{1b}[{}A\r\u{1b}[?7h", lines.len()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::paint::Ink;

    #[test]
    fn a_frame_ends_where_it_began_and_lines_are_added_above_it() {
        let lines = [Painted::of(Ink::Bad, "one"), Painted::of(Ink::Plain, "two")];
        let mut is_drawn = false;
        let body = "\r\n\u{1b}[31mone\u{1b}[0m\u{1b}[K\r\ntwo\u{1b}[K\u{1b}[J\u{1b}[2A\r\u{1b}[?7h";
        let start = "\u{1b}[?7l\r\u{1b}[K";
        assert_eq!(frame(&mut is_drawn, "", &lines, true), format!("{start}{body}"));
        assert_eq!(frame(&mut is_drawn, "news\n", &lines, true), format!("{ERASE}news\n{start}{body}"));
        assert_eq!(frame(&mut is_drawn, "", &[], true), ERASE);
        assert_eq!(frame(&mut is_drawn, "", &[], true), "", "nothing is erased that is not ours");
    }

    #[test]
    fn a_terminal_that_takes_nothing_costs_no_memory_without_end() {
        let mut queue = Queue { lines: String::new(), left_out: 0 };
        for _ in 0..WAITING {
            queue.push("a line\n");
        }
        assert!(queue.lines.len() <= WAITING);
        let taken = queue.take();
        let said = taken.lines().last().unwrap_or_default();
        assert!(said.starts_with("… ") && said.ends_with(" lines left out; the run's log has them"), "{said}");
        queue.push("next\n");
        assert_eq!(queue.take(), "next\n");
    }
}
