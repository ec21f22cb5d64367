//! Runs commands that the daemon sends, as the agent of Systems Manager does: a
//! script in the agent's directory, run by root in a session of its own.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::reaper::Reaper;
use super::spawn::{Child, Spawn};
use crate::machine::execution::{Ended, Execution};
use crate::machine::message::Channel;

/// The exit status of a leader that a signal ended, as the agent reports it.
const BY_SIGNAL: i32 = -1;

/// Runs a command, whose descriptors are the control socket, standard output and
/// standard error, and reports its end to the daemon.
pub(super) async fn execute(
    execution: Execution,
    descriptors: Vec<OwnedFd>,
    environment: Vec<(String, String)>,
    reaper: Reaper,
) -> io::Result<()> {
    let [control, stdout, stderr] = <[OwnedFd; 3]>::try_from(descriptors)
        .map_err(|_| io::Error::other("a command needs three descriptors"))?;
    let control = Channel::new(control)?;
    let ended = match start(&execution, (stdout, stderr), &environment, &reaper) {
        Ok(child) => until_end(child, &execution, &control).await,
        Err(error) => Ended::Failed {
            reason: error.to_string(),
        },
    };
    control.send(&ended, &[]).await
}

fn start(
    execution: &Execution,
    (stdout, stderr): (OwnedFd, OwnedFd),
    environment: &[(String, String)],
    reaper: &Reaper,
) -> io::Result<Child> {
    let script = write_script(execution)?;
    // The shell runs a file without a `#!` line itself.
    Spawn::new("/bin/sh")
        .args(["-c", &script])
        .environment(environment)
        .environment(&execution.environment)
        .directory(&execution.working_directory)
        .outputs(stdout, stderr)
        .start(reaper)
}

/// Writes the script to the agent's directory, and returns its path.
fn write_script(execution: &Execution) -> io::Result<String> {
    let directory = Path::new(&execution.directory);
    let mut all = DirBuilder::new();
    all.recursive(true).mode(0o700).create(directory)?;
    let path = directory.join("_script.sh");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o700)
        .open(&path)?;
    file.write_all(execution.script.as_bytes())?;
    Ok(path.to_string_lossy().into_owned())
}

/// Waits for the end of the command, or ends it when its time is over or the daemon
/// closes the control socket.
async fn until_end(child: Child, execution: &Execution, control: &Channel) -> Ended {
    let Child { pid, mut exited } = child;
    let limit = Duration::from_secs(execution.seconds);
    let timed_out = tokio::select! {
        status = &mut exited => return Ended::Exited { status: status.map_or(BY_SIGNAL, code) },
        () = tokio::time::sleep(limit) => true,
        _ = control.receive::<()>() => false,
    };
    // The group is that of the session. It may be gone already.
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    let _ = exited.await;
    if timed_out {
        Ended::TimedOut
    } else {
        Ended::Cancelled
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(BY_SIGNAL)
}
