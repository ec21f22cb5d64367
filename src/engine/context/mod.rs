//! The context of every primitive: clients, ledger, reporter, variables and the
//! cancellation token. The command line creates it; it is passed as an argument
//! and is never global.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::clients::marks::{OWNER_TAG, PLAYBOOK_TAG, RESOURCE_TAG, RUN_TAG, Tags};
use crate::clients::{Clients, Pace};
use crate::error::Result;
use crate::ledger::{Ledger, Resource};
use crate::report::Reporter;

pub use rehearsal::{Assumption, Note, Rehearsal, Uncertain};

mod rehearsal;

/// The environment variable that holds the path of this program, for the
/// playbook and for the commands that it starts on this machine.
pub const OWN_PATH: &str = "AUTORUN_EXE";

/// A file of the playbook, as `script_dir()` needs it.
#[derive(Debug)]
pub struct ScriptFile {
    /// Its directory, an absolute path.
    pub directory: PathBuf,
    /// Line and column of each call of `script_dir()` in it.
    pub calls: BTreeSet<(usize, usize)>,
    /// Those calls that are in closures.
    pub in_closures: BTreeSet<(usize, usize)>,
}

/// The parts that all branches of a run share.
#[derive(Debug)]
pub struct Parts {
    /// The runtime that drives the clients' futures.
    pub runtime: Handle,
    /// The clients for AWS, ssh and HTTP.
    pub clients: Clients,
    /// The ledger, which records the resources of the run.
    pub ledger: Ledger,
    /// Values of the playbook's variables.
    pub variables: BTreeMap<String, Value>,
    /// The environment of the process, with `OWN_PATH`.
    pub environment: BTreeMap<String, String>,
    /// Set by the first SIGINT or SIGTERM.
    pub cancel: CancellationToken,
    /// Path of the playbook, for tags.
    pub playbook: String,
    /// The playbook and each imported file, by name.
    pub files: BTreeMap<String, ScriptFile>,
    /// The tags from `--tag`, set on every resource of the run.
    pub run_tags: BTreeMap<String, String>,
    /// The lifetime of instances, from `--ttl`.
    pub ttl: Option<Duration>,
    /// The notes of a rehearsal; `None` in a run.
    pub rehearsal: Option<Rehearsal>,
}

/// A handle on a run, one per branch of `parallel`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    parts: Arc<Parts>,
    /// The reporter, which shows messages under the branch's label.
    pub report: Reporter,
    /// The path of `parallel` branches that leads here, the same in every
    /// attempt.
    pub path: Arc<str>,
    /// What the current call has assumed, in a rehearsal.
    assumed: Arc<Mutex<Vec<Assumption>>>,
}

impl Context {
    /// Creates the context of a run's main branch.
    #[must_use]
    pub fn new(parts: Parts, report: Reporter) -> Self {
        Self {
            parts: Arc::new(parts),
            report,
            path: "".into(),
            assumed: Arc::default(),
        }
    }

    /// Returns the context of a branch of `parallel`, which reports under its
    /// label. `name` distinguishes the branch from its siblings.
    #[must_use]
    pub fn branch(&self, label: &str, name: &str) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            report: self.report.branch(label),
            path: format!("{}/{name}", self.path).into(),
            assumed: Arc::default(),
        }
    }

    /// Returns the same context for a lengthy operation, which the terminal
    /// shows as in progress until the context is dropped.
    #[must_use]
    pub fn working(&self, what: &str) -> Self {
        Self {
            report: self.report.working(what),
            ..self.clone()
        }
    }

    /// Returns the context of a call, which collects its own assumptions.
    #[must_use]
    pub fn of_call(&self, function: &str) -> Self {
        Self {
            assumed: Arc::default(),
            ..self.working(function)
        }
    }

    /// Notes in a rehearsal that the current call has not had an effect outside of
    /// it, and which result was assumed.
    pub fn assume(&self, effect: impl Into<String>, result: impl Into<String>) {
        self.push(effect.into(), result.into(), true);
    }

    /// Like [`Self::assume`], for a call that returns nothing that was made up.
    pub fn assume_success(&self, effect: impl Into<String>) {
        self.push(effect.into(), "it succeeds".to_owned(), false);
    }

    fn push(&self, effect: String, result: String, is_answer: bool) {
        let mut assumed = self.assumed.lock().unwrap_or_else(PoisonError::into_inner);
        assumed.push(Assumption {
            effect,
            result,
            is_answer,
        });
    }

    /// Returns what the current call has assumed.
    #[must_use]
    pub fn assumptions(&self) -> Vec<Assumption> {
        let assumed = self.assumed.lock();
        assumed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a wait for `what` of at most `timeout`.
    #[must_use]
    pub fn pace(&self, what: String, timeout: Duration) -> Pace {
        self.clients.pace(what, timeout, &self.report)
    }

    /// Queries a resource that the ledger records. Returns `None` only after
    /// the retry window; within it, an empty answer does not mean that the
    /// resource is missing.
    pub async fn seen<T>(
        &self,
        row: &Resource,
        ask: impl AsyncFn() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let what = format!("{} {}", row.kind.words(), row.name);
        self.clients
            .once_consistent(&what, row.changed, &self.report, ask)
            .await
    }

    /// Queries a resource whose create request of an earlier attempt has no known
    /// answer. Returns `None` only after the retry window.
    pub async fn find_created<T>(
        &self,
        what: &str,
        ask: impl AsyncFnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        self.clients.find_created(what, &self.report, ask).await
    }

    /// Returns the tags of a resource of this run: the run, the ledger row, its
    /// name, the caller's own tags.
    #[must_use]
    pub fn tags(&self, name: &str, row: &str, own: &BTreeMap<String, String>) -> Tags {
        let mut tags = BTreeMap::from([("Name".to_owned(), name.to_owned())]);
        tags.extend(self.run_tags.clone());
        tags.extend(own.clone());
        let ours = [
            (RUN_TAG, self.ledger.run()),
            (RESOURCE_TAG, row),
            (OWNER_TAG, self.ledger.owner()),
            (PLAYBOOK_TAG, &fit_for_tag(&self.playbook)),
        ];
        tags.extend(ours.map(|(tag, value)| (tag.to_owned(), value.to_owned())));
        tags.into_iter().collect()
    }
}

/// Returns the text as a tag value that S3 accepts (S3 accepts fewer characters
/// than EC2): only the end of a text that is too long, and `_` for each other
/// character.
fn fit_for_tag(text: &str) -> String {
    const LONGEST: usize = 256;
    let start = text.chars().count().saturating_sub(LONGEST);
    text.chars()
        .skip(start)
        .map(|c| match c {
            c if c.is_alphanumeric() || " +-=._:/@".contains(c) => c,
            _ => '_',
        })
        .collect()
}

impl std::ops::Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
