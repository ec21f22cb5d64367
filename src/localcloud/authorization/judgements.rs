//! What requests need and the verdicts on it, for the comparison with a simulator that
//! others wrote. Only test builds keep them.

use std::collections::BTreeMap;
#[cfg(feature = "judgements")]
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::guard::{Guard, Need};
use super::policy::Verdict;

/// What a request needs, with the verdict on it.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Judged {
    pub(super) action: String,
    pub(super) resource: String,
    values: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) verdict: Option<String>,
}

impl Judged {
    /// Returns the verdict on a need, with all its values.
    pub(super) fn new(guard: &Guard, need: Need) -> Self {
        let (need, verdict) = guard.judged(need);
        let value = |key: &str, values: &[String]| match values {
            // The only key that has several values.
            [value] if key != "aws:tagkeys" => Value::from(value.as_str()),
            values => Value::from(values),
        };
        let values = need.values.iter();
        Self {
            values: values
                .map(|(key, values)| (key.to_owned(), value(key, values)))
                .collect(),
            action: need.action,
            resource: need.resource,
            verdict: Some(word(verdict).to_owned()),
        }
    }

    /// Returns the need without its verdict.
    #[cfg(test)]
    pub(super) fn need(&self) -> Need {
        let mut need = Need::new(self.action.as_str(), self.resource.as_str());
        for (key, value) in &self.values {
            let texts = match value {
                Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
                one => Vec::from_iter(one.as_str()),
            };
            need.values
                .set_all(key, texts.into_iter().map(str::to_owned));
        }
        need
    }
}

/// Returns the simulator's word for a verdict.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "Allowed",
        Verdict::Denied => "ExplicitlyDenied",
        Verdict::Silent => "ImplicitlyDenied",
    }
}

/// The judged requests, oldest first.
#[cfg(feature = "judgements")]
static REQUESTS: Mutex<Vec<Vec<Judged>>> = Mutex::new(Vec::new());

/// Keeps the verdicts on what a request needs.
#[cfg(feature = "judgements")]
pub(super) fn keep(guard: &Guard, needs: &[Need]) {
    let judged = needs.iter().map(|need| Judged::new(guard, need.clone()));
    let mut requests = REQUESTS.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(judged.collect());
}

/// Returns the judged requests since the last call.
#[cfg(feature = "judgements")]
pub(crate) fn take() -> Value {
    let mut requests = REQUESTS.lock().unwrap_or_else(PoisonError::into_inner);
    serde_json::to_value(std::mem::take(&mut *requests)).unwrap_or_default()
}
