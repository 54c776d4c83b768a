//! Compares two files block by block without moving them, so that an interrupted copy can go on.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use archive::partial::flat;
use data_encoding::HEXLOWER;
use model::connection::Connection;
use model::output::{OutputLimits, run_command};
use model::task::Command;
use sha2::{Digest, Sha256};

/// Bytes of a block. A machine starts two small programs for each block, which takes it about 2 ms; a copy that was
/// interrupted sends at most a few blocks again.
pub(super) const BLOCK: u64 = 8 << 20;

/// How long the machine may take to begin, and for each block: to read 8 MiB from a slow disk and to hash them.
const BLOCK_LIMIT: Duration = Duration::from_secs(60);
const BLOCK_TIME: Duration = Duration::from_secs(2);

pub(super) type BlockHash = [u8; 32];

/// The hashes of at most the first `count` blocks of a file on the machine; `None` where there is no such file or the
/// machine cannot hash it (it has no shell, or no `sha256sum`). With `own` the file must belong to us and must not be a
/// link.
pub(super) async fn remote_hashes(
    connection: &dyn Connection,
    path: &str,
    count: u64,
    own: bool,
) -> Option<Vec<BlockHash>> {
    let command = guest::of(connection.platform()).block_hashes(path, BLOCK, count, own);
    // A line has 64 digits, two blanks, a dash and a line end, which leaves some room.
    let cap = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(80);
    let time = BLOCK_LIMIT + u32::try_from(count).unwrap_or(u32::MAX) * BLOCK_TIME;
    command_output(connection, &command, OutputLimits { bytes: cap, time }).await?.lines().map(parse).collect()
}

/// The output of a command that succeeds within `limits`; `None` of any other.
pub(super) async fn command_output(
    connection: &dyn Connection,
    command: &Command,
    limits: OutputLimits,
) -> Option<String> {
    let done = run_command(connection, command, limits).await.ok()?;
    (done.exit.is_success() && !done.capped).then(|| String::from_utf8(done.stdout).ok()).flatten()
}

fn parse(line: &str) -> Option<BlockHash> {
    HEXLOWER.decode(line.get(..64)?.as_bytes()).ok()?.try_into().ok()
}

/// The parts of `file`, which has `size` bytes, whose blocks do not have the hashes `theirs`.
pub(super) async fn differing_parts(
    file: &Arc<File>,
    size: u64,
    theirs: Vec<BlockHash>,
) -> std::io::Result<Vec<Range<u64>>> {
    let file = Arc::clone(file);
    flat(tokio::task::spawn_blocking(move || compare(&file, size, &theirs)).await)
}

/// Compares on all processors, since hashing on one is slower than most networks of a data centre.
fn compare(file: &File, size: u64, theirs: &[BlockHash]) -> std::io::Result<Vec<Range<u64>>> {
    let blocks = usize::try_from(size.div_ceil(BLOCK)).unwrap_or(usize::MAX);
    let known = theirs.len().min(blocks);
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(known.max(1));
    let work = || -> std::io::Result<Vec<usize>> {
        let mut same = Vec::new();
        let mut buffer = Vec::new();
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            let Some(hash) = theirs.get(block).filter(|_| block < known) else { return Ok(same) };
            let start = block as u64 * BLOCK;
            buffer.resize(usize::try_from(BLOCK.min(size - start)).unwrap_or(0), 0);
            file.read_exact_at(&mut buffer, start)?;
            if Sha256::digest(&buffer)[..] == hash[..] {
                same.push(block);
            }
        }
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(std::io::Error::other("hashing failed"))))
            .collect()
    });
    let mut differs = vec![true; blocks];
    for block in found.into_iter().collect::<std::io::Result<Vec<_>>>()?.into_iter().flatten() {
        differs[block] = false;
    }
    Ok(ranges(&differs, size))
}

/// The ranges of the marked blocks; adjacent blocks become one range.
fn ranges(marked: &[bool], size: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for block in marked.iter().enumerate().filter_map(|(block, marked)| marked.then_some(block as u64)) {
        let (start, end) = (block * BLOCK, size.min((block + 1) * BLOCK));
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn blocks_that_differ_are_found_wherever_they_are() {
        let file = tempfile::tempfile().unwrap();
        let size = 3 * BLOCK + 5;
        file.set_len(size).unwrap();
        file.write_all_at(b"x", BLOCK).unwrap();
        let hash = |bytes: u64| -> BlockHash { Sha256::digest(vec![0; bytes as usize]).into() };
        let whole = hash(BLOCK);
        assert_eq!(compare(&file, size, &[]).unwrap(), one(0..size));
        assert_eq!(compare(&file, size, &[whole, whole]).unwrap(), one(BLOCK..size));
        let theirs = [whole, whole, whole, hash(5)];
        assert_eq!(compare(&file, size, &theirs).unwrap(), one(BLOCK..2 * BLOCK));
        // A file that is longer than ours has more blocks, and differs in the last block of ours.
        let theirs = [[0; 32], whole, whole, whole, whole];
        assert_eq!(compare(&file, size, &theirs).unwrap(), [0..2 * BLOCK, 3 * BLOCK..size]);
        assert_eq!(compare(&file, 0, &[]).unwrap(), []);
    }

    #[test]
    fn a_line_of_sha256sum_is_read_and_another_is_not() {
        assert_eq!(parse(&format!("{}  -", "0f".repeat(32))), Some([15; 32]));
        assert_eq!((parse(&"0f".repeat(31)), parse(&"é".repeat(32)), parse("")), (None, None, None));
    }
}
