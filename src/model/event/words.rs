//! Events in words: a sentence for people, and how it is to be shown.

use std::time::Duration;

/// The words of an event. Sinks decide by the variant how to show them, and never look at the words themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// A step of this name began; it stays in view until the next step or its end.
    Begin(String),
    /// The step that began last took this long the last time.
    Expect(Duration),
    /// A step succeeded.
    End {
        /// The work that was done.
        text: String,
        /// How long it took.
        took: Duration,
    },
    /// A step ended without words of its own: it failed, or its caller reports the result.
    Stop,
    /// A line below the step, one of many.
    Detail(String),
    /// The progress of the step. It is outdated a moment later, so it is not kept.
    Progress(String),
    /// News of one test, one of many: for a view that shows all tests at once, and for the log.
    Test(String),
    /// Something that the user should know and that is not an error.
    Notice(String),
    /// Something that went wrong and was not the end.
    Warning(String),
    /// The result, in one line or several: shown even if the user wants less output.
    Outcome(String),
}
