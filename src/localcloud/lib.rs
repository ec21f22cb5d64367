//! The local cloud: EC2 and S3 on this machine, with real instances.
//!
//! A background process serves AWS's protocols at one address. The SDKs reach
//! it over TCP like any other endpoint, so that a primitive cannot tell it from
//! AWS. No module here uses an SDK or Rhai, and only `cli` and the tests use
//! this package.
//!
//! - [`daemon`] is the process, `server` its HTTP server, `control` its requests that
//!   are not AWS's, [`faults`] the failures on request.
//! - `crowd` limits the connections of a listener; `visitors` identifies the
//!   users behind those of the HTTP server, with `peer`; `line` closes
//!   connections whose clients do not read; `logbook` is the log.
//! - `ec2` (with STS) and `s3` are the services. `signature` verifies requests,
//!   so that a service acts only on what is signed; `query` parses query
//!   strings.
//! - [`authorization`] evaluates policies.
//! - `machine` creates instances from namespaces; `sshd`, `proxy` and
//!   `metadata` are the services that instances use.
//! - `clock` formats times, `as_text` serializes values as text.
//! - `accounts` and `files` read files that an instance's root controls.
//! - [`home`] is the directory of a local cloud: its state and its access key.
//!
//! Root in an instance is not root on the host: each instance has its own user
//! namespace, files and limits. All instances share the host's kernel, and with
//! it the kernel's vulnerabilities.

#[cfg(target_os = "linux")]
mod accounts;
mod as_text;
pub mod authorization;
mod clock;
mod control;
mod crowd;
pub mod daemon;
mod ec2;
pub mod faults;
#[cfg(target_os = "linux")]
mod files;
pub mod home;
mod injection;
mod line;
mod logbook;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod metadata;
mod mutations;
mod peer;
mod programs;
#[cfg(target_os = "linux")]
mod proxy;
mod query;
mod s3;
mod server;
mod signature;
#[cfg(target_os = "linux")]
mod sshd;
mod visitors;
mod websocket;

pub use daemon::{Check, checks};
pub use programs::program;

/// The name of the only user, who owns the access key, for STS and policies.
const USER_NAME: &str = "autorun";
/// The unique id of the same user.
const USER_ID: &str = "AIDALOCALCLOUD";

/// Returns the AWS operations of the local cloud, by their names in the SDK. A
/// faults file may name them, [`faults::BOOT`] and [`faults::ANY`].
pub fn operations() -> impl Iterator<Item = &'static str> {
    ec2::actions().chain(s3::operations())
}
