//! What playbooks call: the functions, how Rust meets Rhai, and the one path on which
//! resources are deleted.
//!
//! It is a package of its own so that the compiler needs less memory for the package
//! above, which it builds while it works on the SDK for EC2. The code map in the
//! `lib.rs` of `autorun` includes these modules.

use autorun_clients as clients;
use autorun_core::{crash, error, ledger, report};

pub mod context;
pub mod primitives;
pub mod script;
pub mod teardown;
