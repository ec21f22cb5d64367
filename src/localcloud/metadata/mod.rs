//! The instance metadata service (IMDSv2) of all instances of a network.
//!
//! It listens in the namespace that joins them, where an address has one owner:
//! the address says who asks. It has no credentials to give away:
//! `iam/security-credentials` is never there.

mod instance;
mod service;
mod tokens;
mod tree;

pub(crate) use instance::Metadata;
pub(crate) use service::{LookUp, serve};
