//! Files that change while they are copied: small ones, which travel over one channel, and large ones.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use model::connection::{ConnectionError, Totals};

use super::files::names;
use super::one_file::{Story, same};

/// Of more pieces than are under way at once.
const SMALL: usize = 12 << 20;
const LARGE: usize = 40 << 20;

impl Story {
    /// A file of that size, written just now or long ago, to be copied to a name that another file has.
    fn over(up: bool, size: usize, old: bool) -> Self {
        let story = Self::new(up);
        std::fs::write(&story.from, vec![b'a'; size]).unwrap();
        if old {
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            std::fs::File::options().write(true).open(&story.from).unwrap().set_modified(long_ago).unwrap();
        }
        std::fs::write(story.to(), "before").unwrap();
        story
    }

    /// Copies, and does `meanwhile` when the first bytes have come.
    async fn copy_while(&self, meanwhile: impl Fn(&std::fs::File) + Send + Sync) -> Result<Totals, ConnectionError> {
        let begun = AtomicBool::new(false);
        let progress = |bytes: u64| {
            // What the file is, is asked before its bytes come, and told as no bytes.
            if bytes > 0 && !begun.swap(true, Ordering::Relaxed) {
                meanwhile(&std::fs::File::options().write(true).open(&self.from).unwrap());
            }
        };
        self.copy(&progress).await
    }

    /// The names beside the target, which is as it was.
    fn others(&self) -> Vec<String> {
        assert_eq!(std::fs::read_to_string(self.to()).unwrap(), "before");
        names(&self.folder).into_iter().filter(|name| name != "to").collect()
    }
}

#[tokio::test]
async fn a_file_that_is_overwritten_meanwhile_is_refused_both_ways() {
    for (up, size) in [(true, SMALL), (true, LARGE), (false, SMALL), (false, LARGE)] {
        for old in [true, false] {
            let story = Story::over(up, size, old);
            let other = vec![b'b'; size];
            let copied = story.copy_while(|file| file.write_all_at(&other, 0).unwrap()).await;
            let error = copied.unwrap_err();
            assert!(matches!(error, ConnectionError::File { .. }), "{error}");
            assert!(error.to_string().contains("from`"), "{error}");
            assert!(error.to_string().ends_with(": it changed while it was read"), "{error}");
            // What has come of a large one is what the next try goes on with.
            let kept = usize::from(size == LARGE && !up);
            let others = story.others();
            assert_eq!(others.iter().filter(|name| name.starts_with(".to.hg-partial-")).count(), kept, "{others:?}");
            assert_eq!(others.len(), kept);
            story.copy(&|_| ()).await.unwrap();
            assert!(same(&story.from, &story.to()));
            assert_eq!(std::fs::read_dir(&story.folder).unwrap().count(), 1);
        }
    }
}

#[tokio::test]
async fn a_log_that_grows_meanwhile_is_fetched_as_long_as_it_is() {
    for size in [SMALL, LARGE] {
        let story = Story::over(false, size, true);
        let line = vec![b'l'; 9 << 20];
        let totals = story.copy_while(|file| file.write_all_at(&line, size as u64).unwrap()).await.unwrap();
        let (copy, log) = (std::fs::read(story.to()).unwrap(), std::fs::read(&story.from).unwrap());
        assert!(totals.bytes == copy.len() as u64 && copy.len() >= size && log.starts_with(&copy), "{totals:?}");
    }
}

#[tokio::test]
async fn a_file_that_grows_and_is_another_is_refused() {
    for size in [SMALL, LARGE] {
        let story = Story::over(false, size, true);
        let other = vec![b'b'; size + 100];
        let error = story.copy_while(|file| file.write_all_at(&other, 0).unwrap()).await.unwrap_err();
        assert!(error.to_string().ends_with("it changed while it was read"), "{error}");
        story.others();
    }
}

#[tokio::test]
async fn a_file_here_that_grows_while_it_is_sent_is_refused() {
    for size in [SMALL, LARGE] {
        let story = Story::over(true, size, true);
        let error = story.copy_while(|file| file.write_all_at(b"more", size as u64).unwrap()).await.unwrap_err();
        assert!(error.to_string().ends_with("it changed while it was read"), "{error}");
        assert_eq!(story.others(), Vec::<String>::new());
    }
}
