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
use super::super::store::{Bucket, Object, receive};
use super::reading::check_version;
use super::stored::{Stored, encryption, insert_checksum};
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
    let announced = Announced::read(&call.headers)?;
    let stored = Stored::read(call)?;
    condition::of_write(&call.headers, etag(bucket.object(&input.key)?.as_deref()))?;
    let algorithm = announced.algorithm.unwrap_or(Algorithm::Crc64Nvme);
    let received = receive(&bucket.data, content_of(input.body), algorithm).await?;
    announced.verify(&received.checksum, &received.md5, &call.trailers)?;
    let object = stored.object(&input.key, received);
    let mut response = S3Response::new(PutObjectOutput {
        e_tag: Some(ETag::Strong(object.record.etag.clone())),
        server_side_encryption: Some(encryption()),
        ..PutObjectOutput::default()
    });
    insert_checksum(&mut response.headers, &object.record.checksum)?;
    store(bucket, call, object).await?;
    Ok(response)
}

/// Makes an object visible if the conditions of the request still hold.
pub(super) async fn store(bucket: Arc<Bucket>, call: &Call, object: Object) -> Result<()> {
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

/// Deletes an object. Deleting a missing object is not an error.
pub(super) fn delete_object(
    backend: &Backend,
    call: &Call,
    input: DeleteObjectInput,
) -> Answer<DeleteObjectOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    check_version(input.version_id.as_deref())?;
    let conditional = call.headers.contains_key("if-match");
    bucket.delete(&input.key, |object| {
        if conditional {
            condition::of_write(&call.headers, etag(object))
        } else {
            Ok(())
        }
    })?;
    done(DeleteObjectOutput::default())
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
            Ok(()) if quiet => {}
            Ok(()) => output
                .deleted
                .get_or_insert_default()
                .push(dto::DeletedObject {
                    key: Some(object.key),
                    version_id: object.version_id,
                    ..dto::DeletedObject::default()
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
) -> Result<()> {
    let action = match object.version_id {
        None => "s3:DeleteObject",
        Some(_) => "s3:DeleteObjectVersion",
    };
    let target = Target::Object(bucket.name.clone(), object.key.clone());
    permit(backend, &call.context, action, &target)?;
    check_version(object.version_id.as_deref())?;
    bucket.delete(&object.key, |current| {
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
    _call: &Call,
    input: PutObjectTaggingInput,
) -> Answer<PutObjectTaggingOutput> {
    check_version(input.version_id.as_deref())?;
    let tags = tags::of_object(input.tagging)?;
    let bucket = backend.store.bucket(&input.bucket)?;
    bucket.edit(&input.key, |record| record.tags = tags)?;
    done(PutObjectTaggingOutput::default())
}

pub(super) fn delete_object_tagging(
    backend: &Backend,
    _call: &Call,
    input: DeleteObjectTaggingInput,
) -> Answer<DeleteObjectTaggingOutput> {
    check_version(input.version_id.as_deref())?;
    let bucket = backend.store.bucket(&input.bucket)?;
    bucket.edit(&input.key, |record| record.tags.clear())?;
    done(DeleteObjectTaggingOutput::default())
}
