//! A cache of earlier prices, in a file of the state directory that other processes use too.
//!
//! Nothing depends on the cache: a damaged file counts as empty, and a file that cannot be written is ignored.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One price and when it was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct CachedPrice {
    usd: f64,
    at: Timestamp,
}

/// The rows by `SOURCE KEY`.
type Rows = BTreeMap<String, CachedPrice>;

/// How long a row stays in the file; longer than any price is valid.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// The file.
pub(crate) struct Cache {
    path: PathBuf,
    source: String,
    /// Held while the file is read, changed and written, so that parallel look-ups of this process do not lose each
    /// other's rows.
    writing: Mutex<()>,
}

impl Cache {
    /// The file `path`, for prices of `source`.
    pub(crate) fn new(path: PathBuf, source: String) -> Self {
        Self { path, source, writing: Mutex::default() }
    }

    fn key(&self, key: &str) -> String {
        format!("{} {key}", self.source)
    }

    /// The price that was written within `keeps` of `now`, before or after: `now` may be the time at which a machine
    /// was made, before its price was looked up. A price from further in the future comes from a wrong clock.
    pub(crate) fn read(&self, key: &str, keeps: Duration, now: Timestamp) -> Option<f64> {
        let row = *read_rows(&self.path).get(&self.key(key))?;
        (is_near(&row, keeps, now) && row.usd.is_finite() && row.usd > 0.0).then_some(row.usd)
    }

    /// Remembers a price.
    pub(crate) fn write(&self, key: &str, usd: f64, now: Timestamp) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = read_rows(&self.path);
        rows.retain(|_, row| is_near(row, RETENTION, now));
        rows.insert(self.key(key), CachedPrice { usd, at: now });
        if let Ok(text) = serde_json::to_vec_pretty(&rows) {
            // A price that is not remembered is looked up again.
            drop(replace(&self.path, &text));
        }
    }
}

fn is_near(row: &CachedPrice, span: Duration, now: Timestamp) -> bool {
    now.duration_since(row.at).unsigned_abs() <= span
}

fn read_rows(path: &Path) -> Rows {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Replaces the file as a whole; it is readable by its owner only.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut start = path.file_name().unwrap_or_default().to_owned();
    start.push(".");
    let mut fresh =
        tempfile::Builder::new().prefix(&start).suffix(".new").tempfile_in(path.parent().unwrap_or(path))?;
    fresh.write_all(text)?;
    fresh.persist(path).map(drop).map_err(|failed| failed.error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_price_is_kept_for_its_time_and_for_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        let cache = Cache::new(path.clone(), "aws".into());
        assert_eq!(cache.read("k", DAY, at("2026-11-20T00:00:00Z")), None);
        cache.write("k", 1.5, at("2026-11-20T00:00:00Z"));
        cache.write("l", 2.5, at("2026-11-20T00:00:00Z"));
        assert_eq!(cache.read("k", DAY, at("2026-11-20T23:59:59Z")), Some(1.5));
        assert_eq!(cache.read("l", DAY, at("2026-11-20T23:59:59Z")), Some(2.5));
        assert_eq!(cache.read("k", DAY, at("2026-11-21T00:00:01Z")), None);
        assert_eq!(
            cache.read("k", DAY, at("2026-11-19T23:00:00Z")),
            Some(1.5),
            "for a machine made before the price was looked up"
        );
        assert_eq!(cache.read("k", DAY, at("2026-11-18T23:59:59Z")), None, "from the future");
        let other = Cache::new(path.clone(), "http://localhost:5000".into());
        assert_eq!(other.read("k", DAY, at("2026-11-20T01:00:00Z")), None);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        let now = at("2026-11-20T00:00:00Z");
        std::fs::write(&path, r#"{"aws k": {"usd": 1.5"#).unwrap();
        let cache = Cache::new(path, "aws".into());
        assert_eq!(cache.read("k", DAY, now), None);
        cache.write("k", 1.5, now);
        assert_eq!(cache.read("k", DAY, now), Some(1.5));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_let_be() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("absent").join("prices.json"), "aws".into());
        cache.write("k", 1.5, at("2026-11-20T00:00:00Z"));
        assert_eq!(cache.read("k", DAY, at("2026-11-20T00:00:00Z")), None);
    }
}
