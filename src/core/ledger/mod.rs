//! The record of runs: every resource is recorded before its create request is
//! sent.
//!
//! A *run* has *steps* (calls with an effect) and *resources* (created by steps).
//! A step writes to the database twice: [`Step::intend`] writes a row for each
//! resource before the request is sent, and [`Step::finish`] writes the result.
//! Between the two writes, rows change only in memory. A [`Wait`] is a call without
//! an effect that took time, such as `wait_until_ready`. It is recorded only for
//! the timeline, together with the next write. So are the [`Request`]s to AWS, for
//! `autorun policy`.
//!
//! An [`Intent`] is consumed by `created` or `abandoned`. If it is dropped (by an
//! early `?`, a panic or a kill), its row stays *intended*: the resource may exist,
//! and is found by its token and tag.
//!
//! One process at a time works on a run ([`Hold`]), so the rows in memory are
//! those on disk plus the changes of the next write. Several machines can share a
//! ledger ([`SharedLedger`]): then the file is a cache of what is in a bucket.
//!
//! Callers use `handle` and `step`. Below them, `memory` has the rows of one run;
//! `run`, `rows` and `record` read and write the tables; `store` is the file; and
//! `opening` checks whether the file can be trusted.

pub use about::{About, SecretSource, Target};
pub use clock::{Millis, between, now};
pub use handle::{Intent, Ledger, Release};
pub use hold::Hold;
pub use record::RunRecord;
pub use request::{Request, Requests};
pub use resource::{NewResource, Remover, Resource, ResourceKind, State};
pub use run::{RUN_ID_LETTERS, Run, RunStatus};
pub use shared::{Audit, Counts, Object, Objects, Periods, Pruned, Put, SharedLedger};
pub use step::{Call, Step};
pub use step_row::{Progress, StepResult, StepRow};
pub use store::Store;
pub use wait::Wait;

mod about;
mod access;
mod attempt;
mod change;
mod clock;
mod contents;
mod creation;
mod faults;
mod files;
mod handle;
mod hold;
mod identity;
mod ids;
mod kept;
mod memory;
mod opening;
mod record;
mod request;
mod resource;
mod resource_rows;
mod rows;
mod run;
mod schema;
mod shared;
mod step;
mod step_row;
mod stopped;
mod store;
#[cfg(test)]
mod tests;
mod wait;
mod witness;
