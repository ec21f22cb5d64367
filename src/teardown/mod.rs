//! Releases what runs made: the one deletion path.
//!
//! Only what autorun made is ever deleted: the ledger knows it, or its tag
//! `autorun:run` says so. What is known by its name alone must carry the tag
//! still. What is gone already counts as done.

use crate::clients::Clients;
use crate::ledger::{Ledger, Remover};
use crate::report::Reporter;

mod delete;
mod maker;
pub mod orphans;
mod release;
mod resolve;
mod whole_run;

pub use whole_run::NotRemoved;

/// What a removal works with.
#[derive(Clone, Copy, Debug)]
pub struct Teardown<'a> {
    /// The outside world.
    pub clients: &'a Clients,
    /// The run whose things are removed.
    pub ledger: &'a Ledger,
    /// Says what was removed.
    pub report: &'a Reporter,
    /// Who asks for it.
    pub by: Remover,
}
