//! Functions of AWS Lambda, called and waited for.
//!
//! A function that takes a changeset must not get it twice. So the SDK repeats a call only where it surely did not
//! arrive: where no connection came about, and where the service refused it because there were too many. After a reply
//! that was lost, and after an internal error of the service, the caller is told that the function may have run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::Region;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority};
use model::fault::Fault;
use model::function::Functions;
use serde::Deserialize;

use crate::ec2::clients::Clients;
use crate::ec2::trouble::{self, Class};

/// The most bytes of a payload: "6 MB each for request and response (synchronous)" by the quotas in the developer's
/// guide of Lambda; the service says itself that a request must be smaller than 6291456 bytes.
const PAYLOAD_CAP: u64 = (6 << 20) - 1;

/// How long one call may take. A function runs for 15 minutes at most (the same quotas); the payload has to arrive, and
/// the function may have to start.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(17 * 60);

/// How long a call may take with all its attempts, of which those that were refused were answered at once.
const CALL_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long it may take until a connection is established.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The longest name that the service takes, with everything that an ARN has.
const NAME_CAP: usize = 170;

/// Whether `text` can name a function: a name or an ARN, with or without a version.
pub fn is_function_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_:$".contains(c);
    (1..=NAME_CAP).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-')
}

/// The region that an ARN names; none where `name` is no ARN.
fn region_in(name: &str) -> Option<&str> {
    let mut parts = name.strip_prefix("arn:")?.split(':');
    // PARTITION:lambda:REGION:ACCOUNT:function:NAME
    parts.nth(2)
}

/// The function's name alone, by which its log is called.
fn short_name(name: &str) -> &str {
    let whole = name.split_once(":function:").map_or(name, |(_, rest)| rest);
    whole.split(':').next().unwrap_or(whole)
}

/// The functions of one region of an account.
pub struct LambdaFunctions {
    clients: Arc<Clients>,
}

impl LambdaFunctions {
    /// The functions in the default region of the clients. Makes no request.
    pub fn new(clients: Arc<Clients>) -> Self {
        Self { clients }
    }

    fn client(&self) -> aws_sdk_lambda::Client {
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT_LIMIT)
            .operation_attempt_timeout(ATTEMPT_LIMIT)
            .operation_timeout(CALL_LIMIT)
            .build();
        let config = aws_sdk_lambda::config::Builder::from(self.clients.sdk())
            .region(Region::new(self.clients.region().to_owned()))
            .timeout_config(limits)
            .retry_classifier(OnlyUnsent);
        aws_sdk_lambda::Client::from_conf(config.build())
    }
}

#[async_trait]
impl Functions for LambdaFunctions {
    fn place(&self) -> &str {
        self.clients.region()
    }

    fn payload_cap(&self) -> u64 {
        PAYLOAD_CAP
    }

    async fn check(&self, name: &str) -> Result<(), Fault> {
        let here = self.clients.region();
        if let Some(region) = region_in(name).filter(|region| *region != here) {
            return Err(Fault::usage(format!("the function `{name}` is in another region than `{here}`"))
                .hint(format!("`--aws-region {region}` calls it there.")));
        }
        self.clients.identity().await.map(|_| ())
    }

    async fn call(&self, name: &str, payload: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let call = self.client().invoke().function_name(name).invocation_type(InvocationType::RequestResponse);
        let answer = call.payload(Blob::new(payload)).send().await;
        let answer = answer.map_err(|error| not_called(name, self.clients.region(), error))?;
        let reply = answer.payload.map(Blob::into_inner).unwrap_or_default();
        match answer.function_error {
            Some(_) => Err(failed(name, &reply)),
            None => Ok(reply),
        }
    }
}

/// The fault of a call that the service did not answer with the end of the function.
fn not_called(name: &str, region: &str, error: SdkError<InvokeError>) -> Fault {
    let class = trouble::class(&error);
    if error.code() == Some("ResourceNotFoundException") {
        return Fault::outside(format!("there is no function `{name}` in `{region}`"))
            .because(trouble::reason(class, &error))
            .hint("`--function` names another, `--aws-region` another region. Nothing was sent to any.");
    }
    let may_have_run = match (&error, class) {
        (_, Class::Throttled) => false,
        // What the caller did wrong is noticed before the function begins.
        (SdkError::ServiceError(answer), _) if answer.raw().status().is_client_error() => class == Class::Stranger,
        (SdkError::ServiceError(_), _) => true,
        _ => matches!(class, Class::NoAnswer | Class::Stranger),
    };
    let fault = trouble::fault(&format!("call the function `{name}`"), error);
    if !may_have_run {
        return fault;
    }
    fault.hint(format!(
        "It may have run, so it is not called again by itself: look into its log, `/aws/lambda/{}` in CloudWatch, before \
         you send the same once more.",
        short_name(name)
    ))
}

/// The report of a function that failed, as Lambda makes it.
#[derive(Deserialize)]
struct FunctionFailure {
    #[serde(rename = "errorType")]
    kind: Option<String>,
    #[serde(rename = "errorMessage")]
    message: Option<String>,
}

