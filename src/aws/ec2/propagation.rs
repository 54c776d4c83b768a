//! Resources that were made a moment ago are not known everywhere in AWS at once, so calls that need them are repeated
//! for a while.

use std::time::Duration;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use model::base::deadline::Pace;
use tokio::time::Instant;

use crate::ec2::trouble::{self, Class};

/// How long AWS may take to know a new resource everywhere. IAM's documents say seconds; the longest time observed was
/// a minute.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The first and the longest pause between two calls.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Codes by which IAM says that another change to the same thing is not done yet.
const MEANWHILE: [&str; 2] = ["ConcurrentModification", "ConcurrentModificationException"];

/// Makes a call on a resource that is known to exist, and repeats it for [`LIMIT`] while the service does not know the
/// resource or has not finished an earlier change to it; returns the last answer. The call must be safe to repeat.
///
/// # Errors
///
/// Any other refusal at once; the same refusal after the limit.
pub(crate) async fn retry_until_known<T, E, R, C>(call: impl Fn() -> C) -> Result<T, SdkError<E, R>>
where
    C: Future<Output = Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let began = Instant::now();
    let mut pace = Pace::new(PAUSES);
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let meanwhile = error.code().is_some_and(|code| MEANWHILE.contains(&code));
        let passes = meanwhile || trouble::class(&error) == Class::NotFound;
        if !passes || began.elapsed() + pace.next() > LIMIT {
            return Err(error);
        }
        pace.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    type Refusal = SdkError<aws_sdk_iam::operation::attach_role_policy::AttachRolePolicyError, ()>;

    fn refusal(code: &str) -> Refusal {
        use aws_sdk_iam::operation::attach_role_policy::AttachRolePolicyError as Error;
        SdkError::service_error(Error::generic(ErrorMetadata::builder().code(code).build()), ())
    }

    /// How many times a call is made whose first `times` answers are `code`, and whether it succeeded in the end.
    async fn calls(code: &str, times: u32) -> (u32, bool) {
        let made = AtomicU32::new(0);
        let answer = retry_until_known(|| async {
            let before = made.fetch_add(1, Ordering::Relaxed);
            if before < times { Err(refusal(code)) } else { Ok(()) }
        });
        let well = answer.await.is_ok();
        (made.into_inner(), well)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_known_yet_is_asked_again_and_nothing_else_is() {
        for code in ["NoSuchEntity", "InvalidGroup.NotFound", "ConcurrentModification"] {
            assert_eq!(calls(code, 3).await, (4, true), "{code}");
        }
        for code in ["AccessDenied", "InvalidPermission.Duplicate", "LimitExceeded"] {
            assert_eq!(calls(code, 3).await, (1, false), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_asked_for_ever() {
        let began = Instant::now();
        let (made, well) = calls("NoSuchEntity", u32::MAX).await;
        assert!(!well && made > 5, "{made}");
        assert!(began.elapsed() <= LIMIT, "{:?}", began.elapsed());
    }
}
