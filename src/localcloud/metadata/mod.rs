//! The instance metadata service (IMDSv2) of all instances of a cloud.
//!
//! It listens in the network namespace of the switch, where each address
//! belongs to one instance, so the source address of a request identifies the
//! instance. There are no role credentials: `iam/security-credentials` does not
//! exist.

mod instance;
mod service;
mod tokens;
mod tree;

pub(crate) use instance::Metadata;
pub(crate) use service::{LookUp, serve};
