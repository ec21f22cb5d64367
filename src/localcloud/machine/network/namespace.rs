//! Runs work in another network namespace, on a thread that ends afterwards.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// A network namespace, held open by a descriptor.
#[derive(Debug)]
pub(in super::super) struct NetworkNamespace(OwnedFd);

impl NetworkNamespace {
    /// Returns the network namespace of a process.
    pub(in super::super) fn of_process(pid: i32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/ns/net"))?;
        Ok(Self(file.into()))
    }

    /// Runs `work` in the namespace. The thread is not reused, because it is in
    /// the wrong namespace for other work.
    pub(in super::super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let namespace = self.0.try_clone()?;
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new().name("namespace".to_owned());
        thread.spawn(move || {
            let entered = setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET);
            let result = entered.map_err(io::Error::from).and_then(|()| work());
            // The receiver may have been dropped.
            let _ = sender.send(result);
        })?;
        receiver.await.map_err(io::Error::other)?
    }
}
