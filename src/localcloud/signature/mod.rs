//! Signatures of requests, for EC2, STS and S3 alike: who sent a request, and
//! that it is the request which was signed.
//!
//! The rule: **what the local cloud acts on is what the signature covers.**
//! - *Method and path*: byte for byte; S3 does not normalise a path, and EC2
//!   and STS have one path only.
//! - *Query*: every parameter, each at most once, except the signature itself.
//! - *Headers*: the host and every header of Amazon's. A request that is signed
//!   in its header also signs each header that describes content, or makes a
//!   request conditional or partial; a `content-type` that it does not sign is
//!   passed over, because HTTP libraries add one by themselves. The bearer of a
//!   presigned address chooses those, unless the address says that they are
//!   signed: it was made for a client that cannot sign, as on AWS.
//! - *Body*: its digest, a chain of signed chunks, or the signed statement that
//!   it is not signed. EC2 and STS take none but the first, and S3 for a document
//!   neither, unless the address is presigned.
//! - *Time and scope*: within fifteen minutes of now, or the life of a presigned
//!   address; day, region, service and end of the scope agree with the request.
//!
//! Before anything looks at them, headers that come more than once become one
//! ([`join_repeated`]), the way the signature reads them.
//!
//! By AWS's own rules of canonical form some spellings are the same request:
//! `+` and `%20` in a query, another case of escapes, escapes of characters that
//! need none, another order of a query's parameters, `a` and `a=` in it, another
//! order or case of the names of headers, a header in one line or in several.
//! They have the same effect. Runs of blanks within a header's value are the one
//! thing that the rules leave open and that can be seen: text that is stored
//! with an object keeps them, as on AWS. No value that decides about anything
//! may contain a blank.
//!
//! That is stricter than AWS, because what is not covered must not decide: the
//! SDK for PHP does not sign types, ranges and conditions, the one for JavaScript
//! does not sign `cache-control`. The answer names the headers.
//!
//! Version 2 is left in presigned addresses alone, as botocore 1.44 (boto3, and
//! the AWS CLI 1.46 with `aws s3 presign`) makes them for an endpoint of one's
//! own in us-east-1, eu-west-1 and the other regions of before 2014.
//!
//! Not the library's (s3s 0.14.1), which was read for it: it passes over signed
//! headers that are missing and headers that are not signed, tries a second
//! canonical form of the path, accepts a trailer that was not announced, compares
//! the signatures of chunks in variable time and keeps each chunk whole in
//! memory; its answers are not in AWS's words; and it knows neither EC2's
//! requests nor a limit on their scope.

mod canonical;
mod chain;
mod claim;
mod fault;
mod headers;
mod version_2;
mod version_4;

use std::fmt;

use hyper::http::request::Parts;
use jiff::Timestamp;

pub(crate) use chain::Chain;
use claim::Presented;
pub(crate) use fault::{Fault, Flaw, Place};
pub(crate) use headers::join_repeated;

use super::query::Query;

/// `x-amz-content-sha256` of a body that is not signed.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The header that says how the body of a request to S3 is signed.
pub(crate) const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// The one access key of a local cloud.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, ..)", self.access_key_id)
    }
}

/// What a request is signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) region: String,
    pub(crate) service: String,
}

/// Whom a request was sent to, as far as signatures differ in it.
#[derive(Clone, Copy)]
pub(crate) enum Service<'a> {
    /// The header says how the body is signed.
    S3,
    /// EC2 or STS: the digest of the whole body is signed.
    Query { body: &'a [u8] },
}

impl Service<'_> {
    fn is_named(self, name: &str) -> bool {
        match self {
            Self::S3 => name == "s3",
            Self::Query { .. } => matches!(name, "ec2" | "sts"),
        }
    }
}

/// A signature that was verified.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) scope: Scope,
    pub(crate) place: Place,
    /// `AWS4-HMAC-SHA256`, or `AWS` for version 2, as policies call it.
    pub(crate) version: &'static str,
    /// When it was signed; version 2 does not say.
    pub(crate) time: Option<Timestamp>,
    /// Whether the type of the content may be believed.
    pub(crate) covers_type: bool,
    /// `x-amz-content-sha256`, or that the body is not signed.
    pub(crate) payload: String,
    /// What the signatures of chunks build upon.
    pub(crate) chain: Option<Chain>,
}

/// The service that a signature in the header claims to be for, to find who
/// answers the request.
pub(crate) fn claimed_service(parts: &Parts) -> Option<&str> {
    claim::in_header(parts)
        .ok()?
        .map(|claim| claim.scope.service)
}

/// Verifies the signature of a request; `None` if it has none.
pub(crate) fn verify(
    parts: &Parts,
    query: &Query,
    service: Service<'_>,
    keys: &Keys,
    now: Timestamp,
) -> Result<Option<Signed>, Fault> {
    let Some(presented) = claim::read(parts, query)? else {
        return Ok(None);
    };
    let signed = match (presented, service) {
        (Presented::Version4(claim), _) => {
            version_4::verify(parts, query, &claim, service, keys, now)?
        }
        (Presented::Version2, Service::S3) => version_2::verify(parts, query, keys, now)?,
        (Presented::Version2, Service::Query { .. }) => {
            return Err(Fault::Scheme { version_2: true });
        }
    };
    Ok(Some(signed))
}
