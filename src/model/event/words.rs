//! What an event becomes for people: a sentence, and what is to be done with it.

use std::time::Duration;

/// The words of an event. Sinks decide by this how to show it, and never look at the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// A step of this name began; it stays in view until the next step or its end.
    Begin(String),
    /// The step that began last took this long the last time.
    Expect(Duration),
    /// A step ended well.
    End {
        /// What was done.
        text: String,
        /// How long it took.
        took: Duration,
    },
    /// A step ended without words of its own: it failed, or whoever ends it tells what it came to.
    Stop,
    /// A line below the step, one of many.
    Detail(String),
    /// How far the step is. Of no worth a moment later: it is not kept.
    Progress(String),
    /// Something the user should know and that is no error.
    Notice(String),
    /// Something that went wrong and was not the end.
    Warning(String),
    /// What it all came to, in one line or several: shown whatever the user wants to be spared.
    Outcome(String),
}
