//! S3: one method per request, in our own words.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, PublicAccessBlockConfiguration, Tag,
    Tagging,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::aws_error::{aws_error, code};
use super::marks::{RESOURCE_METADATA, Tags};
use super::pace;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;
use counted::counted;

mod buckets;
mod counted;
pub mod keys;
mod places;
mod transfer;

pub use places::{Places, check_file, places};
pub use transfer::Listed;

/// The region that must not be named as a location constraint.
const US_EAST_1: &str = "us-east-1";

/// What a row of the ledger says of a bucket that refused public policies.
pub const PUBLIC_POLICIES_BLOCKED: &str = "the bucket blocked public policies before";

/// What it says of one that took them.
pub const PUBLIC_POLICIES_ALLOWED: &str = "the bucket took public policies before";

/// AWS's upper limit for a presigned URL.
pub const LONGEST_PRESIGN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The S3 client of a run.
#[derive(Clone, Debug)]
pub struct S3<'a> {
    client: &'a Client,
    region: String,
    endpoint: Option<String>,
    cancel: &'a CancellationToken,
}

/// What is uploaded.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its size in bytes.
    pub size: u64,
    /// Its content type.
    pub kind: &'a str,
    /// The object's row in a ledger, which goes into its metadata.
    pub row: Option<&'a str>,
}

/// Whether a policy could make an object public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Everyone may read it.
    Public,
    /// The account forbids public policies, in AWS's words; or a policy cannot be
    /// about this key alone.
    Forbidden(String),
}

