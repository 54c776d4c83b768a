//! The entries of an archive that GNU tar wrote with `--format=gnu`, one after another, in bounded memory.
//!
//! The names are as the machine gives them: they are not checked here.

use std::io::{Error, ErrorKind, Read, Result};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::item::BLOCK;

/// Most bytes of a name or of a link's target: Linux allows 4096.
const NAME_CAP: u64 = 8 << 10;

/// Most spans of one sparse file.
const SPANS_CAP: usize = 1 << 20;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TarEntryKind {
    Folder,
    File,
    Link,
    /// Anything else.
    Odd,
}

/// One entry. The data of a file's spans follows it and must be read next; then [`TarReader::pad`] must be called.
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub kind: TarEntryKind,
    pub name: Vec<u8>,
    pub target: Vec<u8>,
    pub mode: u32,
    /// Size of the file in bytes, holes included.
    pub size: u64,
    /// The parts of the file that have data, by offset and length; in order, and within the size.
    pub spans: Vec<(u64, u64)>,
}

/// Reads the entries of an archive.
pub(crate) struct TarReader<R> {
    pub from: R,
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

impl<R: Read> TarReader<R> {
    /// The next entry, or `None` after the last one, when the rest of the stream was read too.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>> {
        let (mut name, mut target) = (None, None);
        loop {
            let block = self.block()?;
            if block.iter().all(|byte| *byte == 0) {
                std::io::copy(&mut self.from, &mut std::io::sink())?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
            if header.cksum()? != sum + 8 * u32::from(b' ') {
                return Err(broken("a header's sum is wrong"));
            }
            match header.entry_type() {
                EntryType::GNULongName => name = Some(self.text(header.entry_size()?)?),
                EntryType::GNULongLink => target = Some(self.text(header.entry_size()?)?),
                _ => return self.entry(header, name, target).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &Header, name: Option<Vec<u8>>, target: Option<Vec<u8>>) -> Result<TarEntry> {
        let stored = header.entry_size()?;
        let kind = match header.entry_type() {
            EntryType::Directory => TarEntryKind::Folder,
            EntryType::Regular | EntryType::GNUSparse | EntryType::Continuous => TarEntryKind::File,
            EntryType::Symlink => TarEntryKind::Link,
            _ => TarEntryKind::Odd,
        };
        let (size, spans) = match header.entry_type() {
            EntryType::GNUSparse => self.spans(header, stored)?,
            _ if stored == 0 => (0, Vec::new()),
            _ => (stored, vec![(0, stored)]),
        };
        if kind != TarEntryKind::File && stored != 0 {
            return Err(broken("an entry that is not a file has data"));
        }
        let old = header.as_old();
        Ok(TarEntry {
            kind,
            name: name.unwrap_or_else(|| until_nul(&old.name)),
            target: target.unwrap_or_else(|| until_nul(&old.linkname)),
            mode: header.mode()?,
            size,
            spans,
        })
    }

    /// The map of a sparse file, which holds `stored` bytes of data.
    fn spans(&mut self, header: &Header, stored: u64) -> Result<(u64, Vec<(u64, u64)>)> {
        let gnu = header.as_gnu().ok_or_else(|| broken("a sparse file without a map"))?;
        let size = gnu.real_size()?;
        let mut spans = Vec::new();
        let mut add = |slots: &[GnuSparseHeader]| -> Result<()> {
            for slot in slots.iter().filter(|slot| !slot.is_empty()) {
                spans.push((slot.offset()?, slot.length()?));
            }
            if spans.len() > SPANS_CAP { Err(broken("a sparse file of too many parts")) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut further = GnuExtSparseHeader::new();
            self.from.read_exact(further.as_mut_bytes())?;
            add(further.sparse())?;
            more = further.is_extended();
        }
        let (mut end, mut data) = (0_u64, 0_u64);
        for (offset, length) in &spans {
            if *offset < end {
                return Err(broken("the parts of a sparse file overlap"));
            }
            end = offset
                .checked_add(*length)
                .filter(|end| *end <= size)
                .ok_or_else(|| broken("a part beyond the end"))?;
            data += length;
        }
        if data == stored { Ok((size, spans)) } else { Err(broken("a sparse file of another length than its map")) }
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.from.read_exact(&mut block)?;
        Ok(block)
    }

    /// Reads a long name, which has an entry of its own.
    fn text(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > NAME_CAP {
            return Err(broken("a name is too long"));
        }
        let mut text = vec![0; length as usize];
        self.from.read_exact(&mut text)?;
        self.pad(length)?;
        Ok(until_nul(&text))
    }

    /// Skips the padding after `length` bytes of data, up to the end of their last block.
    pub(crate) fn pad(&mut self, length: u64) -> Result<()> {
        let over = (length % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.from.read_exact(&mut [0; BLOCK][over..]) }
    }
}

fn until_nul(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}
