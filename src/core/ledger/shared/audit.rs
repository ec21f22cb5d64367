//! A look at the whole ledger: what is in it, and whether all of it can be read.

use super::SharedLedger;
use super::entry::{self, RunKeys, Sorted, foreign};
use super::fetch::{Chain, read_keys};
use super::keeper::read_record;
use super::marker;
use crate::error::{Error, Result};
use crate::ledger::store::Store;

/// How many entries are in memory at the same time.
const AT_ONCE: usize = 1000;

/// What is in a shared ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The runs.
    pub runs: usize,
    /// The objects of their journals.
    pub objects: usize,
    /// The changes that this machine has recorded and not sent.
    pub unsent: usize,
    /// The runs of this machine that are not in the shared ledger.
    pub only_here: usize,
}

/// The result of reading everything.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// The runs.
    pub runs: usize,
    /// The objects that were read.
    pub objects: usize,
    /// The entries that do not count, because their writers had lost the lease.
    pub ignored: usize,
    /// What is damaged or does not belong here.
    pub faults: Vec<Error>,
}

impl SharedLedger {
    /// Counts what is in the ledger.
    pub fn counts(&self, store: &Store) -> Result<Counts> {
        let objects = &*self.0.objects;
        let keys = objects.list("run/")?;
        let count = keys.len();
        let runs = entry::by_run(self.place(), keys)?;
        let here = store.read(super::cache::only_here)?;
        Ok(Counts {
            runs: runs.len(),
            objects: count,
            unsent: store.read(|db| super::cache::all_unsent(db, self.place()))?,
            only_here: here.len(),
        })
    }

    /// Reads every object. Changes nothing.
    pub fn audit(&self) -> Result<Audit> {
        let objects = &*self.0.objects;
        let mut audit = Audit::default();
        let (journals, others): (Vec<String>, Vec<String>) = objects
            .list("")?
            .into_iter()
            .partition(|key| key.starts_with("run/"));
        let (leases, others): (Vec<String>, Vec<String>) = others
            .into_iter()
            .partition(|key| key.starts_with("lease/"));
        let others = others.into_iter().filter(|key| key != marker::KEY);
        audit.check_leases(self, &leases)?;
        let sorted = Sorted::of(journals);
        for key in others.chain(sorted.foreign) {
            audit.faults.push(foreign(self.place(), &key));
        }
        for (run, keys) in sorted.runs.iter().filter(|(_, keys)| !keys.is_removed) {
            audit.runs += 1;
            if let Err(fault) = audit.check_run(self, run, keys) {
                audit.faults.push(fault);
            }
        }
        Ok(audit)
    }
}

impl Audit {
    fn check_leases(&mut self, shared: &SharedLedger, keys: &[String]) -> Result<()> {
        let leases = shared.0.objects.read_all(keys)?;
        for (key, lease) in keys.iter().zip(leases) {
            let Some(lease) = lease else { continue };
            self.objects += 1;
            self.faults
                .extend(read_record(shared.place(), key, &lease.body).err());
        }
        Ok(())
    }

    /// Reads the journal of a run.
    ///
    /// Fails if it is damaged.
    fn check_run(&mut self, shared: &SharedLedger, run: &str, keys: &RunKeys) -> Result<()> {
        let objects = &*shared.0.objects;
        let Some(newest) = keys.newest() else {
            return Ok(());
        };
        let chain = Chain::read(objects, run, keys, newest, None)?;
        self.ignored += keys.count() - chain.count();
        for some in keys.keys(run).chunks(AT_ONCE) {
            self.objects += read_keys(objects, run, some)?.len();
        }
        Ok(())
    }
}
