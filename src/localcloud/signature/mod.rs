//! Verifies the signatures of requests to EC2, STS and S3: that the owner of the
//! access key sent the request, and that nothing in it was changed.
//!
//! The rule is: **the local cloud acts only on what the signature covers.**
//! - *Method and path*: covered byte for byte. S3 does not normalise a path, and
//!   EC2 and STS have only one path.
//! - *Query*: every parameter except the signature itself. Each parameter may
//!   occur only once.
//! - *Headers*: the host and all headers `x-amz-..`. A request that is signed in
//!   its header must also sign each header that describes content or makes the
//!   request conditional or partial. An unsigned `content-type` is ignored,
//!   because HTTP libraries add this header by themselves. The user of a
//!   presigned URL chooses these headers freely, unless the URL lists them as
//!   signed: as on AWS, the URL is for a client that cannot sign.
//! - *Body*: its digest, a chain of signed chunks, or the signed declaration that
//!   the body is not signed. EC2 and STS accept only the digest. S3 does not
//!   accept an unsigned document (XML or a policy), unless the URL is presigned or
//!   a signed header has the document's digest: `opendal` sends `DeleteObjects`
//!   without a signed body, and with a signed `content-md5`.
//! - *Time and scope*: the request was signed at most fifteen minutes before or
//!   after now, or the presigned URL has not expired. Day, region, service and
//!   terminator of the scope match the request.
//!
//! A form of a browser (POST Object) is signed by its policy, which names each of
//! its fields: [`form`].
//!
//! Repeated headers are merged into one ([`join_repeated`]) before any other code
//! reads them, in the form in which the signature covers them.
//!
//! AWS's canonical form makes some spellings the same request: `+` and `%20` in a
//! query, the case of escapes, unnecessary escapes, the order of a query's
//! parameters, `a` and `a=` in a query, the order and the case of header names,
//! and a header on one line or on several. These spellings have the same effect
//! here. The canonical form also ignores the length of runs of blanks in a
//! header's value, and this difference is visible: as on AWS, metadata that is
//! stored with an object keeps the blanks. No value that decides about a request
//! may contain a blank.
//!
//! These rules are stricter than AWS's, which accepts unsigned headers that
//! decide about a request: the SDK for PHP does not sign types, ranges and
//! conditions, and the SDK for JavaScript does not sign `cache-control`. The error
//! names such headers.
//!
//! Version 2 is accepted in presigned URLs only. botocore 1.44 (boto3, and
//! `aws s3 presign` of the AWS CLI 1.46) still creates them for a custom endpoint
//! in us-east-1, eu-west-1 and the other regions from before 2014.
//!
//! Why not the signature modules of the crate s3s (0.14.1): their source was
//! reviewed. They skip signed headers that are missing and do not check for
//! unsigned headers, try a second canonical form of the path, accept a trailer
//! that was not announced, compare the signatures of chunks in variable time and
//! hold each chunk whole in memory. Their errors do not have AWS's messages, and
//! they do not support EC2's requests or restrict the service of a scope.

mod canonical;
mod chain;
mod claim;
mod explanation;
mod fault;
mod form;
mod headers;
mod session;
mod version_2;
mod version_4;

use std::fmt;

use hyper::http::request::Parts;
use jiff::Timestamp;

pub(crate) use chain::Chain;
use claim::Presented;
pub(crate) use explanation::{Explanation, explain};
pub(crate) use fault::{Fault, Flaw, Place};
pub(crate) use form::{FormSignature, verify as verify_form};
pub(crate) use headers::join_repeated;
pub(crate) use session::Session;

use super::query::Query;

/// The value of `x-amz-content-sha256` for an unsigned body.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The header that declares how the body of a request to S3 is signed.
pub(crate) const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// An access key: that of the local cloud's owner, or a temporary one.
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

/// The scope of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) region: String,
    pub(crate) service: String,
}

/// The service that received a request, as far as it matters to signatures.
#[derive(Clone, Copy)]
pub(crate) enum Service<'a> {
    /// S3: a header declares how the body is signed.
    S3,
    /// Another service: the signature covers the digest of the whole body.
    Query { body: &'a [u8] },
}

impl Service<'_> {
    fn is_named(self, name: &str) -> bool {
        match self {
            Self::S3 => name == "s3",
            Self::Query { .. } => {
                matches!(name, "ec2" | "iam" | "sts" | "ssm" | "ec2-instance-connect")
            }
        }
    }
}

/// When and where the owner's key is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity<'a> {
    pub(crate) now: Timestamp,
    /// Whether the session token of the owner's credentials has expired.
    pub(crate) is_expired: bool,
    /// The regions that do not know the key, because the account has not enabled them.
    pub(crate) disabled_regions: &'a [String],
}

impl Validity<'_> {
    fn check(self, signed: &Signed) -> Result<(), Fault> {
        if self.disabled_regions.contains(&signed.scope.region) {
            return Err(Fault::UnknownKey);
        }
        if self.is_expired && signed.session.is_none() {
            return Err(Fault::TokenExpired);
        }
        Ok(())
    }
}

/// A verified signature.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) scope: Scope,
    pub(crate) place: Place,
    /// The name of the version in policies: `AWS4-HMAC-SHA256`, or `AWS` for
    /// version 2.
    pub(crate) version: &'static str,
    /// When the request was signed. `None` for version 2, which does not contain
    /// this time.
    pub(crate) time: Option<Timestamp>,
    /// Whether the signature covers `content-type`.
    pub(crate) covers_type: bool,
    /// The value of `x-amz-content-sha256`, or [`UNSIGNED`] without this header.
    pub(crate) payload: String,
    /// The instance whose temporary credentials signed the request.
    pub(crate) session: Option<Session>,
    /// The chain that the signatures of chunks continue.
    pub(crate) chain: Option<Chain>,
}

/// Returns the service in the scope of a signature in the header. It is not
/// verified and only selects the service that answers the request.
pub(crate) fn claimed_service(parts: &Parts) -> Option<&str> {
    claim::in_header(parts)
        .ok()?
        .map(|claim| claim.scope.service)
}

/// Verifies the signature of a request. Returns `None` if the request is not
/// signed.
pub(crate) fn verify(
    parts: &Parts,
    query: &Query,
    service: Service<'_>,
    keys: &Keys,
    validity: Validity<'_>,
) -> Result<Option<Signed>, Fault> {
    let now = validity.now;
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
    validity.check(&signed)?;
    Ok(Some(signed))
}
