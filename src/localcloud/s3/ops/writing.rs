//! Storing, tagging and deleting objects.

use std::sync::Arc;

use s3s::S3Response;
use s3s::dto::{
    self, DeleteObjectInput, DeleteObjectOutput, DeleteObjectTaggingInput,
    DeleteObjectTaggingOutput, DeleteObjectsInput, DeleteObjectsOutput, ETag, PutObjectInput,
    PutObjectOutput, PutObjectTaggingInput, PutObjectTaggingOutput,
};

use super::super::access::permit;
use super::super::backend::Backend;
use super::super::call::Call;
use super::super::checksum::{Algorithm, Announced};
use super::super::condition;
use super::super::failure::{Result, fail, malformed_xml};
use super::super::operation::Target;
use super::super::store::{Bucket, Deleted, Object, receive};
use super::encryption::show_encryption;
use super::stored::{Stored, insert_checksum};
use super::versions::{self, check_version, tagged};
use super::{Answer, blocking, content_of, done, tags};

/// S3's limit of keys in one request.
const MAX_KEYS: usize = 1000;

/// Stores an object. The object becomes visible after all of its content has
/// arrived and the checksums match.
pub(super) async fn put_object(
    backend: &Backend,
    call: &Call,
    input: PutObjectInput,
) -> Answer<PutObjectOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let announced = Announced::read(&call.headers)?.of_object();
    let stored = Stored::read(backend, call, &bucket)?;
    condition::of_write(&call.headers, etag(bucket.object(&input.key)?.as_deref()))?;
    let algorithm = announced.algorithm.unwrap_or(Algorithm::Crc64Nvme);
    let received = receive(&bucket.data, content_of(input.body), algorithm, None).await?;
    announced.verify(Some(&received.checksum), &received.md5, &call.trailers)?;
    let object = stored.object(&input.key, received);
    let mut response = S3Response::new(PutObjectOutput {
        e_tag: Some(ETag::Strong(object.record.etag.clone())),
        ..PutObjectOutput::default()
    });
    show_encryption!(response.output, &object.record.encryption);
    insert_checksum(&mut response.headers, &object.record.checksum)?;
    response.output.version_id = versions::of_upload(store(bucket, call, object).await?);
    Ok(response)
}

/// Makes an object visible if the conditions of the request still hold. Returns its
/// version id.
pub(super) async fn store(
    bucket: Arc<Bucket>,
    call: &Call,
    object: Object,
) -> Result<Option<String>> {
    let call = call.clone();
    blocking(move || {
        bucket.put(object, |before| {
            condition::of_write(&call.headers, etag(before))
        })
    })
    .await
}

pub(super) fn etag(object: Option<&Object>) -> Option<&str> {
    object.map(|object| object.record.etag.as_str())
}

/// Deletes an object, or one of its versions. Deleting a missing object is not an
/// error.
pub(super) fn delete_object(
    backend: &Backend,
    call: &Call,
    input: DeleteObjectInput,
) -> Answer<DeleteObjectOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    check_version(input.version_id.as_deref())?;
    let id = input.version_id.as_deref();
    let deleted = bucket.delete(&input.key, id, |object| {
        condition::of_deletion(&call.headers, etag(object))
    })?;
    done(DeleteObjectOutput {
        delete_marker: deleted.is_marker.then_some(true),
        version_id: deleted.id,
        ..DeleteObjectOutput::default()
    })
}

/// Deletes up to a thousand objects and returns the result for each.
pub(super) fn delete_objects(
    backend: &Backend,
    call: &Call,
    input: DeleteObjectsInput,
) -> Answer<DeleteObjectsOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > MAX_KEYS {
        return Err(malformed_xml());
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    let mut output = DeleteObjectsOutput::default();
    for object in objects {
        match delete_one((backend, call), &bucket, &object) {
            Ok(_) if quiet => {}
            Ok(deleted) => output
                .deleted
                .get_or_insert_default()
                .push(dto::DeletedObject {
                    delete_marker: deleted.is_marker.then_some(true),
                    delete_marker_version_id: deleted.id.filter(|_| deleted.is_marker),
                    key: Some(object.key),
                    version_id: object.version_id,
                }),
            Err(error) => output.errors.get_or_insert_default().push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(object.key),
                message: error.message().map(str::to_owned),
                version_id: object.version_id,
            }),
        }
    }
    done(output)
}

fn delete_one(
    (backend, call): (&Backend, &Call),
    bucket: &Bucket,
    object: &dto::ObjectIdentifier,
) -> Result<Deleted> {
    let action = match object.version_id {
        None => "s3:DeleteObject",
        Some(_) => "s3:DeleteObjectVersion",
    };
    let target = Target::Object(bucket.name.clone(), object.key.clone());
    permit(backend, &call.context, action, &target)?;
    // As on AWS, an id that no version can have is reported as a missing version.
    let id = object.version_id.as_deref();
    check_version(id).map_err(|_| versions::no_such_version())?;
    bucket.delete(&object.key, id, |current| {
        match (&object.e_tag, etag(current)) {
            (Some(expected), Some(current)) if expected.value() != current => Err(fail(
                s3s::S3ErrorCode::PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold",
            )),
            _ => Ok(()),
        }
    })
}

/// Replaces the tags of an object.
pub(super) fn put_object_tagging(
    backend: &Backend,
    call: &Call,
    input: PutObjectTaggingInput,
) -> Answer<PutObjectTaggingOutput> {
    let id = input.version_id.as_deref();
    check_version(id)?;
    let tags = tags::of_object(input.tagging)?;
    let bucket = backend.store.bucket(&input.bucket)?;
    let edited = bucket.edit(&input.key, id, |record| record.tags = tags)?;
    done(PutObjectTaggingOutput {
        version_id: tagged(call, edited, id)?.version_id,
    })
}

pub(super) fn delete_object_tagging(
    backend: &Backend,
    call: &Call,
    input: DeleteObjectTaggingInput,
) -> Answer<DeleteObjectTaggingOutput> {
    let id = input.version_id.as_deref();
    check_version(id)?;
    let bucket = backend.store.bucket(&input.bucket)?;
    let edited = bucket.edit(&input.key, id, |record| record.tags.clear())?;
    done(DeleteObjectTaggingOutput {
        version_id: tagged(call, edited, id)?.version_id,
    })
}
