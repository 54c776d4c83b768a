//! Errors of the services in our words: the class of an error, the kind of fault, and what to do next.
//!
//! No message repeats the text of a service about credentials: such an answer can quote the request's own headers.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use model::fault::{Fault, FaultKind};

/// The class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No credentials were found, or the name for them is wrong.
    CredentialsMissing,
    /// The credentials were found and have expired.
    CredentialsExpired,
    /// The credentials were found and the service does not accept them.
    CredentialsRefused,
    /// The credentials are good and do not allow the call.
    Permission,
    /// The account's quota is used up.
    Quota,
    /// AWS has no more capacity at the moment, or none at that price.
    Capacity,
    /// The requested combination does not exist.
    Unsupported,
    /// There were too many calls, even after all retries.
    Throttled,
    /// The resource does not exist.
    NotFound,
    /// Another resource still uses it.
    Dependency,
    /// A resource of that name exists already.
    Duplicate,
    /// The service reported an internal error.
    Broken,
    /// No complete answer came: the call may have been carried out or not.
    NoAnswer,
    /// The service could not be reached: the call was not carried out.
    Unreachable,
    /// Something else answered, for example a proxy or the login page of a network: the call may have been carried out
    /// or not.
    Stranger,
    /// Anything else.
    Other,
}

/// Codes with their class, from the lists of error codes of EC2, IAM, STS and Systems Manager. [`classify`] recognises
/// whole families of codes (`….NotFound`, `…LimitExceeded`).
const CODES: [(Class, &[&str]); 11] = [
    (Class::CredentialsMissing, &["MissingAuthenticationToken", "MissingAuthenticationTokenException"]),
    (Class::CredentialsExpired, &["ExpiredToken", "ExpiredTokenException", "RequestExpired"]),
    (
        Class::CredentialsRefused,
        &[
            "AuthFailure",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ],
    ),
    (
        Class::Permission,
        &["UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired", "Blocked"],
    ),
    (
        Class::Throttled,
        &[
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
            "PriorRequestNotComplete",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "ThrottledException",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
        ],
    ),
    (
        Class::Capacity,
        &[
            "InsufficientCapacity",
            "InsufficientFreeAddressesInSubnet",
            "InsufficientHostCapacity",
            "InsufficientInstanceCapacity",
            "InsufficientVolumeCapacity",
            "SpotMaxPriceTooLow",
            "UnfulfillableCapacity",
        ],
    ),
    (Class::Quota, &["MaxSpotInstanceCountExceeded", "PendingVerification", "SnapshotCreationPerVolumeRateExceeded"]),
    (
        Class::Unsupported,
        &[
            "InvalidInstanceType",
            "InvalidInstanceType.NotFound",
            "Unsupported",
            "UnsupportedHibernationConfiguration",
            "UnsupportedOperation",
        ],
    ),
    (
        Class::NotFound,
        &[
            "InvalidAMIID.Unavailable",
            "InvalidInstanceId",
            "InvocationDoesNotExist",
            "NoSuchEntity",
            "NoSuchEntityException",
            "ParameterNotFound",
        ],
    ),
    (
        Class::Dependency,
        &["DeleteConflict", "DeleteConflictException", "DependencyViolation", "IncorrectState", "VolumeInUse"],
    ),
    (
        Class::Broken,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "ServiceFailure",
            "ServiceUnavailable",
            "Unavailable",
        ],
    ),
];

/// The class of an error code.
pub fn classify(code: &str) -> Class {
    // Some answers have the side at fault as a prefix of the code.
    let code = code.trim_start_matches("Client.").trim_start_matches("Server.");
    if let Some((class, _)) = CODES.iter().find(|(_, codes)| codes.contains(&code)) {
        return *class;
    }
    match code {
        _ if code.ends_with(".NotFound") || code.ends_with("NotFoundException") => Class::NotFound,
        _ if code.ends_with(".Duplicate") || code.starts_with("EntityAlreadyExists") => Class::Duplicate,
        _ if code.ends_with(".InUse") => Class::Dependency,
        _ if code.ends_with("LimitExceeded") || code.ends_with("LimitExceededException") => Class::Quota,
        _ => Class::Other,
    }
}

