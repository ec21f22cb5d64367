//! Compares the verdicts on requests with those of a simulator that others wrote:
//! requests that were written to try the language of policies, and requests of real
//! runs. `tests/cloud/authorization/simulate.mjs` renews the simulator's verdicts.
//! `BLESS=1` writes the needs of which it judges each; `tests/policy/recorded.py`
//! records those of real runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::guard::{Guard, Need};
use super::judgements::{Judged, word};
use super::policy::Policy;

/// The account of the requests.
pub(crate) const ACCOUNT: &str = "123456789012";

/// Keeps tests that write the file at once from losing each other's needs.
static FILE: Mutex<()> = Mutex::new(());

#[derive(Deserialize, Serialize)]
struct Recorded {
    simulator: String,
    requests: Vec<Row>,
}

/// A request, the policy of its sender, and what it needs.
#[derive(Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    policy: Value,
    pub(crate) region: String,
    pub(crate) request: Request,
    #[serde(default)]
    needs: Vec<Judged>,
}

/// A request, in the form of its service.
#[derive(Deserialize, Serialize)]
#[serde(tag = "service", rename_all = "lowercase")]
pub(crate) enum Request {
    Ec2 {
        form: String,
    },
    Iam {
        form: String,
    },
    S3 {
        method: String,
        uri: String,
        headers: BTreeMap<String, String>,
    },
}

/// Checks the requests for which `needs` returns what they need.
pub(crate) fn check(mut needs: impl FnMut(&Row) -> Option<Vec<Need>>) {
    let _only = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("tests/cloud/authorization/requests.json");
    let mut recorded: Recorded = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let blesses = std::env::var_os("BLESS").is_some();
    let mut checked = 0;
    for row in &mut recorded.requests {
        let Some(needs) = needs(row) else { continue };
        checked += 1;
        let policy = Policy::parse(&row.policy.to_string()).unwrap();
        let sender = (
            "192.0.2.7".parse().unwrap(),
            Timestamp::constant(1_800_000_000, 0),
        );
        let guard = Guard::of_user(Arc::new(policy), ACCOUNT, &row.region, sender);
        let judged = needs.into_iter().map(|need| Judged::new(&guard, need));
        let ours: Vec<Judged> = judged.collect();
        if blesses {
            row.needs = ours;
            row.needs.iter_mut().for_each(|need| need.verdict = None);
        } else {
            assert_eq!(ours, row.needs, "{}", row.name);
        }
    }
    assert!(checked > 0, "no request was checked");
    if blesses {
        let text = serde_json::to_string_pretty(&recorded).unwrap();
        fs::write(&file, text + "\n").unwrap();
    }
}

/// Requests of real runs.
#[derive(Deserialize)]
struct OfRuns {
    /// The policies of playbooks, by their names.
    policies: BTreeMap<String, Value>,
    requests: Vec<OfRun>,
}

#[derive(Deserialize)]
struct OfRun {
    name: String,
    /// The name of a policy, or a policy.
    policy: Value,
    needs: Vec<Judged>,
}

#[test]
fn requests_of_real_runs_are_judged_as_by_another_simulator() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("tests/policy/recorded.json");
    let recorded: OfRuns = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for request in &recorded.requests {
        let named = request.policy.as_str().map(|name| &recorded.policies[name]);
        let policy = named.unwrap_or(&request.policy).to_string();
        let policy = Policy::parse(&policy).unwrap();
        for need in &request.needs {
            let ours = word(policy.verdict(&need.need()));
            let about = format!("{}: {} on {}", request.name, need.action, need.resource);
            assert_eq!(Some(ours), need.verdict.as_deref(), "{about}");
            *verdicts.entry(ours).or_default() += 1;
        }
    }
    // Verdicts of each kind were compared.
    assert!(recorded.requests.len() >= 30);
    assert!(
        verdicts.len() == 3 && verdicts.values().all(|count| *count >= 3),
        "{verdicts:?}"
    );
}
