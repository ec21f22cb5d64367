//! S3: one method per request.
//!
//! An error code to which a caller must react is a variant of the method's
//! result.

use aws_sdk_s3::Client;
use tokio_util::sync::CancellationToken;

mod buckets;
mod counted;
mod emptying;
pub mod keys;
mod objects;
mod places;
mod public_access;
mod transfer;

pub use buckets::{Creation, bucket_name_fault};
pub use objects::{Content, LONGEST_PRESIGN};
pub use places::{Places, check_file, places};
pub use public_access::{PoliciesBefore, Published};
pub use transfer::Listed;

/// The S3 client of a run.
#[derive(Clone, Debug)]
pub struct S3<'a> {
    client: &'a Client,
    region: String,
    endpoint: Option<String>,
    cancel: &'a CancellationToken,
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

    /// Returns the region in which buckets are created.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns the plain URL of an object.
    #[must_use]
    pub fn url(&self, bucket: &str, key: &str) -> String {
        let key = keys::in_url(key);
        match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
            // A dot in the name does not match the wildcard certificate, and
            // some old bucket names are not valid host names, so address by
            // path.
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
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

    use super::*;

    /// A signed URL shows the path that the SDK would send, without sending it.
    #[tokio::test]
    async fn the_sdk_sends_every_key_unchanged_and_url_agrees() {
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
                // Clients do not change this URL when they resolve it.
                assert_eq!(reqwest::Url::parse(plain).unwrap().as_str(), plain);
            }
        }
    }
}