/// The class of a failed call.
pub fn class<E, R>(error: &SdkError<E, R>) -> Class
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    if let Some(code) = error.code() {
        return match classify(code) {
            // For a type that does not exist, a launch reports a wrong value and names the parameter only in its
            // message.
            Class::Other if error.message().is_some_and(|message| message.contains("for InstanceType")) => {
                Class::Unsupported
            }
            class => class,
        };
    }
    if let Some(credentials) = find_cause::<CredentialsError>(error) {
        return credentials_class(credentials);
    }
    match error {
        SdkError::ConstructionFailure(_) => Class::Other,
        // A service of AWS would have sent a code.
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => Class::Stranger,
        // A connection that could not be made carried no request; one that broke may have.
        SdkError::DispatchFailure(failure) if failure.is_user() => Class::Unreachable,
        SdkError::DispatchFailure(failure)
            if failure.is_io() && find_cause::<std::io::Error>(error).is_some_and(is_refused) =>
        {
            Class::Unreachable
        }
        SdkError::DispatchFailure(_) if is_connect_error(error) => Class::Unreachable,
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() || failure.is_other() => {
            Class::NoAnswer
        }
        SdkError::DispatchFailure(_) => Class::Unreachable,
        _ => Class::NoAnswer,
    }
}

/// Whether the connection itself could not be made: the name is unknown, the certificate is refused, or nobody answers
/// in time. The client reports that only in the text of its error.
pub fn is_connect_error(error: &(dyn Error + 'static)) -> bool {
    causes(error).iter().any(|text| text.contains("client error (Connect)") || text.contains("HTTP connect timeout"))
}

/// The texts of the SDK's wrappers, which are of no use to anybody.
const WRAPPERS: [&str; 7] = [
    "client error (Connect)",
    "client error (SendRequest)",
    "dispatch failure",
    "io error",
    "other",
    "request has timed out",
    "timeout",
];

/// The texts of `error` and its causes without the wrappers; all texts if nothing else is left.
fn plain_causes(error: &(dyn Error + 'static)) -> String {
    let texts = causes(error);
    let plain: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !WRAPPERS.contains(text)).collect();
    if plain.is_empty() { texts.join(": ") } else { plain.join(": ") }
}

fn is_refused(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NotFound
    )
}

/// The class of an error about credentials. Expired sessions differ from missing ones, because the remedies differ.
fn credentials_class(error: &CredentialsError) -> Class {
    let text = causes(error).join(": ").to_lowercase();
    if text.contains("expired") { Class::CredentialsExpired } else { Class::CredentialsMissing }
}

/// The first error of type `T` among `error` and its causes.
fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The texts of `error` and its causes, outermost first, without repeats.
fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}

