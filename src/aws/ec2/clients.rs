//! The clients of the services, one a region, with their limits: every call has a deadline and a budget of retries, which
//! the SDK makes. Deliberately absent: our own waiting and retrying, and reading the environment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::retry::{RetryPartition, TokenBucket};
use jiff::Timestamp;
use model::fault::Fault;
use tokio::sync::OnceCell;

use crate::ec2::preflight::{self, DenyConnectRetry, ReadClock, ServiceClock};
use crate::ec2::trouble;

/// How many times an ordinary call is tried. The SDK's default is 3; an account that several people use is throttled
/// more.
const ATTEMPTS: u32 = 5;

/// How many times a delete is tried: thousands of them meet the limits of the API, and there is time.
const DELETE_ATTEMPTS: u32 = 10;

/// The longest pause between two attempts; the SDK's default.
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// The first pause between two attempts; doubled each time, by a random factor. The limits of EC2 refill every second.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// How long it may take until a connection is established.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long one attempt may take. A page of a thousand instances takes several seconds.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(30);

/// How long a call may take with all its attempts.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// The same for a delete: ten attempts with pauses of up to twenty seconds.
const DELETE_LIMIT: Duration = Duration::from_secs(300);

/// The account and user of the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's twelve digits.
    pub account: String,
    /// The ARN of the user or role.
    pub arn: String,
}

/// The clients; they share one pool of connections and one cache of credentials.
pub struct Clients {
    sdk: SdkConfig,
    region: String,
    ec2: Mutex<HashMap<String, aws_sdk_ec2::Client>>,
    clock: Arc<ServiceClock>,
    /// Set once the region is known to exist.
    region_known: OnceCell<()>,
    identity: OnceCell<Identity>,
}

fn timeouts(whole: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_attempt_timeout(ATTEMPT_LIMIT)
        .operation_timeout(whole)
        .build()
}

/// The limits of the first calls.
fn preflight_timeouts() -> TimeoutConfig {
    timeouts(CALL_LIMIT).to_builder().connect_timeout(preflight::CONNECT_LIMIT).build()
}

fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(FIRST_BACKOFF)
        .with_max_backoff(MAX_BACKOFF)
}

/// A budget of retries for deletes alone: throttled deletes must not use up the retries of ordinary calls. It is
/// unlimited, for every delete has its own limits.
fn delete_partition() -> RetryPartition {
    RetryPartition::custom("hg-automation-deletes").token_bucket(TokenBucket::unlimited()).build()
}

impl Clients {
    /// Clients with the configuration `sdk`, whose region is the default one; if it has none, that is `us-west-2`.
    pub fn new(sdk: SdkConfig) -> Self {
        let region = sdk.region().map_or("us-west-2", |region| region.as_ref()).to_owned();
        let sdk = sdk.into_builder().retry_config(retries(ATTEMPTS)).timeout_config(timeouts(CALL_LIMIT)).build();
        let (clock, region_known) = (Arc::default(), OnceCell::new());
        Self { sdk, region, ec2: Mutex::default(), clock, region_known, identity: OnceCell::new() }
    }

    /// The default region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The configuration of the clients, for a service that has no method here.
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// The configuration for `region`.
    fn of(&self, region: &str) -> SdkConfig {
        self.sdk.to_builder().region(aws_config::Region::new(region.to_owned())).build()
    }

    /// EC2 in `region`.
    pub fn ec2(&self, region: &str) -> aws_sdk_ec2::Client {
        let mut made = self.ec2.lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(region.to_owned()).or_insert_with(|| aws_sdk_ec2::Client::new(&self.of(region))).clone()
    }

    /// EC2 in `region`, for the first calls: a connection that cannot be established is reported at once.
    pub fn ec2_preflight(&self, region: &str) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::config::Builder::from(&self.of(region));
        let config = config.timeout_config(preflight_timeouts()).retry_classifier(DenyConnectRetry);
        aws_sdk_ec2::Client::from_conf(config.build())
    }

    /// IAM, in the same way.
    pub fn iam_preflight(&self) -> aws_sdk_iam::Client {
        let config = aws_sdk_iam::config::Builder::from(&self.sdk);
        let config = config.timeout_config(preflight_timeouts()).retry_classifier(DenyConnectRetry);
        aws_sdk_iam::Client::from_conf(config.build())
    }

    /// Refuses a region that does not exist; asks AWS only about a region that is not well known.
    pub async fn check_region(&self) -> Result<(), Fault> {
        self.region_known.get_or_try_init(|| self.ask_for_region()).await.copied()
    }

    async fn ask_for_region(&self) -> Result<(), Fault> {
        if preflight::is_well_known(&self.region) {
            return Ok(());
        }
        preflight::check_region(&self.ec2_preflight(preflight::HOME_REGION), &self.region).await
    }

    /// The time by the clock of AWS, once an answer to [`Clients::identity`] has carried it.
    pub fn now(&self) -> Option<Timestamp> {
        self.clock.now()
    }

    /// EC2 in `region`, for deletes.
    pub fn ec2_deletes(&self, region: &str) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::config::Builder::from(&self.of(region))
            .retry_config(retries(DELETE_ATTEMPTS))
            .timeout_config(timeouts(DELETE_LIMIT))
            .retry_partition(delete_partition());
        aws_sdk_ec2::Client::from_conf(config.build())
    }

    /// The regions that the account can use.
    pub async fn regions(&self) -> Result<Vec<String>, Fault> {
        let answer = self.ec2(&self.region).describe_regions().send().await;
        let answer = answer.map_err(|error| trouble::fault("list the regions of the account", error))?;
        Ok(answer.regions().iter().filter_map(|region| region.region_name.clone()).collect())
    }

    /// IAM, which has no region.
    pub fn iam(&self) -> aws_sdk_iam::Client {
        aws_sdk_iam::Client::new(&self.sdk)
    }

    /// IAM, for deletes.
    pub fn iam_deletes(&self) -> aws_sdk_iam::Client {
        let config = aws_sdk_iam::config::Builder::from(&self.sdk)
            .retry_config(retries(DELETE_ATTEMPTS))
            .timeout_config(timeouts(DELETE_LIMIT))
            .retry_partition(delete_partition());
        aws_sdk_iam::Client::from_conf(config.build())
    }

    /// Systems Manager in `region`.
    pub fn ssm(&self, region: &str) -> aws_sdk_ssm::Client {
        aws_sdk_ssm::Client::new(&self.of(region))
    }

    /// The price list, which only few regions serve and which is the same in each of them.
    pub fn pricing(&self) -> aws_sdk_pricing::Client {
        aws_sdk_pricing::Client::new(&self.of("us-east-1"))
    }

    /// The account and user of the credentials; asked once, and before anything else.
    pub async fn identity(&self) -> Result<&Identity, Fault> {
        self.identity
            .get_or_try_init(|| async {
                self.check_region().await?;
                let doing = "find out whose credentials these are";
                let config = aws_sdk_sts::config::Builder::from(&self.sdk)
                    .timeout_config(preflight_timeouts())
                    .retry_classifier(DenyConnectRetry)
                    .interceptor(ReadClock(Arc::clone(&self.clock)));
                let answer = aws_sdk_sts::Client::from_conf(config.build()).get_caller_identity().send().await;
                let answer = answer.map_err(|error| trouble::fault(doing, error))?;
                match (answer.account, answer.arn) {
                    (Some(account), Some(arn)) => Ok(Identity { account, arn }),
                    _ => Err(Fault::infrastructure(format!("cannot {doing}: the answer names no account"))),
                }
            })
            .await
    }
}
