//! Packs a tree as an archive that GNU tar reads, in pieces.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use model::connection::{ConnectionError, Totals};
use rustix::fs::SeekFrom;
use tar::{EntryType, GnuExtSparseHeader, Header};

use crate::item::{BLOCK, Item, ItemKind, refused};
use crate::look::FileState;
use crate::partial::local_failure;

/// Approximate size of a piece in bytes: large enough that handing it over costs little, small enough that several can
/// wait in memory.
pub(crate) const PIECE: usize = 256 << 10;

/// Most bytes of a file that does not say its size: an entry begins with the size, so all of it is read before it is
/// sent. `/proc/kallsyms`, the largest of a usual machine, has some 12 MiB. `remote/linux/tree.sh` has the same number.
const UNTOLD: u64 = 16 << 20;

/// How many spans fit into the header of a sparse file, and into each block that follows it.
const SPANS: (usize, usize) = (4, 21);

/// The reason for giving up when the receiver of the pieces is gone; the receiver has the real cause.
const GONE: &str = "nobody takes it any more";

/// A piece of an archive.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub bytes: Vec<u8>,
    /// How many bytes of files it stands for, holes included.
    pub content: u64,
}

/// Makes an archive and hands its pieces to `take`.
pub(crate) struct Packer<Take> {
    piece: Piece,
    take: Take,
    totals: Totals,
}

impl<Take: FnMut(Piece) -> bool> Packer<Take> {
    /// A packer for `take`, which says whether it wants more pieces.
    pub(crate) fn new(take: Take) -> Self {
        Self { piece: Piece::default(), take, totals: Totals::default() }
    }

    /// Writes the entries, which are below `tree/` in the archive, in the order of `items`: a folder comes before its
    /// entries.
    pub(crate) fn tree(&mut self, top: &Path, items: &[Item]) -> Result<(), ConnectionError> {
        self.header(EntryType::Directory, b"tree/", b"", 0, 0o700)?;
        for item in items.iter().filter(|item| !item.path.as_os_str().is_empty()) {
            let mut name = [b"tree/", item.path.as_os_str().as_bytes()].concat();
            match &item.kind {
                ItemKind::Folder => {
                    name.push(b'/');
                    self.header(EntryType::Directory, &name, b"", 0, item.mode)?;
                }
                ItemKind::File => self.file(&name, &top.join(&item.path))?,
                ItemKind::Link(target) => self.header(EntryType::Symlink, &name, target, 0, 0o777)?,
            }
        }
        Ok(())
    }

    /// Writes a small file that is held in memory.
    pub(crate) fn note(&mut self, name: &str, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.header(EntryType::Regular, name.as_bytes(), b"", bytes.len() as u64, 0o600)?;
        for part in bytes.chunks(PIECE) {
            self.put(part)?;
        }
        self.pad(bytes.len() as u64)
    }

    /// Ends the archive with the entry that says that nothing is missing.
    pub(crate) fn end(mut self) -> Result<Totals, ConnectionError> {
        self.note("whole", b"")?;
        self.put(&[0; 2 * BLOCK])?;
        self.flush()?;
        Ok(self.totals)
    }

    fn flush(&mut self) -> Result<(), ConnectionError> {
        let next = Piece { bytes: Vec::with_capacity(PIECE + BLOCK), content: 0 };
        match (self.take)(std::mem::replace(&mut self.piece, next)) {
            true => Ok(()),
            false => Err(ConnectionError::Invalid(GONE.to_owned())),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.piece.bytes.extend_from_slice(bytes);
        if self.piece.bytes.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Pads `length` bytes of data to a whole block.
    fn pad(&mut self, length: u64) -> Result<(), ConnectionError> {
        let over = (length % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]) }
    }

    fn header(
        &mut self,
        kind: EntryType,
        name: &[u8],
        target: &[u8],
        size: u64,
        mode: u32,
    ) -> Result<(), ConnectionError> {
        let header = self.names(kind, name, target, size, mode)?;
        self.put(header.as_bytes())
    }

