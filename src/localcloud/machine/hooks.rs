//! What machines need from elsewhere in this program.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::init::reaper::Reaper;

/// The main function of the ssh server.
pub(crate) type ServeSsh = fn(SshServer) -> Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// What machines need from elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Hooks {
    /// Serves ssh until the machine ends; runs on the machine's only thread,
    /// in a `LocalSet`.
    pub sshd: ServeSsh,
    /// Main function of the sftp server: sftp on standard input and output.
    pub sftp_server: fn() -> ExitCode,
}

/// What the ssh server of a machine is given.
pub(crate) struct SshServer {
    /// Bound to port 22 on all addresses.
    pub listener: TcpListener,
    /// Private keys, 0600.
    pub host_keys: Vec<PathBuf>,
    /// A fault: each connection is reset after so many bytes from the client.
    pub drop_after: Option<u64>,
    /// Variables of every session.
    pub environment: Vec<(String, String)>,
    /// Tells about the end of processes: init waits for all of them.
    pub reaper: Reaper,
    /// The program of the sftp subsystem.
    pub sftp_server: PathBuf,
}
