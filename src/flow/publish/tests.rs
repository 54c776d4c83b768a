//! An index that answers as it is told: what it lists decides, not what it answers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use model::connection::Progress;
use model::event::Teller;
use model::fault::{Fault, FaultKind};
use model::release::{IndexedFile, PackageDetails, UploadError};
use model::sum::Sha256Sum;

use super::*;

/// What comes of an upload: whether the file is kept, and with which bytes; and the answer.
type Script = (Option<char>, Option<UploadError>);

#[derive(Default)]
struct Index {
    files: Mutex<Vec<IndexedFile>>,
    script: Mutex<VecDeque<Script>>,
    uploads: Mutex<usize>,
}

fn sum(digit: char) -> Sha256Sum {
    Sha256Sum::parse(&digit.to_string().repeat(64)).unwrap()
}

fn unsure() -> Option<UploadError> {
    Some(UploadError::Unsure(Fault::infrastructure("it broke").hint("Try again later.")))
}

fn refused() -> Option<UploadError> {
    Some(UploadError::Refused(Fault::outside("it is not taken")))
}

#[async_trait]
impl PackageIndex for Index {
    fn place(&self) -> String {
        "index".to_owned()
    }

    fn check_credentials(&self) -> Result<(), Fault> {
        Ok(())
    }

    async fn list(&self, _: &str) -> Result<Vec<IndexedFile>, Fault> {
        Ok(self.files.lock().unwrap().clone())
    }

    async fn sum_of(&self, file: &IndexedFile, _: u64) -> Result<Sha256Sum, Fault> {
        Ok(sum(file.url.chars().next().unwrap()))
    }

    async fn upload(&self, file: &ReleaseFile, progress: Progress<'_>) -> Result<(), UploadError> {
        progress(file.size);
        *self.uploads.lock().unwrap() += 1;
        let (kept, answer) = self.script.lock().unwrap().pop_front().unwrap_or((Some('a'), None));
        // Without a sum in its list, so that the file is fetched for it.
        let entry = |digit: char| IndexedFile { name: file.name.clone(), url: digit.to_string(), sha256: None };
        self.files.lock().unwrap().extend(kept.map(entry));
        answer.map_or(Ok(()), Err)
    }
}

fn release(count: usize) -> Release {
    let file = |at: usize| ReleaseFile {
        path: PathBuf::from("/nowhere"),
        name: format!("{at}.whl"),
        size: 10,
        modified: SystemTime::UNIX_EPOCH,
        sha256: sum('a'),
        package: Some(PackageDetails { interpreter: "cp313".to_owned(), metadata: String::new() }),
    };
    Release { project: "m".to_owned(), version: "1.2".to_owned(), files: (0..count).map(file).collect() }
}

/// Publishes so many files; gives what came of it and the number of uploads.
async fn published(count: usize, script: Vec<Script>) -> (Result<bool, Fault>, usize) {
    let (index, release) = (Index { script: Mutex::new(script.into()), ..Index::default() }, release(count));
    let places = Places { index: Some(&index), host: None };
    let plan = compare(&places, &release).await.unwrap();
    assert_eq!((plan.uploads(), plan.is_done()), (count, false));
    let backup = Backup { path: PathBuf::from("/nowhere") };
    let done = publish(&places, &release, &plan, &backup, &Teller::silent()).await;
    if done.is_ok() {
        assert!(compare(&places, &release).await.unwrap().is_done());
    }
    (done, *index.uploads.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_the_index_lists_decides_and_not_what_it_answers() {
    for (script, uploads) in [
        (vec![(Some('a'), None)], 1),
        (vec![(Some('a'), unsure())], 1),
        (vec![(Some('a'), refused())], 1),
        (vec![(None, unsure()), (None, unsure()), (Some('a'), None)], 3),
    ] {
        let (done, made) = published(1, script).await;
        assert!(!done.unwrap());
        assert_eq!(made, uploads);
    }
    for (script, uploads, told) in [
        (vec![(None, refused())], 1, "it is not taken"),
        (vec![(None, unsure()), (None, unsure()), (None, unsure())], 3, "it broke"),
        (vec![(Some('b'), unsure())], 1, "with other bytes meanwhile"),
    ] {
        let (done, made) = published(1, script).await;
        let fault = done.unwrap_err();
        assert_eq!((made, fault.message.as_str()), (uploads, "nothing of 1.2 was published"));
        assert!(fault.line().contains(told), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_nothing_new_is_begun_and_it_is_told_how_far_it_came() {
    let script = vec![(Some('a'), None), (None, refused())];
    let (done, made) = published(20, script).await;
    let fault = done.unwrap_err();
    assert!(made < 10, "{made} uploads were made");
    assert!(fault.message.starts_with("1.2 is published in part: "), "{fault:?}");
    assert_eq!(fault.kind, FaultKind::Outside);
    assert!(fault.hint.unwrap().contains("only what is missing"));
    let (done, _) = published(1, vec![(None, unsure()), (None, unsure()), (None, unsure())]).await;
    let fault = done.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Infrastructure);
    assert!(fault.hint.unwrap().starts_with("Try again later. The same command"));
}

#[tokio::test]
async fn files_with_other_bytes_are_all_named_before_anything_is_sent() {
    let (index, release) = (Index::default(), release(3));
    let entry = |name: &str, digit| IndexedFile { name: name.to_owned(), url: String::new(), sha256: Some(sum(digit)) };
    index.files.lock().unwrap().extend([
        entry("0.whl", 'b'),
        entry("1.whl", 'a'),
        entry("2.whl", 'c'),
        entry("x", 'd'),
    ]);
    let fault = compare(&Places { index: Some(&index), host: None }, &release).await.unwrap_err();
    assert_eq!(fault.message, "2 files of 1.2 with other bytes are published already");
    assert!(fault.line().contains("`0.whl` at index") && fault.line().contains("`2.whl`"), "{fault:?}");
    assert!(!fault.line().contains("1.whl"));
}
