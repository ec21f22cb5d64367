//! The settings that all connections of a server share.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

/// The part of process 1 that waits for its child processes.
pub(crate) trait Reaper: Send + Sync {
    /// Returns a receiver of the exit status of the child `pid`. The caller must
    /// call it right after it has started the child, before the thread does
    /// anything else: otherwise the child may already have been reaped.
    fn exited(&self, pid: i32) -> oneshot::Receiver<ExitStatus>;
}

/// The settings that all connections share.
pub(super) struct Settings {
    pub(super) drop_after: Option<u64>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) reaper: Arc<dyn Reaper>,
    pub(super) sftp_server: PathBuf,
    /// One permit for each connection that has not logged in yet.
    pub(super) startups: Arc<Semaphore>,
}
