//! The other names of this program: the background process, and the programs
//! that an instance needs in the place of systemd.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::daemon;

/// Runs the program that the name in `arguments` selects. Returns `None` for
/// its own name. Call this before any thread starts.
#[must_use]
pub fn program(arguments: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = arguments.split_first()?;
    let name = PathBuf::from(first);
    let name = name.file_name()?;
    if name == daemon::NAME {
        return Some(daemon::main(rest));
    }
    #[cfg(target_os = "linux")]
    return in_machines::program(name, rest);
    #[cfg(not(target_os = "linux"))]
    None
}

/// The programs of instances, with the ssh server of this package.
#[cfg(target_os = "linux")]
mod in_machines {
    use std::ffi::{OsStr, OsString};
    use std::process::{ExitCode, ExitStatus};
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::super::machine::{self, Hooks, SshServer};
    use super::super::sshd;

    pub(crate) fn program(name: &OsStr, arguments: &[OsString]) -> Option<ExitCode> {
        let hooks = Hooks {
            sshd: |server| Box::pin(sshd::serve(config(server))),
            sftp_server: sshd::sftp_server,
        };
        machine::multicall(name, arguments.iter().cloned(), hooks)
    }

    fn config(server: SshServer) -> sshd::Config {
        sshd::Config {
            listener: server.listener,
            host_keys: server.host_keys,
            drop_after: server.drop_after,
            environment: server.environment,
            reaper: Arc::new(server.reaper),
            sftp_server: server.sftp_server,
        }
    }

    impl sshd::Reaper for machine::Reaper {
        fn exited(&self, pid: i32) -> oneshot::Receiver<ExitStatus> {
            machine::Reaper::exited(self, pid)
        }
    }
}
