//! How long work still has once its run is asked to stop.

use std::time::Duration;

use model::fault::{Fault, FaultKind};

use crate::run::Run;

fn interrupted() -> Fault {
    Fault::new(FaultKind::Interrupted, "interrupted")
}

/// Runs `work` until it ends or the run is asked to stop.
pub async fn until_stopped<T>(run: &Run, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::select! {
        biased;
        () = run.stop.cancelled() => Err(interrupted()),
        result = work => result,
    }
}

/// How long a call that makes something may still take to answer once the run is asked to stop, seconds: what was made is removed by its
/// id then, and need not be looked for where it may not be listed yet.
const ANSWER: Duration = Duration::from_secs(5);

/// Runs a call that makes something until it ends, or for a moment after the run is asked to stop.
pub(super) async fn until_answered<T>(run: &Run, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let given_up = async {
        run.stop.cancelled().await;
        tokio::time::sleep(ANSWER).await;
    };
    tokio::select! {
        biased;
        result = call => result,
        () = given_up => Err(interrupted()),
    }
}

/// How long work that was asked to stop may take to report what it knows.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// Runs `work`, which watches the run's stop itself, until it ends, or for a while after it was asked to stop.
pub(super) async fn run_until_given_up<T>(run: &Run, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let given_up = async {
        run.stop.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        biased;
        result = work => result,
        () = given_up => Err(interrupted()),
    }
}