/// The fault of a function that ended with an error of its own.
fn failed(name: &str, report: &[u8]) -> Fault {
    let reason = match serde_json::from_slice(report) {
        Ok(FunctionFailure { kind: Some(kind), message: Some(message) }) => format!("{kind}: {message}"),
        Ok(FunctionFailure { kind, message }) => kind.or(message).unwrap_or_else(|| "it gives no reason".to_owned()),
        Err(_) => format!("it says {}", String::from_utf8_lossy(report)),
    };
    Fault::outside(format!("the function `{name}` failed")).because(reason).hint(format!(
        "What was sent has arrived, and the function may have done a part of its work: its log is `/aws/lambda/{}` in \
         CloudWatch.",
        short_name(name)
    ))
}

/// Keeps the SDK from repeating a call that may have arrived.
#[derive(Debug)]
struct OnlyUnsent;

impl ClassifyRetry for OnlyUnsent {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else { return RetryAction::NoActionIndicated };
        let unsent = error.as_connector_error().is_some_and(|error| trouble::is_connect_error(error));
        let answer = error.as_operation_error().and_then(|error| error.downcast_ref::<InvokeError>());
        let code = answer.and_then(ProvideErrorMetadata::code);
        if unsent || code.is_some_and(|code| trouble::classify(code) == Class::Throttled) {
            RetryAction::NoActionIndicated
        } else {
            RetryAction::RetryForbidden
        }
    }

    fn name(&self) -> &'static str {
        "only what did not arrive"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::interceptors::context::{Error, Input};
    use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;
    use model::fault::FaultKind;

    use super::*;

    fn answered(code: &str) -> InvokeError {
        InvokeError::generic(ErrorMetadata::builder().code(code).message("m").build())
    }

    #[test]
    fn a_call_that_may_have_arrived_is_not_repeated() {
        let action = |error: OrchestratorError<_>| {
            let mut context = InterceptorContext::new(Input::doesnt_matter());
            context.set_output_or_error(Err(error));
            OnlyUnsent.classify_retry(&context)
        };
        let of_code = |code: &str| action(OrchestratorError::operation(Error::erase(answered(code))));
        assert_eq!(of_code("TooManyRequestsException"), RetryAction::NoActionIndicated);
        for code in ["ServiceException", "InternalFailure", "ServiceUnavailable", "ResourceNotFoundException"] {
            assert_eq!(of_code(code), RetryAction::RetryForbidden, "{code}");
        }
        let broken = |text: &str| {
            action(OrchestratorError::connector(ConnectorError::io(std::io::Error::other(text.to_owned()).into())))
        };
        assert_eq!(broken("client error (Connect)"), RetryAction::NoActionIndicated);
        assert_eq!(broken("connection closed before message completed"), RetryAction::RetryForbidden);
        assert_eq!(action(OrchestratorError::timeout("late".into())), RetryAction::RetryForbidden);
    }

    #[test]
    fn a_failure_of_the_function_is_told_in_its_words() {
        for (report, reason) in [
            (&b"{\"errorType\": \"ValueError\", \"errorMessage\": \"no\", \"stackTrace\": []}"[..], "ValueError: no"),
            (b"{\"errorMessage\": \"Task timed out after 3.00 seconds\"}", "Task timed out after 3.00 seconds"),
            (b"{}", "it gives no reason"),
            (b"oops", "it says oops"),
        ] {
            let fault = failed("arn:aws:lambda:us-west-2:1:function:f:3", report);
            assert_eq!((fault.kind, fault.chain()[1].as_str()), (FaultKind::Outside, reason));
            assert!(fault.hint.unwrap().contains("`/aws/lambda/f`"));
        }
    }

    #[test]
    fn what_may_have_run_is_told_from_what_has_not() {
        let fault = |code: &str, status| {
            not_called("f", "us-west-2", SdkError::service_error(answered(code), response(status)))
        };
        let missing = fault("ResourceNotFoundException", 404);
        assert_eq!(
            (missing.kind, missing.message.as_str()),
            (FaultKind::Outside, "there is no function `f` in `us-west-2`")
        );
        for (code, status, kind, told) in [
            ("ServiceException", 500, FaultKind::Infrastructure, true),
            ("RequestTooLargeException", 413, FaultKind::Infrastructure, false),
            ("TooManyRequestsException", 429, FaultKind::Infrastructure, false),
            ("AccessDeniedException", 403, FaultKind::Outside, false),
        ] {
            let fault = fault(code, status);
            let hint = fault.hint.unwrap_or_default();
            assert_eq!((fault.kind, hint.contains("may have run")), (kind, told), "{code}: {hint}");
        }
    }

    fn response(status: u16) -> HttpResponse {
        HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty())
    }

    #[test]
    fn names_and_arns_of_functions_are_told_from_other_words() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:ci-try:$LATEST";
        for name in ["ci-try-server-upload", "a_b:3", arn] {
            assert!(is_function_name(name), "{name}");
        }
        for word in ["", " ", "a b", "a/b", "--json", "\u{e4}", &"a".repeat(171)] {
            assert!(!is_function_name(word), "{word}");
        }
        assert_eq!((region_in(arn), region_in("ci-try:3")), (Some("eu-west-1"), None));
        assert_eq!((short_name(arn), short_name("ci-try:3"), short_name("ci-try")), ("ci-try", "ci-try", "ci-try"));
    }
}
