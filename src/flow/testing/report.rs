//! The runner's report, taken while it is written, so that what was reported before a machine was lost counts. It passes through
//! in pieces and is never held whole: a machine's tests may write into it without end.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::id::TestName;
use model::event::TestsEvent;
use model::exit::Exit;
use model::fault::Fault;
use model::runner::{ReportReader, Reported, Runner};
use model::task::Chunk;

use crate::durable::Durable;
use crate::run::Run;

/// How much of what is left of the report is asked for at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The pause before the report is followed over another connection.
const PAUSE: Duration = Duration::from_millis(500);

/// How long taking what is left of a report may take, and connecting once more for it after a connection was lost. A report is a few
/// MiB at the most, and most of it was followed.
const SECOND_CHANCE: Duration = Duration::from_secs(15);

/// What was taken of a report.
pub(crate) struct Report {
    path: &'static str,
    taken: Mutex<Taken>,
}

struct Taken {
    reader: Box<dyn ReportReader>,
    bytes: u64,
}

impl Report {
    /// Of a runner; nothing is taken yet.
    pub(crate) fn of(runner: &dyn Runner) -> Self {
        Self { path: runner.layout().report, taken: Mutex::new(Taken { reader: runner.read_report(), bytes: 0 }) }
    }

    /// The file on the machine that holds the output of a failed test.
    pub(crate) fn output_file(&self, test: &TestName) -> Option<String> {
        self.lock().reader.output_file(test)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: &[u8]) {
        let mut taken = self.lock();
        taken.reader.feed(bytes);
        taken.bytes += bytes.len() as u64;
    }

    /// Where what was not taken begins.
    fn from(&self) -> u64 {
        self.lock().bytes
    }

    /// Takes it as it is written, over one connection after another, for as long as there is one.
    pub(crate) async fn follow(&self, durable: &Durable) -> Infallible {
        while let Ok(connection) = durable.direct().await {
            // For as long as it takes: the file is not there before the runner starts. Whatever has its name later is not it.
            let command = durable.guest().follow_file(self.path, self.from());
            let Ok(mut process) = connection.start(&command).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // Held open for as long as the report is followed, and closed with the channel.
            let _stdin = process.take_stdin();
            while let Some(chunk) = process.next().await {
                if let Chunk::Stdout(bytes) = chunk {
                    self.take(&bytes);
                }
            }
            if !matches!(process.exit(), Exit::Lost(_)) {
                // Where standard input is not held, the report is had at the end alone.
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::future::pending().await
    }

    /// Takes what is there and was not taken yet; `path` is where it is by now. A report that is not there is none.
    pub(crate) async fn drain(&self, durable: &Durable, path: &str) -> Result<(), Fault> {
        let all = async {
            loop {
                let command = durable.guest().file_piece(path, self.from(), PIECE_BYTES);
                let piece = durable.ask(&command, SECOND_CHANCE).await?.stdout;
                self.take(&piece);
                if (piece.len() as u64) < PIECE_BYTES {
                    return Ok::<(), Fault>(());
                }
            }
        };
        Deadline::after(SECOND_CHANCE, format!("the rest of `{path}` on the machine")).bound(all).await?
    }

    /// The same over a connection of its own, after the run was given up as lost.
    pub(crate) async fn drain_once_more(&self, run: &Run, durable: &Durable, path: &str) -> Result<(), Fault> {
        run.tell(TestsEvent::ReportAskedAgain);
        let (site, machine) = (durable.site(), durable.machine());
        let connection = site.connector.connect(machine, &machine.user, SECOND_CHANCE, false).await?;
        self.drain(&Durable::new(run, site, machine, Some(connection), durable.folder()), path).await
    }

    /// What was said in what was taken.
    pub(crate) fn reported(&self) -> Reported {
        self.lock().reader.reported()
    }
}
