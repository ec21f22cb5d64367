//! The names of this program besides its own: the zygote on the host, and the
//! programs of an init system in machines.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use super::hooks::Hooks;
use super::init::client;
use super::zygote::{self, ZYGOTE};

/// The name under which the ssh server runs the sftp server.
pub(super) const SFTP_SERVER: &str = "sftp-server";

/// Runs the program that `arg0` names. Returns `None` for other names. Call
/// this first in `main`, before any thread starts.
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
