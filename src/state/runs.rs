//! A folder per run: its log, its results, and how a run is found by what the user types.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use model::base::id::{MachineId, RunId};
use model::base::text;
use model::fault::Fault;
use model::machine::Machine;
use model::run::{KeptTask, RunFolder};
use model::task::TaskOutput;

use crate::file::{self, Lock};
use crate::output::{MachineOutput, OutputPlace};

/// The folder with a file for each machine that tells our own program, which `hg` starts in place of `ssh`, how to connect to it.
const TARGETS: &str = "machines";

/// The folder of a run's tasks, with a file for each machine.
const TASKS: &str = "tasks";

/// The file of a run's only task, from builds that knew one machine for each run.
const OLD_TASK: &str = "task.json";

/// The folder for the output of machines, where several are at work for a run.
const OUTPUTS: &str = "output";

/// The folder with a folder for each cell of a run that has a matrix.
const CELLS: &str = "cells";

/// How many candidates an error about an ambiguous id names.
const NAMED: usize = 5;

/// A file in the folder of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunFile {
    /// The task's output, byte for byte.
    Output,
    /// The pieces in which the output came.
    Index,
    /// What happened to the queue of the tests, an object a line, where several machines take tests from it.
    Queue,
    /// What was chosen for a cell, as JSON, in its folder.
    Cell,
    /// What a user's command came to, as JSON.
    Command,
    /// The outcome of the tests or of a command, as JSON, written before the machine is released.
    Tested,
    /// What was done about the end of its machines once the run itself was over, and what failed.
    Release,
    /// The events of the run for people, a line each, with UTC times.
    Steps,
    /// The same events as data, one JSON object a line.
    Events,
    /// The results, as JSON.
    Results,
    /// The results, as JUnit XML.
    Junit,
    /// The results, as a page.
    Report,
}

impl RunFile {
    /// The file's name in the folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "output.log",
            Self::Index => "output.index",
            Self::Queue => "queue.jsonl",
            Self::Cell => "cell.json",
            Self::Command => "command.json",
            Self::Tested => "tested.json",
            Self::Release => "release.log",
            Self::Steps => "events.log",
            Self::Events => "events.jsonl",
            Self::Results => "results.json",
            Self::Junit => "junit.xml",
            Self::Report => "report.html",
        }
    }
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    id: RunId,
    path: PathBuf,
}

impl RunDir {
    pub(super) fn create(runs: &Path, id: &RunId) -> Result<Self, Fault> {
        let path = runs.join(id.as_str());
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| file::fault("make the folder of the run", &path, error))?;
        Ok(Self { id: id.clone(), path })
    }

    pub(super) fn open(runs: &Path, id: &RunId) -> Result<Self, Fault> {
        let path = runs.join(id.as_str());
        if !path.is_dir() {
            return Err(Fault::usage(format!("run `{id}` has no folder in `{}`", runs.display()))
                .hint("`automation runs list` shows the runs there are."));
        }
        Ok(Self { id: id.clone(), path })
    }

    /// Makes the folder of one cell of the run, which has the files that a run's own has.
    pub fn make_cell(&self, name: &str) -> Result<Self, Fault> {
        let path = self.path.join(CELLS).join(name);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
        made.map_err(|error| file::fault("make", &path, error))?;
        Ok(Self { id: self.id.clone(), path })
    }

    /// The folders of the run's cells, in their order; itself where it has no matrix.
    pub fn cells(&self) -> Result<Vec<Self>, Fault> {
        let cells = self.matrix_cells()?;
        Ok(if cells.is_empty() { vec![self.clone()] } else { cells })
    }

    /// The folders of the cells of its matrix, in their order; none where it has no matrix.
    pub fn matrix_cells(&self) -> Result<Vec<Self>, Fault> {
        let mut cells: Vec<Self> = folder_entries(&self.path.join(CELLS))?
            .into_iter()
            .filter(|path| path.is_dir())
            .map(|path| Self { id: self.id.clone(), path })
            .collect();
        cells.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(cells)
    }

    /// The run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where one of its files is, or would be.
    pub fn file(&self, file: RunFile) -> PathBuf {
        self.path.join(file.name())
    }

    /// Where the output of its only task is.
    pub fn output(&self) -> OutputPlace {
        OutputPlace::in_folder(&self.path, "output")
    }

    /// That place, opened to go on after what it holds.
    pub fn open_output(&self) -> Result<Box<dyn TaskOutput>, Fault> {
        Ok(Box::new(MachineOutput::open(&self.output())?))
    }

    /// Replaces a file whole.
    pub fn write(&self, file: RunFile, bytes: &[u8]) -> Result<(), Fault> {
        file::write_atomic(&self.file(file), bytes)
    }

    /// Takes the lock that the driver of the run holds as long as it lives; none while another process has it.
    pub fn lock_driver(&self) -> Result<Option<Lock>, Fault> {
        Lock::try_acquire(&Self::driver_lock(&self.path))
    }

    /// That lock, in the folder of a run.
    pub(super) fn driver_lock(folder: &Path) -> PathBuf {
        folder.join("driver.lock")
    }

    /// The content of a file; none when it was not written (the run was killed, or is still at work).
    pub fn read(&self, file: RunFile) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.file(file);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file::fault("read", &path, error)),
        }
    }

    /// The last bytes of a file, at most `cap`; nothing if the file was not written.
    pub fn tail(&self, file: RunFile, cap: u64) -> Result<Vec<u8>, Fault> {
        let path = self.file(file);
        let read = || -> std::io::Result<Vec<u8>> {
            let mut from = std::fs::File::open(&path)?;
            let length = from.metadata()?.len();
            from.seek(SeekFrom::Start(length.saturating_sub(cap)))?;
            let mut bytes = Vec::new();
            from.take(cap).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| file::fault("read", &path, error)),
        }
    }
}

