//! Public access to objects: bucket policies and Block Public Access.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::get_public_access_block::GetPublicAccessBlockOutput;
use aws_sdk_s3::operation::put_public_access_block::PutPublicAccessBlockError;
use aws_sdk_s3::types::PublicAccessBlockConfiguration;
use serde_json::{Value, json};

use super::S3;
use crate::Pace;
use crate::aws_error::{Code, OperationError, aws_error, code};
use crate::error::{Error, ErrorKind, Result};

/// How long S3 may show Block Public Access as it was before a change.
const STALE: Duration = Duration::from_secs(4);

/// What a wait for another change of the bucket shows.
const BUSY: &str = "another change of the bucket is in progress";

/// The timeout of the query for the account's settings.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a bucket refused public policies before a run changed the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoliciesBefore {
    /// The bucket refused public policies.
    Blocked,
    /// The bucket accepted public policies.
    Allowed,
}

impl PoliciesBefore {
    /// Returns the name of the resource in the ledger, which is also shown to
    /// people. Existing ledgers contain these texts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "the bucket blocked public policies before",
            Self::Allowed => "the bucket took public policies before",
        }
    }

    /// Parses the name of the resource in the ledger.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Blocked, Self::Allowed]
            .into_iter()
            .find(|before| before.as_str() == name)
    }
}

/// The result of making an object public with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Everyone can read the object.
    Public,
    /// The account does not allow it, with the reason.
    Forbidden(String),
}

/// The answer to a request that policies of the account or of its organization
/// may forbid.
#[derive(Debug)]
pub enum Allowed<T> {
    /// The answer.
    Yes(T),
    /// The request is refused, with the reason.
    No(String),
}

/// What [`S3::publish`] changes.
#[derive(Clone, Copy, Debug)]
pub struct Publishing<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Whether the bucket has Block Public Access, so that its settings for
    /// policies have to be turned off.
    pub blocked: bool,
    /// Whether Block Public Access of the bucket was changed just now, by this
    /// call or an earlier one. S3 may need a minute to obey the change.
    pub changed: bool,
}

/// The result of a request for a bucket's policy.
enum Found {
    Policy(Value),
    NoBucket(Error),
    Refused(String),
}

