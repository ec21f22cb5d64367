//! What AWS says -> [`Error`]: the one place that knows AWS's error codes.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId as _;
use serde_json::json;

use super::attempts::{NotSent, Place, find};
use crate::error::{Error, ErrorKind};

/// The error of one of AWS's operations.
pub(crate) trait OperationError:
    ProvideErrorMetadata + std::error::Error + Send + Sync + 'static
{
    /// AWS's name of the operation, as `RunInstances`.
    const OPERATION: &'static str;
}

/// Names the operations whose errors reach a person: `module Error = "Name"`.
macro_rules! operations {
    ($($sdk:ident { $($module:ident $error:ident = $name:literal,)* })*) => {$($(
        impl OperationError for $sdk::operation::$module::$error {
            const OPERATION: &'static str = $name;
        }
    )*)*};
}

operations! {
    aws_sdk_ec2 {
        authorize_security_group_ingress AuthorizeSecurityGroupIngressError = "AuthorizeSecurityGroupIngress",
        create_security_group CreateSecurityGroupError = "CreateSecurityGroup",
        create_tags CreateTagsError = "CreateTags",
        delete_key_pair DeleteKeyPairError = "DeleteKeyPair",
        delete_security_group DeleteSecurityGroupError = "DeleteSecurityGroup",
        describe_images DescribeImagesError = "DescribeImages",
        describe_instance_types DescribeInstanceTypesError = "DescribeInstanceTypes",
        describe_instances DescribeInstancesError = "DescribeInstances",
        describe_key_pairs DescribeKeyPairsError = "DescribeKeyPairs",
        describe_security_groups DescribeSecurityGroupsError = "DescribeSecurityGroups",
        get_console_output GetConsoleOutputError = "GetConsoleOutput",
        import_key_pair ImportKeyPairError = "ImportKeyPair",
        reboot_instances RebootInstancesError = "RebootInstances",
        revoke_security_group_ingress RevokeSecurityGroupIngressError = "RevokeSecurityGroupIngress",
        run_instances RunInstancesError = "RunInstances",
        start_instances StartInstancesError = "StartInstances",
        stop_instances StopInstancesError = "StopInstances",
        terminate_instances TerminateInstancesError = "TerminateInstances",
    }
    aws_sdk_s3 {
        abort_multipart_upload AbortMultipartUploadError = "AbortMultipartUpload",
        copy_object CopyObjectError = "CopyObject",
        create_bucket CreateBucketError = "CreateBucket",
        delete_bucket DeleteBucketError = "DeleteBucket",
        delete_bucket_policy DeleteBucketPolicyError = "DeleteBucketPolicy",
        delete_object DeleteObjectError = "DeleteObject",
        delete_objects DeleteObjectsError = "DeleteObjects",
        get_bucket_policy GetBucketPolicyError = "GetBucketPolicy",
        get_bucket_tagging GetBucketTaggingError = "GetBucketTagging",
        get_object GetObjectError = "GetObject",
        get_public_access_block GetPublicAccessBlockError = "GetPublicAccessBlock",
        head_bucket HeadBucketError = "HeadBucket",
        head_object HeadObjectError = "HeadObject",
        list_buckets ListBucketsError = "ListBuckets",
        list_multipart_uploads ListMultipartUploadsError = "ListMultipartUploads",
        list_object_versions ListObjectVersionsError = "ListObjectVersions",
        list_objects_v2 ListObjectsV2Error = "ListObjectsV2",
        put_bucket_policy PutBucketPolicyError = "PutBucketPolicy",
        put_bucket_tagging PutBucketTaggingError = "PutBucketTagging",
        put_object PutObjectError = "PutObject",
        put_public_access_block PutPublicAccessBlockError = "PutPublicAccessBlock",
    }
    aws_sdk_sts {
        get_caller_identity GetCallerIdentityError = "GetCallerIdentity",
    }
}

/// The code AWS gave, as `InvalidGroup.NotFound`; empty when there was none.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.code().unwrap_or_default()
}

