//! S3 as a directory on this host. Buckets behave as new buckets on AWS: Block
//! Public Access is on and access control lists are disabled. A request acts only
//! on what its signature covers (see `signature`).
//!
//! ```text
//! serve -> authentication, access, payload -> ops (the trait of s3s) -> store
//! ```
//! - `serve` does what all requests need: it identifies the operation,
//!   authenticates and authorizes the caller and checks the body. The crate `s3s`
//!   then parses the request into a typed operation and writes its result as XML.
//!   The crate's own checks are not used; `signature` and `chunked` contain the
//!   reasons.
//! - `ops` has one function per operation. `store` reads and writes the disk.
//!
//! These features are missing, and requests for them fail with `NotImplemented`:
//! MFA delete, encryption with custom keys, object lock, lifecycle rules,
//! replication, websites and virtual-hosted addresses.

mod access;
mod account;
mod acl;
mod arguments;
mod authentication;
mod backend;
mod call;
mod catalogue;
mod checks;
mod checksum;
mod chunked;
mod condition;
mod documents;
mod encoded_word;
mod failure;
mod names;
mod operation;
mod ops;
mod payload;
mod policy;
mod post;
mod presigned;
mod range;
mod regions;
mod serve;
mod store;

pub(crate) use failure::error_response;
pub(crate) use operation::operations;
pub(crate) use serve::{Rules, S3, Settings};
