//! A machine in memory, for tests of flows and for dry runs, and the [`provider`] of such machines.
//!
//! The machine is strict: a command that it was not told to expect is an error, and so is writing a file below a folder
//! that does not exist. It fails on request: [`Dummy::fail`] makes the next call of a kind fail, [`Dummy::lose`] breaks
//! everything.

pub mod provider;
mod reply;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::links;
use async_trait::async_trait;
use model::connection::{Connection, ConnectionError, Connector, Parcel, Process, Progress, Stdin, Totals, Trees};
use model::exit::Exit;
use model::machine::{Machine, Platform};
use model::task::{Chunk, Command, WindowSize};
use tokio_util::sync::CancellationToken;

pub use reply::Reply;

/// The address that errors of the dummy name.
const ADDRESS: &str = "dummy";

/// A kind of call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Call {
    Connect,
    Start,
    WriteFile,
    ReadFile,
    Upload,
    Download,
}

#[derive(Debug, Clone)]
enum Node {
    Folder(u32),
    File(Vec<u8>, u32),
    Link(String),
}

type Answer = Arc<dyn Fn(&Command) -> Option<Reply> + Send + Sync>;

#[derive(Default)]
struct DummyState {
    replies: HashMap<String, VecDeque<Reply>>,
    answers: Vec<Answer>,
    failures: HashMap<Call, VecDeque<ConnectionError>>,
    nodes: BTreeMap<String, Node>,
    calls: Vec<String>,
    inputs: Vec<(String, Vec<u8>)>,
    lost: Option<String>,
}

/// A machine in memory; clones are the same machine.
#[derive(Clone)]
pub struct Dummy {
    state: Arc<Mutex<DummyState>>,
    gone: CancellationToken,
}

impl Default for Dummy {
    fn default() -> Self {
        let dummy = Self { state: Arc::default(), gone: CancellationToken::new() };
        dummy.add_folder("/tmp");
        dummy
    }
}

impl Dummy {
    /// A machine that knows no command and has the folders `/` and `/tmp`.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, DummyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `line` (that of [`guest::Invocation`]) with `reply`. Several replies to one line are used in the
    /// order in which they were given; the last one is used for all further calls.
    pub fn reply_to(&self, line: impl Into<String>, reply: Reply) -> &Self {
        self.lock().replies.entry(line.into()).or_default().push_back(reply);
        self
    }

    /// Asks `answer` about each command that no line matches.
    pub fn answer(&self, answer: impl Fn(&Command) -> Option<Reply> + Send + Sync + 'static) -> &Self {
        self.lock().answers.push(Arc::new(answer));
        self
    }

    /// Makes the next call of this kind fail; several errors are used one after another.
    pub fn fail(&self, call: Call, error: ConnectionError) -> &Self {
        self.lock().failures.entry(call).or_default().push_back(error);
        self
    }

    /// Breaks every connection: running commands are lost, later calls fail.
    pub fn lose(&self, reason: &str) {
        self.lock().lost.get_or_insert_with(|| reason.to_owned());
        self.gone.cancel();
    }

    /// All calls in order: `start LINE`, `upload REMOTE` and so on.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The standard input of every command, each with the command's line.
    pub fn inputs(&self) -> Vec<(String, Vec<u8>)> {
        self.lock().inputs.clone()
    }

    /// Makes a folder and those above it.
    pub fn add_folder(&self, path: &str) -> &Self {
        self.lock().add_folder(path);
        self
    }

