//! The agent of one instance, reached through the service: runs a script as root and returns its output.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::{InstanceInformationStringFilter, PingStatus};
use model::base::deadline::{Deadline, Pace};
use model::connection::ConnectionError;

use crate::ssm::protocol::{InvocationProgress, progress};

/// The message about an instance that the service does not know.
const NO_AGENT: &str = "the service knows no SSM agent on it (Ubuntu's own images hold one, Debian's do not)";

/// How many times a call is tried; the service throttles callers who make many calls.
const ATTEMPTS: u32 = 5;

/// How long one attempt of a call may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// How long a script may take to reach the agent, in seconds; the service requires at least 30.
const DELIVERY: i32 = 60;

/// How long a script may run, in seconds. Our scripts hold their answers back for at most [`super::HOLD`].
const EXECUTION: u64 = 60;

/// How long a script may take in all, including its delivery.
const LIMIT: Duration = Duration::from_secs(135);

/// How long a command that the service has just accepted may be unknown to it.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(15);

/// The first and the longest pause between two polls of a script; pauses double in between.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long cancelling a script may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// How long one query about the agent may take.
const PING_LIMIT: Duration = Duration::from_secs(30);

/// The result of a query about the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ping {
    /// It answers.
    Online,
    /// It does not answer; the text holds what is known.
    Silent(String),
}

/// A way to run scripts as root on one machine. It separates this module from the service, so that tests can replace
/// the latter.
#[async_trait]
pub(super) trait ScriptRunner: Send + Sync {
    /// The machine's address, for messages.
    fn address(&self) -> String;

    /// Runs `script` and returns its standard output. If the future is dropped early, it tries to cancel the script.
    async fn run(&self, script: String) -> Result<String, ConnectionError>;

    /// Asks whether an agent answers.
    async fn ping(&self) -> Result<Ping, ConnectionError>;
}

/// The agent of an instance.
pub(super) struct Agent {
    client: Client,
    instance: String,
    /// The document that runs a script on its system; every account has it.
    document: &'static str,
}

impl Agent {
    /// The agent of `instance`, whose scripts `document` runs.
    pub(super) fn new(sdk: &aws_config::SdkConfig, document: &'static str, instance: &str, region: &str) -> Self {
        let region = aws_config::Region::new(region.to_owned());
        let config = aws_sdk_ssm::config::Builder::from(sdk)
            .region(region)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).build())
            .build();
        Self { client: Client::from_conf(config), instance: instance.to_owned(), document }
    }

    async fn send(&self, script: String) -> Result<String, ConnectionError> {
        let sent = self
            .client
            .send_command()
            .document_name(self.document)
            .instance_ids(&self.instance)
            .timeout_seconds(DELIVERY)
            .parameters("commands", vec![script])
            .parameters("executionTimeout", vec![EXECUTION.to_string()])
            .send()
            .await
            .map_err(|error| self.failure("ssm:SendCommand", &error))?;
        let id = sent.command().and_then(|command| command.command_id());
        id.map(str::to_owned).ok_or_else(|| self.lost("the service accepted a command and gave it no id"))
    }

    /// Polls a command until its script has run; returns the output.
    async fn output(&self, command: &str) -> Result<String, ConnectionError> {
        let unknown = Deadline::after(UNKNOWN_LIMIT, "the service to know its own command");
        let mut pace = Pace::new(PAUSES);
        loop {
            pace.pause().await;
            let asked =
                self.client.get_command_invocation().command_id(command).instance_id(&self.instance).send().await;
            let found = match asked {
                Ok(found) => found,
                Err(error) if error.code() == Some("InvocationDoesNotExist") && !unknown.remaining().is_zero() => {
                    continue;
                }
                Err(error) => return Err(self.failure("ssm:GetCommandInvocation", &error)),
            };
            let status = found.status().map_or("", |status| status.as_str());
            match progress(status) {
                InvocationProgress::Under => {}
                InvocationProgress::Ran => return Ok(found.standard_output_content().unwrap_or_default().to_owned()),
                InvocationProgress::Broken => {
                    let details = found.status_details().filter(|text| !text.is_empty()).unwrap_or(status);
                    let error = found.standard_error_content().unwrap_or_default().trim();
                    return Err(self.lost(&describe_failure(details, error)));
                }
            }
        }
    }

    fn lost(&self, reason: &str) -> ConnectionError {
        ConnectionError::Lost { address: self.instance.clone(), reason: reason.to_owned() }
    }

    /// The connection error for a failed call.
    fn failure<E, R>(&self, call: &str, error: &SdkError<E, R>) -> ConnectionError
    where
        SdkError<E, R>: ProvideErrorMetadata,
        E: std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let detail = || aws_sdk_ssm::error::DisplayErrorContext(error).to_string();
        match (error.code(), error) {
            (Some(code), _) => refusal(&self.instance, call, code, error.message().unwrap_or_default()),
            (None, SdkError::TimeoutError(_)) => ConnectionError::TimedOut {
                address: self.instance.clone(),
                what: format!("the service did not answer `{call}`"),
            },
            // Missing credentials fail while the request is made, before it is sent.
            (None, SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_))
                if detail().contains("credential") =>
            {
                let reason = "no AWS credentials are available".to_owned();
                ConnectionError::Denied { address: self.instance.clone(), reason }
            }
            (None, _) => self.lost(&format!("`{call}` failed: {}", detail())),
        }
    }
}

