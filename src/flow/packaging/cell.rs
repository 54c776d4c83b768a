//! One package: built on a machine, brought home, checked, signed, listed.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::base::id::TaskId;
use model::base::text;
use model::connection::{Connection, Process, Trees};
use model::event::PackagesEvent;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::packaging::{BuiltFile, CellOutcome, CellResult, PackageCell};
use model::release::BuiltArtifact;
use model::sum::Sha256Sum;
use model::task::Chunk;
use model::work::Work;
use sha2::{Digest, Sha256};

use crate::lease::until_stopped;
use crate::packaging::{Dist, PackagingJob};
use crate::preparation::take_step;
use crate::run::Run;
use crate::task::durable::Durable;
use crate::task::lines::Lines;

/// The longest line by which a build says what it made.
const LINE_CAP: usize = 64 << 10;

/// The largest package that is fetched. The largest that Mercurial's project has published has 20 MiB.
const PACKAGE_CAP: u64 = 4 << 30;

/// How many last lines of a build that failed are told; its log has all of them.
const LAST_LINES: usize = 3;

/// How many characters of each.
const LAST_CHARS: usize = 400;

/// The exit status of a build whose machine another run has taken.
const TAKEN: Exit = Exit::Code(75);

/// One cell on one machine.
pub(super) struct CellBuild<'a> {
    pub run: &'a Run,
    pub durable: &'a Durable,
    pub job: &'a PackagingJob<'a>,
    pub dist: &'a Dist,
    pub cell: &'a PackageCell,
    /// Whether the machine's folders were taken by an earlier one.
    pub is_taken: &'a AtomicBool,
}

impl CellBuild<'_> {
    /// Builds the cell's package. A fault says that the machine, or the run, can do no more; all else is the cell's own result.
    pub(super) async fn build(&self) -> Result<CellResult, Fault> {
        let began = Instant::now();
        let mut log = None;
        let made = self.make(&mut log).await;
        let (outcome, (artifact, version), fault) = match made {
            Ok((artifact, version)) => (CellOutcome::Built, (Some(artifact), Some(version)), None),
            Err(fault) if matches!(fault.kind, FaultKind::Infrastructure | FaultKind::Interrupted) => {
                return Err(fault);
            }
            Err(fault) => (CellOutcome::Failed, (None, None), Some(fault)),
        };
        if let Some(fault) = &fault {
            let (cell, log) = (self.cell.name.clone(), log.as_ref().map(|log| log.display().to_string()));
            self.run.tell(PackagesEvent::NotBuilt { cell, failure: fault.into(), log });
        }
        Ok(CellResult {
            cell: self.cell.name.clone(),
            outcome,
            artifact,
            version,
            reason: fault.map(|fault| fault.line()),
            log,
            machine: Some(self.durable.machine().id.clone()),
            seconds: began.elapsed(),
        })
    }

    async fn make(&self, log: &mut Option<PathBuf>) -> Result<(BuiltArtifact, String), Fault> {
        let packager = self.job.packager;
        let folder = self.durable.folder();
        for step in packager.clear(folder, !self.is_taken.load(Ordering::Relaxed)) {
            until_stopped(self.run, take_step(self.run, self.durable, packager, &step)).await?;
        }
        self.is_taken.store(true, Ordering::Relaxed);
        let (file, path) = self.dist.begin_log(&self.cell.name)?;
        let path = log.insert(path);
        let output = format!("{folder}/made/{}", self.cell.name);
        let built = until_stopped(self.run, self.on_machine(&output, file, path)).await?;
        let (name, arrived) = until_stopped(self.run, self.bring_home(&built, &output)).await?;
        let (mut size, mut sha256) = (built.size, built.sha256);
        let signed = match self.job.signer.filter(|signer| signer.signs(&name)) {
            Some(signer) => {
                let showing = self.run.teller.begin(Work::Signing { name: name.clone() });
                until_stopped(self.run, signer.sign(&arrived)).await?;
                showing.finish();
                (size, sha256) = sum_of(&arrived).await?;
                true
            }
            None => false,
        };
        let (cell, log) = (Some(self.cell.name.clone()), Some(Dist::log_of(&self.cell.name)));
        let machine = self.durable.machine();
        let rehearsal = machine.provider.stands_in_for(machine.platform);
        let version = packager.version().unwrap_or_else(|| built.version.clone());
        // A wheel may be of another version than the installers are called.
        let own = Some(built.version.clone()).filter(|own| *own != version);
        let artifact = BuiltArtifact { name: name.clone(), size, sha256, cell, log, version: own, rehearsal };
        self.dist.take(&arrived, artifact.clone(), &version)?;
        self.run.tell(PackagesEvent::Built { cell: self.cell.name.clone(), name, bytes: size, signed });
        Ok((artifact, built.version))
    }

    /// Has the machine build, and keeps what the build says; gives what it made.
    async fn on_machine(&self, output: &str, mut log: std::fs::File, path: &Path) -> Result<BuiltFile, Fault> {
        let step = self.job.packager.build(self.durable.folder(), self.cell, output);
        let limit = self.job.limit.unwrap_or(step.limit);
        let showing = self.run.teller.begin(step.work.clone());
        let (mut lines, mut last, mut unwritten) = (Lines::new(self.run), LastLine::default(), None);
        let id = TaskId::random();
        let mut task = self.durable.run_task(&id, &step.command).await?;
        let end = tokio::time::Instant::now() + limit;
        let what = format!("the build of {}", self.cell.what);
        loop {
            let Ok(chunk) = tokio::time::timeout_at(end, task.next()).await else {
                // The next build must not meet this one.
                self.durable.cancel_task(&id).await?;
                return Err(Fault::outside(format!("{what} did not end within {}", text::seconds(limit)))
                    .hint("`--timeout SPAN` gives each package more time."));
            };
            let Some(chunk) = chunk else { break };
            let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = &chunk;
            // A log on a full disk must not cost a package that may still find room.
            unwritten = unwritten.take().or(log.write_all(bytes).err());
            match &chunk {
                Chunk::Stdout(bytes) => last.take(bytes),
                Chunk::Stderr(_) => lines.take(&chunk),
            }
        }
        if let Some(error) = unwritten {
            return Err(Fault::outside(format!("cannot write `{}`", path.display())).because(error));
        }
        match task.exit() {
            Exit::Code(0) => {}
            Exit::Lost(why) => return Err(Fault::infrastructure(format!("{what} was lost")).because(why)),
            exit if exit == TAKEN => {
                return Err(Fault::infrastructure(format!("{what} cannot go on: another run has taken the machine")));
            }
            exit => {
                return Err(Fault::outside(format!("{what} ended with {exit}")).because(last_words(&lines.tail())));
            }
        }
        showing.finish();
        let said = last.line();
        serde_json::from_str(&said).map_err(|error| {
            Fault::outside(format!("{what} does not say what it made"))
                .because(format!("{error} in `{}`", said.escape_debug()))
        })
    }

    /// Fetches the package, which has to be what the machine said; gives its name and where it is now.
    async fn bring_home(&self, built: &BuiltFile, output: &str) -> Result<(String, PathBuf), Fault> {
        let wrong =
            |why: String| Fault::outside(format!("the build of {} is not to be used", self.cell.what)).because(why);
        let below = built.path.strip_prefix(output).and_then(|below| below.strip_prefix('/'));
        let Some(name) = below.filter(|name| BuiltArtifact::is_name(name)) else {
            return Err(wrong(format!("`{}` is no file of `{output}`", built.path.escape_debug())));
        };
        let into = self.dist.arriving(&self.cell.name);
        std::fs::create_dir_all(&into)
            .map_err(|error| Fault::outside(format!("cannot make `{}`", into.display())).because(error))?;
        let trees: &dyn Trees = self.durable.trees()?;
        trees.download_some(output, &[PathBuf::from(name)], &into, PACKAGE_CAP, &|_| ()).await?;
        let arrived = into.join(name);
        let (size, sum) = sum_of(&arrived).await?;
        if (size, &sum) != (built.size, &built.sha256) {
            let (said, here) = (&built.sha256, sum);
            return Err(wrong(format!(
                "{} bytes with the sum {said} were built, and {size} with {here} arrived",
                built.size
            )));
        }
        Ok((name.to_owned(), arrived))
    }
}

