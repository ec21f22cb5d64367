//! Server-side encryption: the default of a bucket, and what requests ask for.
//!
//! Answers show the encryption that AWS would apply. The content on the local disk
//! is not encrypted. The account has no KMS keys but the one that AWS manages for
//! S3, so another key is not found.

use hyper::StatusCode;
use s3s::S3Error;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto::{
    self, DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput, GetBucketEncryptionInput,
    GetBucketEncryptionOutput, PutBucketEncryptionInput, PutBucketEncryptionOutput,
    ServerSideEncryption, ServerSideEncryptionRule,
};

use super::super::backend::Backend;
use super::super::call::Call;
use super::super::failure::{
    Naming as _, Result, bad_argument, invalid_argument, malformed_xml, named,
};
use super::super::store::{Bucket, Encryption, EncryptionMethod, Received};
use super::{Answer, done};

const METHOD: &str = "x-amz-server-side-encryption";
const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";

/// The alias of the key that AWS manages for S3.
const MANAGED: &str = "alias/aws/s3";

/// Sets the fields of a result that show an encryption.
macro_rules! show_encryption {
    ($target:expr, $encryption:expr) => {{
        let encryption = $encryption;
        $target.server_side_encryption = Some(super::encryption::method(encryption));
        $target.ssekms_key_id = encryption.key.clone();
        $target.bucket_key_enabled = encryption.bucket_key.then_some(true);
    }};
}
pub(super) use show_encryption;

pub(super) fn method(encryption: &Encryption) -> ServerSideEncryption {
    ServerSideEncryption::from_static(match encryption.method {
        EncryptionMethod::Aes256 => ServerSideEncryption::AES256,
        EncryptionMethod::Kms => ServerSideEncryption::AWS_KMS,
        EncryptionMethod::KmsDsse => ServerSideEncryption::AWS_KMS_DSSE,
    })
}

fn parse(method: &str) -> Option<EncryptionMethod> {
    match method {
        ServerSideEncryption::AES256 => Some(EncryptionMethod::Aes256),
        ServerSideEncryption::AWS_KMS => Some(EncryptionMethod::Kms),
        ServerSideEncryption::AWS_KMS_DSSE => Some(EncryptionMethod::KmsDsse),
        _ => None,
    }
}

/// Returns the encryption of a new object: the one that the request names, or the
/// default of the bucket.
pub(super) fn of_object(backend: &Backend, call: &Call, bucket: &Bucket) -> Result<Encryption> {
    let settings = bucket.settings()?;
    let default = settings.encryption;
    let named_key = call.header(KEY).map(str::to_owned);
    let method = match call.header(METHOD) {
        None if named_key.is_some() => return Err(key_without_kms()),
        None => default.method,
        Some(name) => parse(name).ok_or_else(|| {
            bad_argument(
                METHOD,
                name,
                "The encryption method specified is not supported",
            )
        })?,
    };
    if method == EncryptionMethod::Aes256 {
        return if named_key.is_some() {
            Err(key_without_kms())
        } else {
            Ok(Encryption::default())
        };
    }
    check_signed(call, method)?;
    let inherited = default.method == method;
    let key = named_key.or_else(|| default.key.clone().filter(|_| inherited));
    let bucket_key = match call.header(BUCKET_KEY) {
        Some(given) => given.eq_ignore_ascii_case("true"),
        None => inherited && default.bucket_key,
    };
    Ok(Encryption {
        method,
        key: Some(managed_key(backend, &settings.region, key.as_deref())?),
        bucket_key: bucket_key && method == EncryptionMethod::Kms,
    })
}

fn key_without_kms() -> S3Error {
    invalid_argument(
        "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
    )
    .naming("ArgumentName", METHOD)
}

/// Returns the entity tag of content that was uploaded in one request. With a KMS
/// key it is not a digest of the content.
pub(super) fn etag(encryption: &Encryption, received: &Received) -> String {
    match encryption.method {
        EncryptionMethod::Aes256 => received.etag(),
        EncryptionMethod::Kms | EncryptionMethod::KmsDsse => {
            hex::encode(rand::random::<[u8; 16]>())
        }
    }
}

