//! What a primitive works with: clients, ledger, reporter, variables,
//! cancellation. Passed along, never global; the command line builds it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::clients::ec2::{RUN_TAG, Tags};
use crate::clients::{Clients, Pace};
use crate::ledger::Ledger;
use crate::report::Reporter;

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
    /// Set by the first SIGINT or SIGTERM.
    pub cancel: CancellationToken,
    /// Path of the playbook, for tags.
    pub playbook: String,
}

/// Handle on a run, one per branch of `parallel`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    parts: Arc<Parts>,
    /// Reports under the branch's label.
    pub report: Reporter,
}

impl Context {
    /// The context of a run's main branch.
    #[must_use]
    pub fn new(parts: Parts, report: Reporter) -> Self {
        Self {
            parts: Arc::new(parts),
            report,
        }
    }

    /// The same run, reporting under a branch's label.
    #[must_use]
    pub fn branch(&self, label: &str) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            report: self.report.branch(label),
        }
    }

    /// A wait for `what` of at most `timeout`.
    #[must_use]
    pub fn pace(&self, what: String, timeout: Duration) -> Pace {
        self.clients.pace(what, timeout, &self.report)
    }

    /// The tags of something this run makes: which run, which ledger row, its
    /// name, and the caller's own.
    #[must_use]
    pub fn tags(&self, name: &str, row: &str, own: &BTreeMap<String, String>) -> Tags {
        let mut tags = BTreeMap::from([("Name".to_owned(), name.to_owned())]);
        tags.extend(own.clone());
        tags.insert(RUN_TAG.to_owned(), self.ledger.run().to_owned());
        tags.insert("autorun:resource".to_owned(), row.to_owned());
        tags.insert("autorun:playbook".to_owned(), self.playbook.clone());
        tags.into_iter().collect()
    }
}

impl std::ops::Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