/// The bytes of a file and their sum.
async fn sum_of(path: &Path) -> Result<(u64, Sha256Sum), Fault> {
    let of = path.to_owned();
    let failed = |why: String| Fault::outside(format!("cannot read `{}`", path.display())).because(why);
    let reading = tokio::task::spawn_blocking(move || {
        let (mut file, mut sum, mut piece, mut size) = (std::fs::File::open(of)?, Sha256::new(), [0; 1 << 16], 0);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok::<_, std::io::Error>((size, sum.finalize())),
                read => sum.update(&piece[..read]),
            }
            size = file.stream_position()?;
        }
    });
    let read = reading.await.map_err(|error| failed(error.to_string()))?;
    let (size, digest) = read.map_err(|error| failed(error.to_string()))?;
    Sha256Sum::of_bytes(&digest).map(|sum| (size, sum)).ok_or_else(|| failed("it has no sum".to_owned()))
}

/// The last lines of what a build said, each of a length that can be read.
fn last_words(said: &str) -> String {
    let said = text::last_lines(said, LAST_LINES);
    let lines = said.lines().map(|line| line.chars().take(LAST_CHARS).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

/// The last line of an output that comes in pieces.
#[derive(Default)]
struct LastLine {
    bytes: Vec<u8>,
    ended: bool,
}

impl LastLine {
    fn take(&mut self, piece: &[u8]) {
        for byte in piece {
            if std::mem::take(&mut self.ended) {
                self.bytes.clear();
            }
            match byte {
                b'\n' => self.ended = true,
                _ if self.bytes.len() < LINE_CAP => self.bytes.push(*byte),
                _ => {}
            }
        }
    }

    fn line(self) -> String {
        String::from_utf8_lossy(&self.bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_however_the_pieces_come() {
        for pieces in [&["a\nb", "c\n"][..], &["a\n", "bc"], &["bc"], &["x\n\n", "bc\r\n"]] {
            let mut last = LastLine::default();
            pieces.iter().for_each(|piece| last.take(piece.as_bytes()));
            assert_eq!(last.line(), "bc", "{pieces:?}");
        }
    }
}