/// Returns the ARN of the key that AWS manages for S3 in the account. Fails if
/// `named` is another key.
fn managed_key(backend: &Backend, region: &str, named_key: Option<&str>) -> Result<String> {
    let account = &backend.account;
    let digest = hex::encode(Sha256::checksum(
        format!("{account} {region} aws/s3").as_bytes(),
    ));
    let (first, second, third) = (&digest[..8], &digest[8..12], &digest[12..15]);
    let id = format!(
        "{first}-{second}-4{third}-a{}-{}",
        &digest[15..18],
        &digest[18..30]
    );
    let arn = |name: &str| format!("arn:aws:kms:{region}:{account}:{name}");
    let key = arn(&format!("key/{id}"));
    match named_key {
        None | Some(MANAGED) => Ok(key),
        Some(name) if name == id || name == key || name == arn(MANAGED) => Ok(key),
        Some(name) => Err(named(
            "KMS.NotFoundException",
            StatusCode::BAD_REQUEST,
            if name.starts_with("arn:") {
                format!("Key '{name}' does not exist")
            } else {
                format!("Invalid keyId '{name}'")
            },
        )),
    }
}

/// Refuses an unsigned request for an object that a KMS key encrypts.
pub(super) fn check_signed(call: &Call, method: EncryptionMethod) -> Result<()> {
    if method == EncryptionMethod::Aes256 || call.is_signed() {
        return Ok(());
    }
    Err(bad_argument(
        "Authorization",
        "null",
        "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
    ))
}

/// Returns the default encryption of new objects in a bucket.
pub(super) fn get_bucket_encryption(
    backend: &Backend,
    _call: &Call,
    input: GetBucketEncryptionInput,
) -> Answer<GetBucketEncryptionOutput> {
    let encryption = backend.store.bucket(&input.bucket)?.settings()?.encryption;
    let by_default = dto::ServerSideEncryptionByDefault {
        sse_algorithm: method(&encryption),
        kms_master_key_id: encryption.key,
    };
    let rule = ServerSideEncryptionRule {
        apply_server_side_encryption_by_default: Some(by_default),
        bucket_key_enabled: Some(encryption.bucket_key),
    };
    done(GetBucketEncryptionOutput {
        server_side_encryption_configuration: Some(dto::ServerSideEncryptionConfiguration {
            rules: vec![rule],
        }),
    })
}

/// Sets the default encryption. As on AWS, only an upload finds out whether the key
/// exists.
pub(super) fn put_bucket_encryption(
    backend: &Backend,
    _call: &Call,
    input: PutBucketEncryptionInput,
) -> Answer<PutBucketEncryptionOutput> {
    let bucket = backend.store.bucket(&input.bucket)?;
    let rules = input.server_side_encryption_configuration.rules;
    let [rule] = &rules[..] else {
        return Err(malformed_xml());
    };
    let wanted = rule.apply_server_side_encryption_by_default.as_ref();
    let wanted = wanted.ok_or_else(malformed_xml)?;
    let method = parse(wanted.sse_algorithm.as_str()).ok_or_else(malformed_xml)?;
    if method == EncryptionMethod::Aes256 && wanted.kms_master_key_id.is_some() {
        return Err(invalid_argument(
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
        )
        .naming("ArgumentName", "ApplyServerSideEncryptionByDefault"));
    }
    let encryption = Encryption {
        method,
        key: wanted.kms_master_key_id.clone(),
        bucket_key: rule.bucket_key_enabled.unwrap_or(false),
    };
    bucket.change(|record| {
        record.encryption = encryption;
        Ok(())
    })?;
    done(PutBucketEncryptionOutput::default())
}

/// Restores the default of a new bucket.
pub(super) fn delete_bucket_encryption(
    backend: &Backend,
    _call: &Call,
    input: DeleteBucketEncryptionInput,
) -> Answer<DeleteBucketEncryptionOutput> {
    backend.store.bucket(&input.bucket)?.change(|record| {
        record.encryption = Encryption::default();
        Ok(())
    })?;
    done(DeleteBucketEncryptionOutput::default())
}
