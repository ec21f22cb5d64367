//! The functions that machines need from other modules of this package.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::init::reaper::Reaper;

/// The main function of the ssh server.
pub(crate) type ServeSsh = fn(SshServer) -> Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// The functions that machines need from other modules.
#[derive(Clone, Copy)]
pub(crate) struct Hooks {
    /// Serves ssh until the machine ends. Runs on the machine's only thread, in
    /// a `LocalSet`.
    pub sshd: ServeSsh,
    /// The main function of the sftp server, which uses standard input and
    /// output.
    pub sftp_server: fn() -> ExitCode,
}

/// The parameters of a machine's ssh server.
pub(crate) struct SshServer {
    /// The listener at port 22 of all addresses.
    pub listener: TcpListener,
    /// The private host keys, with mode 0600.
    pub host_keys: Vec<PathBuf>,
    /// A fault: the number of bytes from the client after which each connection
    /// is reset.
    pub drop_after: Option<u64>,
    /// The environment variables of every session.
    pub environment: Vec<(String, String)>,
    /// Reports the end of processes: init reaps them all, so the server cannot
    /// wait for its own.
    pub reaper: Reaper,
    /// The program of the sftp subsystem.
    pub sftp_server: PathBuf,
}
