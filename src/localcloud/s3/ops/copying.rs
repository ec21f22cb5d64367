//! Copies an object, or a range of an object to a part of an upload.

use s3s::dto;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETag,
    UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Error, S3ErrorCode};

use super::super::access::permit;
use super::super::backend::{Backend, timestamp};
use super::super::call::Call;
use super::super::checksum::Algorithm;
use super::super::condition;
use super::super::failure::{Naming as _, Result, bad_argument, invalid_request, not_implemented};
use super::super::operation::Target;
use super::super::range;
use super::super::store::{Bucket, Object, content, receive};
use super::encryption::show_encryption;
use super::multipart::{check_number, store_part};
use super::stored::{REDIRECT, Stored, check_archive};
use super::versions::{FoundObject, find};
use super::writing::{etag, store};
use super::{Answer, done, versions};

/// S3's maximum size of a copy in one request.
const MAX_COPY: u64 = 5 << 30;

/// Returns the source of a copy. Fails if the policy or a condition forbids the
/// copy.
fn source(backend: &Backend, call: &Call, source: &CopySource) -> Result<FoundObject> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = source
    else {
        return Err(not_implemented("copies from access points"));
    };
    let target = Target::Object(bucket.to_string(), key.to_string());
    let permit = |action| permit(backend, &call.context, action, &target);
    permit(match version_id {
        None => "s3:GetObject",
        Some(_) => "s3:GetObjectVersion",
    })?;
    let found = find(backend, call, (bucket, key), version_id.as_deref());
    // The document names the source and not the target of the request.
    let found = found.map_err(|error| match error.code() {
        S3ErrorCode::MethodNotAllowed => invalid_request(
            "The source of a copy request may not specifically refer to a delete marker by version id.",
        ),
        S3ErrorCode::NoSuchKey => error.naming("Key", &**key),
        S3ErrorCode::NoSuchVersion => error
            .naming("Key", &**key)
            .naming("VersionId", version_id.as_deref().unwrap_or_default()),
        S3ErrorCode::NoSuchBucket => error.naming("BucketName", &**bucket),
        _ => error,
    })?;
    let object = &found.object;
    check_archive(&object.record)?;
    let takes_tags = call.header("x-amz-tagging-directive") != Some("REPLACE");
    if takes_tags && !object.record.tags.is_empty() {
        permit(match version_id {
            None => "s3:GetObjectTagging",
            Some(_) => "s3:GetObjectVersionTagging",
        })?;
    }
    condition::of_copy(&call.headers, &object.record.etag, object.record.modified)?;
    Ok(found)
}

/// Copies an object with its metadata and tags, or with new metadata and tags.
pub(super) async fn copy_object(
    backend: &Backend,
    call: &Call,
    input: CopyObjectInput,
) -> Answer<CopyObjectOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let FoundObject { object, version_id } = source(backend, call, &input.copy_source)?;
    if object.record.size > MAX_COPY {
        return Err(too_large());
    }
    condition::of_write(&call.headers, etag(bucket.object(&input.key)?.as_deref()))?;
    let stored = stored(backend, call, &bucket, &object)?;
    if is_itself(&input) && !changes(call, &stored, &object) {
        return Err(invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let algorithm = match call.header("x-amz-checksum-algorithm") {
        Some(name) => Algorithm::named(name)?,
        None => object.record.checksum.algorithm,
    };
    let all = content(&object, 0..object.record.size);
    let received = receive(&bucket.data, all, algorithm, None).await?;
    let copy = stored.object(&input.key, received);
    let record = copy.record.clone();
    let new_version = store(bucket, call, copy).await?;
    let mut result = CopyObjectResult {
        checksum_type: Some(dto::ChecksumType::from_static(record.checksum.kind.name())),
        e_tag: Some(ETag::Strong(record.etag)),
        last_modified: Some(timestamp(record.modified)),
        ..CopyObjectResult::default()
    };
    show_checksum!(
        result,
        record.checksum.algorithm,
        Some(record.checksum.value)
    );
    let mut output = CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: versions::of_upload(version_id),
        version_id: new_version,
        ..CopyObjectOutput::default()
    };
    show_encryption!(output, &record.encryption);
    done(output)
}