    /// Writes names that do not fit into a header as entries of their own, and makes the header.
    fn names(
        &mut self,
        kind: EntryType,
        name: &[u8],
        target: &[u8],
        size: u64,
        mode: u32,
    ) -> Result<Header, ConnectionError> {
        let mut header = plain(kind, size, mode);
        for (long, text) in [(EntryType::GNULongLink, target), (EntryType::GNULongName, name)] {
            if text.len() > 100 {
                let mut before = plain(long, text.len() as u64 + 1, 0o644);
                before.as_mut_bytes()[..13].copy_from_slice(b"././@LongLink");
                before.set_cksum();
                self.put(before.as_bytes())?;
                self.put(text)?;
                self.put(&[0])?;
                self.pad(text.len() as u64 + 1)?;
            }
        }
        let old = header.as_old_mut();
        let (name, target) = (&name[..name.len().min(100)], &target[..target.len().min(100)]);
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..target.len()].copy_from_slice(target);
        header.set_cksum();
        Ok(header)
    }

    /// Writes a file as it is now; a file that changes meanwhile is an error.
    fn file(&mut self, name: &[u8], from: &Path) -> Result<(), ConnectionError> {
        let failed = |error: std::io::Error| local_failure("read", from, &error);
        // The file may have been replaced by a pipe since the tree was listed; opening that would wait for a writer.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(from).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(refused(from, "it is not a file any more"));
        }
        let (mut size, mode) = (found.len(), found.mode());
        if is_untold(&file, &found) {
            size = self.untold(name, &mut file, from, mode)?;
        } else if let Some(spans) = spans(&file, &found).map_err(failed)? {
            self.sparse(name, &file, from, &spans, (size, mode))?;
        } else {
            self.header(EntryType::Regular, name, b"", size, mode)?;
            self.dense(&mut file, size, from)?;
            self.pad(size)?;
        }
        FileState::of(&found).check(from, &file.metadata().map_err(failed)?)?;
        self.totals.files += 1;
        self.totals.bytes += size;
        Ok(())
    }

    /// Writes a file that does not say its size with the bytes that it has. Returns their number.
    fn untold(
        &mut self,
        name: &[u8],
        file: &mut std::fs::File,
        from: &Path,
        mode: u32,
    ) -> Result<u64, ConnectionError> {
        let mut bytes = Vec::new();
        let read = file.take(UNTOLD + 1).read_to_end(&mut bytes);
        let size = read.map_err(|error| local_failure("read", from, &error))? as u64;
        if size > UNTOLD {
            return Err(refused(from, "it does not say its size, and has more than 16 MiB"));
        }
        self.header(EntryType::Regular, name, b"", size, mode)?;
        for part in bytes.chunks(PIECE) {
            self.piece.bytes.extend_from_slice(part);
            self.content(part.len())?;
        }
        self.pad(size)?;
        Ok(size)
    }

    fn dense(&mut self, file: &mut std::fs::File, size: u64, from: &Path) -> Result<(), ConnectionError> {
        let mut left = size;
        while left > 0 {
            let start = self.piece.bytes.len();
            let room = (PIECE.saturating_sub(start).max(1)).min(usize::try_from(left).unwrap_or(PIECE));
            self.piece.bytes.resize(start + room, 0);
            let read = file.read_exact(&mut self.piece.bytes[start..]);
            read.map_err(|error| shorter(from, &error))?;
            self.content(room)?;
            left -= room as u64;
        }
        Ok(())
    }

    /// Counts bytes of a file that were just added to the piece.
    fn content(&mut self, bytes: usize) -> Result<(), ConnectionError> {
        self.piece.content += bytes as u64;
        if self.piece.bytes.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    /// Writes the parts of a file that are not holes.
    fn sparse(
        &mut self,
        name: &[u8],
        file: &std::fs::File,
        from: &Path,
        spans: &[(u64, u64)],
        (size, mode): (u64, u32),
    ) -> Result<(), ConnectionError> {
        let data: u64 = spans.iter().map(|(_, length)| length).sum();
        let mut header = self.names(EntryType::GNUSparse, name, b"", data, mode)?;
        let (first, rest) = spans.split_at(spans.len().min(SPANS.0));
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.set_real_size(size);
            gnu.set_is_extended(!rest.is_empty());
            for (slot, (offset, length)) in gnu.sparse.iter_mut().zip(first) {
                slot.set_offset(*offset);
                slot.set_length(*length);
            }
        }
        header.set_cksum();
        self.put(header.as_bytes())?;
        let mut blocks = rest.chunks(SPANS.1).peekable();
        while let Some(block) = blocks.next() {
            let mut further = GnuExtSparseHeader::new();
            for (slot, (offset, length)) in further.sparse_mut().iter_mut().zip(block) {
                slot.set_offset(*offset);
                slot.set_length(*length);
            }
            further.set_is_extended(blocks.peek().is_some());
            self.put(further.as_bytes())?;
        }
        for (offset, length) in spans {
            let mut at = *offset;
            while at < offset + length {
                let start = self.piece.bytes.len();
                let left = usize::try_from(offset + length - at).unwrap_or(PIECE);
                let room = PIECE.saturating_sub(start).max(1).min(left);
                self.piece.bytes.resize(start + room, 0);
                let read = file.read_exact_at(&mut self.piece.bytes[start..], at);
                read.map_err(|error| shorter(from, &error))?;
                self.content(room)?;
                at += room as u64;
            }
        }
        self.piece.content += size - data;
        self.pad(data)
    }
}

