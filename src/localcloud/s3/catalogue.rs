//! The table of all operations of S3: the query parameter that selects an
//! operation, its name in the SDKs, and the permission that it needs.
//!
//! Operations without a permission are not supported. They are listed
//! nevertheless: without its row, `PUT /b/k?renameObject` would be taken for the
//! upload of an empty object, also by s3s 0.14.1, and permissions, faults and the
//! log would use the name of the wrong operation.

use hyper::Method;

/// The kind of resource on which an operation acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Service,
    Bucket,
    Object,
}

/// Query parameter, name, permission. The first row whose parameter is in the
/// query applies.
pub(super) type Row = (&'static str, &'static str, &'static str);

/// Returns the operations of an HTTP method on the account, a bucket or an
/// object.
pub(super) fn rows(method: &Method, scope: Scope) -> &'static [Row] {
    match (scope, method.as_str()) {
        (Scope::Service, "GET") => GET_SERVICE,
        (Scope::Bucket, "GET") => GET_BUCKET,
        (Scope::Bucket, "HEAD") => HEAD_BUCKET,
        (Scope::Bucket, "PUT") => PUT_BUCKET,
        (Scope::Bucket, "DELETE") => DELETE_BUCKET,
        (Scope::Bucket, "POST") => POST_BUCKET,
        (Scope::Object, "GET") => GET_OBJECT,
        (Scope::Object, "HEAD") => HEAD_OBJECT,
        (Scope::Object, "PUT") => PUT_OBJECT,
        (Scope::Object, "DELETE") => DELETE_OBJECT,
        (Scope::Object, "POST") => POST_OBJECT,
        _ => &[],
    }
}

const ALL: [&[Row]; 11] = [
    GET_SERVICE,
    GET_BUCKET,
    HEAD_BUCKET,
    PUT_BUCKET,
    DELETE_BUCKET,
    POST_BUCKET,
    GET_OBJECT,
    HEAD_OBJECT,
    PUT_OBJECT,
    DELETE_OBJECT,
    POST_OBJECT,
];

/// Returns the permissions that operations need.
#[cfg(test)]
pub(super) fn permissions() -> impl Iterator<Item = &'static str> {
    let rows = ALL
        .into_iter()
        .flatten()
        .map(|(_, _, permission)| *permission);
    rows.filter(|permission| !permission.is_empty())
}

/// Returns the names of the supported operations.
pub(super) fn offered() -> impl Iterator<Item = &'static str> {
    let rows = ALL.into_iter().flatten();
    rows.filter(|(_, _, permission)| !permission.is_empty())
        .map(|(_, name, _)| *name)
}

const GET_SERVICE: &[Row] = &[("", "ListBuckets", "s3:ListAllMyBuckets")];

