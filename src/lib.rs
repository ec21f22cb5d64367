//! `autorun` runs playbooks: Rhai scripts in which EC2, S3 and ssh are
//! built-in functions.
//!
//! The modules in dependency order; each may use what stands to its right,
//! never to its left (a test reads the `use` lines):
//!
//! ```text
//! cli -> playbook -> primitives -> script -> context -> clients, ledger -> report -> error
//! cli -> page -> primitives, ledger, report, error
//! cli, primitives -> teardown -> clients, ledger
//! ```
//!
//! `crash` stands at the right end as well: places where the tests end the
//! program.
//!
//! Two further packages lie below `src`. `localcloud` is EC2 and S3 on this
//! computer: only `cli` uses it, and it knows neither an SDK nor Rhai. `private`
//! checks whether files are one user's alone, for the ledger and `localcloud`.
//!
//! - A primitive is one documented function in one file of `primitives`.
//! - `script` is the only place that knows how Rust meets Rhai.
//! - `report` writes what a run says, without its secrets. `cli` answers commands
//!   and asks questions; `prompt` in `primitives` asks for the playbook.
//! - Whatever is made is written down in the `ledger` before the request leaves,
//!   and removed by `teardown` alone.
//! - Nothing is global: a [`context::Context`] is passed along.

pub mod cli;
pub mod clients;
pub mod context;
pub mod crash;
pub mod error;
pub mod ledger;
pub mod page;
pub mod playbook;
pub mod primitives;
pub mod report;
pub mod script;
pub mod teardown;
