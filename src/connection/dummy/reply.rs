//! The answer of a dummy machine to a command, as a test defines it.

use std::time::Duration;

use model::exit::Exit;
use model::task::Chunk;

/// The output, the files and the end of a command.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) chunks: Vec<Chunk>,
    pub(super) exit: Exit,
    pub(super) hangs: bool,
    pub(super) takes: Duration,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) folders: Vec<String>,
}

impl Reply {
    /// A reply that ends with `exit`.
    pub fn exit(exit: Exit) -> Self {
        Self { chunks: Vec::new(), exit, hangs: false, takes: Duration::ZERO, files: Vec::new(), folders: Vec::new() }
    }

    /// A reply that ends with status 0.
    pub fn ok() -> Self {
        Self::exit(Exit::Code(0))
    }

    /// Adds bytes for standard output.
    #[must_use]
    pub fn stdout(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.chunks.push(Chunk::Stdout(bytes.into()));
        self
    }

    /// Adds bytes for standard error.
    #[must_use]
    pub fn stderr(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.chunks.push(Chunk::Stderr(bytes.into()));
        self
    }

    /// The output in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The way in which it ends.
    pub fn end(&self) -> &Exit {
        &self.exit
    }

    /// Whether it never ends.
    pub fn hangs(&self) -> bool {
        self.hangs
    }

    /// A reply that leaves the same files, but prints nothing and ends at once with status 0.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self { files: self.files.clone(), folders: self.folders.clone(), ..Self::ok() }
    }

    /// Makes the command hang after its output until the machine is lost.
    #[must_use]
    pub fn hang(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// How long it takes to end.
    pub fn takes(&self) -> Duration {
        self.takes
    }

    /// Makes the command take so long from its output to its end.
    #[must_use]
    pub fn after(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    /// Makes the command leave a file with mode 0644, and the folders above it.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), bytes.into()));
        self
    }

    /// Makes the command leave a folder, and those above it.
    #[must_use]
    pub fn folder(mut self, path: impl Into<String>) -> Self {
        self.folders.push(path.into());
        self
    }
}