impl RunDir {
    /// The files of the run's tasks, by machine.
    fn task_files(&self) -> Result<Vec<PathBuf>, Fault> {
        let folder = self.path.join(TASKS);
        if !folder.is_dir() {
            return Ok(Some(self.path.join(OLD_TASK)).filter(|path| path.is_file()).into_iter().collect());
        }
        // A file whose writing was cut off has another name.
        let of_machine = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "json")
                && path.file_stem().and_then(MachineId::of_folder).is_some()
        };
        let mut files = folder_entries(&folder)?;
        files.retain(of_machine);
        files.sort();
        Ok(files)
    }

    /// The place of the output of one machine, made where it is missing.
    fn output_of(&self, machine: &MachineId) -> Result<OutputPlace, Fault> {
        let folder = self.path.join(OUTPUTS);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&folder);
        made.map_err(|error| file::fault("make", &folder, error))?;
        Ok(OutputPlace::in_folder(&folder, machine.as_str()))
    }

    /// The output of each machine, where several were at work for the run: cell by cell, by their ids.
    pub fn machine_outputs(&self) -> Result<Vec<(MachineId, PathBuf)>, Fault> {
        let mut all = Vec::new();
        for cell in self.cells()? {
            let mut found = Vec::new();
            for path in folder_entries(&cell.path.join(OUTPUTS))? {
                let is_log = path.extension().is_some_and(|extension| extension == "log");
                if let Some(machine) = path.file_stem().and_then(MachineId::of_folder).filter(|_| is_log) {
                    found.push((machine, path));
                }
            }
            found.sort();
            all.extend(found);
        }
        Ok(all)
    }

    /// Whether a machine was written down as one of this folder's.
    pub fn has_target(&self, machine: &MachineId) -> bool {
        self.path.join(TARGETS).join(format!("{machine}.json")).is_file()
    }

    /// Whether a task was begun for the run, as far as can be read.
    pub fn has_tasks(&self) -> bool {
        let has = |cell: &Self| cell.task_files().is_ok_and(|files| !files.is_empty());
        self.cells().is_ok_and(|cells| cells.iter().any(has))
    }
}

/// What is in a folder; nothing where there is none.
fn folder_entries(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let fault = |error| file::fault("read", folder, error);
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(fault)?.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(fault(error)),
    }
}

impl RunFolder for RunDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write_target(&self, machine: &Machine) -> Result<PathBuf, Fault> {
        let folder = self.path.join(TARGETS);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&folder);
        made.map_err(|error| file::fault("make", &folder, error))?;
        let path = folder.join(format!("{}.json", machine.id));
        let text = serde_json::to_vec_pretty(machine)
            .map_err(|error| Fault::outside(format!("cannot write `{}`", path.display())).because(error))?;
        file::write_atomic(&path, &text)?;
        Ok(path)
    }

    fn keep_task(&self, machine: &MachineId, text: &[u8]) -> Result<(), Fault> {
        let folder = self.path.join(TASKS);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&folder);
        made.map_err(|error| file::fault("make", &folder, error))?;
        file::write_atomic(&folder.join(format!("{machine}.json")), text)
    }

    fn tasks(&self) -> Result<Vec<KeptTask>, Fault> {
        let read = |path: PathBuf| match std::fs::read(&path) {
            Ok(text) => Ok(KeptTask { path, text }),
            Err(error) => Err(file::fault("read", &path, error)),
        };
        self.task_files()?.into_iter().map(read).collect()
    }

    fn append_queue(&self, line: &[u8]) -> Result<(), Fault> {
        file::append_line(&self.file(RunFile::Queue), line)
    }

    fn queue(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.read(RunFile::Queue)
    }

    fn machine_output(&self, machine: &MachineId) -> Result<Box<dyn TaskOutput>, Fault> {
        Ok(Box::new(MachineOutput::open(&self.output_of(machine)?)?))
    }

    fn store_outcome(&self, text: &[u8]) -> Result<(), Fault> {
        self.write(RunFile::Tested, text)
    }

    fn outcome(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.read(RunFile::Tested)
    }

    fn last_output(&self, bytes: u64) -> Result<Vec<u8>, Fault> {
        self.tail(RunFile::Output, bytes)
    }
}

