//! A rehearsal: a local cloud and a ledger that exist for one command.
//!
//! They are below one directory beside the user's own local cloud. The cloud's
//! process ends with this one, however it ends, and removes the directory. As
//! root, instances boot; without root they exist as records only.

mod abandoned;
mod borrowed_objects;
mod borrowing;
mod loans;
mod perform;
mod searches;

pub(super) use loans::{Kind, Loan, Source};
pub(super) use perform::{Lending, Rehearsed, rehearse, texts};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use autorun_localcloud::daemon::{self, OfCaller};
use autorun_localcloud::home::Home;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::local::{Cloud, homes};
use super::settings::{local, shown};
use crate::clients::{AwsOptions, Clients, Local};
use crate::ledger::Store;
use crate::report::Reporter;

/// Where a rehearsal takes place: the local cloud and the ledger of one command.
///
/// They end when this value is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    cloud: Arc<Cloud>,
    /// Ends the process when it is dropped.
    process: OfCaller,
    directory: Directory,
}

/// The directory of a rehearsal. The process of the local cloud removes it; this
/// value removes it too if that process was killed.
#[derive(Debug)]
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // The process has usually removed it already.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    /// Starts a local cloud with an empty account.
    pub(super) fn start(runtime: &Runtime) -> anyhow::Result<Self> {
        let own = homes()?
            .pop()
            .context("there is no directory for a local cloud")?;
        let parent = own.rehearsals();
        abandoned::remove(&parent);
        let directory = Directory(directory_in(&parent)?);
        let home = Home::below(&directory.0);
        let process = daemon::start_for_caller(&home, &own.packages());
        let process = process.map_err(|why| anyhow!("{why}"))?;
        let cloud = runtime.block_on(Cloud::at(home))?;
        let cloud = cloud.context("the local cloud of the rehearsal does not respond")?;
        Ok(Self {
            cloud: Arc::new(cloud),
            process,
            directory,
        })
    }

    /// Returns the client options for the rehearsal's cloud.
    pub(super) fn aws_options(&self, region: Option<String>) -> AwsOptions {
        AwsOptions {
            confined: true,
            ..self.cloud.aws_options(region)
        }
    }

    /// Returns clients for the rehearsal's cloud.
    pub(super) fn clients(
        &self,
        region: Option<String>,
        report: &Reporter,
    ) -> anyhow::Result<Clients> {
        let aws = self.aws_options(region);
        let cancel = CancellationToken::new();
        Ok(Clients::new(aws, self.local()?, report.silent(), cancel))
    }

    /// Returns whether its instances boot.
    pub(super) fn boots(&self) -> bool {
        self.cloud.boots()
    }

    /// Returns why its instances cannot boot, and how they could.
    pub(super) fn cannot_boot(&self) -> Option<String> {
        let why = self.cloud.status["cannot_boot"].as_str();
        why.filter(|_| !self.boots()).map(str::to_owned)
    }

    /// Returns the directory of its ledger, of private keys and of host keys.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.directory.0.join("ledger")
    }

    /// Opens its ledger, which is empty at first.
    pub(super) fn store(&self) -> anyhow::Result<Store> {
        Store::open(&self.data_dir()).map_err(|e| shown(&e))
    }

    /// Returns the directory that has the files which the playbook writes.
    pub(super) fn files(&self) -> PathBuf {
        self.directory.0.join("files")
    }

    /// Returns the settings of this machine, with the rehearsal's directories.
    pub(super) fn local(&self) -> anyhow::Result<Local> {
        Ok(Local {
            data_dir: self.data_dir(),
            overlay: Some(self.files()),
            ..local()?
        })
    }

    /// Tells the local cloud to end, without waiting for it. Dropping the value
    /// waits.
    pub(super) fn end(&mut self) {
        self.process.end();
    }
}

/// Creates a directory that only this user can access.
fn directory_in(parent: &Path) -> anyhow::Result<PathBuf> {
    let failed = || format!("cannot create a directory in {}", parent.display());
    std::fs::create_dir_all(parent).with_context(failed)?;
    let directory = tempfile::Builder::new().tempdir_in(parent);
    Ok(directory.with_context(failed)?.keep())
}