/// Makes an [`Error`] that says what was attempted.
pub(crate) fn aws_error<E: OperationError>(
    attempt: &str,
    error: &SdkError<E, HttpResponse>,
) -> Error {
    let status = error.raw_response().map(|r| r.status().as_u16());
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) if status.is_some() => {
            answered(attempt, error, status.unwrap_or_default())
        }
        SdkError::TimeoutError(_) => Error::new(
            ErrorKind::Timeout,
            format!("cannot {attempt}: AWS did not answer in time"),
        ),
        _ => match find::<NotSent>(error) {
            Some(not_sent) => unanswered(attempt, &chain(error), Some(not_sent)).unsent(),
            None => unanswered(attempt, &chain(error), None),
        },
    }
}

/// AWS answered with an error.
fn answered<E: OperationError>(
    attempt: &str,
    error: &SdkError<E, HttpResponse>,
    status: u16,
) -> Error {
    let code = code(error);
    let (said, encoded) = readable(error.message().unwrap_or_default());
    let said = match said.is_empty() {
        false => said.to_owned(),
        true if code.is_empty() && status < 300 => {
            format!("the answer (HTTP {status}) is not one of AWS's")
        }
        true if code.is_empty() => format!("AWS answered HTTP {status} without a reason"),
        true => format!("AWS answered {code}"),
    };
    let mut made = Error::new(kind(code, status), format!("cannot {attempt}: {said}"))
        .detail(json!({ "code": code, "status": status, "request_id": error.request_id() }));
    if let Some(encoded) = encoded {
        made.detail["encoded_message"] = json!(encoded);
    }
    let region = error
        .raw_response()
        .and_then(|answer| answer.headers().get("x-amz-bucket-region"));
    made.hint = hint(code, E::OPERATION, status, &said).map(|hint| match region {
        Some(region) => hint.replace(" REGION`", &format!(" {region}`")),
        None => hint,
    });
    made
}

/// AWS's words without what no person can read: some kilobytes that
/// `aws sts decode-authorization-message` would explain.
fn readable(said: &str) -> (&str, Option<&str>) {
    let (said, encoded) = match said.split_once("Encoded authorization failure message:") {
        Some((said, encoded)) => (said, Some(encoded.trim())),
        None => (said, None),
    };
    (said.trim().trim_end_matches('.'), encoded)
}

/// No answer: no credentials, no connection, or a broken one.
fn unanswered(attempt: &str, chain: &[String], not_sent: Option<&NotSent>) -> Error {
    let all = chain.join(": ");
    if all.contains("Missing Region") {
        return no_region();
    }
    if all.contains("credential") || all.contains("profile") || all.contains("SSO") {
        return no_credentials(&all);
    }
    let last = chain.last().map_or("no connection", String::as_str);
    // reqwest-like texts end in "Connection refused (os error 111)".
    let last = last
        .split(" (os error")
        .next()
        .unwrap_or(last)
        .to_lowercase();
    match not_sent {
        Some(not_sent) if not_sent.place == Place::LocalCloud => {
            no_cloud(attempt, &not_sent.endpoint)
        }
        Some(not_sent) if not_sent.place == Place::Given => Error::new(
            ErrorKind::Unreachable,
            format!(
                "cannot {attempt}: no answer from {}: {last}",
                not_sent.endpoint
            ),
        )
        .hint(
            "check that it is the right address, by `--endpoint-url` or AWS_ENDPOINT_URL, and \
             that a server runs there",
        ),
        _ => Error::new(
            ErrorKind::Unreachable,
            format!("cannot {attempt}: no answer from AWS: {last}"),
        )
        .hint("check the network, the region and `--endpoint-url`"),
    }
}

/// The local cloud is not there any more.
pub(crate) fn no_cloud(attempt: &str, endpoint: &str) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("cannot {attempt}: the local cloud does not run any more at {endpoint}"),
    )
    .hint("`autorun cloud up` starts it again, and then the run can be resumed")
}

/// The texts of an error and its sources, outermost first.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    let mut texts = Vec::new();
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push(inner.to_string());
        source = inner.source();
    }
    texts
}

/// No region is configured.
pub(crate) fn no_region() -> Error {
    Error::new(ErrorKind::InvalidOption, "no AWS region is configured").hint(
        "pass `--region eu-central-1`, set AWS_REGION, or write `region = ..` into ~/.aws/config",
    )
}