/// The fault for a call that failed; `doing` completes "cannot", for example ``list the instances of `us-west-2` ``.
pub fn fault<E, R>(doing: &str, error: SdkError<E, R>) -> Fault
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let class = class(&error);
    let fault = Fault::new(kind(class), format!("cannot {doing}")).because(reason(class, &error));
    match hint(class, error.message()) {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

/// The kind of fault: who has to act.
fn kind(class: Class) -> FaultKind {
    match class {
        Class::CredentialsMissing
        | Class::CredentialsExpired
        | Class::CredentialsRefused
        | Class::Permission
        | Class::Quota
        | Class::Unsupported
        | Class::Unreachable
        | Class::Stranger => FaultKind::Outside,
        _ => FaultKind::Infrastructure,
    }
}

/// The reason in one line: `CODE: message`, or whatever is known if no service answered.
pub fn reason<E, R>(class: Class, error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
    match (class, error.message()) {
        (Class::CredentialsMissing, _) => format!("there are no AWS credentials{code}"),
        (Class::CredentialsExpired, _) => format!("the AWS credentials have expired{code}"),
        (Class::CredentialsRefused, _) => format!("AWS does not accept the credentials{code}"),
        (Class::NoAnswer, _) => {
            format!("no complete answer came, so it may have been done or not: {}", plain_causes(error))
        }
        (Class::Stranger, None) => "the answer does not come from a service of AWS".to_owned(),
        (Class::Unreachable, _) => format!("the service cannot be reached: {}", plain_causes(error)),
        (_, Some(message)) => {
            // The rest is a blob that only its account can decode.
            let plain = message.split("Encoded authorization failure message").next().unwrap_or(message);
            format!("{}: {}", error.code().unwrap_or("no code"), plain.trim())
        }
        (_, None) => error.code().map_or_else(|| causes(error).join(": "), str::to_owned),
    }
}

/// The action that a message says is not allowed, for example `ec2:RunInstances`.
fn denied_action(message: &str) -> Option<&str> {
    let rest = message.split("not authorized to perform: ").nth(1)?;
    let action = rest.split([' ', ',']).next()?.trim_end_matches('.');
    action.contains(':').then_some(action)
}

/// The advice for the user, if there is any.
fn hint(class: Class, message: Option<&str>) -> Option<String> {
    Some(match class {
        Class::CredentialsMissing | Class::CredentialsRefused => {
            "Name a profile with `AWS_PROFILE`, set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, log in with `aws sso \
             login`, or run on an instance with a role; `--aws-region` names the region."
                .to_owned()
        }
        Class::CredentialsExpired => {
            "Log in again with `aws sso login`, or renew what `AWS_PROFILE` or the environment names.".to_owned()
        }
        Class::Permission => match message.and_then(denied_action) {
            Some(action) => {
                format!("The credentials lack `{action}`; `automation iam-policy` prints the policy that suffices.")
            }
            None => "`automation iam-policy` prints the policy that suffices.".to_owned(),
        },
        Class::Quota => {
            "End machines that nobody needs (`automation machine list --provider ec2`), or have the account's quota raised in \
             Service Quotas."
                .to_owned()
        }
        Class::Capacity => "Name several types with `--instance-type`, or try again later.".to_owned(),
        Class::Unsupported => "Choose another `--instance-type` or `--aws-region`.".to_owned(),
        Class::Throttled => "Others in this account make many calls; try again in a minute.".to_owned(),
        Class::Unreachable | Class::Stranger => {
            "Is this computer online? Check the network, a proxy, and `AWS_ENDPOINT_URL` where it is set.".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::operation::run_instances::RunInstancesError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    type Failed = SdkError<RunInstancesError, ()>;

    fn answered(code: &str, message: &str) -> Failed {
        let meta = ErrorMetadata::builder().code(code).message(message).build();
        SdkError::service_error(RunInstancesError::generic(meta), ())
    }

    #[test]
    fn codes_fall_into_their_class() {
        for (code, class) in [
            ("VcpuLimitExceeded", Class::Quota),
            ("InstanceLimitExceeded", Class::Quota),
            ("MaxSpotInstanceCountExceeded", Class::Quota),
            ("LimitExceededException", Class::Quota),
            ("RequestLimitExceeded", Class::Throttled),
            ("Throttling", Class::Throttled),
            ("InsufficientInstanceCapacity", Class::Capacity),
            ("Server.InsufficientInstanceCapacity", Class::Capacity),
            ("SpotMaxPriceTooLow", Class::Capacity),
            ("Unsupported", Class::Unsupported),
            ("UnauthorizedOperation", Class::Permission),
            ("AccessDeniedException", Class::Permission),
            ("ExpiredToken", Class::CredentialsExpired),
            ("RequestExpired", Class::CredentialsExpired),
            ("InvalidClientTokenId", Class::CredentialsRefused),
            ("InvalidInstanceID.NotFound", Class::NotFound),
            ("InvalidAMIID.Unavailable", Class::NotFound),
            ("NoSuchEntity", Class::NotFound),
            ("DependencyViolation", Class::Dependency),
            ("InvalidSnapshot.InUse", Class::Dependency),
            ("DeleteConflict", Class::Dependency),
            ("InvalidPermission.Duplicate", Class::Duplicate),
            ("EntityAlreadyExists", Class::Duplicate),
            ("InvalidAMIName.Duplicate", Class::Duplicate),
            ("ServiceUnavailable", Class::Broken),
            ("InvalidParameterValue", Class::Other),
            ("InvalidInstanceID.Malformed", Class::Other),
        ] {
            assert_eq!(classify(code), class, "{code}");
        }
    }

    #[test]
    fn a_type_that_there_is_not_is_the_users_to_mend() {
        for (code, message) in [
            ("InvalidParameterValue", "Invalid value 'c5.huge' for InstanceType."),
            ("InvalidInstanceType", "The following supplied instance types do not exist: [c5.huge]"),
        ] {
            let fault = fault("launch `hg-1`", answered(code, message));
            assert_eq!(fault.kind, FaultKind::Outside, "{code}");
            assert!(fault.hint.unwrap().contains("--instance-type"));
        }
        let other = fault("launch `hg-1`", answered("InvalidParameterValue", "Value () for parameter x is invalid"));
        assert_eq!(other.kind, FaultKind::Infrastructure);
    }

    #[test]
    fn a_refusal_names_the_action_and_the_policy() {
        let message = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to \
                    perform: ec2:RunInstances on resource: y. Encoded authorization failure message: AAAA";
        let fault = fault("launch `hg-1`", answered("UnauthorizedOperation", message));
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Outside, "cannot launch `hg-1`"));
        assert!(fault.hint.clone().unwrap().contains("`ec2:RunInstances`"), "{:?}", fault.hint);
        assert!(!fault.chain().join(" ").contains("AAAA"));
    }

    #[test]
    fn what_a_service_says_about_credentials_is_not_repeated() {
        let fault = fault("x", answered("SignatureDoesNotMatch", "x-amz-security-token:SECRET"));
        assert_eq!(fault.kind, FaultKind::Outside);
        assert!(!format!("{fault:?}").contains("SECRET"));
        assert!(fault.hint.unwrap().contains("AWS_PROFILE"));
    }

    #[test]
    fn missing_and_expired_credentials_have_their_own_remedies() {
        let failed = |error: CredentialsError| -> Failed {
            SdkError::dispatch_failure(ConnectorError::other(error.into(), None))
        };
        assert_eq!(class(&failed(CredentialsError::not_loaded_no_source())), Class::CredentialsMissing);
        assert_eq!(
            class(&failed(CredentialsError::provider_error("the SSO token has expired"))),
            Class::CredentialsExpired
        );
        let fault = fault("x", failed(CredentialsError::provider_error("the SSO token has expired")));
        assert!(fault.hint.unwrap().contains("aws sso login"));
    }

    #[test]
    fn a_lost_answer_is_not_a_service_that_was_never_reached() {
        let io = |kind| -> Failed { SdkError::dispatch_failure(ConnectorError::io(std::io::Error::from(kind).into())) };
        assert_eq!(class(&io(std::io::ErrorKind::ConnectionRefused)), Class::Unreachable);
        assert_eq!(class(&io(std::io::ErrorKind::ConnectionReset)), Class::NoAnswer);
        let stranger = Failed::service_error(RunInstancesError::generic(ErrorMetadata::builder().build()), ());
        assert_eq!(class(&stranger), Class::Stranger);
        let fault = fault("launch `hg-1`", stranger);
        assert!(fault.kind == FaultKind::Outside && fault.line().ends_with("a service of AWS"), "{fault:?}");
        let io = std::io::Error::other("client error (Connect)");
        assert_eq!(class(&Failed::dispatch_failure(ConnectorError::io(io.into()))), Class::Unreachable);
        assert_eq!(class(&SdkError::<RunInstancesError, ()>::timeout_error("late")), Class::NoAnswer);
    }
}
