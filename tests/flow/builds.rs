//! Builds of what is tested: one that is kept is used again, one that is of no use is made anew, one that fails is told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use connection::dummy::Reply;
use flow::preparation::build::{BuildOutcome, build};
use flow::preparation::folder;
use flow::task::durable::Durable;
use model::build::{Build, BuildOrigin, BuildStore, KeptBuild};
use model::event::Teller;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::provider::Provider;
use model::task::{Command, StepCommand};
use model::work::Work;

use super::Theatre;

const PACKED: &str = "/tmp/packed";

/// Builds, in memory.
#[derive(Default)]
pub(crate) struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

impl Kept {
    fn of(packed: &str) -> Self {
        Self(Mutex::new(BTreeMap::from([("key".to_owned(), packed.into())])))
    }

    fn all(&self) -> Vec<(String, Vec<u8>)> {
        self.0.lock().unwrap().clone().into_iter().collect()
    }
}

impl BuildStore for Kept {
    fn find(&self, key: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(key).cloned()
    }

    fn keep(&self, key: &str, packed: &[u8]) -> Result<(), Fault> {
        self.0.lock().unwrap().insert(key.to_owned(), packed.to_owned());
        Ok(())
    }

    fn list(&self) -> Result<Vec<KeptBuild>, Fault> {
        let kept = |(key, packed): (String, Vec<u8>)| KeptBuild {
            key,
            bytes: packed.len() as u64,
            used: SystemTime::UNIX_EPOCH,
        };
        Ok(self.all().into_iter().map(kept).collect())
    }