/// Nobody provided credentials. `said` is the provider chain's own words.
pub(crate) fn no_credentials(said: &str) -> Error {
    let profile = said
        .split("profile `")
        .nth(1)
        .and_then(|rest| rest.split('`').next());
    if let (Some(profile), true) = (profile, said.contains("not defined")) {
        let message = format!("AWS profile `{profile}` is not defined");
        return Error::new(ErrorKind::Denied, message)
            .hint("`grep '^\\[' ~/.aws/config ~/.aws/credentials` shows the profiles there are");
    }
    if said.contains("SSO token") || said.contains("sso") {
        return Error::new(
            ErrorKind::Denied,
            "the AWS SSO session is missing or has expired",
        )
        .hint("run `aws sso login` of AWS CLI 2, with `--profile NAME` if you use one");
    }
    if said.contains("no providers in chain") || said.contains("no credentials found") {
        return Error::new(ErrorKind::Denied, "no AWS credentials were found").hint(
            "run `aws configure`, or put aws_access_key_id and aws_secret_access_key under \
             [default] in ~/.aws/credentials, or set AWS_PROFILE",
        );
    }
    Error::new(
        ErrorKind::Denied,
        format!("cannot get AWS credentials: {said}"),
    )
    .hint("`aws sts get-caller-identity` shows whether the AWS CLI has the same trouble")
}

/// Codes, what kind of failure they are, and what a person can do about it.
///
/// A hint for some operations only names them: the same code of another
/// operation means something else.
struct Family {
    codes: &'static [&'static str],
    kind: ErrorKind,
    operations: Operations,
    hint: &'static str,
}

/// The operations that a hint is right for.
enum Operations {
    All,
    Only(&'static [&'static str]),
}

impl Operations {
    fn contain(&self, operation: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(operations) => operations.contains(&operation),
        }
    }
}

