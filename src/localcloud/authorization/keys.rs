//! The condition keys that policies can have: those of users and those of buckets.

/// The policies that can have a condition key here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policies {
    Both,
    Users,
    Buckets,
}

use Policies::{Both, Buckets, Users};

/// The condition keys. A service sets those that AWS sets for the action and the
/// resource.
#[rustfmt::skip]
const KEYS: [(&str, Policies); 81] = [
    ("aws:currenttime", Both),
    ("aws:epochtime", Both),
    ("aws:principalaccount", Both),
    ("aws:principalarn", Both),
    ("aws:principalisawsservice", Both),
    ("aws:principaltype", Both),
    ("aws:referer", Buckets),
    ("aws:requestedregion", Users),
    ("aws:resourceaccount", Buckets),
    ("aws:securetransport", Both),
    ("aws:sourceip", Both),
    ("aws:tagkeys", Users),
    ("aws:useragent", Buckets),
    ("aws:userid", Both),
    ("aws:username", Both),
    ("aws:viaawsservice", Both),
    ("ec2:availabilityzone", Users),
    ("ec2:createaction", Users),
    ("ec2:imageid", Users),
    ("ec2:instanceid", Users),
    ("ec2:instancetype", Users),
    ("ec2:keypairname", Users),
    ("ec2:region", Users),
    ("ec2:securitygroupid", Users),
    ("ec2:subnetid", Users),
    ("ec2:volumeid", Users),
    ("ec2:vpc", Users),
    ("ec2:vpcid", Users),
    ("iam:awsservicename", Users),
    ("iam:passedtoservice", Users),
    ("iam:policyarn", Users),
    ("s3:authtype", Both),
    ("s3:delimiter", Both),
    ("s3:if-match", Both),
    ("s3:if-none-match", Both),
    ("s3:max-keys", Both),
    ("s3:prefix", Both),
    ("s3:resourceaccount", Both),
    ("s3:signatureage", Both),
    ("s3:signatureversion", Both),
    ("s3:versionid", Both),
    ("s3:x-amz-acl", Both),
    ("s3:x-amz-content-sha256", Both),
    ("s3:x-amz-copy-source", Both),
    ("s3:x-amz-grant-full-control", Both),
    ("s3:x-amz-grant-read", Both),
    ("s3:x-amz-grant-read-acp", Both),
    ("s3:x-amz-grant-write", Both),
    ("s3:x-amz-grant-write-acp", Both),
    ("s3:x-amz-metadata-directive", Both),
    ("s3:x-amz-object-ownership", Both),
    ("s3:x-amz-server-side-encryption", Both),
    ("s3:x-amz-server-side-encryption-aws-kms-key-id", Buckets),
    ("s3:x-amz-storage-class", Both),
    ("s3:x-amz-website-redirect-location", Buckets),

    // No request has a value for these: the user has a long-term key, no organization and
    // no tags, and no other service, VPC endpoint or access point sends its requests.
    ("aws:calledvia", Both),
    ("aws:calledviafirst", Both),
    ("aws:calledvialast", Both),
    ("aws:federatedprovider", Both),
    ("aws:multifactorauthage", Both),
    ("aws:multifactorauthpresent", Both),
    ("aws:principalorgid", Both),
    ("aws:principalorgpaths", Both),
    ("aws:principalservicename", Both),
    ("aws:principalservicenameslist", Both),
    ("aws:resourceorgid", Both),
    ("aws:resourceorgpaths", Both),
    ("aws:sourceaccount", Both),
    ("aws:sourcearn", Both),
    ("aws:sourceidentity", Both),
    ("aws:sourceorgid", Both),
    ("aws:sourceorgpaths", Both),
    ("aws:sourcevpc", Both),
    ("aws:sourcevpce", Both),
    ("aws:tokenissuetime", Both),
    ("aws:vpcsourceip", Both),
    ("ec2:sourceinstancearn", Users),
    ("iam:permissionsboundary", Users),
    ("s3:dataaccesspointaccount", Buckets),
    ("s3:dataaccesspointarn", Buckets),
    ("s3:tlsversion", Buckets),
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
pub(super) fn known_in_users(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let (service, rest) = lower.split_once(':')?;
    let of_tag = |begin: &&str| lower.len() > begin.len() && lower.starts_with(*begin);
    let is_known = is_key(&lower, Users)
        || OF_TAGS.iter().any(of_tag)
        || !(SERVICES.contains(&service) || rest.is_empty());
    is_known.then_some(lower)
}

/// Returns the lower-case name of a key that a bucket's policy can have.
pub(crate) fn known_in_buckets(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let is_known = is_key(&lower, Buckets) || lower.starts_with("aws:principaltag/");
    is_known.then_some(lower)
}

/// Whether these policies can have a key.
fn is_key(name: &str, of: Policies) -> bool {
    let fits = |(known, policies): &(&str, Policies)| {
        *known == name && (*policies == Both || *policies == of)
    };
    KEYS.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::{KEYS, known_in_buckets, known_in_users as known};

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
    fn no_key_is_listed_twice() {
        let mut names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
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
