//! The context of an operation, in addition to its parsed input.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::HeaderMap;
use s3s::dto::Tagging;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use super::failure::{Result, fail};
use super::payload::Trailers;
use super::policy::Context;
use crate::faults::Account;
use crate::query::{self, Query};

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
    /// The settings of the account.
    pub(super) account: Account,
    /// The tags of a new bucket.
    pub(super) tags: Option<Tagging>,
    /// The error of the operation.
    pub(super) failure: Failure,
}

/// The error of an operation. s3s knows only code and message of an error, so its
/// document is written from here.
#[derive(Default)]
pub(super) struct Failure(Mutex<Option<S3Error>>);

impl Failure {
    /// Takes the error of a result.
    pub(super) fn keep<T>(&self, result: Result<T>) -> S3Result<T> {
        result.map_err(|error| {
            let code = error.code().clone();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            S3Error::new(code)
        })
    }

    pub(super) fn take(&self) -> Option<S3Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take()
    }
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

    /// Returns the URL of an object.
    pub(super) fn location(&self, bucket: &str, key: &str) -> String {
        let host = self.header("host").unwrap_or_default();
        format!(
            "http://{host}/{bucket}/{}",
            query::encode(key, query::VALUE)
        )
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