/// The codes that AWS's services answer with, as far as there is something to
/// say about them. Each has a text in `tests/diagnostics` that shows it.
static KNOWN: &[Family] = &[
    any(
        &["UnauthorizedOperation", "AccessDenied"],
        ErrorKind::Denied,
        "ask for an IAM policy that allows this action, or use another `--profile`; \
         `aws sts get-caller-identity` shows who you are",
    ),
    any(
        &["ExpiredToken", "RequestExpired"],
        ErrorKind::Denied,
        "log in again (`aws sso login` of AWS CLI 2, or fetch new temporary credentials), \
         and check this machine's clock",
    ),
    any(
        &["RequestTimeTooSkewed"],
        ErrorKind::Denied,
        "set this machine's clock: `date -u` has to show the time in UTC",
    ),
    any(
        &["AuthFailure"],
        ErrorKind::Denied,
        "AWS does not know the access key in use, or this machine's clock is wrong: \
         `aws configure list` shows which key it is, `date -u` the time in UTC",
    ),
    any(
        &["InvalidAccessKeyId", "InvalidClientTokenId"],
        ErrorKind::Denied,
        "AWS does not know the access key in use: `aws configure list` shows which one it is and \
         where it comes from, `aws configure` changes it",
    ),
    any(
        &["SignatureDoesNotMatch"],
        ErrorKind::Denied,
        "the secret access key is not the one of this access key: enter both again with \
         `aws configure`",
    ),
    any(
        &["InvalidToken"],
        ErrorKind::Denied,
        "the session token is not the one of this access key: fetch new temporary credentials, \
         or unset AWS_SESSION_TOKEN",
    ),
    any(
        &["OptInRequired"],
        ErrorKind::Denied,
        "sign in to the AWS console and subscribe to this service, or enable the region: \
         the account cannot use it yet",
    ),
    any(
        &["PendingVerification"],
        ErrorKind::Denied,
        "AWS still checks the new account: try again in a few hours, and ask AWS Support if it \
         takes longer than a day",
    ),
    any(
        &["Blocked"],
        ErrorKind::Denied,
        "AWS has blocked the account: sign in to the AWS console and ask AWS Support",
    ),
    only(
        &["TerminateInstances"],
        &["OperationNotPermitted"],
        ErrorKind::Denied,
        "`aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id ID` \
         lifts the protection",
    ),
    only(
        &["StopInstances"],
        &["OperationNotPermitted"],
        ErrorKind::Denied,
        "`aws ec2 modify-instance-attribute --no-disable-api-stop --instance-id ID` \
         lifts the protection",
    ),
    only(
        &["CreateSecurityGroup", "RunInstances"],
        &["VPCIdNotSpecified", "MissingInput"],
        ErrorKind::InvalidOption,
        "this region has no default VPC: make one with `aws ec2 create-default-vpc`, or \
         pass `vpc` to create_security_group and `subnet` to launch_instance",
    ),
    only(
        &["ImportKeyPair"],
        &["InvalidKeyPair.Duplicate"],
        ErrorKind::AlreadyExists,
        "choose another name, or remove the old one with \
         `aws ec2 delete-key-pair --key-name NAME`",
    ),
    any(
        &["InvalidKeyPair.NotFound"],
        ErrorKind::NotFound,
        "a key pair holds in one region only: check `--region`; `aws ec2 describe-key-pairs` \
         lists those there",
    ),
    only(
        &["CreateSecurityGroup"],
        &["InvalidGroup.Duplicate"],
        ErrorKind::AlreadyExists,
        "choose another name, or pass the existing group's id",
    ),
    any(
        &["InvalidGroup.NotFound"],
        ErrorKind::NotFound,
        "pass a group's id, as \"sg-0abc\", of this region; \
         `aws ec2 describe-security-groups` lists them",
    ),
    any(
        &["InvalidInstanceID.NotFound"],
        ErrorKind::NotFound,
        "an instance's id holds in one region of one account: check `--region` and `--profile`; \
         `aws ec2 describe-instances` lists those there",
    ),
    any(
        &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"],
        ErrorKind::NotFound,
        "an AMI's id holds in one region only: use latest_amazon_linux()",
    ),
    any(
        &["InvalidGroupId.Malformed"],
        ErrorKind::InvalidOption,
        "pass a group's id, as \"sg-0abc\"; `aws ec2 describe-security-groups` lists them",
    ),
    any(
        &["InvalidInstanceID.Malformed"],
        ErrorKind::InvalidOption,
        "pass an instance's id, as \"i-0abc\"; `aws ec2 describe-instances` lists them",
    ),
    any(
        &["InvalidAMIID.Malformed"],
        ErrorKind::InvalidOption,
        "pass an AMI's id, as \"ami-0abc\", or use latest_amazon_linux()",
    ),
    any(
        &["InvalidSubnetID.NotFound", "InvalidVpcID.NotFound"],
        ErrorKind::NotFound,
        "check `--region`: `aws ec2 describe-subnets` lists the subnets there, with their VPCs",
    ),
    any(
        &["IncorrectInstanceState"],
        ErrorKind::InvalidOption,
        "wait until the instance has reached a state that allows it: wait_until_running, \
         stop_instance and start_instance do",
    ),
    only(
        &["RunInstances"],
        &["IdempotentParameterMismatch"],
        ErrorKind::InvalidOption,
        "an earlier attempt of this run has asked for it with other options: take those again, \
         or begin a new run",
    ),
    any(
        &["DryRunOperation"],
        ErrorKind::InvalidOption,
        "nothing was done, and autorun asks for no dry runs: what is behind `--endpoint-url`?",
    ),
    any(
        &["VcpuLimitExceeded", "InstanceLimitExceeded"],
        ErrorKind::QuotaExceeded,
        "end instances you no longer need (`autorun runs` shows what is up), or ask for a higher \
         limit under Service Quotas",
    ),
    any(
        &[
            "SecurityGroupLimitExceeded",
            "RulesPerSecurityGroupLimitExceeded",
        ],
        ErrorKind::QuotaExceeded,
        "delete what you no longer need (`autorun runs` shows what is up), or ask for a higher \
         limit under Service Quotas",
    ),
    any(
        &["TooManyBuckets"],
        ErrorKind::QuotaExceeded,
        "delete buckets you no longer need (`aws s3 ls` lists them), or ask for a higher limit \
         under Service Quotas",
    ),
    only(
        &["RunInstances"],
        &["InsufficientInstanceCapacity"],
        ErrorKind::QuotaExceeded,
        "AWS has no capacity for this type there: pass another `type`, or a `subnet` in another \
         availability zone, or try again later",
    ),
    only(
        &["StartInstances"],
        &["InsufficientInstanceCapacity"],
        ErrorKind::QuotaExceeded,
        "AWS has no capacity for this instance's type in its availability zone: try again later",
    ),
    only(
        &["RunInstances"],
        &["InsufficientFreeAddressesInSubnet"],
        ErrorKind::QuotaExceeded,
        "pass another `subnet`",
    ),
    only(
        &["RunInstances"],
        &["Unsupported", "UnsupportedOperation"],
        ErrorKind::InvalidOption,
        "pass another `type`, or a `subnet` in another availability zone",
    ),
    any(
        &[
            "RequestLimitExceeded",
            "Throttling",
            "SlowDown",
            "EC2ThrottledException",
        ],
        ErrorKind::Throttled,
        "AWS asks for fewer requests: wait a little",
    ),
    any(
        &["OperationAborted", "ConditionalRequestConflict"],
        ErrorKind::Throttled,
        "AWS is still busy with another request for the same thing: try again in a minute",
    ),
    any(
        &[
            "InternalError",
            "InternalFailure",
            "ServiceUnavailable",
            "Unavailable",
        ],
        ErrorKind::Unreachable,
        "AWS has trouble; try again in a minute",
    ),
    any(
        &["RequestTimeout"],
        ErrorKind::Timeout,
        "the connection is too slow or was held up: try again",
    ),
    only(
        &["CreateBucket"],
        &["BucketAlreadyExists"],
        ErrorKind::AlreadyExists,
        "bucket names are shared by all AWS accounts: choose another",
    ),
    only(
        &["CreateBucket"],
        &["BucketAlreadyOwnedByYou"],
        ErrorKind::AlreadyExists,
        "you have this bucket already: pass its name where a bucket is wanted, or choose another",
    ),
    any(
        &["NoSuchBucket"],
        ErrorKind::NotFound,
        "`aws s3 ls` lists your buckets",
    ),
    any(
        &["NoSuchKey"],
        ErrorKind::NotFound,
        "list_objects(bucket) gives the keys that are there",
    ),
    any(
        &["PreconditionFailed"],
        ErrorKind::AlreadyExists,
        "somebody else has written it meanwhile: look at what is there now",
    ),
    only(
        &["CreateBucket"],
        &[
            "InvalidLocationConstraint",
            "IllegalLocationConstraintException",
        ],
        ErrorKind::InvalidOption,
        "pass the region that this bucket is to be in as `--region`",
    ),
    any(
        &["PermanentRedirect", "AuthorizationHeaderMalformed"],
        ErrorKind::InvalidOption,
        "the bucket is in another region: pass `--region REGION`",
    ),
    only(
        &["DeleteBucket"],
        &["BucketNotEmpty"],
        ErrorKind::InvalidOption,
        "delete its objects first, with empty_bucket(bucket)",
    ),
    any(
        &[
            "AccessControlListNotSupported",
            "InvalidBucketAclWithObjectOwnership",
        ],
        ErrorKind::InvalidOption,
        "make objects public by `public: true`, not by an ACL",
    ),
];

