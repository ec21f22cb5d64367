//! The parts of `autorun` that need no AWS SDK and no Rhai: errors, events, the
//! ledger, and ssh.
//!
//! They are a package of their own so that they are compiled while the compiler works
//! on the SDK for EC2, which is a third of the build, and so that the package above is
//! smaller. Its code map, in the `lib.rs` of `autorun`, includes these modules.

pub mod confinement;
pub mod crash;
pub mod error;
pub mod key_file;
pub mod keys;
pub mod ledger;
pub mod local;
mod openssh_key;
pub mod report;
pub mod ssh;
pub mod tree;
