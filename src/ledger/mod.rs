//! What runs do, written down before it is asked for.
//!
//! A *run* has *steps* (calls with an effect) and *resources* (what they make).
//! A step writes durably twice: [`Step::intend`] before the request leaves, with
//! a row per resource, and [`Step::finish`] when its end is known. Between the
//! two, rows change in memory alone. A [`Wait`] goes along with the next commit.
//! An [`Intent`] is consumed by `created` or `abandoned`; dropping it (an early
//! `?`, a panic, a kill) leaves the row *intended*: possibly made, to be found by
//! its token and tag.
//!
//! One process works on a run at a time ([`Hold`]), so the rows of its run in
//! memory are those on disk and what the next commit adds.
//!
//! `handle` and `step` are what callers use. Below them, `memory` has the rows of
//! one run, `run`, `rows` and `record` know the tables, `store` is the file, and
//! `opening` decides whether it can be trusted.

pub use about::{About, SecretSource, Target};
pub use clock::{Millis, between, now};
pub use handle::{Intent, Ledger, Release};
pub use hold::Hold;
pub use record::RunRecord;
pub use resource::{NewResource, Remover, Resource, ResourceKind, State};
pub use run::{Run, RunStatus};
pub use step::{Call, Step};
pub use step_row::{Progress, StepResult, StepRow};
pub use store::Store;
pub use wait::Wait;

mod about;
mod access;
mod attempt;
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
mod resource;
mod rows;
mod run;
mod schema;
mod step;
mod step_row;
mod stopped;
mod store;
#[cfg(test)]
mod tests;
mod wait;
mod witness;