const fn any(codes: &'static [&'static str], kind: ErrorKind, hint: &'static str) -> Family {
    Family {
        codes,
        kind,
        operations: Operations::All,
        hint,
    }
}

const fn only(
    operations: &'static [&'static str],
    codes: &'static [&'static str],
    kind: ErrorKind,
    hint: &'static str,
) -> Family {
    Family {
        codes,
        kind,
        operations: Operations::Only(operations),
        hint,
    }
}

/// The families of a code: one, or one for each operation.
fn known(code: &str) -> impl Iterator<Item = &'static Family> {
    KNOWN
        .iter()
        .filter(move |family| family.codes.contains(&code))
}

fn kind(code: &str, status: u16) -> ErrorKind {
    if let Some(family) = known(code).next() {
        return family.kind;
    }
    match code {
        _ if code.starts_with("Throttling") || code.starts_with("TooManyRequests") => {
            ErrorKind::Throttled
        }
        _ if code.ends_with("LimitExceeded") || code.starts_with("Insufficient") => {
            ErrorKind::QuotaExceeded
        }
        _ if code.ends_with(".NotFound") || code.starts_with("NoSuch") => ErrorKind::NotFound,
        _ if code.ends_with(".Duplicate") => ErrorKind::AlreadyExists,
        _ => match status {
            401 | 403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            408 => ErrorKind::Timeout,
            429 => ErrorKind::Throttled,
            400..500 => ErrorKind::InvalidOption,
            _ => ErrorKind::Unreachable,
        },
    }
}

