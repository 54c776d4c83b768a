//! A step's own output, as lines below the step.

use std::collections::VecDeque;

use model::event::StepEvent;
use model::task::Chunk;

use crate::run::Run;

/// How many last lines are kept for the error of a step that fails; all of them are in the run's log.
const TAIL_LINES: usize = 20;

/// Turns a step's output into lines for the log and keeps the last of them.
pub struct Lines<'a> {
    run: &'a Run,
    partial: Vec<u8>,
    tail: VecDeque<String>,
}

impl<'a> Lines<'a> {
    /// No lines yet.
    pub fn new(run: &'a Run) -> Self {
        Self { run, partial: Vec::new(), tail: VecDeque::new() }
    }

    /// Takes a piece of output.
    pub fn take(&mut self, chunk: &Chunk) {
        let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = chunk;
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                // A line without an end is cut rather than kept whole in memory.
                _ if self.partial.len() < 4096 => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if line.is_empty() {
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        self.run.tell(StepEvent::Said { line });
    }

    /// The last lines; empty if nothing was printed.
    pub fn tail(mut self) -> String {
        self.end_line();
        Vec::from(self.tail).join("\n")
    }
}
