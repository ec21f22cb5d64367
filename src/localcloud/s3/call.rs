//! The context of an operation, in addition to its parsed input.

use std::sync::Arc;

use hyper::HeaderMap;
use s3s::dto::Tagging;
use s3s::{S3Error, S3ErrorCode, S3Request};

use super::failure::{Result, fail};
use super::payload::Trailers;
use super::policy::Context;
use crate::query::Query;

/// The caller of an operation.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// The owner of the access key. The region is the region of the signature.
    Owner { region: String, may_list: bool },
    /// An unsigned request that a bucket policy allows.
    Anonymous { may_list: bool },
}

/// The request around an operation.
#[derive(Clone)]
pub(super) struct Call(Arc<Request>);

/// The fields of a [`Call`], which dereferences to them.
pub(super) struct Request {
    pub(super) caller: Caller,
    /// The values of the condition keys in policies.
    pub(super) context: Context,
    /// The headers as received. Operations read conditions, ranges and the
    /// metadata of objects from here, exactly as the client wrote them, and not
    /// from the parsed input.
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
    pub(super) trailers: Trailers,
    /// Whether the account's Block Public Access is on for this request.
    pub(super) account_blocks_public: bool,
    /// The tags of a new bucket.
    pub(super) tags: Option<Tagging>,
}

impl Call {
    pub(super) fn new(request: Request) -> Self {
        Self(Arc::new(request))
    }

    pub(super) fn of<T>(request: &S3Request<T>) -> Result<Self> {
        let call = request.extensions.get::<Self>().cloned();
        call.ok_or_else(|| S3Error::new(S3ErrorCode::InternalError))
    }

    /// Returns a header, or `None` if it is missing or not text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the region of the signature. Fails for anonymous callers, who
    /// cannot create buckets.
    pub(super) fn region(&self) -> Result<&str> {
        match &self.caller {
            Caller::Owner { region, .. } => Ok(region),
            Caller::Anonymous { .. } => Err(fail(S3ErrorCode::AccessDenied, "Access Denied")),
        }
    }

    pub(super) fn is_signed(&self) -> bool {
        matches!(self.caller, Caller::Owner { .. })
    }

    /// Whether the caller may list the bucket. Otherwise a missing key is reported
    /// as denied, as on AWS.
    pub(super) fn may_list(&self) -> bool {
        match &self.caller {
            Caller::Owner { may_list, .. } | Caller::Anonymous { may_list } => *may_list,
        }
    }
}

impl std::ops::Deref for Call {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.0
    }
}
