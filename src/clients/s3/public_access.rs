//! Public access to objects: bucket policies and Block Public Access.

use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::PublicAccessBlockConfiguration;
use serde_json::{Value, json};

use super::{S3, keys};
use crate::clients::aws_error::{Code, aws_error, code};
use crate::clients::pace;
use crate::error::{Error, Result};

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
    /// The account forbids public policies, with AWS's message; or a policy
    /// cannot apply to this key alone.
    Forbidden(String),
}

/// The result of a request for a bucket's policy.
enum Found {
    Policy(Value),
    NoBucket(Error),
}

impl S3<'_> {
    /// Makes one key public with a statement in the bucket's policy; other
    /// statements stay. If the bucket has Block Public Access (`blocked`), only
    /// its settings for policies are turned off; ACLs stay blocked.
    pub async fn publish(&self, bucket: &str, key: &str, blocked: bool) -> Result<Published> {
        if let Some(fault) = keys::policy_fault(key) {
            return Ok(Published::Forbidden(fault.to_owned()));
        }
        let mut policy = self.policy(bucket).await?;
        if !allow_reading(&mut policy, &self.addressing.arn(bucket, key)) {
            return Ok(Published::Public);
        }
        if blocked {
            self.block_public_policies(bucket, false).await?;
        }
        let published = self.put_policy(bucket, &policy.to_string()).await;
        if blocked && published != Ok(Published::Public) {
            // The object did not become public, so restore the block.
            let restored = self.block_public_policies(bucket, true).await;
            restored.map_err(Error::after_another)?;
        }
        published.map_err(|e| if blocked { e.after_another() } else { e })
    }

    /// Returns whether a statement of autorun makes this key public.
    pub async fn is_public(&self, bucket: &str, key: &str) -> Result<bool> {
        let mut policy = self.policy(bucket).await?;
        Ok(!allow_reading(
            &mut policy,
            &self.addressing.arn(bucket, key),
        ))
    }

    /// Returns whether the bucket refuses public policies.
    pub async fn blocks_public_policies(&self, bucket: &str) -> Result<bool> {
        match self
            .client
            .get_public_access_block()
            .bucket(bucket)
            .send()
            .await
        {
            Ok(answer) => Ok(answer
                .public_access_block_configuration()
                .is_some_and(|all| {
                    all.block_public_policy() == Some(true)
                        || all.restrict_public_buckets() == Some(true)
                })),
            Err(e) if code(&e) == Code::NoSuchPublicAccessBlockConfiguration => Ok(false),
            Err(e) => Err(aws_error(
                &format!("read Block Public Access of `{bucket}`"),
                &e,
            )),
        }
    }

    /// Removes the statement that makes one key public from the bucket's
    /// policy. A missing statement is not an error.
    pub async fn unpublish(&self, bucket: &str, key: &str) -> Result<()> {
        let Found::Policy(mut policy) = self.find_policy(bucket).await? else {
            return Ok(());
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
        let settings = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(block)
            .restrict_public_buckets(block)
            .build();
        self.client
            .put_public_access_block()
            .bucket(bucket)
            .public_access_block_configuration(settings)
            .send()
            .await
            .map_err(|e| aws_error(&format!("change Block Public Access of `{bucket}`"), &e))?;
        Ok(())
    }

    /// Sets the bucket's policy. AWS may apply the changed Block Public Access
    /// setting only after some seconds, so a refusal is retried. A refusal that
    /// persists comes from the account's own block.
    async fn put_policy(&self, bucket: &str, policy: &str) -> Result<Published> {
        let mut pause = Duration::from_millis(250);
        loop {
            match self
                .client
                .put_bucket_policy()
                .bucket(bucket)
                .policy(policy)
                .send()
                .await
            {
                Ok(_) => return Ok(Published::Public),
                Err(e) if matches!(code(&e), Code::AccessDenied | Code::OperationAborted) => {
                    if pause < Duration::from_secs(4) {
                        pace::sleep(pause, self.cancel).await?;
                        pause *= 2;
                    } else if code(&e) == Code::AccessDenied {
                        let message = e.message().unwrap_or("access denied");
                        return Ok(Published::Forbidden(message.to_owned()));
                    } else {
                        return Err(aws_error(&format!("publish a key of `{bucket}`"), &e));
                    }
                }
                Err(e) => return Err(aws_error(&format!("publish a key of `{bucket}`"), &e)),
            }
        }
    }

    /// Returns the bucket's policy, or an empty policy if it has none.
    async fn policy(&self, bucket: &str) -> Result<Value> {
        match self.find_policy(bucket).await? {
            Found::Policy(policy) => Ok(policy),
            Found::NoBucket(error) => Err(error),
        }
    }

    async fn find_policy(&self, bucket: &str) -> Result<Found> {
        let attempt = format!("make a key of `{bucket}` public");
        match self.client.get_bucket_policy().bucket(bucket).send().await {
            Ok(answer) => serde_json::from_str(answer.policy().unwrap_or_default())
                .map(Found::Policy)
                .map_err(|e| Error::internal(format!("cannot {attempt}: {e}"))),
            Err(e) => match code(&e) {
                Code::NoSuchBucketPolicy => Ok(Found::Policy(
                    json!({ "Version": "2012-10-17", "Statement": [] }),
                )),
                Code::NoSuchBucket => Ok(Found::NoBucket(aws_error(&attempt, &e))),
                _ => Err(aws_error(&attempt, &e)),
            },
        }
    }
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