impl S3<'_> {
    /// Makes one key public with a statement in the bucket's policy; other
    /// statements stay. If the bucket has Block Public Access, only its
    /// settings for policies are turned off; ACLs stay blocked.
    ///
    /// `account` is the account id, empty if it is not known. `wait` limits the
    /// time in which a refusal is retried.
    pub async fn publish(
        &self,
        wanted: Publishing<'_>,
        account: impl AsyncFn() -> Result<String>,
        wait: &mut Pace,
    ) -> Result<Published> {
        let Publishing { bucket, key, .. } = wanted;
        let mut policy = match self.policy(bucket).await? {
            Allowed::Yes(policy) => policy,
            Allowed::No(reason) => return Ok(Published::Forbidden(reason)),
        };
        if !allow_reading(&mut policy, &self.addressing.arn(bucket, key)) {
            return Ok(Published::Public);
        }
        let changed = if wanted.blocked {
            match self.allow_public_policies(bucket, wait).await? {
                Allowed::Yes(changed) => changed,
                Allowed::No(reason) => return Ok(Published::Forbidden(reason)),
            }
        } else {
            false
        };
        let patient = changed || wanted.changed;
        let policy = policy.to_string();
        let published = self
            .put_policy(bucket, &policy, patient, account, wait)
            .await;
        if changed && published != Ok(Published::Public) {
            // The object did not become public, so restore the block.
            let restored = self.block_public_policies(bucket, true).await;
            restored.map_err(Error::after_another)?;
        }
        published.map_err(|e| if changed { e.after_another() } else { e })
    }

    /// Returns whether a statement of autorun makes this key public.
    pub async fn is_public(&self, bucket: &str, key: &str) -> Result<Allowed<bool>> {
        Ok(match self.policy(bucket).await? {
            Allowed::Yes(mut policy) => Allowed::Yes(!allow_reading(
                &mut policy,
                &self.addressing.arn(bucket, key),
            )),
            Allowed::No(reason) => Allowed::No(reason),
        })
    }

    /// Returns whether the bucket refuses public policies.
    pub async fn blocks_public_policies(&self, bucket: &str) -> Result<Allowed<bool>> {
        let request = self.client.get_public_access_block().bucket(bucket);
        match request.send().await {
            Ok(answer) => Ok(Allowed::Yes(blocks(&answer))),
            Err(e) => match code(&e) {
                Code::NoSuchPublicAccessBlockConfiguration => Ok(Allowed::Yes(false)),
                // A server that is not AWS's may not have Block Public Access.
                code if self.lacks(code) => Ok(Allowed::Yes(false)),
                _ => match refusal("GetPublicAccessBlock", &e) {
                    Some(reason) => Ok(Allowed::No(reason)),
                    None => Err(aws_error(
                        &format!("read Block Public Access of `{bucket}`"),
                        &e,
                    )),
                },
            },
        }
    }

    /// Turns off Block Public Access for policies. Returns whether this changed
    /// anything.
    async fn allow_public_policies(&self, bucket: &str, wait: &mut Pace) -> Result<Allowed<bool>> {
        let e = loop {
            match self.put_block(bucket, false).await {
                Ok(()) => return Ok(Allowed::Yes(true)),
                Err(e) if code(&e) == Code::OperationAborted => {
                    if !wait.pause_until_end(BUSY).await? {
                        break e;
                    }
                }
                Err(e) => break e,
            }
        };
        let Some(reason) = refusal("PutPublicAccessBlock", &e) else {
            return Err(aws_error(
                &format!("change Block Public Access of `{bucket}`"),
                &e,
            ));
        };
        // It may be off already.
        Ok(match self.blocks_public_policies(bucket).await? {
            Allowed::Yes(false) => Allowed::Yes(false),
            Allowed::Yes(true) | Allowed::No(_) => Allowed::No(reason),
        })
    }

    /// Removes the statement that makes one key public from the bucket's
    /// policy. A missing statement is not an error.
    pub async fn unpublish(&self, bucket: &str, key: &str) -> Result<()> {
        let mut policy = match self.find_policy(bucket).await? {
            Found::Policy(policy) => policy,
            Found::NoBucket(_) => return Ok(()),
            Found::Refused(reason) => {
                let message = format!("cannot change the policy of bucket `{bucket}`: {reason}");
                return Err(Error::new(ErrorKind::Denied, message));
            }
        };
        if !forbid_reading(&mut policy, &self.addressing.arn(bucket, key)) {
            return Ok(());
        }
        let attempt = format!("change the policy of bucket `{bucket}`");
        if policy["Statement"].as_array().is_none_or(Vec::is_empty) {
            let request = self.client.delete_bucket_policy().bucket(bucket);
            request.send().await.map_err(|e| aws_error(&attempt, &e))?;
        } else {
            let request = self.client.put_bucket_policy().bucket(bucket);
            let request = request.policy(policy.to_string());
            request.send().await.map_err(|e| aws_error(&attempt, &e))?;
        }
        Ok(())
    }

    /// Sets whether the bucket refuses public policies.
    pub async fn block_public_policies(&self, bucket: &str, block: bool) -> Result<()> {
        let changed = self.put_block(bucket, block).await;
        changed.map_err(|e| aws_error(&format!("change Block Public Access of `{bucket}`"), &e))
    }

    async fn put_block(
        &self,
        bucket: &str,
        block: bool,
    ) -> std::result::Result<(), SdkError<PutPublicAccessBlockError, HttpResponse>> {
        let settings = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(block)
            .restrict_public_buckets(block)
            .build();
        let request = self.client.put_public_access_block().bucket(bucket);
        let request = request.public_access_block_configuration(settings);
        request.send().await.map(drop)
    }

    /// Sets the bucket's policy. S3 may obey a change of Block Public Access
    /// only after some time, so a refusal after a change (`patient`) is retried
    /// until the end of `wait`, unless the account's own settings explain it or
    /// the bucket's block is on again.
    async fn put_policy(
        &self,
        bucket: &str,
        policy: &str,
        patient: bool,
        account: impl AsyncFn() -> Result<String>,
        wait: &mut Pace,
    ) -> Result<Published> {
        let mut account_asked = false;
        loop {
            let request = self.client.put_bucket_policy().bucket(bucket);
            let Err(e) = request.policy(policy).send().await else {
                return Ok(Published::Public);
            };
            if code(&e) == Code::OperationAborted && wait.pause_until_end(BUSY).await? {
                continue;
            }
            let Some(reason) = refusal("PutBucketPolicy", &e) else {
                return Err(aws_error(&format!("publish a key of `{bucket}`"), &e));
            };
            if !patient || code(&e) != Code::AccessDenied {
                return Ok(Published::Forbidden(reason));
            }
            if !account_asked {
                account_asked = true;
                if self.account_blocks(bucket, &account().await?).await {
                    return Ok(Published::Forbidden(
                        "Block Public Access of the account or its organization is on".to_owned(),
                    ));
                }
            }
            // A rule of the account may turn the block on again. S3 itself may
            // show the setting from before for a few seconds.
            if wait.elapsed() > STALE
                && matches!(
                    self.blocks_public_policies(bucket).await?,
                    Allowed::Yes(true)
                )
            {
                return Ok(Published::Forbidden(reason));
            }
            if !wait.pause_until_end("S3 still refuses the policy").await? {
                return Ok(Published::Forbidden(reason));
            }
        }
    }

    /// Returns whether Block Public Access of the account refuses public
    /// policies; the answer includes the settings of its organization. Returns
    /// false if this is not known.
    ///
    /// The operation belongs to S3 Control, a service with an SDK of its own.
    /// The operation of S3 with the same name has the same answer, and its
    /// requests have the same signatures.
    async fn account_blocks(&self, bucket: &str, account: &str) -> bool {
        if account.is_empty() {
            return false;
        }
        let host = self.addressing.control(account);
        let url = format!("{host}/v20180820/configuration/publicAccessBlock");
        let id = account.to_owned();
        let request = self.client.get_public_access_block().bucket(bucket);
        let request = request.customize().mutate_request(move |request| {
            // If this fails, the bucket's own settings are the answer, which
            // are off.
            if request.set_uri(url.as_str()).is_ok() {
                request.headers_mut().insert("x-amz-account-id", id.clone());
            }
        });
        let answer = tokio::time::timeout(ACCOUNT_TIMEOUT, request.send()).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|answer| blocks(&answer)))
    }

    /// Returns the bucket's policy, or an empty policy if it has none.
    pub(super) async fn policy(&self, bucket: &str) -> Result<Allowed<Value>> {
        match self.find_policy(bucket).await? {
            Found::Policy(policy) => Ok(Allowed::Yes(policy)),
            Found::NoBucket(error) => Err(error),
            Found::Refused(reason) => Ok(Allowed::No(reason)),
        }
    }

    async fn find_policy(&self, bucket: &str) -> Result<Found> {
        let attempt = format!("read the policy of bucket `{bucket}`");
        match self.client.get_bucket_policy().bucket(bucket).send().await {
            Ok(answer) => serde_json::from_str(answer.policy().unwrap_or_default())
                .map(Found::Policy)
                .map_err(|e| Error::internal(format!("cannot {attempt}: {e}"))),
            Err(e) => match code(&e) {
                Code::NoSuchBucketPolicy => Ok(Found::Policy(
                    json!({ "Version": "2012-10-17", "Statement": [] }),
                )),
                Code::NoSuchBucket => Ok(Found::NoBucket(aws_error(&attempt, &e))),
                _ => match refusal("GetBucketPolicy", &e) {
                    Some(reason) => Ok(Found::Refused(reason)),
                    None => Err(aws_error(&attempt, &e)),
                },
            },
        }
    }
}

