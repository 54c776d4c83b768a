//! What a command of a dummy machine answers, as a test orders it.

use model::exit::Exit;
use model::task::Chunk;

/// What a command is to do.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) chunks: Vec<Chunk>,
    pub(super) exit: Exit,
    pub(super) hangs: bool,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) folders: Vec<String>,
}

impl Reply {
    /// Ends like this.
    pub fn exit(exit: Exit) -> Self {
        Self { chunks: Vec::new(), exit, hangs: false, files: Vec::new(), folders: Vec::new() }
    }

    /// Ends with status 0.
    pub fn ok() -> Self {
        Self::exit(Exit::Code(0))
    }

    /// Writes to standard output.
    #[must_use]
    pub fn stdout(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.chunks.push(Chunk::Stdout(bytes.into()));
        self
    }

    /// Writes to standard error.
    #[must_use]
    pub fn stderr(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.chunks.push(Chunk::Stderr(bytes.into()));
        self
    }

    /// What it writes, in order.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// How it ends.
    pub fn end(&self) -> &Exit {
        &self.exit
    }

    /// Whether it never ends.
    pub fn hangs(&self) -> bool {
        self.hangs
    }

    /// One that leaves the same files, and ends at once with status 0.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self { files: self.files.clone(), folders: self.folders.clone(), ..Self::ok() }
    }

    /// Never ends after its output, until the machine is lost.
    #[must_use]
    pub fn hang(mut self) -> Self {
        self.hangs = true;
        self
    }

    /// Leaves a file with mode 0644, and the folders above it.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), bytes.into()));
        self
    }

    /// Leaves a folder, and those above it.
    #[must_use]
    pub fn folder(mut self, path: impl Into<String>) -> Self {
        self.folders.push(path.into());
        self
    }
}
