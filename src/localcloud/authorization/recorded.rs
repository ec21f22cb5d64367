//! Compares the verdicts on recorded requests with those of a simulator that others
//! wrote. `tests/cloud/authorization/simulate.mjs` renews the simulator's verdicts;
//! `BLESS=1` writes the needs of which it judges each.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::guard::{Guard, Need};
use super::policy::{Policy, Verdict};

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
    needs: Vec<RecordedNeed>,
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

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct RecordedNeed {
    action: String,
    resource: String,
    values: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
}

impl RecordedNeed {
    fn new(need: &Need) -> Self {
        let value = |key: &str, values: &[String]| match values {
            // The only key that has several values.
            [value] if key != "aws:tagkeys" => Value::from(value.as_str()),
            values => Value::from(values),
        };
        let values = need.values.iter();
        Self {
            action: need.action.clone(),
            resource: need.resource.clone(),
            values: values
                .map(|(key, values)| (key.to_owned(), value(key, values)))
                .collect(),
            verdict: None,
        }
    }
}

/// Returns the simulator's word for a verdict.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "Allowed",
        Verdict::Denied => "ExplicitlyDenied",
        Verdict::Silent => "ImplicitlyDenied",
    }
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
        let judged = needs.into_iter().map(|need| guard.judged(need));
        let ours: Vec<RecordedNeed> = judged
            .map(|(need, verdict)| RecordedNeed {
                verdict: Some(word(verdict).to_owned()),
                ..RecordedNeed::new(&need)
            })
            .collect();
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
