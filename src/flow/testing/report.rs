//! The runner's report, taken while it is written, so that everything reported before a machine was lost counts. It
//! passes through in pieces and is never held whole: a machine's tests may write into it without end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::id::TestName;
use model::event::{Teller, TestsEvent};
use model::exit::Exit;
use model::fault::Fault;
use model::outcome::TestResult;
use model::runner::{ReportReader, Runner, RunnerReport, TestNews};
use model::task::Chunk;

use crate::run::Run;
use crate::task::durable::Durable;

/// How much of the rest of the report is asked for at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The pause before the report is followed over another connection.
const PAUSE: Duration = Duration::from_millis(500);

/// How long taking the rest of a report may take, and connecting once more for it after a connection was lost. A report
/// has a few MiB at the most, and most of it was taken while it was followed.
const SECOND_CHANCE: Duration = Duration::from_secs(15);

/// The part of a report that was taken.
pub(crate) struct FollowedReport<'a> {
    path: String,
    taken: Mutex<TakenPart>,
    /// To whom the news of tests is told.
    teller: Teller,
    watch: &'a (dyn Fn(&TestResult) + Sync),
}

struct TakenPart {
    reader: Box<dyn ReportReader>,
    bytes: u64,
}

impl<'a> FollowedReport<'a> {
    /// The report of a runner, of which nothing is taken yet. What it says of tests is told as it comes.
    pub(crate) fn of(
        runner: &dyn Runner,
        part: Option<u32>,
        teller: Teller,
        watch: &'a (dyn Fn(&TestResult) + Sync),
    ) -> Self {
        Self {
            path: runner.report_file(part),
            taken: Mutex::new(TakenPart { reader: runner.read_report(part), bytes: 0 }),
            teller,
            watch,
        }
    }

    /// The file on the machine that holds the output of a failed test.
    pub(crate) fn output_file(&self, test: &TestName) -> Option<String> {
        self.lock().reader.output_file(test)
    }

    fn lock(&self) -> MutexGuard<'_, TakenPart> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: &[u8]) {
        let mut taken = self.lock();
        taken.reader.feed(bytes);
        taken.bytes += bytes.len() as u64;
        for news in taken.reader.news() {
            self.teller.tell(match news {
                TestNews::Began(test) => TestsEvent::TestBegan { test },
                TestNews::Ended(result) => {
                    (self.watch)(&result);
                    TestsEvent::ended(&result)
                }
            });
        }
    }

    /// Where the part that was not taken begins.
    fn from(&self) -> u64 {
        self.lock().bytes
    }

    /// Takes the report as it is written, over one connection after another, for as long as there is one.
    pub(crate) async fn follow(&self, durable: &Durable) -> Infallible {
        while let Ok(connection) = durable.direct().await {
            // This waits for as long as it takes: the file does not exist before the runner starts. A later file of the
            // same name is not it.
            let command = durable.guest().follow_file(&self.path, self.from());
            let Ok(mut process) = connection.start(&command).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // Standard input is held open for as long as the report is followed, and closed with the channel.
            let _stdin = process.take_stdin();
            while let Some(chunk) = process.next().await {
                if let Chunk::Stdout(bytes) = chunk {
                    self.take(&bytes);
                }
            }
            if !matches!(process.exit(), Exit::Lost(_)) {
                // Where standard input cannot be held open, the report is taken only at the end.
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::future::pending().await
    }

    /// Takes the rest of the report; `path` is its place by now. A report that does not exist is empty.
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

    /// The tests that have ended by the part taken so far.
    pub(crate) fn ended(&self) -> BTreeSet<TestName> {
        self.lock().reader.ended()
    }

    /// Everything that the part taken so far reported.
    pub(crate) fn reported(&self) -> RunnerReport {
        self.lock().reader.report()
    }
}
