//! What a primitive works with: clients, ledger, reporter, variables,
//! cancellation. Passed along, never global; the command line builds it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::clients::marks::{OWNER_TAG, PLAYBOOK_TAG, RESOURCE_TAG, RUN_TAG, Tags};
use crate::clients::{Clients, Pace};
use crate::error::Result;
use crate::ledger::{Ledger, Resource};
use crate::report::Reporter;

/// The name in the environment of a playbook, and of what it starts here, that
/// holds the path of this program.
pub const OWN_PATH: &str = "AUTORUN_EXE";

/// The parts that all branches of a run share.
#[derive(Debug)]
pub struct Parts {
    /// Runs the clients' futures.
    pub runtime: Handle,
    /// The outside world.
    pub clients: Clients,
    /// What the run makes.
    pub ledger: Ledger,
    /// Values of the playbook's variables.
    pub variables: BTreeMap<String, Value>,
    /// The environment of the process, with `OWN_PATH`.
    pub environment: BTreeMap<String, String>,
    /// Set by the first SIGINT or SIGTERM.
    pub cancel: CancellationToken,
    /// Path of the playbook, for tags.
    pub playbook: String,
    /// Tags of everything the run makes, given by `--tag`.
    pub run_tags: BTreeMap<String, String>,
    /// How long instances live, given by `--ttl`.
    pub ttl: Option<Duration>,
}

/// Handle on a run, one per branch of `parallel`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    parts: Arc<Parts>,
    /// Reports under the branch's label.
    pub report: Reporter,
    /// The branches of `parallel` that lead here, the same in every attempt.
    pub path: Arc<str>,
}

impl Context {
    /// The context of a run's main branch.
    #[must_use]
    pub fn new(parts: Parts, report: Reporter) -> Self {
        Self {
            parts: Arc::new(parts),
            report,
            path: "".into(),
        }
    }

    /// The same run in a branch of `parallel`, reporting under its label. `name`
    /// tells the branch from its siblings.
    #[must_use]
    pub fn branch(&self, label: &str, name: &str) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            report: self.report.branch(label),
            path: format!("{}/{name}", self.path).into(),
        }
    }

    /// The same, for something that takes its time and is on the terminal until
    /// this is dropped.
    #[must_use]
    pub fn working(&self, what: &str) -> Self {
        Self {
            report: self.report.working(what),
            ..self.clone()
        }
    }

    /// A wait for `what` of at most `timeout`.
    #[must_use]
    pub fn pace(&self, what: String, timeout: Duration) -> Pace {
        self.clients.pace(what, timeout, &self.report)
    }

    /// Asks for what a row of the ledger says was made: nothing, only once the
    /// endpoint cannot deny it any more.
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

    /// The tags of something this run makes: which run, which ledger row, its
    /// name, and the caller's own.
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

/// What S3 takes as a tag's value, which is less than EC2 does: the end of the
/// text if it is too long, and `_` for other characters.
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
