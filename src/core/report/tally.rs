//! Counts the calls of a run, for the summary at its end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::event::{Event, Steps};

/// Number and total duration of calls, by function.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<String, (usize, f64)>>);

impl Tally {
    pub(super) fn count(&self, event: &Event) {
        let Event::StepFinished {
            function, seconds, ..
        } = event
        else {
            return;
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, took) = all.entry(function.clone()).or_default();
        *count += 1;
        *took += seconds;
    }

    /// Returns the calls by function, longest first.
    pub(super) fn steps(&self) -> Vec<Steps> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steps: Vec<Steps> = all
            .iter()
            .map(|(function, (count, seconds))| Steps {
                function: function.clone(),
                count: *count,
                seconds: *seconds,
            })
            .collect();
        steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        steps
    }
}
