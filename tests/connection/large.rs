//! Large files: cut and gone on with, sparse, far away.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::connection::{ConnectionError, Totals};
use model::machine::{Address, Machine};
use support::sshd::Sshd;

use super::connect;
use super::files::names;
use super::one_file::{Story, same};

/// Longer than anything here takes beside a compiler.
const LIMIT: Duration = Duration::from_secs(120);

const MIB: u64 = 1 << 20;

/// Enough to be cut in the middle, and for several blocks that are compared.
const SIZE: u64 = 40 * MIB;

/// Writes bytes without a pattern, others for another seed.
fn fill(path: &Path, size: u64, seed: u32) {
    let word = |n: u32| (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(n % 31).to_le_bytes();
    let bytes: Vec<u8> = (0..u32::try_from(size / 4).unwrap()).flat_map(word).collect();
    std::fs::write(path, bytes).unwrap();
}

impl Story {
    /// Copies until `bytes` were moved, then cuts the connection.
    async fn cut_after(&self, bytes: u64) {
        let moved = AtomicU64::new(0);
        let progress = |more: u64| {
            if moved.fetch_add(more, Ordering::Relaxed) + more >= bytes {
                self.sshd.kill_sessions();
            }
        };
        let error = tokio::time::timeout(LIMIT, self.copy(&progress)).await.unwrap().unwrap_err();
        assert!(matches!(error, ConnectionError::Lost { .. }), "{error}");
        let left = names(&self.folder);
        assert!(left.len() == 1 && left[0].starts_with(".to.hg-partial-"), "{left:?}");
    }

    /// Copies to the end; the most that was moved in one go, which is much where something was there already.
    async fn finish(&self) -> u64 {
        let (moved, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let progress = |more: u64| {
            moved.fetch_add(more, Ordering::Relaxed);
            most.fetch_max(more, Ordering::Relaxed);
        };
        let totals = self.copy(&progress).await.unwrap();
        let size = std::fs::metadata(&self.from).unwrap().len();
        assert_eq!((totals, moved.into_inner()), (Totals::file(size), size));
        assert!(same(&self.from, &self.to()), "the copy differs");
        assert_eq!(names(&self.folder), ["to"]);
        most.into_inner()
    }
}

#[tokio::test]
async fn a_copy_that_was_cut_goes_on_where_it_was() {
    for up in [true, false] {
        let story = Story::new(up);
        fill(&story.from, SIZE, 1);
        std::fs::set_permissions(&story.from, PermissionsExt::from_mode(0o751)).unwrap();
        story.cut_after(20 * MIB).await;
        assert!(story.finish().await >= 8 * MIB, "nothing was gone on with");
        assert_eq!(std::fs::metadata(story.to()).unwrap().permissions().mode() & 0o777, 0o751);
    }
}

#[tokio::test]
async fn of_a_source_that_has_changed_nothing_old_stays() {
    for up in [true, false] {
        let story = Story::new(up);
        fill(&story.from, SIZE, 1);
        story.cut_after(20 * MIB).await;
        // Another content, and shorter than what is there already.
        fill(&story.from, 17 * MIB, 2);
        assert!(story.finish().await < 8 * MIB, "something old was taken");
    }
}

#[tokio::test]
async fn a_copy_that_is_given_up_is_gone_on_with_too() {
    for up in [true, false] {
        let story = Story::new(up);
        fill(&story.from, SIZE, 3);
        let moved = AtomicU64::new(0);
        let progress = |more: u64| {
            moved.fetch_add(more, Ordering::Relaxed);
        };
        let enough = async {
            while moved.load(Ordering::Relaxed) < 20 * MIB {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            done = story.copy(&progress) => panic!("{done:?}"),
            () = enough => {}
        }
        story.finish().await;
    }
}

#[tokio::test]
async fn two_copies_to_one_name_do_not_meddle() {
    let story = Story::new(true);
    fill(&story.from, SIZE, 4);
    let (one, other) = tokio::join!(story.copy(&|_| ()), story.copy(&|_| ()));
    assert_eq!(one.unwrap(), other.unwrap());
    assert!(same(&story.from, &story.to()) && names(&story.folder) == ["to"]);
    let story = Story { up: false, ..story };
    let (one, other) = tokio::join!(story.copy(&|_| ()), story.copy(&|_| ()));
    assert_eq!(one.unwrap(), other.unwrap());
    assert!(same(&story.from, &story.to()) && names(&story.folder) == ["to"]);
}

#[tokio::test]
async fn what_other_sources_left_here_is_removed_and_a_link_is_not_followed() {
    let story = Story::new(false);
    fill(&story.from, SIZE, 5);
    let stale = story.folder.join(".to.hg-partial-0123456789abcdef");
    std::fs::write(&stale, "x").unwrap();
    story.cut_after(20 * MIB).await;
    let partial = story.folder.join(&names(&story.folder)[0]);
    let victim = story.sshd.dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(&partial).unwrap();
    std::os::unix::fs::symlink(&victim, &partial).unwrap();
    let error = story.copy(&|_| ()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::File { .. }), "{error}");
    let up = Story { up: true, ..story };
    std::fs::remove_file(&partial).unwrap();
    up.cut_after(20 * MIB).await;
    let partial = up.folder.join(&names(&up.folder)[0]);
    std::fs::remove_file(&partial).unwrap();
    std::os::unix::fs::symlink(&victim, &partial).unwrap();
    up.finish().await;
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
}

#[tokio::test]
async fn five_gigabytes_with_holes_stay_small_both_ways() {
    for up in [true, false] {
        let story = Story::new(up);
        let (size, last) = (5_000_000_000, 4_999_999_990);
        let file = std::fs::File::create(&story.from).unwrap();
        file.set_len(size).unwrap();
        for (at, text) in [(0, "first"), (2_500_000_123, "middle"), (last, "last")] {
            file.write_all_at(text.as_bytes(), at).unwrap();
        }
        story.copy(&|_| ()).await.unwrap();
        let copy = std::fs::File::open(story.to()).unwrap();
        let found = copy.metadata().unwrap();
        assert!(found.len() == size && found.blocks() * 512 < MIB, "{} bytes on the disk", found.blocks() * 512);
        for (at, text) in [(0, "first"), (2_500_000_123, "middle"), (last, "last")] {
            let mut bytes = vec![0; text.len()];
            copy.read_exact_at(&mut bytes, at).unwrap();
            assert_eq!(bytes, text.as_bytes());
        }
        assert_eq!(names(&story.folder), ["to"]);
    }
}

#[tokio::test]
async fn a_machine_far_away_is_reached_over_several_channels_as_far_as_it_allows_them() {
    for (up, config, least) in [(true, "", 5), (false, "", 5), (true, "MaxSessions 3", 2), (false, "MaxSessions 2", 2)]
    {
        let sshd = Sshd::with(config);
        let (from, folder) = (sshd.dir.path().join("from"), sshd.folder("folder"));
        let story = Story { sshd, up, from, folder };
        fill(&story.from, SIZE + 1000, 6);
        let port = support::relay::start(story.sshd.port, Duration::from_millis(25));
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
        let connection = connect(&Machine { address, ..story.sshd.machine() }).await;
        let (moved, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let progress = |more: u64| {
            let before = moved.fetch_add(more, Ordering::Relaxed);
            // Now and then: looking for processes takes its time.
            if before / (8 * MIB) != (before + more) / (8 * MIB) {
                most.fetch_max(story.sshd.sessions().len() as u64, Ordering::Relaxed);
            }
        };
        let to = story.to();
        let copied = match up {
            true => connection.upload(&story.from, to.to_str().unwrap(), &progress).await,
            false => connection.download(story.from.to_str().unwrap(), &to, &progress).await,
        };
        assert_eq!((copied.unwrap().bytes, moved.into_inner()), (SIZE + 1000, SIZE + 1000));
        assert!(same(&story.from, &to) && names(&story.folder) == ["to"]);
        assert!(most.into_inner() > least, "one channel was enough");
    }
}
