//! The object store of a shared ledger, as the ledger needs it.

use std::fmt::Debug;

use crate::error::{Error, ErrorKind, Result};

/// The content of an object and its ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub body: Vec<u8>,
    /// The ETag, as the store wrote it.
    pub etag: String,
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object was written and has this ETag.
    Written(String),
    /// The condition was not met (412).
    Refused,
    /// Another write of the object was in progress (409): look at it again.
    Conflict,
}

/// Returns whether a request that failed so will not succeed a little later.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::InvalidOption
    )
}

/// A store with conditional writes. An error may mean that the request had its effect
/// and only the answer was lost. All methods block.
pub trait Objects: Debug + Send + Sync {
    /// Returns an object, or `None` if it does not exist.
    fn read(&self, key: &str) -> Result<Option<Object>>;

    /// Returns several objects, in the order of the keys.
    fn read_all(&self, keys: &[String]) -> Result<Vec<Option<Object>>>;

    /// Writes an object that does not exist.
    fn create(&self, key: &str, body: &[u8]) -> Result<Put>;

    /// Writes an object that has this ETag.
    fn replace(&self, key: &str, body: &[u8], etag: &str) -> Result<Put>;

    /// Deletes objects, of which some may not exist.
    fn delete(&self, keys: &[String]) -> Result<()>;

    /// Returns the keys that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// Returns the URL of the ledger, for messages and for the local cache:
    /// `s3://bucket/prefix`, with the endpoint unless it is AWS's.
    fn place(&self) -> &str;
}