impl<'a> S3<'a> {
    pub(super) fn new(
        client: &'a Client,
        region: String,
        endpoint: Option<String>,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            client,
            region,
            endpoint,
            cancel,
        }
    }

    /// The region buckets are made in.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether a bucket of ours with this name exists.
    pub async fn owns(&self, bucket: &str) -> Result<bool> {
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(true),
            // Somebody else's bucket answers 403: the name is not ours.
            Err(e)
                if matches!(
                    e.raw_response().map(|r| r.status().as_u16()),
                    Some(403 | 404)
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(aws_error(&format!("look for bucket `{bucket}`"), &e)),
        }
    }

    /// Makes a bucket in the configured region.
    ///
    /// Throws `already_exists`.
    pub async fn create_bucket(&self, bucket: &str) -> Result<()> {
        let place = (self.region != US_EAST_1).then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()))
                .build()
        });
        self.client
            .create_bucket()
            .bucket(bucket)
            .set_create_bucket_configuration(place)
            .send()
            .await
            .map_err(|e| aws_error(&format!("create bucket `{bucket}`"), &e))?;
        Ok(())
    }

    /// Tags a bucket that was just made.
    pub async fn tag_bucket(&self, bucket: &str, tags: &Tags) -> Result<()> {
        let attempt = format!("tag bucket `{bucket}`");
        let tags: Vec<Tag> = tags
            .iter()
            .filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok())
            .collect();
        let tagging = Tagging::builder()
            .set_tag_set(Some(tags))
            .build()
            .map_err(|e| Error::internal(format!("cannot {attempt}: {e}")))?;
        self.client
            .put_bucket_tagging()
            .bucket(bucket)
            .tagging(tagging)
            .send()
            .await
            .map_err(|e| aws_error(&attempt, &e))?;
        Ok(())
    }

    /// Deletes an empty bucket; one that is gone is no error.
    pub async fn delete_bucket(&self, bucket: &str) -> Result<()> {
        match self.client.delete_bucket().bucket(bucket).send().await {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == "NoSuchBucket" => Ok(()),
            Err(e) => Err(aws_error(&format!("delete bucket `{bucket}`"), &e)),
        }
    }

    /// Uploads a file; the SDK adds a checksum that S3 verifies. A file that grows
    /// meanwhile is uploaded up to the size that it had.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        content: Content<'_>,
        report: &Reporter,
    ) -> Result<()> {
        let file = content.file.display();
        let body = ByteStream::read_from()
            .path(content.file)
            .length(Length::Exact(content.size))
            .build()
            .await
            .map_err(|e| {
                Error::new(ErrorKind::NotFound, format!("cannot read `{file}`: {e}"))
                    .hint("nothing may change or remove it during the upload")
            })?;
        let mut request = self.client.put_object().bucket(bucket).key(key);
        if let Some(row) = content.row {
            request = request.metadata(RESOURCE_METADATA, row);
        }
        request
            .content_type(content.kind)
            .body(counted(body, report.meter(key, content.size)))
            .send()
            .await
            .map_err(|e| aws_error(&format!("upload `{file}` to `{bucket}`"), &e))?;
        Ok(())
    }

    /// The object's row in a ledger, if it is there: nothing when there is no
    /// object, an empty text when it has no row.
    pub async fn object_row(&self, bucket: &str, key: &str) -> Result<Option<String>> {
        match self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
        {
            Ok(answer) => {
                let row = answer.metadata().and_then(|all| all.get(RESOURCE_METADATA));
                Ok(Some(row.cloned().unwrap_or_default()))
            }
            Err(e) if e.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(None),
            Err(e) => Err(aws_error(&format!("look for `{key}` in `{bucket}`"), &e)),
        }
    }

    /// Deletes an object; one that is gone is no error.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        match self
            .client
            .delete_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == "NoSuchBucket" => Ok(()),
            Err(e) => Err(aws_error(&format!("delete `{key}` from `{bucket}`"), &e)),
        }
    }

    /// The plain URL of an object.
    #[must_use]
    pub fn url(&self, bucket: &str, key: &str) -> String {
        let key = keys::in_url(key);
        match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
            // A dot in the name does not fit the certificate, and some old names
            // are no names of hosts: address by path.
            None if bucket.contains('.') || bucket_name_fault(bucket).is_some() => {
                format!(
                    "https://s3.{}.{}/{bucket}/{key}",
                    self.region,
                    self.suffix()
                )
            }
            None => format!(
                "https://{bucket}.s3.{}.{}/{key}",
                self.region,
                self.suffix()
            ),
        }
    }

    fn suffix(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        }
    }

    /// A URL that works for everyone who has it, for a while.
    pub async fn presigned_url(&self, bucket: &str, key: &str, valid: Duration) -> Result<String> {
        let attempt = format!("sign a URL for `{key}` in `{bucket}`");
        let config = PresigningConfig::expires_in(valid)
            .map_err(|e| Error::invalid(format!("cannot {attempt}: {e}")))?;
        let signed = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .presigned(config)
            .await
            .map_err(|e| aws_error(&attempt, &e))?;
        Ok(signed.uri().to_owned())
    }

    /// Lets everyone read one key by the bucket's policy, other statements
    /// untouched. Block Public Access, if the bucket has it (`blocked`), gives way
    /// as far as a policy needs it; ACLs stay blocked.
    pub async fn publish(&self, bucket: &str, key: &str, blocked: bool) -> Result<Published> {
        if let Some(fault) = keys::policy_fault(key) {
            return Ok(Published::Forbidden(fault.to_owned()));
        }
        let mut policy = self.policy(bucket).await?;
        if !allow_reading(&mut policy, &self.arn(bucket, key)) {
            return Ok(Published::Public);
        }
        if blocked {
            self.block_public_policies(bucket, false).await?;
        }
        let published = self.put_policy(bucket, &policy.to_string()).await;
        if blocked && published != Ok(Published::Public) {
            // Nothing became public, so nothing needs to stay open.
            let restored = self.block_public_policies(bucket, true).await;
            restored.map_err(Error::after_another)?;
        }
        published.map_err(|e| match blocked {
            true => e.after_another(),
            false => e,
        })
    }

    /// Whether a statement of ours lets everyone read this key.
    pub async fn is_public(&self, bucket: &str, key: &str) -> Result<bool> {
        let mut policy = self.policy(bucket).await?;
        Ok(!allow_reading(&mut policy, &self.arn(bucket, key)))
    }

    /// Whether the bucket refuses public policies.
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
            Err(e) if code(&e) == "NoSuchPublicAccessBlockConfiguration" => Ok(false),
            Err(e) => Err(aws_error(
                &format!("read Block Public Access of `{bucket}`"),
                &e,
            )),
        }
    }

    /// Takes the statement that lets everyone read one key out of the bucket's
    /// policy; one that is not there is no error.
    pub async fn unpublish(&self, bucket: &str, key: &str) -> Result<()> {
        let mut policy = match self.policy(bucket).await {
            Err(e) if e.detail["code"] == "NoSuchBucket" => return Ok(()),
            policy => policy?,
        };
        if !forbid_reading(&mut policy, &self.arn(bucket, key)) {
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

    /// Has the bucket refuse public policies, or take them.
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

    /// The two settings race: for some seconds AWS may still answer as if the
    /// block were on. A refusal that stays is the account's own block.
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
                Err(e) if matches!(code(&e), "AccessDenied" | "OperationAborted") => {
                    if pause < Duration::from_secs(4) {
                        pace::sleep(pause, self.cancel).await?;
                        pause *= 2;
                    } else if code(&e) == "AccessDenied" {
                        let said = e.message().unwrap_or("access denied");
                        return Ok(Published::Forbidden(said.to_owned()));
                    } else {
                        return Err(aws_error(&format!("publish a key of `{bucket}`"), &e));
                    }
                }
                Err(e) => return Err(aws_error(&format!("publish a key of `{bucket}`"), &e)),
            }
        }
    }

    /// The bucket's policy, or one without statements.
    async fn policy(&self, bucket: &str) -> Result<Value> {
        let attempt = format!("let a key of `{bucket}` be public");
        match self.client.get_bucket_policy().bucket(bucket).send().await {
            Ok(answer) => serde_json::from_str(answer.policy().unwrap_or_default())
                .map_err(|e| Error::internal(format!("cannot {attempt}: {e}"))),
            Err(e) if code(&e) == "NoSuchBucketPolicy" => {
                Ok(json!({ "Version": "2012-10-17", "Statement": [] }))
            }
            Err(e) => Err(aws_error(&attempt, &e)),
        }
    }

    fn arn(&self, bucket: &str, key: &str) -> String {
        format!("arn:{}:s3:::{bucket}/{key}", self.partition())
    }

    fn partition(&self) -> &'static str {
        match self.region.as_str() {
            r if r.starts_with("cn-") => "aws-cn",
            r if r.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

/// The statement that lets everyone read `resource`.
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

/// Takes that statement out. False when it was not there.
fn forbid_reading(policy: &mut Value, resource: &str) -> bool {
    let Some(list) = policy["Statement"].as_array_mut() else {
        return false;
    };
    let before = list.len();
    list.retain(|statement| *statement != reading(resource));
    list.len() < before
}

/// Adds a statement that lets everyone read `resource`. False when the policy
/// says so already.
fn allow_reading(policy: &mut Value, resource: &str) -> bool {
    let statement = reading(resource);
    let statements = &mut policy["Statement"];
    // A policy of one statement may stand without its list.
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

/// Why S3 would refuse a bucket name; nothing when it would not.
#[must_use]
pub fn bucket_name_fault(name: &str) -> Option<&'static str> {
    let ends_well = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(3..=63).contains(&name.len()) {
        Some("it must have 3 to 63 characters")
    } else if !name.chars().all(|c| ends_well(c) || c == '-' || c == '.') {
        Some("only lower-case letters, digits, hyphens and dots are allowed")
    } else if !name.starts_with(ends_well) || !name.ends_with(ends_well) {
        Some("it must begin and end with a letter or digit")
    } else if name.contains("..") {
        Some("it must not hold two dots in a row")
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        Some("it must not look like an IP address")
    } else if ["xn--", "sthree-", "amzn-s3-demo-"]
        .iter()
        .any(|p| name.starts_with(p))
    {
        Some("this beginning is reserved by AWS")
    } else if ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
        .iter()
        .any(|s| name.ends_with(s))
    {
        Some("this ending is reserved by AWS")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

    use super::*;

    #[test]
    fn bucket_names_are_checked_as_s3_does() {
        assert_eq!(bucket_name_fault("newwebserver-7k2m"), None);
        for bad in [
            "ab",
            "Upper",
            "a..b",
            "-a1",
            "192.168.0.1",
            "xn--abc",
            "abc-s3alias",
        ] {
            assert!(bucket_name_fault(bad).is_some(), "{bad}");
        }
    }

    /// Signing shows what goes over the line, without sending it.
    #[tokio::test]
    async fn the_sdk_sends_every_key_as_it_is_and_url_says_the_same() {
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
        let cancel = CancellationToken::new();
        for (endpoint, bucket) in [
            (None, "pictures"),
            (None, "with.dot"),
            (None, "Old_Name"),
            (Some("http://127.0.0.1:5000"), "pictures"),
            (Some("http://127.0.0.1:5000/below/"), "pictures"),
        ] {
            let mut config = aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .credentials_provider(credentials.clone())
                .force_path_style(endpoint.is_some());
            config.set_endpoint_url(endpoint.map(str::to_owned));
            let client = Client::from_conf(config.build());
            let endpoint = endpoint.map(str::to_owned);
            let s3 = S3::new(&client, "eu-central-1".to_owned(), endpoint, &cancel);
            for key in [
                "a//b",
                "/a",
                "//a",
                "a/",
                "/",
                "~/a",
                "...",
                " a ",
                "a+b",
                "a%2Fb",
                "%2e%2e/a",
                "?a#b&c=d;e",
                "\\a",
                "\u{1}\n",
                "ü/e\u{301}/\u{1f600}",
                "!$'()*,:@[]|^`{}\"<>",
            ] {
                assert_eq!(keys::check(key), Ok(()));
                let signed = s3.presigned_url(bucket, key, Duration::from_secs(60));
                let signed = signed.await.unwrap();
                let (plain, _) = signed.split_once('?').unwrap();
                assert_eq!(plain, s3.url(bucket, key), "{key:?}");
                let end = format!("/{}", keys::in_url(key));
                assert!(plain.ends_with(&end), "{plain}");
                // What clients resolve, they do not resolve here.
                assert_eq!(reqwest::Url::parse(plain).unwrap().as_str(), plain);
            }
        }
    }

    #[test]
    fn a_policy_keeps_its_other_statements() {
        let mut policy = json!({ "Version": "2012-10-17", "Statement": { "Sid": "theirs" } });
        assert!(allow_reading(&mut policy, "arn:aws:s3:::b/k"));
        assert!(
            !allow_reading(&mut policy, "arn:aws:s3:::b/k"),
            "the second time it is there"
        );
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 2);
        assert_eq!(policy["Statement"][0]["Sid"], "theirs");
        assert!(forbid_reading(&mut policy, "arn:aws:s3:::b/k"));
        assert!(!forbid_reading(&mut policy, "arn:aws:s3:::b/k"));
        assert_eq!(policy["Statement"], json!([{ "Sid": "theirs" }]));
    }
}
