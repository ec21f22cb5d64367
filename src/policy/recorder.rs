//! Records in the ledger what the requests of a run need.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::need::Need;
use crate::clients::AwsOptions;
use crate::clients::calls::{Call, Listener};
use crate::ledger::{Request, Requests};
use crate::report::Reporter;

/// Hears of the requests of a run and keeps the distinct needs until the ledger
/// takes them.
#[derive(Debug)]
pub struct Recorder {
    report: Reporter,
    needs: Mutex<Needs>,
}

#[derive(Debug, Default)]
struct Needs {
    known: HashSet<Need>,
    new: Vec<Need>,
}

impl Recorder {
    /// Creates a recorder, which masks the secrets of the reporter, and the options
    /// for clients that report to it.
    #[must_use]
    pub fn listening(aws: &AwsOptions, report: &Reporter) -> (Arc<Self>, AwsOptions) {
        let recorder = Arc::new(Self {
            report: report.clone(),
            needs: Mutex::default(),
        });
        let mut aws = aws.clone();
        aws.listeners
            .add(Arc::clone(&recorder) as Arc<dyn Listener>);
        (recorder, aws)
    }
}

impl Listener for Recorder {
    fn sends(&self, call: &Arc<Call>) {
        let need = Need::of(call);
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        if needs.known.insert(need.clone()) {
            needs.new.push(need);
        }
    }
}

impl Requests for Recorder {
    fn take(&self) -> Vec<Request> {
        let mut needs = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = std::mem::take(&mut needs.new);
        let mask = self.report.mask();
        new.iter().map(|need| need.recorded(mask)).collect()
    }
}
