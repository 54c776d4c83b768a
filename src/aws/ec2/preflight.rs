//! The checks before anything else: that the profile, the region and a network exist, each with an error of its own and
//! within seconds.
//!
//! The SDK reports none of them clearly: a missing profile looks like missing credentials, a missing region looks like
//! a name that cannot be resolved, and a dead network is retried for minutes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::config::ConfigBag;
use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_ec2::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use jiff::{SignedDuration, Timestamp};
use model::base::text;
use model::fault::Fault;

use crate::ec2::trouble::{self, Class};

/// How long it may take until the first connection is established. Somebody is waiting to hear that there is no
/// network.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(2500);

/// The region that is asked about regions that are not in [`REGIONS`].
pub const HOME_REGION: &str = "us-east-1";

/// The regions that are known without asking. AWS is asked about any other, because it opens new ones.
const REGIONS: [&str; 38] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Whether the region certainly exists.
pub fn is_well_known(region: &str) -> bool {
    REGIONS.contains(&region)
}

/// Refuses a region that `home`, which is EC2 in [`HOME_REGION`], does not list.
pub async fn check_region(home: &aws_sdk_ec2::Client, region: &str) -> Result<(), Fault> {
    let asked = home.describe_regions().all_regions(true).send().await;
    let known: Vec<String> = match asked {
        Ok(answer) => answer.regions().iter().filter_map(|region| region.region_name.clone()).collect(),
        Err(error) => match trouble::class(&error) {
            // The region is not the problem here.
            Class::Unreachable | Class::NoAnswer => {
                return Err(trouble::fault(&format!("find out whether there is a region `{region}`"), error));
            }
            // A user who may not list regions finds out by using the region.
            _ => return Ok(()),
        },
    };
    if known.iter().any(|name| name == region) {
        return Ok(());
    }
    let fault = Fault::outside(format!("AWS has no region `{region}`"));
    Err(match text::nearest(region, known.iter().map(String::as_str)) {
        Some(near) => {
            fault.hint(format!("Did you mean `{near}`? It comes from `--aws-region`, `ec2.region` or `AWS_REGION`."))
        }
        None => fault.hint("It comes from `--aws-region`, `ec2.region` of the settings, or `AWS_REGION`."),
    })
}

/// Refuses a profile that is not in `files`, the texts of `~/.aws/config` and `~/.aws/credentials`.
pub fn check_profile(name: &str, files: &[String]) -> Result<(), Fault> {
    let sections = files.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let section = line.trim().strip_prefix('[')?.split(']').next()?.trim();
        let plain = section.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(section);
        Some(plain.trim())
    });
    let known: Vec<&str> = sections.collect();
    if known.contains(&name) {
        return Ok(());
    }
    let fault = Fault::outside(format!("there is no AWS profile `{name}`, which `AWS_PROFILE` names"));
    Err(match text::nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean `{near}`?")),
        None => fault.hint("Profiles are in `~/.aws/config` and `~/.aws/credentials`; `aws configure` makes one."),
    })
}

/// Keeps the SDK from repeating a call whose connection could not be established.
#[derive(Debug)]
pub struct DenyConnectRetry;

impl ClassifyRetry for DenyConnectRetry {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err);
        match error.and_then(|error| error.as_connector_error()) {
            Some(error) if trouble::is_connect_error(error) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "not connected"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// How far the clock of AWS is ahead of this computer's, read from an answer.
#[derive(Debug, Default)]
pub struct ServiceClock(Mutex<Option<SignedDuration>>);

impl ServiceClock {
    /// The time by AWS's clock; `None` if no answer has carried it yet.
    pub fn now(&self) -> Option<Timestamp> {
        let ahead = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Timestamp::now().checked_add(ahead).ok()
    }

    fn read(&self, date: &str) {
        if let Ok(time) = jiff::fmt::rfc2822::parse(date) {
            let ahead = time.timestamp().duration_since(Timestamp::now());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }
}

/// Sets the [`ServiceClock`] from the date of each answer.
#[derive(Debug, Clone)]
pub struct ReadClock(pub std::sync::Arc<ServiceClock>);

impl Intercept for ReadClock {
    fn name(&self) -> &'static str {
        "read the clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.0.read(date);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_looked_for_in_both_files() {
        let files =
            ["[default]\n[profile work]\nregion = x\n".to_owned(), "[other]\naws_access_key_id = 1\n".to_owned()];
        for name in ["default", "work", "other"] {
            assert!(check_profile(name, &files).is_ok(), "{name}");
        }
        let fault = check_profile("wrok", &files).unwrap_err();
        assert!(fault.message.contains("`wrok`") && fault.hint.unwrap().contains("`work`"));
        assert!(check_profile("profile", &files).is_err() && check_profile("work", &[]).is_err());
    }

    #[test]
    fn the_clock_of_an_answer_is_kept() {
        let clock = ServiceClock::default();
        assert_eq!(clock.now(), None);
        clock.read("no date");
        assert_eq!(clock.now(), None);
        clock.read("Fri, 20 Nov 2020 12:00:00 GMT");
        let away = clock.now().unwrap().duration_since("2020-11-20T12:00:00Z".parse().unwrap());
        assert!(away.abs() < SignedDuration::from_secs(5), "{away}");
    }
}