    fn remove(&self, key: &str) -> Result<(), Fault> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

/// What the machine answers to `make` and `restore`.
async fn built(kept: &Kept, make: Reply, restore: Reply) -> (Theatre, Result<BuildOutcome, Fault>) {
    let theatre = Theatre::new();
    theatre.tasks.on("make", make).on("restore", restore);
    let outcome = built_on_machine(&theatre, kept).await;
    (theatre, outcome)
}

/// What a machine of the theatre's run comes to.
async fn built_on_machine(theatre: &Theatre, kept: &Kept) -> Result<BuildOutcome, Fault> {
    let machine = theatre.dummy.create(&theatre.request(), &|_, _, _| Ok(()), &Teller::silent()).await.unwrap();
    let first = Box::new(theatre.remote.clone());
    let durable =
        Durable::new(&theatre.run, &theatre.site, &machine, Some(first), &folder(&theatre.run, machine.platform));
    durable.prepare().await.unwrap();
    let stepped = |word: &str, work| StepCommand { work, command: Command::new(word), limit: Duration::from_secs(60) };
    let wanted = Build {
        what: "0123".into(),
        key: Some("key".into()),
        despite: Some("only tests changed".into()),
        make: stepped("make", Work::Building { what: "0123".into() }),
        restore: stepped("restore", Work::RestoringBuild { what: "0123".into() }),
        packed: PACKED.into(),
    };
    build(&theatre.run, &durable, kept, &wanted).await
}

fn made() -> Reply {
    Reply::ok().stdout("compiling\nlinking\n").file(PACKED, "new")
}

#[tokio::test(start_paused = true)]
async fn what_was_built_once_is_not_built_again() {
    let kept = Kept::default();
    let (theatre, outcome) = built(&kept, made(), Reply::ok()).await;
    let outcome = outcome.unwrap();
    assert_eq!((outcome.built, outcome.failed), (BuildOrigin::Made, None));
    assert_eq!(kept.all(), [("key".to_owned(), b"new".to_vec())]);
    let lines = theatre.events.lines();
    let shown: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(shown, ["step Building 0123", "detail compiling", "detail linking", "done Building 0123"]);

    let (theatre, outcome) = built(&kept, Reply::exit(Exit::Code(1)), Reply::ok()).await;
    assert_eq!(outcome.unwrap().built, BuildOrigin::Kept);
    assert_eq!(theatre.tasks.started(), ["restore"]);
    assert_eq!(theatre.remote.file(PACKED).unwrap().0, b"new", "it was there before it was unpacked");
    let told = "notice The build of 0123 that was kept is used again (3 B); only tests changed";
    assert!(theatre.events.lines().contains(&told.to_owned()), "{:?}", theatre.events.lines());
}

#[tokio::test(start_paused = true)]
async fn a_kept_build_that_does_not_run_is_made_anew() {
    let kept = Kept::of("old");
    let (theatre, outcome) = built(&kept, made(), Reply::exit(Exit::Code(1)).stderr("does not run\n")).await;
    assert_eq!(outcome.unwrap().built, BuildOrigin::Made);
    assert_eq!(theatre.tasks.started(), ["restore", "make"]);
    assert_eq!(kept.all(), [("key".to_owned(), b"new".to_vec())]);
    assert_eq!(theatre.events.count("warning the build of 0123 that was kept does not work"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_is_told_with_its_last_lines_and_not_kept() {
    let kept = Kept::default();
    let failing = Reply::exit(Exit::Code(1)).stdout("compiling\n").stderr("error: no\n").file(PACKED, "half");
    let outcome = built(&kept, failing, Reply::ok()).await.1.unwrap();
    let (exit, said) = outcome.failed.unwrap();
    assert_eq!(exit, Exit::Code(1));
    assert!(said.contains("compiling") && said.contains("error: no"), "{said}");
    assert_eq!(kept.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_cannot_be_made_so_is_left_to_the_runner() {
    let kept = Kept::default();
    let cannot = Reply::exit(Exit::Code(3)).stderr("the source has no setup.py\n");
    let (theatre, outcome) = built(&kept, cannot, Reply::ok()).await;
    assert_eq!((outcome.unwrap().built, kept.all()), (BuildOrigin::Runner, vec![]));
    let told = "notice The test runner builds 0123 in its own way: the source has no setup.py";
    assert!(theatre.events.lines().contains(&told.to_owned()), "{:?}", theatre.events.lines());
}

#[tokio::test(start_paused = true)]
async fn a_build_that_cannot_be_kept_is_used_all_the_same() {
    let kept = Kept::default();
    let (theatre, outcome) = built(&kept, Reply::ok(), Reply::ok()).await;
    assert_eq!((outcome.unwrap().built, kept.all()), (BuildOrigin::Made, vec![]));
    assert_eq!(theatre.events.count("warning the build of 0123 is not kept"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_takes_too_long_is_the_machines_fault() {
    let fault = built(&Kept::default(), Reply::ok().hang(), Reply::ok()).await.1.unwrap_err();
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Infrastructure, "the build of 0123 was lost"));
}

/// Three machines of a run that need the same build at once.
async fn built_on_three(theatre: &Theatre, kept: &Kept) -> Vec<BuildOutcome> {
    let all = (0..3).map(|_| built_on_machine(theatre, kept));
    futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(start_paused = true)]
async fn one_machine_of_a_run_builds_and_the_others_take_it_from_there_side_by_side() {
    let (theatre, kept) = (Theatre::new(), Kept::default());
    let (span, restores) = (Duration::from_secs(20), Duration::from_secs(5));
    theatre.tasks.on("make", made().after(span)).on("restore", Reply::ok().after(restores));
    let began = tokio::time::Instant::now();
    let outcomes = built_on_three(&theatre, &kept).await;
    let origins: Vec<_> = outcomes.iter().map(|outcome| outcome.built).collect();
    assert_eq!(origins, [BuildOrigin::Made, BuildOrigin::Kept, BuildOrigin::Kept]);
    assert_eq!(theatre.tasks.started(), ["make", "restore", "restore"]);
    assert!(began.elapsed() < span + 2 * restores, "one restored after the other: {:?}", began.elapsed());
    assert_eq!(theatre.events.count("step Waiting for the build of 0123 by another machine"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_on_one_machine_of_a_run_is_not_tried_on_the_others() {
    let (theatre, kept) = (Theatre::new(), Kept::default());
    theatre.tasks.on("make", Reply::exit(Exit::Code(1)).stderr("error: no\n").after(Duration::from_secs(20)));
    let outcomes = built_on_three(&theatre, &kept).await;
    assert_eq!(theatre.tasks.started(), ["make"]);
    for outcome in outcomes {
        assert_eq!(outcome.failed.unwrap().0, Exit::Code(1));
    }
}