/// Hands on the bytes of a file, without an archive around them; a file that changes meanwhile is an error.
pub(crate) fn pour(from: &Path, mut take: impl FnMut(Piece) -> bool) -> Result<Totals, ConnectionError> {
    let failed = |error: std::io::Error| local_failure("read", from, &error);
    let mut file = std::fs::File::open(from).map_err(failed)?;
    let look = FileState::of(&file.metadata().map_err(failed)?);
    let mut total = 0;
    loop {
        let mut bytes = Vec::with_capacity(PIECE);
        let got = file.by_ref().take(PIECE as u64).read_to_end(&mut bytes).map_err(failed)? as u64;
        if got == 0 {
            look.check(from, &file.metadata().map_err(failed)?)?;
            return Ok(Totals::file(total));
        }
        total += got;
        if !take(Piece { bytes, content: got }) {
            return Err(ConnectionError::Invalid(GONE.to_owned()));
        }
    }
}

/// Whether a file may have other bytes than it says: those of `/proc` say that they have none, those of `/sys` a page.
fn is_untold(file: &std::fs::File, found: &std::fs::Metadata) -> bool {
    let in_sys = || rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == libc::SYSFS_MAGIC);
    found.len() == 0 || (found.blocks() == 0 && in_sys())
}

fn shorter(from: &Path, error: &std::io::Error) -> ConnectionError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => refused(from, "it became shorter while it was read"),
        _ => local_failure("read", from, error),
    }
}

fn plain(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode & 0o7777);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The parts of a sparse file that are not holes, by offset and length; `None` where it has no holes.
///
/// A file that ends with a hole gets an empty span at its end, as GNU tar writes it.
fn spans(file: &std::fs::File, found: &std::fs::Metadata) -> std::io::Result<Option<Vec<(u64, u64)>>> {
    let size = found.len();
    // A block has 512 bytes here, whatever the block size of the file system is.
    if found.blocks().saturating_mul(512) >= size {
        return Ok(None);
    }
    let (mut spans, mut at) = (Vec::new(), 0);
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // There is no data from here on.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        spans.push((start, end - start));
        at = end;
    }
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    if spans == [(0, size)] {
        return Ok(None);
    }
    if at < size {
        spans.push((size, 0));
    }
    Ok(Some(spans))
}
