//! The only code that prints or draws progress.
//!
//! Standard output carries data: what a listing lists, the output of the user's own task. Everything else goes to
//! standard error. With `--json` the task's output goes to standard error too, so that standard output is one JSON value.
//!
//! Everything passes one of three borders: our own words are made harmless by [`escapes::plain`] before they get a colour
//! ([`paint`]), JSON by [`escapes::json`], and on a terminal the output of tasks passes a filter ([`escapes::TerminalFilter`]) unless
//! the user wants it raw.
//!
//! [`escapes::plain`]: model::base::escapes::plain
//! [`escapes::json`]: model::base::escapes::json
//! [`escapes::TerminalFilter`]: model::base::escapes::TerminalFilter

pub mod choice;
pub mod confirm;
mod files;
mod held;
pub mod live;
pub mod look;
mod measure;
mod out;
pub mod paint;
pub mod prefix;
mod screen;
pub mod secret;
mod stream;
pub mod table;
mod terminal;
mod ticker;
mod verdicts;

pub use look::{ColorChoice, Look, Loudness, Surroundings};
pub use out::{
    complain, fault as unwritten_fault, is_all_written, messages_fault as unwritten_messages_fault,
    note as not_written, print, take_write_fault,
};
pub(crate) use out::{dress, name_state, with_state};
pub use screen::{OutputTo, Screen, terminals};
pub use stream::EventStream;
pub use terminal::close;
