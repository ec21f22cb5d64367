//! The local cloud: EC2 and S3 on this computer, with instances that are real.
//!
//! A background process answers AWS's protocols on one address; the SDKs reach
//! it over TCP like any endpoint, so that a primitive cannot tell it from AWS.
//! Nothing here knows an SDK or Rhai, and only `cli` and the tests know this.
//!
//! - [`daemon`] is the process, `server` its HTTP front, [`faults`] what goes
//!   wrong on request.
//! - `crowd` says who may hold how many connections, `visitors` whose those of
//!   the front are (with `peer`), `line` gives up those that read no answers;
//!   `logbook` is the log.
//! - `ec2` (with STS) and `s3` are the services; `signature` checks that they do
//!   what is signed and nothing else, `query` reads what their addresses say.
//! - `machine` makes instances out of namespaces; `sshd`, `proxy` and
//!   `metadata` are what they find in there.
//! - `clock` is the time as it is written down.
//! - `accounts` and `files` read what an instance's root controls.
//! - [`home`] is where a local cloud keeps its state and its access key.
//!
//! Root in an instance is not root here: instances have user namespaces, files
//! and limits of their own. They share the kernel; its faults are theirs, too.

#[cfg(target_os = "linux")]
mod accounts;
mod clock;
mod crowd;
pub mod daemon;
mod ec2;
pub mod faults;
#[cfg(target_os = "linux")]
mod files;
pub mod home;
mod line;
mod logbook;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod metadata;
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

pub use daemon::{Check, checks};
pub use programs::program;

/// The one user, who holds the one key: what STS and policies call it.
const USER_NAME: &str = "autorun";
/// The same user, by the id that never changes.
const USER_ID: &str = "AIDALOCALCLOUD";

/// The operations of AWS that the local cloud has, by the SDKs' names: what a
/// fault may be about, beside [`faults::BOOT`] and [`faults::ANY`].
pub fn operations() -> impl Iterator<Item = &'static str> {
    ec2::actions().chain(s3::operations())
}