/// What a person can do about an operation's answer. AWS's words may name the
/// action that a policy has to allow.
fn hint(code: &str, operation: &str, status: u16, said: &str) -> Option<String> {
    let family = known(code).find(|family| family.operations.contain(operation));
    let hint = match family {
        Some(family) => family.hint,
        None if code.ends_with("LimitExceeded") => "ask for a higher limit under Service Quotas",
        None if status >= 500 => "AWS has trouble; try again in a minute",
        None if code.is_empty() && status < 300 => {
            "something else answers there: check the endpoint, the proxy, and whether this \
             network wants a login in the browser first"
        }
        None => return None,
    };
    let mut hint = hint.to_owned();
    if let Some(action) = action(said) {
        hint = hint.replace("allows this action", &format!("allows {action}"));
    }
    if let Some(name) = quoted(said, "") {
        hint = hint.replace(" ID`", &format!(" {name}`"));
        hint = hint.replace(" NAME`", &format!(" {name}`"));
    }
    if let Some(region) = quoted(said, "expecting ") {
        hint = hint.replace(" REGION`", &format!(" {region}`"));
    }
    Some(hint)
}

/// What AWS's words name first in quotes after this text, if a shell takes it
/// as it is.
fn quoted<'a>(said: &'a str, after: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(&format!("{after}'"))?;
    let (name, _) = rest.split_once('\'')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// The action that was refused, as `ec2:RunInstances`.
fn action(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("is not authorized to perform: ")?;
    let action = rest.split_whitespace().next()?;
    action.contains(':').then_some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_codes_has_its_kind() {
        assert_eq!(kind("InvalidGroup.NotFound", 400), ErrorKind::NotFound);
        assert_eq!(
            kind("InvalidKeyPair.Duplicate", 400),
            ErrorKind::AlreadyExists
        );
        assert_eq!(kind("RequestLimitExceeded", 503), ErrorKind::Throttled);
        assert_eq!(kind("VcpuLimitExceeded", 400), ErrorKind::QuotaExceeded);
        assert_eq!(kind("InvalidParameterValue", 400), ErrorKind::InvalidOption);
        assert_eq!(kind("", 404), ErrorKind::NotFound);
        assert_eq!(kind("", 500), ErrorKind::Unreachable);
    }

    #[test]
    fn the_refused_action_is_named_and_what_nobody_can_read_is_left_out() {
        let said = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/a \
             is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:x because no \
             identity-based policy allows it. Encoded authorization failure message: abc_-9";
        let (said, encoded) = readable(said);
        assert!(said.ends_with("policy allows it"), "{said}");
        assert_eq!(encoded, Some("abc_-9"));
        let hint = hint("UnauthorizedOperation", "RunInstances", 403, said).unwrap();
        assert!(
            hint.contains("policy that allows ec2:RunInstances, or"),
            "{hint}"
        );
    }

    /// What people see of a code is looked at by a person: it has a golden text.
    #[test]
    fn every_code_has_a_golden_text() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnostics");
        let golden: String = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "stderr"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for code in KNOWN.iter().flat_map(|family| family.codes) {
            assert!(golden.contains(&format!("aws: {code}, HTTP")), "{code}");
        }
    }

    #[test]
    fn a_code_of_an_operation_has_one_hint_and_one_kind() {
        for family in KNOWN {
            for code in family.codes {
                let others = || known(code).filter(|other| !std::ptr::eq(*other, family));
                assert!(others().all(|other| other.kind == family.kind), "{code}");
                let Operations::Only(operations) = family.operations else {
                    assert_eq!(others().count(), 0, "{code}");
                    continue;
                };
                for operation in operations {
                    assert!(
                        !others().any(|other| other.operations.contain(operation)),
                        "{code}"
                    );
                }
            }
        }
    }

    /// A protection of instances against their end explains no refused launch.
    #[test]
    fn a_hint_is_about_the_operation_that_failed() {
        let hint = |code, operation| hint(code, operation, 400, "");
        assert!(hint("OperationNotPermitted", "TerminateInstances").is_some());
        assert_eq!(hint("OperationNotPermitted", "RunInstances"), None);
        assert_eq!(hint("Unsupported", "StartInstances"), None);
        assert_eq!(hint("MissingInput", "CreateTags"), None);
    }

    #[test]
    fn an_unknown_profile_is_named() {
        let error = no_credentials("profile `nosuch` was not defined: not defined");
        assert_eq!(error.message, "AWS profile `nosuch` is not defined");
    }
}
