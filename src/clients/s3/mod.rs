//! S3: one method per request.
//!
//! An error code to which a caller must react is a variant of the method's
//! result.

use aws_sdk_s3::Client;
use tokio_util::sync::CancellationToken;

use crate::aws_error::Code;

mod addressing;
mod buckets;
mod conditional;
mod copy;
mod counted;
mod crc;
mod emptying;
pub mod keys;
mod lendable;
mod multipart;
mod objects;
mod payload;
mod pieces;
mod places;
mod public_access;
mod ranges;
mod settings;
mod transfer;
mod upload_id;

pub use addressing::Addressing;
pub use buckets::{Creation, NameOwner, Tagged, bucket_name_fault};
pub use conditional::{Condition, ConditionalPut};
pub use copy::Source;
pub use lendable::{LendableList, LendableObject};
pub use multipart::{IN_PARTS_ABOVE, Sent};
pub use objects::{Content, LONGEST_PRESIGN};
pub(super) use payload::Payloads;
pub use places::{Places, check_file, places};
pub use public_access::{Allowed, PoliciesBefore, Published, Publishing};
pub use settings::{DefaultEncryption, EncryptionMethod};
pub use transfer::Listed;
pub use upload_id::UploadId;

/// The S3 client of a run.
#[derive(Clone, Debug)]
pub struct S3<'a> {
    client: &'a Client,
    payloads: &'a Payloads,
    addressing: Addressing,
    cancel: &'a CancellationToken,
}

impl<'a> S3<'a> {
    pub(super) fn new(
        client: &'a Client,
        payloads: &'a Payloads,
        addressing: Addressing,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self {
            client,
            payloads,
            addressing,
            cancel,
        }
    }

    /// Returns the region in which buckets are created.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.addressing.region
    }

    /// Returns the plain URL of an object.
    #[must_use]
    pub fn url(&self, bucket: &str, key: &str) -> String {
        self.addressing.url(bucket, key)
    }

    /// Returns whether a server other than AWS's does not have the operation
    /// that it answered with this code.
    fn lacks(&self, code: Code) -> bool {
        let elsewhere = self.addressing.endpoint.is_some();
        elsewhere && matches!(code, Code::MethodNotAllowed | Code::NotImplemented)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

    use super::*;

    /// A signed URL shows the path that the SDK would send, without sending it.
    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "most lines are a table")]
    async fn the_sdk_sends_every_key_unchanged_and_url_agrees() {
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test");
        let cancel = CancellationToken::new();
        let place = |region: &str| Addressing {
            region: region.to_owned(),
            ..Addressing::default()
        };
        let given = |endpoint: &str, path_style| Addressing {
            endpoint: Some(endpoint.to_owned()),
            path_style,
            ..place("eu-central-1")
        };
        for (addressing, bucket, host) in [
            (
                place("eu-central-1"),
                "pictures",
                "https://pictures.s3.eu-central-1.amazonaws.com",
            ),
            (
                place("eu-central-1"),
                "with.dot",
                "https://s3.eu-central-1.amazonaws.com/with.dot",
            ),
            (
                place("eu-central-1"),
                "Old_Name",
                "https://s3.eu-central-1.amazonaws.com/Old_Name",
            ),
            (
                place("us-east-1"),
                "pictures",
                "https://pictures.s3.us-east-1.amazonaws.com",
            ),
            (
                place("cn-north-1"),
                "pictures",
                "https://pictures.s3.cn-north-1.amazonaws.com.cn",
            ),
            (
                place("us-gov-west-1"),
                "pictures",
                "https://pictures.s3.us-gov-west-1.amazonaws.com",
            ),
            (
                place("us-iso-east-1"),
                "pictures",
                "https://pictures.s3.us-iso-east-1.c2s.ic.gov",
            ),
            (
                Addressing {
                    fips: true,
                    ..place("us-gov-west-1")
                },
                "pictures",
                "https://pictures.s3-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                Addressing {
                    dual_stack: true,
                    ..place("eu-central-1")
                },
                "pictures",
                "https://pictures.s3.dualstack.eu-central-1.amazonaws.com",
            ),
            (
                Addressing {
                    path_style: true,
                    ..place("eu-central-1")
                },
                "pictures",
                "https://s3.eu-central-1.amazonaws.com/pictures",
            ),
            (
                given("http://127.0.0.1:5000", true),
                "pictures",
                "http://127.0.0.1:5000/pictures",
            ),
            (
                given("http://127.0.0.1:5000/below/", true),
                "pictures",
                "http://127.0.0.1:5000/below/pictures",
            ),
            (
                given("https://s3.example.com", false),
                "pictures",
                "https://pictures.s3.example.com",
            ),
        ] {
            let config = aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(addressing.region.clone()))
                .credentials_provider(credentials.clone())
                .use_fips(addressing.fips)
                .use_dual_stack(addressing.dual_stack)
                .force_path_style(addressing.path_style);
            let mut config = config;
            config.set_endpoint_url(addressing.endpoint.clone());
            let client = Client::from_conf(config.build());
            let payloads = Payloads::new(false);
            let s3 = S3::new(&client, &payloads, addressing, &cancel);
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
                assert!(plain.starts_with(&format!("{host}/")), "{plain}");
                let end = format!("/{}", keys::in_url(key));
                assert!(plain.ends_with(&end), "{plain}");
                // Clients do not change this URL when they resolve it.
                assert_eq!(reqwest::Url::parse(plain).unwrap().as_str(), plain);
            }
        }
    }
}
