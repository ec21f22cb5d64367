//! A complete record of a run, for output.

use super::clock::{Millis, now};
use super::resource::Resource;
use super::run::{Run, RunStatus};
use super::step_row::StepRow;
use super::store::Store;
use super::wait::Wait;
use crate::error::Result;

/// A run with all its rows.
#[derive(Debug)]
pub struct RunRecord {
    /// The run itself.
    pub run: Run,
    /// Its status.
    pub status: RunStatus,
    /// Its resources, oldest first.
    pub resources: Vec<Resource>,
    /// Its steps, oldest first.
    pub steps: Vec<StepRow>,
    /// Its waits, by start time.
    pub waits: Vec<Wait>,
    /// When the record was read.
    pub read: Millis,
}

impl Store {
    /// Reads everything about the run whose ID has this prefix.
    ///
    /// Fails like [`Store::find`].
    pub fn record(&self, prefix: &str) -> Result<RunRecord> {
        let run = self.find(prefix)?;
        Ok(RunRecord {
            status: self.status(&run)?,
            resources: self.resources(&run.id)?,
            steps: self.steps(&run.id)?,
            waits: self.waits(&run.id)?,
            read: now(),
            run,
        })
    }
}