/// Returns the reason if policies do not allow a request, or the server does not
/// have the operation.
fn refusal<E: OperationError>(
    operation: &str,
    error: &SdkError<E, HttpResponse>,
) -> Option<String> {
    let message = error.message().unwrap_or_default().trim_end_matches('.');
    match code(error) {
        Code::AccessDenied | Code::MethodNotAllowed | Code::NotImplemented => Some(match message {
            "" => format!("{operation} is refused"),
            message => format!("{operation} is refused: {message}"),
        }),
        _ => None,
    }
}

/// Returns whether Block Public Access refuses public policies.
fn blocks(answer: &GetPublicAccessBlockOutput) -> bool {
    let settings = answer.public_access_block_configuration();
    settings.is_some_and(|all| {
        all.block_public_policy() == Some(true) || all.restrict_public_buckets() == Some(true)
    })
}

/// Returns the statement that makes `resource` public. Its Sid is a hash of the
/// resource, because a Sid must be alphanumeric and unique in its policy.
fn reading(resource: &str) -> Value {
    json!({
        "Sid": format!("autorun{}", resource.bytes().fold(5381_u32, |h, b| {
            h.wrapping_mul(33) ^ u32::from(b)
        })),
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": resource,
    })
}

/// Removes the statement for `resource`. Returns false if it was missing.
fn forbid_reading(policy: &mut Value, resource: &str) -> bool {
    let Some(list) = policy["Statement"].as_array_mut() else {
        return false;
    };
    let before = list.len();
    list.retain(|statement| *statement != reading(resource));
    list.len() < before
}

/// Adds the statement that makes `resource` public. Returns false if the policy
/// already contains it.
fn allow_reading(policy: &mut Value, resource: &str) -> bool {
    let statement = reading(resource);
    let statements = &mut policy["Statement"];
    // A single statement may appear without a list.
    if statements.is_object() {
        *statements = json!([statements.take()]);
    }
    let Some(list) = statements.as_array_mut() else {
        *statements = json!([statement]);
        return true;
    };
    if list.contains(&statement) {
        return false;
    }
    list.push(statement);
    true
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_policy_keeps_its_other_statements() {
        let mut policy = json!({ "Version": "2012-10-17", "Statement": { "Sid": "theirs" } });
        assert!(allow_reading(&mut policy, "arn:aws:s3:::b/k"));
        assert!(
            !allow_reading(&mut policy, "arn:aws:s3:::b/k"),
            "the policy already contains it"
        );
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(policy["Statement"][0]["Sid"], "theirs");
        assert!(forbid_reading(&mut policy, "arn:aws:s3:::b/k"));
        assert!(!forbid_reading(&mut policy, "arn:aws:s3:::b/k"));
        assert_eq!(policy["Statement"], json!([{ "Sid": "theirs" }]));
    }
}