/// The connection error for an error code of the service.
fn refusal(instance: &str, call: &str, code: &str, message: &str) -> ConnectionError {
    let address = instance.to_owned();
    let detail = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
    match code {
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            ConnectionError::Denied { address, reason: format!("these credentials do not allow `{call}` ({detail})") }
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            ConnectionError::Denied { address, reason: format!("the AWS credentials have expired ({detail})") }
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "AuthFailure" => {
            ConnectionError::Denied { address, reason: format!("AWS refuses the credentials ({detail})") }
        }
        "InvalidInstanceId" => {
            let reason = format!("the service knows no SSM agent on it, or it has ended ({detail})");
            ConnectionError::Refused { address, source: Some(std::io::Error::other(reason)) }
        }
        _ => ConnectionError::Lost { address, reason: format!("`{call}` failed ({detail})") },
    }
}

/// The reason, in words, why a script did not run to its end.
fn describe_failure(details: &str, error: &str) -> String {
    let last_line = error.lines().last().map_or_else(String::new, |line| format!(" (`{}`)", line.escape_debug()));
    match details {
        "DeliveryTimedOut" | "Delivery Timed Out" => {
            format!("the machine's agent did not take a command within {DELIVERY} s; it is busy or gone")
        }
        "Undeliverable" => "the machine's agent cannot be reached".to_owned(),
        "Terminated" => "the machine ended".to_owned(),
        other => format!("the agent reports `{other}`{last_line}"),
    }
}

/// A command whose script may still be running; dropping this cancels it.
struct InFlight<'a> {
    agent: &'a Agent,
    command: Option<String>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let (Some(command), Ok(runtime)) = (self.command.take(), tokio::runtime::Handle::try_current()) {
            let cancel = self.agent.client.cancel_command().command_id(command).instance_ids(&self.agent.instance);
            runtime.spawn(async move {
                drop(tokio::time::timeout(CANCEL_LIMIT, cancel.send()).await);
            });
        }
    }
}

#[async_trait]
impl ScriptRunner for Agent {
    fn address(&self) -> String {
        self.instance.clone()
    }

    async fn run(&self, script: String) -> Result<String, ConnectionError> {
        let deadline = Deadline::after(LIMIT, "a command of the SSM agent");
        let timed_out = |expired: model::base::deadline::Expired| ConnectionError::TimedOut {
            address: self.instance.clone(),
            what: expired.to_string(),
        };
        let command = deadline.bound(self.send(script)).await.map_err(timed_out)??;
        let mut flight = InFlight { agent: self, command: Some(command.clone()) };
        let output = deadline.bound(self.output(&command)).await.map_err(timed_out)?;
        flight.command = None;
        output
    }

    async fn ping(&self) -> Result<Ping, ConnectionError> {
        let by_id = InstanceInformationStringFilter::builder().key("InstanceIds").values(&self.instance).build();
        let by_id = by_id.map_err(|error| ConnectionError::Invalid(error.to_string()))?;
        let asking = self.client.describe_instance_information().filters(by_id).send();
        let deadline = Deadline::after(PING_LIMIT, "the service to tell of the SSM agent");
        let asked = deadline.bound(asking).await.map_err(|expired| ConnectionError::TimedOut {
            address: self.instance.clone(),
            what: expired.to_string(),
        })?;
        let found = match asked {
            Ok(found) => found,
            Err(error) if error.code() == Some("InvalidInstanceId") => {
                return Ok(Ping::Silent(NO_AGENT.to_owned()));
            }
            Err(error) => return Err(self.failure("ssm:DescribeInstanceInformation", &error)),
        };
        let of_it = found.instance_information_list().iter().find(|one| one.instance_id() == Some(&self.instance));
        Ok(match of_it.map(|one| (one.ping_status(), one.last_ping_date_time())) {
            None => Ping::Silent(NO_AGENT.to_owned()),
            Some((Some(PingStatus::Online), _)) => Ping::Online,
            Some((status, last)) => {
                let status = status.map_or("unknown", PingStatus::as_str);
                let last = last.map_or_else(String::new, |last| format!(", last heard of at {last}"));
                Ping::Silent(format!("its SSM agent is `{status}`{last}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_service_ask_different_things_of_the_user() {
        let of = |code| refusal("i-1", "ssm:SendCommand", code, "why");
        let denied = of("AccessDeniedException");
        assert!(matches!(denied, ConnectionError::Denied { .. }) && denied.to_string().contains("ssm:SendCommand"));
        assert!(of("ExpiredTokenException").to_string().contains("expired"));
        assert!(matches!(of("UnrecognizedClientException"), ConnectionError::Denied { .. }));
        assert!(matches!(of("InvalidInstanceId"), ConnectionError::Refused { .. }));
        let other = of("InternalServerError");
        assert!(
            matches!(other, ConnectionError::Lost { .. }) && other.to_string().contains("InternalServerError: why")
        );
    }

    #[test]
    fn a_script_that_did_not_run_says_why() {
        assert!(describe_failure("DeliveryTimedOut", "").contains("did not take a command"));
        assert!(describe_failure("Undeliverable", "").contains("cannot be reached"));
        assert_eq!(describe_failure("Failed", "a\nlast"), "the agent reports `Failed` (`last`)");
    }
}
