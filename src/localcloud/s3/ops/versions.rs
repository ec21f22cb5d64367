//! The version of an object that a request names, and the setting that makes a
//! bucket keep versions.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{ALLOW, HeaderName, HeaderValue, LAST_MODIFIED};
use s3s::dto::{
    self, BucketVersioningStatus, GetBucketVersioningInput, GetBucketVersioningOutput,
    PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Error, S3ErrorCode};

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::failure::{
    Naming as _, Result, access_denied, bad_argument, fail, invalid_request, malformed_xml,
    no_such_key,
};
use super::super::store::{self, Found, MarkerRecord, Object, Version, Versioning};
use super::{Answer, done};

/// Refuses a version id that no version can have.
pub(super) fn check_version(id: Option<&str>) -> Result<()> {
    let about = |id: &str, text: &'static str| bad_argument("versionId", id, text);
    match id {
        Some("") => Err(about("", "Version id cannot be the empty string")),
        Some(id) if !store::is_id(id) => Err(about(id, "Invalid version id specified")),
        _ => Ok(()),
    }
}

/// An object, and the version id that answers show.
pub(super) struct FoundObject {
    pub(super) object: Arc<Object>,
    pub(super) version_id: Option<String>,
}

/// Returns the object with this key, in the version with this id or in its newest
/// version. As on AWS, a missing object is reported as denied to a caller who may
/// not list the bucket.
pub(super) fn find(
    backend: &Backend,
    call: &Call,
    (bucket, key): (&str, &str),
    id: Option<&str>,
) -> Result<FoundObject> {
    let bucket = backend.store.bucket(bucket)?;
    check_version(id)?;
    object_of(call, bucket.version(key, id)?, id)
}

fn object_of(call: &Call, found: Option<Found>, id: Option<&str>) -> Result<FoundObject> {
    let Some(Found { version, shown }) = found else {
        return Err(if call.may_list() {
            missing(id)
        } else {
            access_denied()
        });
    };
    match (version, id) {
        (Version::Object(object), _) => Ok(FoundObject {
            object,
            version_id: shown,
        }),
        (Version::DeleteMarker(_), None) if !call.may_list() => Err(access_denied()),
        (Version::DeleteMarker(marker), None) => {
            Err(with_headers(no_such_key(), marker_headers(&marker)))
        }
        (Version::DeleteMarker(marker), Some(_)) => Err(is_marker(&marker)),
    }
}

/// Returns the object whose tags a request reads or changes. In contrast to
/// [`find`], a delete marker is found even if the request does not name it.
pub(super) fn tagged(call: &Call, found: Option<Found>, id: Option<&str>) -> Result<FoundObject> {
    match &found {
        Some(Found {
            version: Version::DeleteMarker(marker),
            ..
        }) if call.may_list() => Err(is_marker(marker)),
        _ => object_of(call, found, id),
    }
}

fn missing(id: Option<&str>) -> S3Error {
    match id {
        None => no_such_key(),
        Some(_) => no_such_version(),
    }
}

pub(super) fn no_such_version() -> S3Error {
    fail(
        S3ErrorCode::NoSuchVersion,
        "The specified version does not exist.",
    )
}

/// Creates the error for a request about a delete marker, which has no content.
fn is_marker(marker: &Arc<MarkerRecord>) -> S3Error {
    let error = fail(
        S3ErrorCode::MethodNotAllowed,
        "The specified method is not allowed against this resource.",
    )
    .naming("ResourceType", "DeleteMarker");
    let mut headers = marker_headers(marker);
    headers.insert(ALLOW, HeaderValue::from_static("DELETE"));
    if let Ok(modified) = HeaderValue::from_str(&http_date(marker.modified)) {
        headers.insert(LAST_MODIFIED, modified);
    }
    with_headers(error, headers)
}

pub(super) fn http_date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn marker_headers(marker: &Arc<MarkerRecord>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static("x-amz-delete-marker"),
        HeaderValue::from_static("true"),
    );
    let version = Version::DeleteMarker(Arc::clone(marker));
    if let Ok(id) = HeaderValue::from_str(version.id()) {
        headers.insert("x-amz-version-id", id);
    }
    headers
}

fn with_headers(mut error: S3Error, headers: HeaderMap) -> S3Error {
    error.set_headers(headers);
    error
}

/// Returns the id of a new version as answers to uploads show it: they do not show
/// the null version.
pub(super) fn of_upload(id: Option<String>) -> Option<String> {
    id.filter(|id| id != store::NULL)
}

/// Returns the versioning of a bucket, or an empty answer if versioning was never
/// enabled nor suspended.
pub(super) fn get_bucket_versioning(
    backend: &Backend,
    _call: &Call,
    input: GetBucketVersioningInput,
) -> Answer<GetBucketVersioningOutput> {
    let versioning = backend.store.bucket(&input.bucket)?.settings()?.versioning;
    let status = versioning.map(|it| {
        if it.enabled {
            BucketVersioningStatus::ENABLED
        } else {
            BucketVersioningStatus::SUSPENDED
        }
    });
    let names_mfa_delete = versioning.is_some_and(|it| it.names_mfa_delete);
    let disabled = dto::MFADeleteStatus::from_static(dto::MFADeleteStatus::DISABLED);
    done(GetBucketVersioningOutput {
        mfa_delete: names_mfa_delete.then_some(disabled),
        status: status.map(BucketVersioningStatus::from_static),
    })
}

/// Enables or suspends versioning. MFA delete is refused, as on AWS to a caller
/// without a device.
pub(super) fn put_bucket_versioning(
    backend: &Backend,
    _call: &Call,
    input: PutBucketVersioningInput,
) -> Answer<PutBucketVersioningOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let wanted = input.versioning_configuration;
    let enabled = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => true,
        Some(BucketVersioningStatus::SUSPENDED) => false,
        Some(_) => return Err(malformed_xml()),
        None => {
            return Err(fail(
                S3ErrorCode::IllegalVersioningConfigurationException,
                "The Versioning element must be specified",
            ));
        }
    };
    let mfa_delete = wanted.mfa_delete.as_ref().map(dto::MFADelete::as_str);
    match mfa_delete {
        Some(dto::MFADelete::ENABLED) => {
            return Err(invalid_request(
                "DevPay and Mfa are mutually exclusive authorization methods.",
            ));
        }
        Some(dto::MFADelete::DISABLED) | None => {}
        Some(_) => return Err(malformed_xml()),
    }
    bucket.change(|record| {
        let before = record.versioning.is_some_and(|it| it.names_mfa_delete);
        record.versioning = Some(Versioning {
            enabled,
            names_mfa_delete: before || mfa_delete.is_some(),
        });
        Ok(())
    })?;
    done(PutBucketVersioningOutput::default())
}
