//! The two streams through which everything is printed, and the record of writes to them that failed.
//!
//! Printing goes on where a write fails: a run is not lost for a full disk or a reader that went away. Data that could
//! not be written is noted, and reported once at the end of the process by [`take_write_fault`], which also decides the exit
//! code.

use std::io::{ErrorKind, IsTerminal, Result as IoResult, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use model::base::quote;
use model::fault::Fault;

use super::look::Look;
use super::paint::{self, lines_text};
use super::terminal;

/// Why data could not be written, for the first time.
static TROUBLE: Mutex<Option<Fault>> = Mutex::new(None);

/// How the tool is to be called in messages, where that is not by its name alone.
static CALL: OnceLock<String> = OnceLock::new();

/// Whether messages have colours.
static COLORED: AtomicBool = AtomicBool::new(false);

/// What every message calls the tool by its name alone.
const BARE_CALL: &str = "`automation ";

/// From now on messages look like this.
pub(crate) fn dress(look: Look) {
    COLORED.store(look.colored_stderr, Ordering::Relaxed);
}

/// From now on messages call the tool with this state directory: a command that is typed as they say must not act on
/// another.
pub(crate) fn name_state(root: &Path) {
    drop(CALL.set(with_state(root)));
}

/// The call of the tool with this state directory.
pub(crate) fn with_state(root: &Path) -> String {
    let root = root.display().to_string();
    format!("automation --state-path {}", quote::word(&root).unwrap_or(root))
}

/// `text` with its commands as they are to be typed.
fn callable(text: &str, call: Option<&str>) -> String {
    let Some(call) = call else { return text.to_owned() };
    let mut pieces = text.split(BARE_CALL);
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let call = if piece.starts_with("--state-path ") { "automation" } else { call };
        whole.extend(["`", call, " ", piece]);
    }
    whole
}

/// Writes data to standard output as it is, to the last byte.
pub(crate) fn data(bytes: &[u8]) -> IoResult<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.inspect_err(note)
}

/// Notes the first failure of standard output. A reader that went away (`| head`) has what it wanted.
pub fn note(error: &std::io::Error) {
    record_failure(error, fault);
}

/// The same for standard error when it carries a task's output that is kept nowhere else.
pub(crate) fn note_messages(error: &std::io::Error) {
    record_failure(error, messages_fault);
}

/// The same for a file of events.
pub(super) fn note_file(path: &Path, error: &std::io::Error) {
    record_failure(error, |error| {
        Fault::outside(format!("cannot write `{}`", path.display()))
            .because(error)
            .hint("The events in it are incomplete; those of a run are in its folder as well (`automation runs logs --json`).")
    });
}

fn record_failure(error: &std::io::Error, fault: impl FnOnce(std::io::Error) -> Fault) {
    if error.kind() != ErrorKind::BrokenPipe {
        let same = error.raw_os_error().map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error);
        TROUBLE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| fault(same));
    }
}

/// The fault of a process that could not write all of its data.
pub fn fault(error: std::io::Error) -> Fault {
    Fault::outside("cannot write to standard output")
        .because(error)
        .hint("The output is incomplete: make room where it goes, and ask for it again.")
}

/// The fault of a process that could not write all of a task's standard error.
pub fn messages_fault(error: std::io::Error) -> Fault {
    Fault::outside("cannot write to standard error")
        .because(error)
        .hint("The command's messages are incomplete: make room where they go, and run it again.")
}

/// The fault of the first failed write, where there was one; takes it.
pub fn take_write_fault() -> Option<Fault> {
    TROUBLE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Whether all data could be written so far.
pub fn is_all_written() -> bool {
    TROUBLE.lock().unwrap_or_else(PoisonError::into_inner).is_none()
}

/// How many characters of data fit into a line; none where standard output is no terminal, or does not say.
pub(crate) fn width() -> Option<usize> {
    let out = std::io::stdout();
    let size = rustix::termios::tcgetwinsize(&out).ok().filter(|_| out.is_terminal())?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Prints data on standard output without a screen.
pub fn print(text: &str) {
    drop(data(text.as_bytes()));
}

/// Prints a line on standard error without a screen, above what moves there. A reader that went away is not a reason to lose a run,
/// and `eprintln!` would end the process for it. Control sequences that a machine put into the text are made harmless.
pub fn complain(text: &str) {
    terminal::say(&lines_text(&message(text), COLORED.load(Ordering::Relaxed)));
}

/// The lines of a message, with its commands as they are to be typed.
pub(super) fn message(text: &str) -> Vec<paint::Painted> {
    paint::message(&callable(text, CALL.get().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_messages_name_the_state_directory_once() {
        let call = with_state(Path::new("/a b"));
        let text = "hint: `automation audit` shows it, `automation --state-path '/a b' runs list` as well; `automation` is a tool";
        assert_eq!(
            callable(text, Some(&call)),
            "hint: `automation --state-path '/a b' audit` shows it, `automation --state-path '/a b' runs list` as well; `automation` is a tool"
        );
        assert_eq!(callable(text, None), text);
    }
}
