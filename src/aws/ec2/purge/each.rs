//! Removals for which the API has no batch: side by side within a bound, with patience for resources that are still in
//! use.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::{FutureExt, StreamExt};
use model::base::deadline::Deadline;
use model::purge::RemovalRefusal;

use crate::ec2::trouble::{self, Class};

/// How many calls are under way at once. Deletes share a bucket of 100 that refills by 5 to 10 a second; more at once only
/// meets the throttle.
const AT_ONCE: usize = 16;

/// How long a removal may be refused because the resource is used by another one that is going away itself: an image
/// gives up its snapshots, and an instance its volumes and groups, some seconds after it is gone.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause before a removal is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// The refusal of one removal; its class says whether it is worth trying again.
pub(crate) struct Denied {
    /// The class of the refusal.
    pub class: Class,
    /// The reason, in words.
    pub reason: String,
}

impl<E, R> From<SdkError<E, R>> for Denied
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        let class = trouble::class(&error);
        Self { class, reason: trouble::reason(class, &error) }
    }
}

/// Calls `delete` for every id; an id that does not exist is not a refusal.
pub(crate) async fn each<F, Fut>(ids: &[String], delete: F) -> Vec<RemovalRefusal>
where
    F: Fn(String) -> Fut + Sync,
    Fut: Future<Output = Result<(), Denied>> + Send,
{
    // All share one deadline, so that the waits for many that stay in use do not add up.
    let deadline = Deadline::after(PATIENCE, "what uses it to go away");
    let mut tries = Vec::with_capacity(ids.len());
    for id in ids {
        tries.push(one(id.clone(), &delete, &deadline).boxed());
    }
    let refusals: Vec<Option<RemovalRefusal>> =
        futures_util::stream::iter(tries).buffer_unordered(AT_ONCE).collect().await;
    refusals.into_iter().flatten().collect()
}

async fn one<F, Fut>(id: String, delete: &F, deadline: &Deadline) -> Option<RemovalRefusal>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<(), Denied>>,
{
    loop {
        match delete(id.clone()).await {
            Ok(()) => return None,
            Err(denied) if denied.class == Class::NotFound => return None,
            Err(denied) if denied.class == Class::Dependency && deadline.remaining() > PAUSE => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(denied) => return Some(RemovalRefusal { id, reason: denied.reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn denied(class: Class) -> Denied {
        Denied { class, reason: "no".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_use_is_tried_again_and_what_is_denied_is_not() {
        let ids = ["gone", "used", "denied", "fine"].map(str::to_owned);
        let (used, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let refusals = each(&ids, |id| {
            let answer = match id.as_str() {
                "gone" => Err(denied(Class::NotFound)),
                "used" if used.fetch_add(1, Ordering::SeqCst) < 2 => Err(denied(Class::Dependency)),
                "denied" => {
                    refused.fetch_add(1, Ordering::SeqCst);
                    Err(denied(Class::Permission))
                }
                _ => Ok(()),
            };
            async { answer }
        })
        .await;
        assert_eq!(refusals, [RemovalRefusal { id: "denied".into(), reason: "no".into() }]);
        assert_eq!((used.into_inner(), refused.into_inner()), (3, 1));
    }

    #[tokio::test]
    async fn calls_run_side_by_side_within_the_bound() {
        let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let refusals = each(&ids, |_| async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .await;
        assert!(refusals.is_empty());
        assert_eq!(most.into_inner(), AT_ONCE);
    }
}
