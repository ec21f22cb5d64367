//! What kind of failure each error code of AWS is, and what a person can do
//! about it.

use crate::error::ErrorKind;

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

pub(super) fn kind(code: &str, status: u16) -> ErrorKind {
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
pub(super) fn hint(code: &str, operation: &str, status: u16, said: &str) -> Option<String> {
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
}
