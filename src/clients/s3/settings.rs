//! Settings of buckets: versioning, default encryption, and only encrypted connections.

use aws_sdk_s3::types::{
    BucketVersioningStatus, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Allowed, S3};
use crate::aws_error::{Code, aws_error, code};
use crate::error::{Error, ErrorKind, Result};

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

impl S3<'_> {
    /// Returns whether the bucket's policy refuses all requests without TLS.
    pub async fn requires_tls(&self, bucket: &str) -> Result<bool> {
        match self.policy(bucket).await? {
            Allowed::Yes(policy) => Ok(statements(&policy).any(|one| {
                one["Effect"] == "Deny"
                    && is_or_has(&one["Principal"], "*")
                    && (is_or_has(&one["Action"], "s3:*") || is_or_has(&one["Action"], "*"))
                    && is_or_has(&one["Resource"], &self.addressing.arn(bucket, "*"))
                    && has_only_tls(&one["Condition"])
            })),
            Allowed::No(reason) => Err(Error::new(
                ErrorKind::Denied,
                format!("cannot read the policy of bucket `{bucket}`: {reason}"),
            )),
        }
    }

    /// Adds a statement to the bucket's policy that refuses all requests without TLS.
    /// Other statements stay.
    pub async fn require_tls(&self, bucket: &str) -> Result<()> {
        let attempt = format!("change the policy of bucket `{bucket}`");
        let mut policy = match self.policy(bucket).await? {
            Allowed::Yes(policy) => policy,
            Allowed::No(reason) => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("cannot {attempt}: {reason}"),
                ));
            }
        };
        let all = self.addressing.arn(bucket, "*");
        let whole = all.trim_end_matches("/*").to_owned();
        add_statement(&mut policy, only_tls(&[whole, all]));
        let request = self.client.put_bucket_policy().bucket(bucket);
        let sent = request.policy(policy.to_string()).send().await;
        sent.map(drop).map_err(|e| aws_error(&attempt, &e))
    }
}

/// Returns the statement that refuses requests without TLS.
fn only_tls(resources: &[String]) -> Value {
    json!({
        "Sid": "autorunOnlyTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": resources,
        "Condition": { "Bool": { "aws:SecureTransport": "false" } },
    })
}

fn has_only_tls(condition: &Value) -> bool {
    let only = json!({ "Bool": { "aws:SecureTransport": "false" } });
    let as_bool = json!({ "Bool": { "aws:SecureTransport": false } });
    *condition == only || *condition == as_bool
}

/// Returns the statements of a policy, which may have one without a list.
fn statements(policy: &Value) -> impl Iterator<Item = &Value> {
    let all = &policy["Statement"];
    let list = all.as_array().map(Vec::as_slice);
    list.unwrap_or(std::slice::from_ref(all)).iter()
}

fn add_statement(policy: &mut Value, statement: Value) {
    let mut all: Vec<Value> = statements(policy).cloned().collect();
    all.retain(|one| one.is_object() && one["Sid"] != statement["Sid"]);
    all.push(statement);
    policy["Statement"] = Value::Array(all);
}

/// Returns whether an element of a policy, which may be a list, has this text. A
/// principal may also be written as `{"AWS": "*"}`.
fn is_or_has(element: &Value, text: &str) -> bool {
    match element {
        Value::Array(list) => list.iter().any(|one| one == text),
        Value::Object(by_kind) => by_kind.get("AWS").is_some_and(|aws| is_or_has(aws, text)),
        one => one == text,
    }
}

fn unsupported(attempt: &str, what: &str) -> Error {
    Error::invalid(format!("cannot {attempt}: the server does not have {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_added_once_and_others_stay() {
        let resources = [
            "arn:aws:s3:::team".to_owned(),
            "arn:aws:s3:::team/*".to_owned(),
        ];
        let other = json!({ "Sid": "other", "Effect": "Allow" });
        for before in [json!([other]), other.clone()] {
            let mut policy = json!({ "Version": "2012-10-17", "Statement": before });
            for _ in 0..2 {
                add_statement(&mut policy, only_tls(&resources));
                assert_eq!(policy["Statement"], json!([other, only_tls(&resources)]));
            }
        }
        let mut empty = json!({ "Version": "2012-10-17" });
        add_statement(&mut empty, only_tls(&resources));
        assert_eq!(empty["Statement"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn forms_of_a_policy_are_recognized() {
        for (element, found) in [
            (json!("*"), true),
            (json!(["a", "*"]), true),
            (json!({ "AWS": "*" }), true),
            (json!({ "AWS": ["*"] }), true),
            (json!({ "AWS": "arn:aws:iam::111122223333:root" }), false),
            (json!(null), false),
        ] {
            assert_eq!(is_or_has(&element, "*"), found, "{element}");
        }
        assert!(has_only_tls(
            &json!({ "Bool": { "aws:SecureTransport": false } })
        ));
        assert!(!has_only_tls(
            &json!({ "Bool": { "aws:SecureTransport": "true" } })
        ));
    }
}
