//! The regions of buckets. The local cloud has one address for all regions, so the
//! region of a request's signature stands for the endpoint that the client chose.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use s3s::S3Error;

use super::backend::Backend;
use super::failure::{Naming as _, Result, fail_as};
use super::operation::{Operation, Target};
use crate::signature::Signed;

/// The header that names the region of a bucket.
pub(super) const HEADER: &str = "x-amz-bucket-region";

/// The name of no region, with which some clients sign for the global endpoint.
const GLOBAL: &str = "aws-global";

/// The regions of AWS, including those that an account has to enable first.
const REGIONS: [&str; 34] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

pub(super) fn is_region(name: &str) -> bool {
    REGIONS.contains(&name)
}

/// Refuses a request to a bucket in another region than that of the signature, as
/// the endpoints of AWS do. SDKs then repeat the request for the right region.
pub(super) fn check(
    backend: &Backend,
    (operation, target): (Operation, &Target),
    signed: Option<&Signed>,
    headers: &HeaderMap,
) -> Result<()> {
    // A signature of version 2 does not contain a region.
    let Some(signed) = signed.filter(|signed| signed.time.is_some()) else {
        return Ok(());
    };
    let used = signed.scope.region.as_str();
    if used == GLOBAL {
        return Err(wrong_region(used, "us-east-1"));
    }
    if matches!(operation.name, "CreateBucket" | "GetBucketLocation") {
        return Ok(());
    }
    let bucket = target.bucket().map(|name| backend.store.bucket(name));
    let Some(Ok(bucket)) = bucket else {
        return Ok(());
    };
    let region = bucket.settings()?.region;
    if region == used {
        return Ok(());
    }
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    Err(redirect(&bucket.name, &region, host.unwrap_or_default()))
}

fn wrong_region(used: &str, expected: &str) -> S3Error {
    let message = format!(
        "The authorization header is malformed; the region '{used}' is wrong; expecting '{expected}'"
    );
    fail_as("AuthorizationHeaderMalformed", 400, message).naming("Region", expected)
}

fn redirect(bucket: &str, region: &str, host: &str) -> S3Error {
    let message = "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.";
    let mut error = fail_as("PermanentRedirect", 301, message)
        .naming("Endpoint", host)
        .naming("Bucket", bucket);
    if let Ok(value) = HeaderValue::from_str(region) {
        error.set_headers(HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static(HEADER),
            value,
        )]));
    }
    error
}
