//! All that the ledger has of a run, for those who show it.

use super::clock::{Millis, now};
use super::resource::Resource;
use super::run::{Run, RunStatus};
use super::step_row::StepRow;
use super::store::Store;
use super::wait::Wait;
use crate::error::Result;

/// A run with its rows.
#[derive(Debug)]
pub struct RunRecord {
    /// The run itself.
    pub run: Run,
    /// What it does, or what became of it.
    pub status: RunStatus,
    /// What it made, oldest first.
    pub resources: Vec<Resource>,
    /// Its steps, oldest first.
    pub steps: Vec<StepRow>,
    /// Its waits, by their beginnings.
    pub waits: Vec<Wait>,
    /// When this was read.
    pub read: Millis,
}

impl Store {
    /// Everything about the run whose id begins so.
    ///
    /// Throws as [`Store::find`].
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
