//! The actions that a bucket policy can name, and the kind of resource on which
//! each of them acts.

use crate::authorization::matches_ignoring_case;

/// The kind of resource on which an action acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bucket,
    Object,
}

const OF_BUCKETS: &str = "CreateBucket DeleteBucket DeleteBucketPolicy DeleteBucketWebsite \
    GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAcl GetBucketCORS \
    GetBucketLocation GetBucketLogging GetBucketNotification GetBucketObjectLockConfiguration \
    GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock \
    GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite \
    GetEncryptionConfiguration GetIntelligentTieringConfiguration GetInventoryConfiguration \
    GetLifecycleConfiguration GetMetricsConfiguration GetReplicationConfiguration ListBucket \
    ListBucketMultipartUploads ListBucketVersions ListTagsForResource \
    PutAccelerateConfiguration PutAnalyticsConfiguration PutBucketAcl PutBucketCORS \
    PutBucketLogging PutBucketNotification PutBucketObjectLockConfiguration \
    PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock \
    PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite \
    PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration \
    PutLifecycleConfiguration PutMetricsConfiguration PutReplicationConfiguration \
    TagResource UntagResource";

const OF_OBJECTS: &str = "AbortMultipartUpload BypassGovernanceRetention DeleteObject \
    DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging GetObject GetObjectAcl \
    GetObjectAttributes GetObjectLegalHold GetObjectRetention GetObjectTagging GetObjectTorrent \
    GetObjectVersion GetObjectVersionAcl GetObjectVersionAttributes \
    GetObjectVersionForReplication GetObjectVersionTagging GetObjectVersionTorrent \
    InitiateReplication ListMultipartUploadParts ObjectOwnerOverrideToBucketOwner PutObject \
    PutObjectAcl PutObjectLegalHold PutObjectRetention PutObjectTagging PutObjectVersionAcl \
    PutObjectVersionTagging ReplicateDelete ReplicateObject ReplicateTags RestoreObject";

/// Returns the actions that match a pattern, without `s3:`, and their kinds.
pub(super) fn matching(pattern: &str) -> impl Iterator<Item = (&'static str, Kind)> {
    let names = match pattern.split_once(':') {
        None if pattern == "*" => Some("*"),
        Some((service, names)) if service.eq_ignore_ascii_case("s3") => Some(names),
        _ => None,
    };
    let buckets = OF_BUCKETS.split(' ').map(|name| (name, Kind::Bucket));
    let objects = OF_OBJECTS.split(' ').map(|name| (name, Kind::Object));
    buckets
        .chain(objects)
        .filter(move |(name, _)| names.is_some_and(|names| matches_ignoring_case(names, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_known_actions_only() {
        let kinds = |pattern: &str| {
            let mut kinds: Vec<Kind> = matching(pattern).map(|(_, kind)| kind).collect();
            kinds.dedup();
            kinds
        };
        assert_eq!(kinds("s3:GetObject"), [Kind::Object]);
        assert_eq!(kinds("S3:getobject"), [Kind::Object]);
        assert_eq!(kinds("s3:ListBucket*"), [Kind::Bucket]);
        assert_eq!(kinds("s3:*"), [Kind::Bucket, Kind::Object]);
        assert_eq!(kinds("*"), [Kind::Bucket, Kind::Object]);
        for none in [
            "s3:GetObjekt",
            "ec2:*",
            "s3",
            "",
            "s3:",
            "*:GetObject",
            "s3:Get Object",
        ] {
            assert_eq!(kinds(none), [], "{none}");
        }
    }

    /// A policy can name every permission that an operation needs.
    #[test]
    fn the_permissions_of_operations_are_actions() {
        use crate::s3::catalogue;
        for action in catalogue::permissions() {
            if action != "s3:ListAllMyBuckets" {
                assert_eq!(matching(action).count(), 1, "{action}");
            }
        }
    }
}
