//! A command that the daemon runs in a machine: what it is, and how it ends.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::message::{self, Channel, ToInit};

/// A command for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Execution {
    /// The text of the script.
    pub(crate) script: String,
    /// The directory of the script, which does not exist yet.
    pub(crate) directory: String,
    pub(crate) working_directory: String,
    /// Variables in addition to those of the machine.
    pub(crate) environment: Vec<(String, String)>,
    /// The limit of its time.
    pub(crate) seconds: u64,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ended {
    Exited {
        status: i32,
    },
    /// Its time was over, and it was killed.
    TimedOut,
    /// It was killed on request.
    Cancelled,
    /// It did not start.
    Failed {
        reason: String,
    },
}

/// A command that runs in a machine. Dropping it ends the command.
#[derive(Debug)]
pub(crate) struct Running {
    control: Channel,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

impl Running {
    /// Sends a command to a machine.
    pub(super) async fn start(machine: &Channel, execution: Execution) -> io::Result<Self> {
        let (control, of_init) = message::pair()?;
        let (stdout, of_stdout) = io::pipe()?;
        let (stderr, of_stderr) = io::pipe()?;
        let descriptors = [of_init, of_stdout.into(), of_stderr.into()];
        let borrowed = descriptors.each_ref().map(|fd: &OwnedFd| fd.as_fd());
        machine.send(&ToInit::Execute(execution), &borrowed).await?;
        Ok(Self {
            control: Channel::new(control)?,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
        })
    }

    /// Asks the machine to kill the command. [`Self::ended`] then returns soon.
    pub(crate) async fn cancel(&self) {
        // A machine that has ended has ended the command too.
        let _ = self.control.send(&(), &[]).await;
    }

    /// Waits for the end of the command. Returns `None` if the machine has ended.
    pub(crate) async fn ended(&self) -> Option<Ended> {
        let message = self.control.receive::<Ended>().await;
        message.ok().flatten().map(|(ended, _)| ended)
    }
}
