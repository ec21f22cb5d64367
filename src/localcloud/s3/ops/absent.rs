//! Settings that no bucket of the local cloud can have: a request for one of them
//! has the answer of a bucket on AWS for which it was never set, and deleting it
//! succeeds. Setting it fails with `NotImplemented`.

use hyper::StatusCode;
use s3s::dto::{self, Payer};

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::failure::named;
use super::{Answer, done};

/// Defines operations that answer with an error, because the setting is missing.
macro_rules! missing {
    ($($operation:ident($input:ident) -> $output:ident: $code:literal, $message:literal;)*) => {$(
        pub(super) fn $operation(
            backend: &Backend,
            _call: &Call,
            input: dto::$input,
        ) -> Answer<dto::$output> {
            backend.store.bucket(&input.bucket)?;
            Err(named($code, StatusCode::NOT_FOUND, $message))
        }
    )*};
}

/// Defines operations that answer with an empty document, or that delete a setting.
macro_rules! empty {
    ($($operation:ident($input:ident) -> $output:ident;)*) => {$(
        pub(super) fn $operation(
            backend: &Backend,
            _call: &Call,
            input: dto::$input,
        ) -> Answer<dto::$output> {
            backend.store.bucket(&input.bucket)?;
            done(dto::$output::default())
        }
    )*};
}

missing! {
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput:
        "NoSuchCORSConfiguration", "The CORS configuration does not exist";
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput:
        "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist";
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput:
        "ReplicationConfigurationNotFoundError", "The replication configuration was not found";
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput:
        "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration";
    get_object_lock_configuration(GetObjectLockConfigurationInput)
        -> GetObjectLockConfigurationOutput:
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket";
}

empty! {
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput;
    delete_bucket_replication(DeleteBucketReplicationInput) -> DeleteBucketReplicationOutput;
    delete_bucket_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput;
}

/// Returns who pays for requests: the owner of the bucket.
pub(super) fn get_bucket_request_payment(
    backend: &Backend,
    _call: &Call,
    input: dto::GetBucketRequestPaymentInput,
) -> Answer<dto::GetBucketRequestPaymentOutput> {
    backend.store.bucket(&input.bucket)?;
    done(dto::GetBucketRequestPaymentOutput {
        payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
    })
}
