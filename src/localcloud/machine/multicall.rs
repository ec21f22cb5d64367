//! The names this program answers to besides its own: the zygote on the host,
//! and the programs of an init system inside machines.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::init::client;
use super::init::reaper::Reaper;
use super::zygote;

/// Name by which the daemon runs the zygote.
pub(super) const ZYGOTE: &str = "autorun-zygote";

/// Name by which the ssh server runs its file transfer.
pub(super) const SFTP_SERVER: &str = "sftp-server";

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

/// Acts by the name this program was called by, if it is one of these.
/// Must be asked first in `main`, before there are threads.
pub(crate) fn multicall(
    arg0: &OsStr,
    arguments: impl IntoIterator<Item = OsString>,
    hooks: Hooks,
) -> Option<ExitCode> {
    let name = Path::new(arg0).file_name()?.to_str()?;
    match name {
        ZYGOTE => {
            let life = arguments.into_iter().next();
            Some(zygote::run(life.as_deref(), hooks))
        }
        SFTP_SERVER => Some((hooks.sftp_server)()),
        name => {
            let arguments = arguments.into_iter();
            let words = arguments.map(|word| word.to_string_lossy().into_owned());
            client::run(name, words.collect())
        }
    }
}
