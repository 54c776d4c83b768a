//! The signature of a program for Windows. The layout is that of Microsoft's "PE Format" and "Windows Authenticode Portable
//! Executable Signature Format": the sum is of the whole file but its check sum, the entry that says where the signature is, and
//! the signature, which lies at the end.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::Signature;

/// Where the beginning of the headers is told.
const HEADERS: usize = 0x3c;

/// The headers' mark and the file header before the optional header.
const BEFORE_OPTIONAL: usize = 24;

/// The check sum's place in the optional header.
const CHECK_SUM: usize = 64;

/// The first of the directories in the optional header of a program of 32 and of 64 bits, by the header's first two bytes.
const DIRECTORIES: [(u16, usize); 2] = [(0x10b, 96), (0x20b, 112)];

/// The entry of the signature among the directories, each of eight bytes.
const SECURITY: usize = 4;

/// The length, revision and kind before the signature itself.
const CERTIFICATE_HEADER: usize = 8;

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn place(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(number(bytes, at)?)).ok()
}

/// The parts that the sum is of, and the signature; none where the headers are not whole.
fn parts(bytes: &[u8]) -> Option<([Range<usize>; 4], Range<usize>)> {
    let headers = place(bytes, HEADERS)?;
    if bytes.get(headers..)?.first_chunk() != Some(b"PE\0\0") {
        return None;
    }
    let optional = headers + BEFORE_OPTIONAL;
    let kind = u16::from_le_bytes(number(bytes, optional)?);
    let (_, directories) = DIRECTORIES.into_iter().find(|(known, _)| *known == kind)?;
    let (check_sum, entry) = (optional + CHECK_SUM, optional + directories + SECURITY * 8);
    let (at, size) = (place(bytes, entry)?, place(bytes, entry + 4)?);
    let (begin, end) = if size == 0 { (bytes.len(), bytes.len()) } else { (at, at.checked_add(size)?) };
    if begin < entry + 8 || end > bytes.len() {
        return None;
    }
    Some(([0..check_sum, check_sum + 4..entry, entry + 8..begin, end..bytes.len()], begin..end))
}

/// Reads the signature.
pub(super) fn read(bytes: &[u8]) -> Result<Signature, String> {
    let (parts, signature) = parts(bytes).ok_or("its headers are not those of a program for Windows")?;
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(bytes.get(part).unwrap_or_default());
    }
    let blob = bytes.get(signature).and_then(|blob| blob.get(CERTIFICATE_HEADER..)).unwrap_or_default();
    if blob.is_empty() {
        // A signature begins at a multiple of eight bytes.
        sum.update(&[0; 8][..(8 - bytes.len() % 8) % 8]);
    }
    let wanted = sum.finalize().into();
    Ok(Signature { wanted, content: wanted, bytes: blob.to_vec() })
}
