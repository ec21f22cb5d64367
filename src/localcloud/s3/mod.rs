//! S3 as AWS offers it for a bucket made today, from a directory of this
//! machine: Block Public Access on, no access control lists, and nothing done
//! that is not signed (see `signature`).
//!
//! ```text
//! serve -> authentication, access, payload -> ops (the library's trait) -> store
//! ```
//! - `serve` decides everything that concerns any request: what it asks for,
//!   who asks, whether its body is what it says. The library `s3s` turns what
//!   is left into typed operations and their results into XML. Its own checks are
//!   not used; `signature` and `chunked` say why.
//! - `ops` has one function per operation; `store` knows the disk.
//!
//! Left out, and refused with `NotImplemented` rather than ignored: versioning,
//! encryption with own keys, object lock, lifecycle rules, replication, browser
//! uploads by POST, websites, and virtual-hosted addresses.

mod access;
mod authentication;
mod backend;
mod call;
mod catalogue;
mod checksum;
mod chunked;
mod condition;
mod failure;
mod names;
mod operation;
mod ops;
mod payload;
mod policy;
mod range;
mod serve;
mod store;

pub(crate) use failure::error_response;
pub(crate) use operation::operations;
pub(crate) use serve::{S3, Settings};
