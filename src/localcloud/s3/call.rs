//! What an operation knows of its request besides the parsed input.

use std::sync::Arc;

use hyper::HeaderMap;
use s3s::{S3Error, S3ErrorCode, S3Request};

use super::failure::{Result, fail};
use super::payload::Trailers;
use super::policy::Context;
use crate::query::Query;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// The holder of the one key; the region is that of the signature.
    Owner { region: String, may_list: bool },
    /// Somebody whom a bucket policy lets in.
    Anonymous { may_list: bool },
}

/// The request around an operation.
#[derive(Clone)]
pub(super) struct Call(Arc<Request>);

/// The parts of a [`Call`]; reached through it.
pub(super) struct Request {
    pub(super) caller: Caller,
    /// What policies can ask about the request.
    pub(super) context: Context,
    /// As they came: the operations read conditions, ranges and what is stored
    /// with an object from here, in exactly the words of the client.
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
    pub(super) trailers: Trailers,
    /// Whether Block Public Access of the account is on for this request.
    pub(super) account_blocks_public: bool,
}

impl Call {
    pub(super) fn new(request: Request) -> Self {
        Self(Arc::new(request))
    }

    pub(super) fn of<T>(request: &S3Request<T>) -> Result<Self> {
        let call = request.extensions.get::<Self>().cloned();
        call.ok_or_else(|| S3Error::new(S3ErrorCode::InternalError))
    }

    /// A header, if it is there and text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The signature's region; nobody else makes buckets.
    pub(super) fn region(&self) -> Result<&str> {
        match &self.caller {
            Caller::Owner { region, .. } => Ok(region),
            Caller::Anonymous { .. } => Err(fail(S3ErrorCode::AccessDenied, "Access Denied")),
        }
    }

    /// Whether a key that is missing may be called missing.
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
