//! Settings of buckets: versioning and default encryption.

use aws_sdk_s3::types::{
    BucketVersioningStatus, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::S3;
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, Result};

/// The server-side encryption of new objects, by S3's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum EncryptionMethod {
    /// With keys of S3.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a KMS key.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// The default encryption of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultEncryption {
    /// The method.
    pub method: EncryptionMethod,
    /// The KMS key. `None` is the key that AWS manages for S3.
    pub kms_key_id: Option<String>,
}

impl S3<'_> {
    /// Enables versioning of a bucket.
    pub async fn enable_versioning(&self, bucket: &str) -> Result<()> {
        let wanted = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let request = self.client.put_bucket_versioning().bucket(bucket);
        let request = request.versioning_configuration(wanted);
        let attempt = format!("enable versioning of bucket `{bucket}`");
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if self.lacks(code(&e)) => Err(unsupported(&attempt, "versioning")),
            Err(e) => Err(aws_error(&attempt, &e)),
        }
    }

    /// Returns whether versioning of a bucket is enabled.
    pub async fn has_versioning(&self, bucket: &str) -> Result<bool> {
        let request = self.client.get_bucket_versioning().bucket(bucket);
        match request.send().await {
            Ok(answer) => Ok(answer.status() == Some(&BucketVersioningStatus::Enabled)),
            Err(e) if self.lacks(code(&e)) => Ok(false),
            Err(e) => Err(aws_error(
                &format!("read the versioning of bucket `{bucket}`"),
                &e,
            )),
        }
    }

    /// Sets the default encryption of a bucket.
    pub async fn set_encryption(&self, bucket: &str, wanted: &DefaultEncryption) -> Result<()> {
        let attempt = format!("set the encryption of bucket `{bucket}`");
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(match wanted.method {
                EncryptionMethod::Aes256 => ServerSideEncryption::Aes256,
                EncryptionMethod::Kms => ServerSideEncryption::AwsKms,
            })
            .set_kms_master_key_id(wanted.kms_key_id.clone())
            .build()
            .map_err(|e| Error::internal(format!("cannot {attempt}: {e}")))?;
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            // Fewer requests to KMS, which are charged.
            .bucket_key_enabled(wanted.method == EncryptionMethod::Kms)
            .build();
        let rules = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(|e| Error::internal(format!("cannot {attempt}: {e}")))?;
        let request = self.client.put_bucket_encryption().bucket(bucket);
        let request = request.server_side_encryption_configuration(rules);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) if self.lacks(code(&e)) => Err(unsupported(&attempt, "encryption settings")),
            Err(e) => Err(aws_error(&attempt, &e)),
        }
    }

    /// Returns the default encryption of a bucket, or `None` if it is another one
    /// than autorun can set.
    pub async fn encryption(&self, bucket: &str) -> Result<Option<DefaultEncryption>> {
        let request = self.client.get_bucket_encryption().bucket(bucket);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) if self.lacks(code(&e)) => return Ok(None),
            Err(e) if code(&e) == Code::ServerSideEncryptionConfigurationNotFoundError => {
                return Ok(None);
            }
            Err(e) => {
                return Err(aws_error(
                    &format!("read the encryption of bucket `{bucket}`"),
                    &e,
                ));
            }
        };
        let rules = answer.server_side_encryption_configuration();
        let rule = rules.and_then(|rules| rules.rules().first());
        let default = rule.and_then(|rule| rule.apply_server_side_encryption_by_default());
        Ok(default.and_then(|default| {
            let method = match default.sse_algorithm() {
                ServerSideEncryption::Aes256 => EncryptionMethod::Aes256,
                ServerSideEncryption::AwsKms => EncryptionMethod::Kms,
                _ => return None,
            };
            let kms_key_id = default.kms_master_key_id().map(str::to_owned);
            Some(DefaultEncryption { method, kms_key_id })
        }))
    }
}

fn unsupported(attempt: &str, what: &str) -> Error {
    Error::invalid(format!("cannot {attempt}: the server does not have {what}"))
}
