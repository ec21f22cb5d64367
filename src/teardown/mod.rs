//! Removes the resources of runs; the program has no other way to delete one.
//!
//! autorun deletes only resources that it created: the ledger has them, or they
//! have the tag `autorun:run`. A resource that is identified only by its name
//! must still have the tag. A resource that is already gone counts as removed.

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

/// The context of a removal.
#[derive(Clone, Copy, Debug)]
pub struct Teardown<'a> {
    /// The clients for AWS and ssh.
    pub clients: &'a Clients,
    /// The ledger of the run whose resources are removed.
    pub ledger: &'a Ledger,
    /// The reporter, which logs each removal.
    pub report: &'a Reporter,
    /// Who asked for the removal.
    pub by: Remover,
}
