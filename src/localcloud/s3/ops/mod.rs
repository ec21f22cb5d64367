//! The operations, one function each, and the implementation of the trait of s3s
//! that calls them.
#![expect(
    clippy::needless_pass_by_value,
    reason = "s3s passes inputs by value; most operations only read them"
)]

/// Sets the checksum field of a result that belongs to the algorithm.
macro_rules! show_checksum {
    ($target:expr, $algorithm:expr, $value:expr) => {{
        use super::super::checksum::Algorithm;
        let value = $value;
        match $algorithm {
            Algorithm::Crc32 => $target.checksum_crc32 = value,
            Algorithm::Crc32c => $target.checksum_crc32c = value,
            Algorithm::Crc64Nvme => $target.checksum_crc64nvme = value,
            Algorithm::Sha1 => $target.checksum_sha1 = value,
            Algorithm::Sha256 => $target.checksum_sha256 = value,
        }
    }};
}

mod absent;
mod attributes;
mod buckets;
mod completing;
mod copying;
mod encryption;
mod listing;
mod multipart;
mod outputs;
mod reading;
mod settings;
mod stored;
mod tags;
mod versions;
mod writing;

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use hyper::StatusCode;
use s3s::dto::{self, StreamingBlob};
use s3s::{S3Error, S3Request, S3Response, S3Result};

use super::backend::Backend;
use super::call::Call;
use super::failure::{self, Result};
pub(super) use attributes::get_object_attributes;
pub(super) use buckets::list_buckets;
pub(super) use multipart::wrong_number;
pub(super) use outputs::store_output;
pub(super) use settings::ENFORCED;

/// The result of an operation.
type Answer<T> = Result<S3Response<T>>;

/// The operations as s3s calls them.
pub(super) struct Operations(pub(super) Arc<Backend>);

/// Implements the trait of s3s from a list of functions. Functions under `block`
/// run on a thread that may block; functions under `stream` are asynchronous.
macro_rules! operations {
    (
        block { $($blocking:ident($input:ident) -> $output:ident in $module:ident;)* }
        stream { $($streaming:ident($in:ident) -> $out:ident in $part:ident;)* }
    ) => {
        impl s3s::S3 for Operations {
            $(fn $blocking<'life0, 'async_trait>(
                &'life0 self,
                request: S3Request<dto::$input>,
            ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<dto::$output>>> + Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async move {
                    let call = Call::of(&request)?;
                    let backend = Arc::clone(&self.0);
                    let its = call.clone();
                    let work = move || $module::$blocking(&backend, &its, request.input);
                    call.failure.keep(blocking(work).await)
                })
            })*
            $(fn $streaming<'life0, 'async_trait>(
                &'life0 self,
                request: S3Request<dto::$in>,
            ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<dto::$out>>> + Send + 'async_trait>>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async move {
                    let call = Call::of(&request)?;
                    call.failure.keep($part::$streaming(&self.0, &call, request.input).await)
                })
            })*
        }
    };
}

operations! {
    block {
        create_bucket(CreateBucketInput) -> CreateBucketOutput in buckets;
        delete_bucket(DeleteBucketInput) -> DeleteBucketOutput in buckets;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput in buckets;
        head_bucket(HeadBucketInput) -> HeadBucketOutput in buckets;
        delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput in absent;
        delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput in absent;
        delete_bucket_replication(DeleteBucketReplicationInput) -> DeleteBucketReplicationOutput in absent;
        delete_bucket_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput in absent;
        get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput in absent;
        get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput in absent;
        get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput in absent;
        get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput in absent;
        get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput in absent;
        get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput in absent;
        get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput in absent;
        get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput in absent;
        get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput in absent;
        delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput) -> DeleteBucketOwnershipControlsOutput in settings;
        delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput in settings;
        delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput in settings;
        delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput in settings;
        get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput in settings;
        get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput in encryption;
        put_bucket_encryption(PutBucketEncryptionInput) -> PutBucketEncryptionOutput in encryption;
        delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput in encryption;
        get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput in settings;
        get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput in settings;
        get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput in settings;
        get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput in settings;
        get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput in versions;
        get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput in settings;
        put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput in settings;
        put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput in settings;
        put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput in settings;
        put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput in versions;
        put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput in settings;
        list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput in listing;
        list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput in listing;
        list_objects(ListObjectsInput) -> ListObjectsOutput in listing;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output in listing;
        get_object(GetObjectInput) -> GetObjectOutput in reading;
        get_object_acl(GetObjectAclInput) -> GetObjectAclOutput in reading;
        get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput in reading;
        head_object(HeadObjectInput) -> HeadObjectOutput in reading;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput in writing;
        delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput in writing;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput in writing;
        put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput in writing;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput in multipart;
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput in completing;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput in multipart;
        list_parts(ListPartsInput) -> ListPartsOutput in multipart;
    }
    stream {
        put_object(PutObjectInput) -> PutObjectOutput in writing;
        upload_part(UploadPartInput) -> UploadPartOutput in multipart;
        copy_object(CopyObjectInput) -> CopyObjectOutput in copying;
        upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput in copying;
    }
}

/// Returns an answer without additional headers.
#[expect(clippy::unnecessary_wraps, reason = "the last line of most operations")]
fn done<T>(output: T) -> Answer<T> {
    Ok(S3Response::new(output))
}

/// Sets another status than that of the operation. s3s 0.14.1 ignores
/// the status of an [`S3Response`], so the service reads it from the extensions.
fn with_status<T>(mut response: S3Response<T>, status: StatusCode) -> S3Response<T> {
    response.extensions.insert(status);
    response
}

/// Runs a function that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(failure::internal(
            "run an operation",
            &io::Error::other(error),
        )),
    }
}

/// Returns the content of a request. s3s wraps the errors of [`super::payload`];
/// this function unwraps them.
fn content_of(body: Option<StreamingBlob>) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::iter(body)
        .flatten()
        .map_err(|error| match error.downcast::<S3Error>() {
            Ok(error) => *error,
            Err(error) => failure::internal("read a body", &io::Error::other(error)),
        })
}
