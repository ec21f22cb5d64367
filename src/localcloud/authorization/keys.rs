//! The condition keys that policies can have: those of users and those of buckets.

/// Keys with a value in requests to the local cloud, in the policies of users and of
/// buckets. A service sets those that AWS sets for the action and the resource.
const KNOWN: [&str; 33] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principaltype",
    "aws:securetransport",
    "aws:sourceip",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "s3:authtype",
    "s3:delimiter",
    "s3:if-match",
    "s3:if-none-match",
    "s3:max-keys",
    "s3:prefix",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-storage-class",
];

/// Such keys that only the policies of users can have here.
const OF_USERS: [&str; 16] = [
    "aws:requestedregion",
    "aws:tagkeys",
    "ec2:availabilityzone",
    "ec2:createaction",
    "ec2:imageid",
    "ec2:instanceid",
    "ec2:instancetype",
    "ec2:keypairname",
    "ec2:region",
    "ec2:securitygroupid",
    "ec2:subnetid",
    "ec2:volumeid",
    "ec2:vpc",
    "ec2:vpcid",
    "iam:passedtoservice",
    "iam:policyarn",
];

/// Such keys that only the policies of buckets can have here.
const OF_BUCKETS: [&str; 5] = [
    "aws:referer",
    "aws:resourceaccount",
    "aws:useragent",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-website-redirect-location",
];

/// Keys without a value in any request: the user has a long-term key, no
/// organization and no tags, and no other service, VPC endpoint or access point sends
/// its requests.
const ABSENT: [&str; 21] = [
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:federatedprovider",
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:principalservicenameslist",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:tokenissuetime",
    "aws:vpcsourceip",
];

/// Such keys of the services, in the policies of users and of buckets.
const ABSENT_OF_USERS: [&str; 2] = ["ec2:sourceinstancearn", "iam:permissionsboundary"];
const ABSENT_OF_BUCKETS: [&str; 3] = [
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:tlsversion",
];

/// The beginnings of keys whose end is the key of a tag.
const OF_TAGS: [&str; 4] = [
    "aws:principaltag/",
    "aws:requesttag/",
    "aws:resourcetag/",
    "ec2:resourcetag/",
];

/// The services whose requests the local cloud answers.
const SERVICES: [&str; 6] = ["aws", "ec2", "iam", "s3", "ssm", "sts"];

/// Returns the lower-case name of a key that a user's policy can have. The keys of
/// services that the local cloud does not have are in no request, as on AWS.
pub(super) fn known(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let (service, rest) = lower.split_once(':')?;
    let of_tag = |begin: &&str| lower.len() > begin.len() && lower.starts_with(*begin);
    let is_known = is_one_of(&lower, &[&KNOWN, &OF_USERS, &ABSENT, &ABSENT_OF_USERS])
        || OF_TAGS.iter().any(of_tag)
        || !(SERVICES.contains(&service) || rest.is_empty());
    is_known.then_some(lower)
}

/// Returns the lower-case name of a key that a bucket's policy can have.
pub(crate) fn known_in_buckets(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let is_known = is_one_of(&lower, &[&KNOWN, &OF_BUCKETS, &ABSENT, &ABSENT_OF_BUCKETS])
        || lower.starts_with("aws:principaltag/");
    is_known.then_some(lower)
}

fn is_one_of(key: &str, lists: &[&[&str]]) -> bool {
    lists.iter().any(|list| list.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::{known, known_in_buckets};

    #[test]
    fn keys_that_cannot_be_evaluated_are_unknown() {
        for name in [
            "aws:RequestedRegion",
            "EC2:InstanceType",
            "lambda:FunctionArn",
        ] {
            assert_eq!(known(name), Some(name.to_ascii_lowercase()));
        }
        assert!(known("aws:ResourceTag/autorun:owner").is_some());
        for name in [
            "aws:ResourceTag/",
            "ec2:Tenancy",
            "aws:RequestedRegoin",
            "ec2",
            "ec2:",
        ] {
            assert_eq!(known(name), None, "{name}");
        }
    }

    #[test]
    fn a_bucket_has_keys_of_its_own() {
        assert_eq!(known_in_buckets("AWS:SourceIP").unwrap(), "aws:sourceip");
        assert!(known_in_buckets("aws:PrincipalTag/team").is_some());
        assert!(known_in_buckets("aws:Referer").is_some() && known("aws:Referer").is_none());
        for name in ["s3:ExistingObjectTag/a", "ec2:Region", "", "sourceip"] {
            assert_eq!(known_in_buckets(name), None, "{name}");
        }
    }
}
