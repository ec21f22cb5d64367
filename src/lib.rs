//! `autorun` runs playbooks: Rhai scripts in which EC2, S3 and ssh are built-in
//! functions. This page describes how the program is put together. The manual
//! for users is `MANUAL.md`; `CONTRIBUTING.md` says how to add things.
//!
//! # What lives where
//!
//! The modules in dependency order. A module uses only modules to its right in one
//! of these lines; a test reads the `use` lines.
//!
//! ```text
//! cli -> playbook -> primitives -> script -> context -> clients, ledger -> report -> error
//! cli -> page -> primitives, ledger, report, error
//! cli -> policy -> clients, ledger -> report -> error
//! cli, primitives -> teardown -> clients, ledger
//! ```
//!
//! | Module | What it does |
//! | --- | --- |
//! | [`cli`] | parses arguments, reads the environment, one file for each subcommand |
//! | [`page`] | the report page and the timeline of `autorun show` |
//! | [`playbook`] | loads, compiles and checks a script; diagnostics; the reference |
//! | [`primitives`] | the functions that playbooks call, one file or folder for each family |
//! | [`script`] | the only place that knows how Rust meets Rhai: calls, options, thrown errors |
//! | [`context`] | what a primitive works with; passed as an argument, never global |
//! | [`teardown`] | the one path on which resources are deleted |
//! | [`policy`] | the IAM policy that a run needs, from its recorded requests |
//! | [`clients`] | EC2, S3 and ssh: requests, and error codes as types; no Rhai |
//! | [`ledger`] | SQLite: runs, steps and resources; a bucket that machines share |
//! | [`report`] | events of a run, to terminal, JSON lines and log file; masks secrets |
//! | [`error`] | the error type: kind, message, hint; exit codes |
//! | [`crash`] | places where the crash tests end the program |
//!
//! Five further packages are below `src`. `core` has what needs neither the AWS
//! SDK nor Rhai: `error`, `report`, `ledger`, `crash` and the ssh client of
//! `clients`. The compiler builds it while it works on the SDK. `clients` has the rest
//! of that module, and is the only user of the SDK. `engine` has `context`, `script`,
//! `primitives` and `teardown`. `localcloud` is EC2 and S3 on this
//! machine, with instances made of Linux namespaces; it knows neither an AWS SDK
//! nor Rhai, and only `cli` uses it. The SDKs reach it over TCP as they reach AWS,
//! so no primitive can tell the difference. `private` checks that files belong to
//! one user alone, for the ledger and for `localcloud`.
//!
//! # Processes and threads
//!
//! A run on AWS is one process:
//!
//! - The main thread parses the arguments and creates a tokio runtime. It runs no
//!   tasks itself.
//! - The Rhai engine is synchronous and has a thread of its own. Each branch of
//!   `parallel` has another one. A primitive blocks its thread on a future at one
//!   place, `script::call`.
//! - The runtime's workers drive the AWS SDKs, timers and signals.
//! - ssh2 blocks, so each ssh connection runs on a blocking thread.
//! - SIGINT and SIGTERM cancel one token, which every wait selects on.
//!
//! With `--local`, a second process answers as EC2 and S3 do. It continues when
//! the run has ended, so that a browser can look at the server. The same binary
//! takes all its roles: daemon, zygote (which forks instances), and the first
//! process of each instance. The header of `localcloud::machine` describes them.
//!
//! # The life of a run
//!
//! 1. `cli::run` loads the playbook. `playbook` compiles it and checks names,
//!    arguments, options and variables. Nothing has been sent or written.
//! 2. `cli::attempt` takes the run's lock and records the run in the ledger, with
//!    its variables but without secrets. Other processes see the record at once; it is
//!    on disk with the first step.
//! 3. Each call with an effect is a *step*. The step, and a row for each
//!    *resource* that it is about to create, are on disk before the request
//!    leaves. The row's id is the tag `autorun:resource`, and the client token of a
//!    launch. A bucket, whose create request takes no tags, is found by its name,
//!    and is tagged right after the create.
//! 4. The answer changes the row: *intended* becomes *live*, or *abandoned* if
//!    the answer proves that nothing was created. After a lost answer or a crash the
//!    row stays *intended*: the resource may exist.
//! 5. `resume` runs the playbook again. A step that succeeded before returns its
//!    recorded result. For an intended row, autorun queries AWS by
//!    token, tag or bucket name, and so finds out whether the resource exists.
//! 6. `destroy` deletes the rows' resources, newest first, through `teardown`.
//!    *Live* becomes *releasing*, then *released*. What is already gone counts as
//!    deleted.
//!
//! # One call, from Rhai to AWS and back
//!
//! `create_bucket("pictures")` in a playbook:
//!
//! 1. Rhai calls `primitives::buckets::api::create_bucket`, which passes its
//!    arguments to `script::effect`.
//! 2. `script::effect` takes the [`context::Context`] from the engine, makes a
//!    step of the function and its arguments, and blocks on the work.
//! 3. The work reads the option map into a struct (`script::options`), which reports
//!    unknown keys and wrong types. If the ledger has a recorded result for the step, the
//!    work returns it.
//! 4. `step.intend` writes the step and the bucket's row to disk.
//! 5. `clients::s3` sends the request through the SDK. An error code becomes an
//!    [`error::ErrorKind`], or a variant of the method's result. No other place
//!    translates error codes.
//! 6. The row becomes live; the step's result is recorded; `report` gets events.
//! 7. The result struct becomes a Rhai map. An error becomes a thrown map with
//!    kind, message, hint and place.
//!
//! # Invariants
//!
//! - No create request is sent before its row is on disk.
//! - A retry never creates a second instance.
//! - `destroy` deletes only what this ledger's runs created. A playbook's own
//!   deletion needs the tag `autorun:run` on the resource.
//! - A missing answer never counts as success: no exit status, an empty list within
//!   the retry window, a ledger that cannot be read.
//! - Secrets never reach output, logs, the ledger, or the arguments of programs.
//! - No command runs on a host whose key differs from the known one.
//! - A remote host never chooses a name, a place or a file type on this machine.
//! - No code branches on the words of a message.

pub use autorun_clients as clients;
pub use autorun_core::{crash, error, ledger, report};
pub use autorun_engine::{context, primitives, script, teardown};

pub mod cli;
pub mod page;
pub mod playbook;
pub mod policy;
