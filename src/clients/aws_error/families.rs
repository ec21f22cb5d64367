//! The kind of failure and the hint for each AWS error code.

use crate::error::ErrorKind;

/// A group of error codes with their kind of failure and their hint.
///
/// A hint that applies only to some operations lists them: the same code means
/// something else for another operation.
struct Family {
    codes: &'static [&'static str],
    kind: ErrorKind,
    operations: Operations,
    hint: &'static str,
}

/// The operations to which a hint applies.
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

/// The AWS error codes that have a hint. The output of each is recorded in
/// `tests/diagnostics`.
static KNOWN: &[Family] = &[
    any(
        &["UnauthorizedOperation", "AccessDenied"],
        ErrorKind::Denied,
        "request an IAM policy that allows this action (`autorun policy PLAYBOOK` prints it), \
         or use another `--profile`; `aws sts get-caller-identity` shows your identity",
    ),
    any(
        &["ExpiredToken", "RequestExpired"],
        ErrorKind::Denied,
        "log in again (`aws sso login` of AWS CLI 2, or get new temporary credentials), \
         and check this machine's clock",
    ),
    any(
        &["RequestTimeTooSkewed"],
        ErrorKind::Denied,
        "set this machine's clock: `date -u` must show the time in UTC",
    ),
    any(
        &["AuthFailure"],
        ErrorKind::Denied,
        "AWS does not know the access key, the secret key is wrong, the region is not enabled \
         for the account, or this machine's clock is wrong: `aws configure list` shows the key \
         and the region, `date -u` the time in UTC",
    ),
    any(
        &["InvalidAccessKeyId", "InvalidClientTokenId"],
        ErrorKind::Denied,
        "AWS does not know the access key in use, or temporary credentials lack their session \
         token: `aws configure list` shows the key and its source, `aws configure` changes it, \
         and AWS_SESSION_TOKEN sets the token",
    ),
    any(
        &["SignatureDoesNotMatch"],
        ErrorKind::Denied,
        "the secret access key does not belong to this access key: enter both again with \
         `aws configure`",
    ),
    any(
        &["InvalidToken"],
        ErrorKind::Denied,
        "the session token does not belong to this access key: get new temporary credentials, \
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
        "AWS is still verifying the account for this region: try again later, and contact AWS \
         Support if it takes longer than a few hours",
    ),
    any(
        &["Blocked"],
        ErrorKind::Denied,
        "AWS has blocked the account: sign in to the AWS console and contact AWS Support",
    ),
    only(
        &["TerminateInstances"],
        &["OperationNotPermitted"],
        ErrorKind::Denied,
        "`aws ec2 modify-instance-attribute --no-disable-api-termination --instance-id ID` \
         turns the protection off",
    ),
    only(
        &["AllocateAddress"],
        &["AddressLimitExceeded"],
        ErrorKind::QuotaExceeded,
        "the account has as many Elastic IP addresses as its quota in this region allows, 5 by \
         default: `aws ec2 describe-addresses` lists them; release one with \
         `aws ec2 release-address --allocation-id ID`, or request an increase in \
         Service Quotas",
    ),
    only(
        &["StopInstances"],
        &["OperationNotPermitted"],
        ErrorKind::Denied,
        "`aws ec2 modify-instance-attribute --no-disable-api-stop --instance-id ID` \
         turns the protection off",
    ),
    only(
        &["CreateSecurityGroup", "RunInstances"],
        &["VPCIdNotSpecified", "MissingInput"],
        ErrorKind::InvalidOption,
        "this region has no default VPC, or no default subnet: create_default_vpc() creates \
         both; or pass `vpc` to create_security_group and `subnet` to launch_instance",
    ),
    only(
        &["ImportKeyPair"],
        &["InvalidKeyPair.Duplicate"],
        ErrorKind::AlreadyExists,
        "choose another name, or delete the existing key pair with \
         `aws ec2 delete-key-pair --key-name NAME`",
    ),
    any(
        &["InvalidKeyPair.NotFound"],
        ErrorKind::NotFound,
        "a key pair exists in one region only: check the name and `--region`; \
         `aws ec2 describe-key-pairs` lists the key pairs of a region",
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
        "pass the id of a group in this region, such as \"sg-0abc\"; \
         `aws ec2 describe-security-groups` lists them",
    ),
    any(
        &["InvalidInstanceID.NotFound"],
        ErrorKind::NotFound,
        "an instance id is valid in one region of one account: check `--region` and `--profile`; \
         `aws ec2 describe-instances` lists the instances of a region",
    ),
    any(
        &["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"],
        ErrorKind::NotFound,
        "the image does not exist in this region, or was deregistered: choose another AMI id, or \
         use latest_image()",
    ),
    any(
        &["InvalidGroupId.Malformed"],
        ErrorKind::InvalidOption,
        "pass a group id such as \"sg-0abc\"; `aws ec2 describe-security-groups` lists them",
    ),
    any(
        &["InvalidInstanceID.Malformed"],
        ErrorKind::InvalidOption,
        "pass an instance id such as \"i-0abc\"; `aws ec2 describe-instances` lists them",
    ),
    any(
        &["InvalidAMIID.Malformed"],
        ErrorKind::InvalidOption,
        "pass an AMI id such as \"ami-0abc\", or use latest_image()",
    ),
    any(
        &["InvalidSubnetID.NotFound", "InvalidVpcID.NotFound"],
        ErrorKind::NotFound,
        "check `--region`: `aws ec2 describe-subnets` lists the subnets of a region and their VPCs",
    ),
    any(
        &["IncorrectInstanceState"],
        ErrorKind::InvalidOption,
        "the operation needs another state: wait_until_running waits for a starting instance, \
         start_instance starts a stopped one",
    ),
    only(
        &["RunInstances"],
        &["IdempotentParameterMismatch"],
        ErrorKind::InvalidOption,
        "an earlier attempt of this run requested the launch with other options: use those \
         again, or start a new run",
    ),
    any(
        &["DryRunOperation"],
        ErrorKind::InvalidOption,
        "the request had no effect, and autorun sends no dry runs: check which server is behind \
         `--endpoint-url`",
    ),
    any(
        &["VcpuLimitExceeded", "InstanceLimitExceeded"],
        ErrorKind::QuotaExceeded,
        "terminate instances that you no longer need (`autorun runs` shows which runs have \
         some), or request a higher limit in Service Quotas",
    ),
    any(
        &["VolumeLimitExceeded", "MaxIOPSLimitExceeded"],
        ErrorKind::QuotaExceeded,
        "delete volumes that no instance uses (`aws ec2 describe-volumes --filters \
         Name=status,Values=available` lists them), terminate instances (`autorun runs` shows \
         what is up), or request a higher quota: `aws service-quotas list-service-quotas \
         --service-code ebs` lists the quotas with their codes, `aws service-quotas \
         request-service-quota-increase --service-code ebs --quota-code CODE --desired-value \
         VALUE` requests an increase",
    ),
    any(
        &["RulesPerSecurityGroupLimitExceeded"],
        ErrorKind::QuotaExceeded,
        "use fewer rules in this group, split them over several groups, or request a higher \
         limit in Service Quotas",
    ),
    any(
        &["SecurityGroupLimitExceeded"],
        ErrorKind::QuotaExceeded,
        "delete what you no longer need (`autorun runs` shows which runs have resources), or \
         request a higher limit in Service Quotas",
    ),
    any(
        &["TooManyBuckets"],
        ErrorKind::QuotaExceeded,
        "delete buckets that you no longer need (`aws s3 ls` lists them), or request a higher \
         limit in Service Quotas",
    ),
    only(
        &["RunInstances"],
        &["InsufficientInstanceCapacity"],
        ErrorKind::QuotaExceeded,
        "AWS has no capacity for this instance type in this availability zone: pass another \
         `type`, or a `subnet` in another availability zone, or try again later",
    ),
    only(
        &["CreateFleet"],
        &["InsufficientInstanceCapacity", "UnfulfillableCapacity"],
        ErrorKind::QuotaExceeded,
        "AWS has no capacity for this instance type in this availability zone: pass more \
         `types` or `subnets`, or try again later",
    ),
    any(
        &["MaxSpotInstanceCountExceeded"],
        ErrorKind::QuotaExceeded,
        "terminate spot instances, launch without `spot`, or request a higher limit for spot \
         instances in Service Quotas",
    ),
    any(
        &["AuthFailure.ServiceLinkedRoleCreationNotPermitted"],
        ErrorKind::Denied,
        "the account has had no spot instance so far: its policy must allow \
         iam:CreateServiceLinkedRole once; `autorun policy PLAYBOOK` prints what it needs",
    ),
    only(
        &["StartInstances"],
        &["InsufficientInstanceCapacity"],
        ErrorKind::QuotaExceeded,
        "AWS has no capacity for the type of this instance in its availability zone: try again \
         later",
    ),
    only(
        &["RunInstances"],
        &["InsufficientFreeAddressesInSubnet"],
        ErrorKind::QuotaExceeded,
        "pass a `subnet` with free addresses: `aws ec2 describe-subnets` shows the \
         `AvailableIpAddressCount` of each subnet",
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
        "AWS limits the rate of requests: wait a minute and try again",
    ),
    any(
        &["OperationAborted", "ConditionalRequestConflict"],
        ErrorKind::Throttled,
        "AWS still processes another request for this resource: try again in a minute",
    ),
    any(
        &[
            "InternalError",
            "InternalFailure",
            "ServiceUnavailable",
            "Unavailable",
        ],
        ErrorKind::Unreachable,
        "the AWS service has a problem: try again in a minute",
    ),
    any(
        &["RequestTimeout"],
        ErrorKind::Timeout,
        "the connection is too slow or was interrupted: try again",
    ),
    only(
        &["CreateBucket"],
        &["BucketAlreadyExists"],
        ErrorKind::AlreadyExists,
        "bucket names are shared by all AWS accounts: choose another name",
    ),
    only(
        &["CreateBucket"],
        &["BucketAlreadyOwnedByYou"],
        ErrorKind::AlreadyExists,
        "the bucket already belongs to your account: pass its name to the functions that need a \
         bucket, or choose another name",
    ),
    any(
        &["NoSuchBucket"],
        ErrorKind::NotFound,
        "`aws s3 ls` lists your buckets",
    ),
    any(
        &["NoSuchKey"],
        ErrorKind::NotFound,
        "list_objects(bucket) returns the existing keys",
    ),
    any(
        &["PreconditionFailed"],
        ErrorKind::AlreadyExists,
        "another process wrote the object in the meantime: check its current contents",
    ),
    only(
        &["CreateBucket"],
        &[
            "InvalidLocationConstraint",
            "IllegalLocationConstraintException",
        ],
        ErrorKind::InvalidOption,
        "pass the region for the bucket as `--region`",
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
        "first delete its objects with empty_bucket(bucket)",
    ),
    any(
        &[
            "AccessControlListNotSupported",
            "InvalidBucketAclWithObjectOwnership",
        ],
        ErrorKind::InvalidOption,
        "make objects public with `public: true` instead of an ACL",
    ),
    any(
        &["KMS.NotFoundException"],
        ErrorKind::NotFound,
        "check `kms_key_id` of create_bucket: the key must exist in the bucket's region",
    ),
    any(
        &["TargetNotConnected"],
        ErrorKind::Unreachable,
        "wait until the instance has booted (wait_until_ready), and give it a role that lets its \
         agent register: `iam_profile: instance_role(\"NAME\").profile`; the agent must be \
         installed and reach AWS",
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

/// Returns the families of a code: one for all operations, or one for each
/// group of operations.
fn known(code: &str) -> impl Iterator<Item = &'static Family> {
    KNOWN
        .iter()
        .filter(move |family| family.codes.contains(&code))
}

/// Returns the kind of failure for a code. Codes without a family are judged by
/// AWS's naming conventions, then by the HTTP status.
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
        _ if code.ends_with("NotFound") || code.starts_with("NoSuch") => ErrorKind::NotFound,
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

/// Returns the hint for an operation's error. It names the action, name or
/// region that AWS's message contains.
pub(super) fn hint(code: &str, operation: &str, status: u16, message: &str) -> Option<String> {
    let family = known(code).find(|family| family.operations.contain(operation));
    let hint = match family {
        Some(family) => family.hint,
        None if code.ends_with("LimitExceeded") => "request a higher limit in Service Quotas",
        None if status >= 500 => "the AWS service has a problem: try again in a minute",
        None if code.is_empty() && status < 300 => {
            "another server answered: check the endpoint and the proxy, and whether this network \
             requires a login in the browser first"
        }
        None => return None,
    };
    let mut hint = hint.to_owned();
    if let Some(action) = action(message) {
        hint = hint.replace("allows this action", &format!("allows {action}"));
    }
    if let Some(name) = quoted(message, "") {
        hint = hint.replace(" ID`", &format!(" {name}`"));
        hint = hint.replace(" NAME`", &format!(" {name}`"));
    }
    if let Some(region) = quoted(message, "expecting ") {
        hint = hint.replace(" REGION`", &format!(" {region}`"));
    }
    Some(hint)
}

/// Returns the first quoted name after this text in AWS's message, if it needs
/// no quoting in a shell.
fn quoted<'a>(message: &'a str, after: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!("{after}'"))?;
    let (name, _) = rest.split_once('\'')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Returns the refused action, for example `ec2:RunInstances`.
fn action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("is not authorized to perform: ")?;
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

    /// Every code has a golden text, so that a person has read its output.
    #[test]
    fn every_code_has_a_golden_text() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/diagnostics");
        let golden: String = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "stderr"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        for code in KNOWN.iter().flat_map(|family| family.codes) {
            assert!(
                golden.contains(&format!("aws: {code}, HTTP")),
                "{code}: no .stderr file in tests/diagnostics shows it; add a playbook that does"
            );
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

    /// For example, termination protection does not explain a failed launch.
    #[test]
    fn a_hint_is_about_the_operation_that_failed() {
        let hint = |code, operation| hint(code, operation, 400, "");
        assert!(hint("OperationNotPermitted", "TerminateInstances").is_some());
        assert_eq!(hint("OperationNotPermitted", "RunInstances"), None);
        assert_eq!(hint("Unsupported", "StartInstances"), None);
        assert_eq!(hint("MissingInput", "CreateTags"), None);
    }
}