/// Finds the run that `wanted` means among `known` (newest first). It is an id, the beginning of exactly one id, or the
/// word `latest`, for which the caller gives the run.
pub fn resolve(known: &[RunId], latest: Option<&RunId>, wanted: &str) -> Result<RunId, Fault> {
    let list = "`automation runs list` shows the runs there are.";
    if wanted == "latest" {
        return latest
            .cloned()
            .ok_or_else(|| Fault::usage("there is no run yet").hint("`automation run-tests-linux` begins one."));
    }
    if let Some(id) = known.iter().find(|id| id.as_str() == wanted) {
        return Ok(id.clone());
    }
    let found: Vec<&RunId> = known.iter().filter(|id| !wanted.is_empty() && id.as_str().starts_with(wanted)).collect();
    match found.as_slice() {
        [id] => Ok((*id).clone()),
        [] => {
            if wanted.starts_with("hg-") {
                let hint = format!("That is the name of a machine, not of a run; {list}");
                return Err(Fault::usage(format!("there is no run `{wanted}`")).hint(hint));
            }
            let near = text::nearest(wanted, known.iter().map(RunId::as_str).chain(["latest"]));
            let hint = near.map_or_else(|| list.to_owned(), |id| format!("Did you mean `{id}`?"));
            Err(Fault::usage(format!("there is no run `{wanted}`")).hint(hint))
        }
        many => {
            let mut names: Vec<String> = many.iter().take(NAMED).map(|id| format!("`{id}`")).collect();
            if many.len() > NAMED {
                names.push(format!("and {} more", many.len() - NAMED));
            }
            Err(Fault::usage(format!("`{wanted}` begins the ids of {} runs", many.len()))
                .hint(format!("It may be {}.", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<RunId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_run_is_found_by_latest_by_id_and_by_its_beginning() {
        let known = ids(&["20261120-110000-bbbbbb", "20261120-100000-aaaaaa", "20261119-100000-cccccc"]);
        assert_eq!(resolve(&known, Some(&known[1]), "latest").unwrap(), known[1]);
        assert_eq!(resolve(&known, None, "20261119").unwrap(), known[2]);
        assert_eq!(resolve(&known, None, "20261120-100000-aaaaaa").unwrap(), known[1]);
        let ambiguous = resolve(&known, None, "20261120").unwrap_err();
        insta::assert_snapshot!(format!("{ambiguous}\n{}", ambiguous.hint.as_deref().unwrap()), @r"
        `20261120` begins the ids of 2 runs
        It may be `20261120-110000-bbbbbb`, `20261120-100000-aaaaaa`.
        ");
        let near = resolve(&known, None, "latets").unwrap_err();
        assert_eq!(near.hint.as_deref(), Some("Did you mean `latest`?"));
        assert!(resolve(&known, None, "").is_err() && resolve(&[], None, "latest").is_err());
    }

    #[test]
    fn the_end_of_a_file_is_read_without_what_is_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"20261120-110000-bbbbbb".parse().unwrap()).unwrap();
        assert_eq!(run.tail(RunFile::Output, 3).unwrap(), b"");
        run.write(RunFile::Output, b"one two").unwrap();
        assert_eq!(run.tail(RunFile::Output, 3).unwrap(), b"two");
        assert_eq!(run.tail(RunFile::Output, 300).unwrap(), b"one two");
    }

    #[test]
    fn tasks_are_kept_by_machine_and_that_of_an_older_build_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"20261120-110000-bbbbbb".parse().unwrap()).unwrap();
        let texts = || -> Vec<String> {
            let tasks = run.tasks().unwrap().into_iter();
            tasks.map(|task| String::from_utf8(task.text).unwrap()).collect()
        };
        assert!(texts().is_empty() && !run.has_tasks());
        std::fs::write(run.path().join("task.json"), "old").unwrap();
        assert_eq!((texts(), run.has_tasks()), (vec!["old".to_owned()], true));
        for machine in ["hg-b", "hg-a"] {
            run.keep_task(&machine.parse().unwrap(), machine.as_bytes()).unwrap();
        }
        // As a writer leaves it if it is killed.
        std::fs::write(run.path().join("tasks/.hg-c.json.123-0.tmp"), "half").unwrap();
        assert_eq!(texts(), ["hg-a", "hg-b"]);
    }

    #[test]
    fn an_id_is_used_once() {
        let dir = tempfile::tempdir().unwrap();
        let id: RunId = "20261120-110000-bbbbbb".parse().unwrap();
        RunDir::create(dir.path(), &id).unwrap();
        assert!(RunDir::create(dir.path(), &id).is_err());
    }

    #[test]
    fn one_process_drives_a_run_and_the_next_when_it_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &"r-1".parse().unwrap()).unwrap();
        let held = run.lock_driver().unwrap().unwrap();
        assert!(run.lock_driver().unwrap().is_none());
        drop(held);
        assert!(run.lock_driver().unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_never_written_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let id: RunId = "r-1".parse().unwrap();
        assert!(RunDir::open(dir.path(), &id).is_err());
        let run = RunDir::create(dir.path(), &id).unwrap();
        assert_eq!(run.read(RunFile::Results).unwrap(), None);
        run.write(RunFile::Results, b"{}").unwrap();
        assert_eq!(run.read(RunFile::Results).unwrap().as_deref(), Some(b"{}".as_slice()));
    }
}