const GET_BUCKET: &[Row] = &[
    (
        "accelerate",
        "GetBucketAccelerateConfiguration",
        "s3:GetAccelerateConfiguration",
    ),
    ("acl", "GetBucketAcl", "s3:GetBucketAcl"),
    ("abac", "GetBucketAbac", ""),
    ("analytics", "GetBucketAnalyticsConfiguration", ""),
    ("cors", "GetBucketCors", "s3:GetBucketCORS"),
    (
        "encryption",
        "GetBucketEncryption",
        "s3:GetEncryptionConfiguration",
    ),
    (
        "intelligent-tiering",
        "GetBucketIntelligentTieringConfiguration",
        "",
    ),
    ("inventory", "GetBucketInventoryConfiguration", ""),
    (
        "lifecycle",
        "GetBucketLifecycleConfiguration",
        "s3:GetLifecycleConfiguration",
    ),
    ("location", "GetBucketLocation", "s3:GetBucketLocation"),
    ("logging", "GetBucketLogging", "s3:GetBucketLogging"),
    (
        "metadataConfiguration",
        "GetBucketMetadataConfiguration",
        "",
    ),
    ("metadataTable", "GetBucketMetadataTableConfiguration", ""),
    ("metrics", "GetBucketMetricsConfiguration", ""),
    (
        "notification",
        "GetBucketNotificationConfiguration",
        "s3:GetBucketNotification",
    ),
    (
        "object-lock",
        "GetObjectLockConfiguration",
        "s3:GetBucketObjectLockConfiguration",
    ),
    (
        "ownershipControls",
        "GetBucketOwnershipControls",
        "s3:GetBucketOwnershipControls",
    ),
    ("policy", "GetBucketPolicy", "s3:GetBucketPolicy"),
    (
        "policyStatus",
        "GetBucketPolicyStatus",
        "s3:GetBucketPolicyStatus",
    ),
    (
        "publicAccessBlock",
        "GetPublicAccessBlock",
        "s3:GetBucketPublicAccessBlock",
    ),
    (
        "replication",
        "GetBucketReplication",
        "s3:GetReplicationConfiguration",
    ),
    (
        "requestPayment",
        "GetBucketRequestPayment",
        "s3:GetBucketRequestPayment",
    ),
    ("session", "CreateSession", ""),
    ("tagging", "GetBucketTagging", "s3:GetBucketTagging"),
    (
        "uploads",
        "ListMultipartUploads",
        "s3:ListBucketMultipartUploads",
    ),
    (
        "versioning",
        "GetBucketVersioning",
        "s3:GetBucketVersioning",
    ),
    ("versions", "ListObjectVersions", "s3:ListBucketVersions"),
    ("website", "GetBucketWebsite", "s3:GetBucketWebsite"),
    ("list-type", "ListObjectsV2", "s3:ListBucket"),
    ("", "ListObjects", "s3:ListBucket"),
];

const HEAD_BUCKET: &[Row] = &[("", "HeadBucket", "s3:ListBucket")];

