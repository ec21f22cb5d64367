//! The URLs and ARNs of buckets and objects, in every partition and at every
//! kind of endpoint.

use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use futures_util::FutureExt as _;

use super::keys;

/// What determines the host of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressing {
    /// The region.
    pub region: String,
    /// S3's URL, if it is not AWS's own.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path instead of the host name.
    pub path_style: bool,
    /// Whether FIPS endpoints are used.
    pub fips: bool,
    /// Whether endpoints with IPv6 are used.
    pub dual_stack: bool,
}

impl Addressing {
    /// Returns the URL of an object, as the SDK sends requests to it.
    pub(super) fn url(&self, bucket: &str, key: &str) -> String {
        let base = self.base(bucket);
        let base = base.unwrap_or_else(|| format!("s3://{bucket}"));
        format!("{}/{}", base.trim_end_matches('/'), keys::in_url(key))
    }

    /// Returns the URL of a bucket, as the SDK's rules resolve it. `None` if
    /// they allow no request to it.
    fn base(&self, bucket: &str) -> Option<String> {
        let params = Params::builder()
            .bucket(bucket)
            .region(&self.region)
            .set_endpoint(self.endpoint.clone())
            .force_path_style(self.path_style)
            .use_fips(self.fips)
            .use_dual_stack(self.dual_stack)
            .build()
            .ok()?;
        let resolver = DefaultResolver::new();
        // The rules compute; they wait for nothing.
        let endpoint = resolver.resolve_endpoint(&params).now_or_never()?.ok()?;
        Some(endpoint.url().to_owned())
    }

    /// Returns the URL of S3 Control, which has the settings of an account.
    pub(super) fn control(&self, account: &str) -> String {
        let suffix = match partition(&self.region) {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        };
        match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{account}.s3-control.{}.{suffix}", self.region),
        }
    }

    /// Returns the ARN of an object.
    pub(super) fn arn(&self, bucket: &str, key: &str) -> String {
        format!("arn:{}:s3:::{bucket}/{key}", partition(&self.region))
    }
}

/// Returns the partition of a region. The SDK's rules know them, but do not
/// return them.
fn partition(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("us-iso-", "aws-iso"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
    ];
    PARTITIONS
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_has_the_partition_of_the_region() {
        for (region, partition) in [
            ("eu-central-1", "aws"),
            ("il-central-1", "aws"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-east-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            let addressing = Addressing {
                region: region.to_owned(),
                ..Addressing::default()
            };
            let arn = format!("arn:{partition}:s3:::pictures/a b");
            assert_eq!(addressing.arn("pictures", "a b"), arn, "{region}");
        }
    }
}