    /// Makes a file and the folders above it.
    pub fn add_file(&self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> &Self {
        let mut state = self.lock();
        state.add_folder(parent(path));
        state.nodes.insert(path.to_owned(), Node::File(bytes.into(), mode));
        drop(state);
        self
    }

    /// The bytes and mode of a file.
    pub fn file(&self, path: &str) -> Option<(Vec<u8>, u32)> {
        match self.lock().nodes.get(path) {
            Some(Node::File(bytes, mode)) => Some((bytes.clone(), *mode)),
            _ => None,
        }
    }

    /// Records the call, and fails where [`Dummy::fail`] or [`Dummy::lose`] asked for that.
    fn enter(&self, call: Call, what: String) -> Result<MutexGuard<'_, DummyState>, ConnectionError> {
        let mut state = self.lock();
        state.calls.push(what);
        if let Some(reason) = &state.lost {
            return Err(ConnectionError::Lost { address: ADDRESS.to_owned(), reason: reason.clone() });
        }
        match state.failures.get_mut(&call).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

impl DummyState {
    fn add_folder(&mut self, path: &str) {
        let mut path = path.trim_end_matches('/');
        while !path.is_empty() {
            self.nodes.entry(path.to_owned()).or_insert(Node::Folder(0o755));
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    fn next_reply(&mut self, line: &str) -> Option<Reply> {
        let replies = self.replies.get_mut(line)?;
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    }

    /// Puts a node at `path`, provided that its folder exists and no folder has its name.
    fn put(&mut self, path: &str, node: Node) -> Result<(), ConnectionError> {
        if let (Some(Node::Link(target)), Node::File(..)) = (self.nodes.get(path), &node) {
            let target = if target.starts_with('/') { target.clone() } else { format!("{}/{target}", parent(path)) };
            return self.put(&target, node);
        }
        let above = parent(path);
        if !above.is_empty() && !matches!(self.nodes.get(above), Some(Node::Folder(_))) {
            return Err(failure(format!("write `{path}`"), "no such file or folder"));
        }
        match (self.nodes.get(path), &node) {
            (Some(Node::Folder(_)), Node::Folder(_)) => return Ok(()),
            (Some(Node::Folder(_)), _) => return Err(failure(format!("write `{path}`"), "a folder has that name")),
            _ => {}
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn upload(&mut self, local: &Path, remote: &str, totals: &mut Totals) -> Result<(), ConnectionError> {
        let failed = |error: std::io::Error| failure(format!("read `{}`", local.display()), error.to_string());
        let found = std::fs::symlink_metadata(local).map_err(failed)?;
        if found.is_symlink() {
            let target = std::fs::read_link(local).map_err(failed)?;
            return self.put(remote, Node::Link(target.to_string_lossy().into_owned()));
        }
        if found.is_file() {
            let bytes = std::fs::read(local).map_err(failed)?;
            totals.files += 1;
            totals.bytes += bytes.len() as u64;
            return self.put(remote, Node::File(bytes, found.mode() & 0o7777));
        }
        self.put(remote, Node::Folder(found.mode() & 0o7777))?;
        for entry in std::fs::read_dir(local).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().map_err(|_| failure("copy a file", "its name is not UTF-8"))?;
            self.upload(&entry.path(), &format!("{remote}/{name}"), totals)?;
        }
        Ok(())
    }

    fn download(&self, top: &str, remote: &str, local: &Path, totals: &mut Totals) -> Result<(), ConnectionError> {
        let failed = |error: std::io::Error| failure(format!("write `{}`", local.display()), error.to_string());
        match self.nodes.get(remote) {
            None => Err(failure(format!("read `{remote}`"), "no such file or folder")),
            Some(Node::Link(target)) => {
                let below = |path: &str| path.strip_prefix(top)?.strip_prefix('/').map(PathBuf::from);
                let links = self.nodes.iter().filter_map(|(path, node)| match node {
                    Node::Link(target) => below(path).map(|path| (path, target.clone().into_bytes())),
                    _ => None,
                });
                match below(remote).filter(|path| links::leads_out(&links.collect(), None, path)) {
                    None => std::os::unix::fs::symlink(target, local).map_err(failed),
                    Some(path) => {
                        totals.replaced_links.push(path.display().to_string());
                        links::note(local, target.as_bytes()).map_err(failed)
                    }
                }
            }
            Some(Node::File(bytes, mode)) => {
                use std::io::Write;
                totals.files += 1;
                totals.bytes += bytes.len() as u64;
                let mut options = std::fs::OpenOptions::new();
                let mut file =
                    options.write(true).create(true).truncate(true).mode(*mode).open(local).map_err(failed)?;
                file.write_all(bytes).map_err(failed)?;
                file.set_permissions(std::fs::Permissions::from_mode(*mode)).map_err(failed)
            }
            Some(Node::Folder(mode)) => {
                if !local.is_dir() {
                    std::fs::create_dir(local).map_err(failed)?;
                }
                let below = format!("{remote}/");
                let children = self.nodes.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
                for (path, _) in children {
                    let name = &path[below.len()..];
                    if !name.contains('/') {
                        self.download(top, path, &local.join(name), totals)?;
                    }
                }
                std::fs::set_permissions(local, std::fs::Permissions::from_mode(*mode)).map_err(failed)
            }
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

fn failure(doing: impl Into<String>, reason: impl Into<String>) -> ConnectionError {
    ConnectionError::File { doing: doing.into(), reason: reason.into() }
}

#[async_trait]
impl Connection for Dummy {
    fn platform(&self) -> Platform {
        Platform::Linux
    }

    async fn start(&self, command: &Command) -> Result<Box<dyn Process>, ConnectionError> {
        let line = guest::of(self.platform()).invocation(command)?.line;
        let mut state = self.enter(Call::Start, format!("start {line}"))?;
        let ordered = state.next_reply(&line);
        let answers = state.answers.clone();
        // An answer may ask the machine about its files, which takes the lock again.
        drop(state);
        let Some(reply) = ordered.or_else(|| answers.iter().find_map(|answer| answer(command))) else {
            return Err(ConnectionError::Invalid(format!("the dummy machine was not told to expect `{line}`")));
        };
        let mut state = self.lock();
        for path in &reply.folders {
            state.add_folder(path);
        }
        for (path, bytes) in &reply.files {
            state.add_folder(parent(path));
            state.nodes.insert(path.clone(), Node::File(bytes.clone(), 0o644));
        }
        let input = state.inputs.len();
        state.inputs.push((line, command.stdin.clone().unwrap_or_default()));
        drop(state);
        let stdin_open = command.stdin.is_none();
        Ok(Box::new(DummyProcess { dummy: self.clone(), reply, chunk: 0, stdin_open, input, lost: false }))
    }

    async fn write_file(&self, remote: &str, bytes: &[u8], mode: u32) -> Result<(), ConnectionError> {
        let mut state = self.enter(Call::WriteFile, format!("write_file {remote}"))?;
        state.put(remote, Node::File(bytes.to_vec(), mode & 0o7777))
    }

    async fn read_file(&self, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError> {
        let state = self.enter(Call::ReadFile, format!("read_file {remote}"))?;
        match state.nodes.get(remote) {
            Some(Node::File(bytes, _)) if bytes.len() as u64 > cap => {
                let reason = format!("it is longer than {}", model::base::text::bytes(cap));
                Err(failure(format!("read `{remote}`"), reason))
            }
            Some(Node::File(bytes, _)) => Ok(bytes.clone()),
            Some(_) => Err(failure(format!("read `{remote}`"), "it is not a file")),
            None => Err(failure(format!("read `{remote}`"), "no such file or folder")),
        }
    }

    async fn upload(&self, local: &Path, remote: &str, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        let mut state = self.enter(Call::Upload, format!("upload {remote}"))?;
        let mut totals = Totals::default();
        state.upload(local, remote, &mut totals)?;
        progress(totals.bytes);
        Ok(totals)
    }

    async fn download(&self, remote: &str, local: &Path, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        let state = self.enter(Call::Download, format!("download {remote}"))?;
        let mut totals = Totals::default();
        state.download(remote, remote, local, &mut totals)?;
        progress(totals.bytes);
        Ok(totals)
    }

    fn trees(&self) -> Result<&dyn Trees, ConnectionError> {
        Ok(self)
    }

    fn holds_stdin(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.lock().calls.push("close".to_owned());
    }
}

/// What of carrying parts of trees the machine knows: to hand out files.
#[async_trait]
impl Trees for Dummy {
    async fn send_parcel(&self, _: &Command, _: Parcel<'_>, _: Progress<'_>) -> Result<Totals, ConnectionError> {
        Err(ConnectionError::Invalid("the dummy machine takes whole files and folders only".to_owned()))
    }

    async fn upload_some(&self, _: &Path, _: &[PathBuf], _: &str, _: Progress<'_>) -> Result<Totals, ConnectionError> {
        Err(ConnectionError::Invalid("the dummy machine takes whole files and folders only".to_owned()))
    }

    async fn download_some(
        &self,
        remote: &str,
        paths: &[PathBuf],
        local: &Path,
        most: u64,
        progress: Progress<'_>,
    ) -> Result<Totals, ConnectionError> {
        let mut totals = Totals::default();
        let state = self.enter(Call::Download, format!("download_some {remote}"))?;
        for path in paths {
            let from = format!("{remote}/{}", path.display());
            state.download(&from, &from, &local.join(path), &mut totals)?;
        }
        progress(totals.bytes);
        if totals.bytes > most {
            return Err(failure(format!("read `{remote}`"), "it has more bytes than are wanted"));
        }
        Ok(totals)
    }
}

struct DummyProcess {
    dummy: Dummy,
    reply: Reply,
    chunk: usize,
    stdin_open: bool,
    input: usize,
    lost: bool,
}

#[async_trait]
impl Process for DummyProcess {
    async fn next(&mut self) -> Option<Chunk> {
        self.stdin_open = false;
        if self.dummy.gone.is_cancelled() && (self.reply.hangs || self.chunk < self.reply.chunks.len()) {
            self.lost = true;
            return None;
        }
        if let Some(chunk) = self.reply.chunks.get(self.chunk) {
            self.chunk += 1;
            return Some(chunk.clone());
        }
        if !self.reply.takes.is_zero() {
            tokio::time::sleep(self.reply.takes).await;
            self.reply.takes = Duration::ZERO;
        }
        if self.reply.hangs {
            self.dummy.gone.cancelled().await;
            self.lost = true;
        }
        None
    }

    fn take_stdin(&mut self) -> Option<Box<dyn Stdin>> {
        std::mem::take(&mut self.stdin_open)
            .then(|| Box::new(DummyStdin { dummy: self.dummy.clone(), input: self.input }) as Box<dyn Stdin>)
    }

    async fn resize(&self, _size: WindowSize) -> Result<(), ConnectionError> {
        Ok(())
    }

    /// Nothing: a reply is said to its end.
    async fn signal(&mut self, _: &str) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn exit(&self) -> Exit {
        match self.lost {
            true => Exit::Lost(self.dummy.lock().lost.clone().unwrap_or_default()),
            false => self.reply.exit.clone(),
        }
    }
}

struct DummyStdin {
    dummy: Dummy,
    input: usize,
}

#[async_trait]
impl Stdin for DummyStdin {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        if let Some((_, input)) = self.dummy.lock().inputs.get_mut(self.input) {
            input.extend_from_slice(bytes);
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ConnectionError> {
        Ok(())
    }
}

/// Connects every machine to one [`Dummy`].
#[derive(Clone)]
pub struct DummyConnector {
    dummy: Dummy,
}

impl DummyConnector {
    /// A connector to this machine.
    pub fn new(dummy: Dummy) -> Self {
        Self { dummy }
    }
}

#[async_trait]
impl Connector for DummyConnector {
    async fn connect(
        &self,
        machine: &Machine,
        user: &str,
        _limit: Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        loop {
            match self.dummy.enter(Call::Connect, format!("connect {user}@{}", machine.id)) {
                Ok(_) => return Ok(Box::new(self.dummy.clone())),
                Err(ConnectionError::Refused { .. }) if patient => {}
                Err(error) => return Err(error),
            }
        }
    }
}