/// Returns the metadata and tags of the copy. The directives select the source's
/// or the request's.
fn stored(backend: &Backend, call: &Call, bucket: &Bucket, object: &Object) -> Result<Stored> {
    let mut stored = Stored::read(backend, call, bucket)?;
    if !replaces(call, "x-amz-metadata-directive")? {
        // A copy has the redirect only if the request names it.
        let redirect = stored.headers.remove(REDIRECT);
        stored.headers.clone_from(&object.record.headers);
        stored.headers.remove(REDIRECT);
        stored
            .headers
            .extend(redirect.map(|value| (REDIRECT.to_owned(), value)));
    }
    if !replaces(call, "x-amz-tagging-directive")? {
        stored.tags.clone_from(&object.record.tags);
    }
    Ok(stored)
}

fn replaces(call: &Call, directive: &str) -> Result<bool> {
    match call.header(directive) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => {
            let text = directive.trim_start_matches("x-amz-").replace('-', " ");
            Err(bad_argument(directive, other, format!("Unknown {text}.")))
        }
    }
}

fn is_itself(input: &CopyObjectInput) -> bool {
    matches!(&input.copy_source, CopySource::Bucket { bucket, key, version_id: None }
        if **bucket == input.bucket && **key == input.key)
}

/// Whether the request says what to change of an object that it copies onto
/// itself, even if that is what the object already has.
fn changes(call: &Call, stored: &Stored, object: &Object) -> bool {
    let replaced = call.header("x-amz-metadata-directive") == Some("REPLACE");
    let named = [
        "x-amz-storage-class",
        "x-amz-server-side-encryption",
        REDIRECT,
    ];
    replaced
        || stored.encryption != object.record.encryption
        || named.iter().any(|name| call.headers.contains_key(*name))
}

/// Creates a part of an upload from an object or from a range of an object.
pub(super) async fn upload_part_copy(
    backend: &Backend,
    call: &Call,
    input: UploadPartCopyInput,
) -> Answer<UploadPartCopyOutput> {
    let number = check_number(input.part_number)?;
    let bucket = backend.store.bucket(&input.bucket)?;
    let upload = bucket.upload(&input.upload_id, &input.key)?;
    let FoundObject { object, version_id } = source(backend, call, &input.copy_source)?;
    let size = object.record.size;
    let range = match &input.copy_source_range {
        None => 0..size,
        Some(header) => {
            range::of_copy(header, size).map_err(|wrong| wrong_range(header, size, wrong))?
        }
    };
    if range.end - range.start > MAX_COPY {
        return Err(too_large());
    }
    let record = &upload.record;
    let pieces = content(&object, range);
    let received = receive(&bucket.data, pieces, record.algorithm, None).await?;
    let part = store_part(bucket, (input.upload_id, record), number, received).await?;
    let mut result = CopyPartResult {
        e_tag: Some(ETag::Strong(part.etag)),
        last_modified: Some(timestamp(part.modified)),
        ..CopyPartResult::default()
    };
    if record.chosen {
        show_checksum!(result, record.algorithm, part.piece.checksum);
    }
    let mut output = UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: versions::of_upload(version_id),
        ..UploadPartCopyOutput::default()
    };
    show_encryption!(output, &upload.record.encryption);
    done(output)
}

fn too_large() -> S3Error {
    invalid_request(
        "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
    )
}

fn wrong_range(header: &str, size: u64, wrong: range::Wrong) -> S3Error {
    let about = |message: String| bad_argument("x-amz-copy-source-range", header, message);
    match wrong {
        range::Wrong::Form => about(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy".to_owned(),
        ),
        range::Wrong::End => about(format!(
            "Range specified is not valid for source object of size: {size}"
        )),
        range::Wrong::Start => {
            invalid_request("The specified copy range is invalid for the source object size")
        }
    }
}