const PUT_BUCKET: &[Row] = &[
    ("accelerate", "PutBucketAccelerateConfiguration", ""),
    ("acl", "PutBucketAcl", "s3:PutBucketAcl"),
    ("abac", "PutBucketAbac", ""),
    ("analytics", "PutBucketAnalyticsConfiguration", ""),
    ("cors", "PutBucketCors", ""),
    (
        "encryption",
        "PutBucketEncryption",
        "s3:PutEncryptionConfiguration",
    ),
    (
        "intelligent-tiering",
        "PutBucketIntelligentTieringConfiguration",
        "",
    ),
    ("inventory", "PutBucketInventoryConfiguration", ""),
    ("lifecycle", "PutBucketLifecycleConfiguration", ""),
    ("logging", "PutBucketLogging", ""),
    (
        "metadataAnnotationTable",
        "UpdateBucketMetadataAnnotationTableConfiguration",
        "",
    ),
    (
        "metadataInventoryTable",
        "UpdateBucketMetadataInventoryTableConfiguration",
        "",
    ),
    (
        "metadataJournalTable",
        "UpdateBucketMetadataJournalTableConfiguration",
        "",
    ),
    ("metrics", "PutBucketMetricsConfiguration", ""),
    ("notification", "PutBucketNotificationConfiguration", ""),
    ("object-lock", "PutObjectLockConfiguration", ""),
    (
        "ownershipControls",
        "PutBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
    ),
    ("policy", "PutBucketPolicy", "s3:PutBucketPolicy"),
    (
        "publicAccessBlock",
        "PutPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    ("replication", "PutBucketReplication", ""),
    ("requestPayment", "PutBucketRequestPayment", ""),
    ("tagging", "PutBucketTagging", "s3:PutBucketTagging"),
    (
        "versioning",
        "PutBucketVersioning",
        "s3:PutBucketVersioning",
    ),
    ("website", "PutBucketWebsite", ""),
    ("", "CreateBucket", "s3:CreateBucket"),
];

const DELETE_BUCKET: &[Row] = &[
    ("analytics", "DeleteBucketAnalyticsConfiguration", ""),
    ("cors", "DeleteBucketCors", "s3:PutBucketCORS"),
    (
        "encryption",
        "DeleteBucketEncryption",
        "s3:PutEncryptionConfiguration",
    ),
    (
        "intelligent-tiering",
        "DeleteBucketIntelligentTieringConfiguration",
        "",
    ),
    ("inventory", "DeleteBucketInventoryConfiguration", ""),
    (
        "lifecycle",
        "DeleteBucketLifecycle",
        "s3:PutLifecycleConfiguration",
    ),
    (
        "metadataConfiguration",
        "DeleteBucketMetadataConfiguration",
        "",
    ),
    (
        "metadataTable",
        "DeleteBucketMetadataTableConfiguration",
        "",
    ),
    ("metrics", "DeleteBucketMetricsConfiguration", ""),
    (
        "ownershipControls",
        "DeleteBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
    ),
    ("policy", "DeleteBucketPolicy", "s3:DeleteBucketPolicy"),
    (
        "publicAccessBlock",
        "DeletePublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
    ),
    (
        "replication",
        "DeleteBucketReplication",
        "s3:PutReplicationConfiguration",
    ),
    ("tagging", "DeleteBucketTagging", "s3:PutBucketTagging"),
    ("website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite"),
    ("", "DeleteBucket", "s3:DeleteBucket"),
];

const POST_BUCKET: &[Row] = &[
    ("delete", "DeleteObjects", "s3:DeleteObject"),
    (
        "metadataConfiguration",
        "CreateBucketMetadataConfiguration",
        "",
    ),
    (
        "metadataTable",
        "CreateBucketMetadataTableConfiguration",
        "",
    ),
    ("", "PostObject", "s3:PutObject"),
];

const GET_OBJECT: &[Row] = &[
    ("acl", "GetObjectAcl", "s3:GetObjectAcl"),
    ("annotation", "GetObjectAnnotation", ""),
    (
        "attributes",
        "GetObjectAttributes",
        "s3:GetObjectAttributes",
    ),
    ("legal-hold", "GetObjectLegalHold", ""),
    ("retention", "GetObjectRetention", ""),
    ("tagging", "GetObjectTagging", "s3:GetObjectTagging"),
    ("torrent", "GetObjectTorrent", ""),
    ("uploadId", "ListParts", "s3:ListMultipartUploadParts"),
    ("", "GetObject", "s3:GetObject"),
];

const HEAD_OBJECT: &[Row] = &[("", "HeadObject", "s3:GetObject")];

const PUT_OBJECT: &[Row] = &[
    ("acl", "PutObjectAcl", "s3:PutObjectAcl"),
    ("annotation", "PutObjectAnnotation", ""),
    ("encryption", "UpdateObjectEncryption", ""),
    ("legal-hold", "PutObjectLegalHold", ""),
    ("renameObject", "RenameObject", ""),
    ("retention", "PutObjectRetention", ""),
    ("tagging", "PutObjectTagging", "s3:PutObjectTagging"),
    ("uploadId", "UploadPart", "s3:PutObject"),
    ("", "PutObject", "s3:PutObject"),
];

const DELETE_OBJECT: &[Row] = &[
    ("annotation", "DeleteObjectAnnotation", ""),
    ("tagging", "DeleteObjectTagging", "s3:DeleteObjectTagging"),
    (
        "uploadId",
        "AbortMultipartUpload",
        "s3:AbortMultipartUpload",
    ),
    ("", "DeleteObject", "s3:DeleteObject"),
];

const POST_OBJECT: &[Row] = &[
    ("restore", "RestoreObject", ""),
    ("select", "SelectObjectContent", ""),
    ("uploads", "CreateMultipartUpload", "s3:PutObject"),
    ("uploadId", "CompleteMultipartUpload", "s3:PutObject"),
];
