//! Starts processes in the machine: each in its own session, as a given user.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};
use tokio::sync::oneshot;

use super::super::super::accounts;
use super::reaper::Reaper;

/// The user and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Identity {
    pub(in super::super) uid: Uid,
    pub(in super::super) gid: Gid,
    pub(in super::super) groups: Vec<Gid>,
}

impl Identity {
    /// Finds a user and group by name or number, as unit files have them.
    pub(in super::super) fn find(user: &str, group: Option<&str>) -> io::Result<Self> {
        // The name service switch is not used: it would load libraries that the
        // machine's root chooses into this process.
        let found = match user.parse() {
            Ok(uid) => accounts::with_uid(uid),
            Err(_) => accounts::find(user),
        };
        let Some(found) = found else {
            return Err(io::Error::other(format!("user `{user}` does not exist")));
        };
        let gid = match group {
            Some(group) => find_group(group)?,
            None => found.gid,
        };
        let others = found.groups.into_iter().filter(|other| *other != gid);
        Ok(Self {
            uid: Uid::from_raw(found.uid),
            gid: Gid::from_raw(gid),
            groups: [gid].into_iter().chain(others).map(Gid::from_raw).collect(),
        })
    }
}

fn find_group(name: &str) -> io::Result<u32> {
    let by_name = || accounts::group(name);
    let found = name.parse().ok().or_else(by_name);
    found.ok_or_else(|| io::Error::other(format!("group `{name}` does not exist")))
}

/// A process to start.
pub(in super::super) struct Spawn {
    command: Command,
    identity: Option<Identity>,
    umask: u32,
}

/// A started process.
pub(in super::super) struct Child {
    pub(in super::super) pid: i32,
    pub(in super::super) exited: oneshot::Receiver<ExitStatus>,
}

impl Spawn {
    pub(in super::super) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).current_dir("/");
        Self {
            command,
            identity: None,
            umask: 0o022,
        }
    }

    pub(in super::super) fn args<S: AsRef<OsStr>>(
        mut self,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        self.command.args(args);
        self
    }

    pub(in super::super) fn arg0(mut self, name: &str) -> Self {
        self.command.arg0(name);
        self
    }

    pub(in super::super) fn environment(mut self, variables: &[(String, String)]) -> Self {
        let variables = variables.iter().map(|(key, value)| (key, value));
        self.command.envs(variables);
        self
    }

    pub(in super::super) fn directory(mut self, directory: &str) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(in super::super) fn identity(mut self, identity: Option<Identity>) -> Self {
        self.identity = identity;
        self
    }

    pub(in super::super) fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// Directs standard output and standard error to one file.
    pub(in super::super) fn output(mut self, file: OwnedFd) -> io::Result<Self> {
        self.command.stderr(file.try_clone()?).stdout(file);
        Ok(self)
    }

    /// Directs standard output and standard error to two files.
    pub(in super::super) fn outputs(mut self, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        self.command.stdout(stdout).stderr(stderr);
        self
    }

    /// Starts the process. The reaper reports its end.
    pub(in super::super) fn start(mut self, reaper: &Reaper) -> io::Result<Child> {
        prepare(&mut self.command, self.identity, self.umask);
        let child = self.command.spawn()?;
        let pid = child.id().cast_signed();
        let exited = reaper.exited(pid);
        Ok(Child { pid, exited })
    }
}

#[expect(
    unsafe_code,
    reason = "code between fork and exec must be async-signal-safe; this code is"
)]
fn prepare(command: &mut Command, identity: Option<Identity>, umask: u32) {
    let prepare = move || {
        // A session of its own, so that all processes of a service can be
        // found.
        nix::unistd::setsid()?;
        nix::sys::stat::umask(Mode::from_bits_truncate(umask));
        if let Some(identity) = &identity {
            nix::unistd::setgroups(&identity.groups)?;
            nix::unistd::setresgid(identity.gid, identity.gid, identity.gid)?;
            nix::unistd::setresuid(identity.uid, identity.uid, identity.uid)?;
        }
        Ok(())
    };
    // SAFETY: only system calls on values from before the fork; nothing is
    // allocated.
    unsafe { command.pre_exec(prepare) };
}
