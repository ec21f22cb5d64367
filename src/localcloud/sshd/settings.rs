//! What all connections of a server share.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

/// Who waits for the children of this process.
pub(crate) trait Reaper: Send + Sync {
    /// Tells how the child `pid` ended. Asked for right after the child was
    /// started, before the thread does anything else.
    fn exited(&self, pid: i32) -> oneshot::Receiver<ExitStatus>;
}

/// What all connections share.
pub(super) struct Settings {
    pub(super) drop_after: Option<u64>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) reaper: Arc<dyn Reaper>,
    pub(super) sftp_server: PathBuf,
    /// One permit for each connection that has not logged in yet.
    pub(super) startups: Arc<Semaphore>,
}
