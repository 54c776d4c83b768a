//! What is to be shown, and what of it waits while a question is open.

use model::event::Event;
use model::task::Chunk;

/// Most bytes of output that are held back while a question is open. With more, all of it is shown in the middle of the question.
const HELD: usize = 4 << 20;

/// Something to be shown.
#[derive(Debug)]
pub(super) enum News {
    /// It happens now.
    Event(Box<Event>),
    /// It happened before anybody watched.
    Past(Box<Event>),
    /// Output of the user's own task.
    Output(Chunk),
    /// What a test runner prints beside its report.
    RunnerOutput(Chunk),
}

/// The news that came while a question is open.
#[derive(Default)]
pub(super) struct HeldNews {
    /// In the order in which they came.
    pub(super) news: Vec<News>,
    bytes: usize,
}

impl HeldNews {
    /// Keeps the news where there is room for it, else gives it back.
    pub(super) fn take(&mut self, news: News) -> Option<News> {
        self.bytes += match &news {
            News::Output(Chunk::Stdout(bytes) | Chunk::Stderr(bytes))
            | News::RunnerOutput(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) => bytes.len(),
            News::Event(_) | News::Past(_) => size_of::<Event>(),
        };
        if self.bytes > HELD {
            return Some(news);
        }
        self.news.push(news);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_has_a_bound() {
        let mut held = HeldNews::default();
        assert!(held.take(News::Output(Chunk::Stdout(vec![0; HELD - 100]))).is_none());
        assert!(held.take(News::RunnerOutput(Chunk::Stderr(vec![0; 101]))).is_some(), "no room");
        assert_eq!(held.news.len(), 1);
    }
}
