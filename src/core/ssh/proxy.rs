//! A program whose standard input and output are the connection to a host: a
//! `ProxyCommand`, or AWS's session-manager-plugin.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::config::Tokens;
use super::errors::tail;
use super::host::{Configuration, Host};
use super::ssm::{SsmSession, SsmSessionEnd};
use crate::error::{Error, Result};
use crate::local::Local;

/// How long an error waits for the last messages of a program that ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a program may take to end after its signal.
const ENDS_WITHIN: Duration = Duration::from_millis(500);

/// The most bytes of the program's messages that are kept.
const KEPT: usize = 8 << 10;

/// A running program. Dropping it ends the program.
pub(super) struct Proxy {
    child: Child,
    /// Its messages, once it has closed its standard error.
    messages: Receiver<Vec<u8>>,
    /// The session that it carries, which ends after it.
    _session: Option<SsmSessionEnd>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Proxy").field(&self.child.id()).finish()
    }
}

/// A socket on which a host answers, and the program behind it, if any.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) socket: OwnedFd,
    pub(super) proxy: Option<Proxy>,
    /// How long the way to the host and back takes; known only for a socket of
    /// this machine's TCP.
    pub(super) round_trip: Option<Duration>,
}

impl From<OwnedFd> for Line {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            proxy: None,
            round_trip: None,
        }
    }
}

impl Proxy {
    /// Starts the program for a host. As in OpenSSH, the user's shell starts it.
    ///
    /// Throws `invalid_option` if the command has an unknown token, `not_found`
    /// if there is no shell.
    pub(super) fn start(command: &str, host: &Host, local: &Local) -> Result<Line> {
        let name = match &host.configuration {
            Configuration::Of(question) => question.name.clone(),
            _ => host.name.clone(),
        };
        let tokens = Tokens {
            address: host.address.clone(),
            key_alias: host
                .settings
                .host_key_alias
                .clone()
                .unwrap_or_else(|| name.clone()),
            name,
            port: host.port,
            user: host.user.clone(),
            home: local
                .home
                .as_ref()
                .map_or_else(String::new, |home| home.display().to_string()),
            local_user: local.user.clone().unwrap_or_default(),
        };
        let command = tokens.expand(command, false)?;
        let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
        let shell = shell.unwrap_or_else(|| "/bin/sh".into());
        let mut started = Command::new(&shell);
        started.arg("-c").arg(format!("exec {command}"));
        Self::spawn(started, None).map_err(|e| Error::io("start the shell", shell.as_ref(), &e))
    }

    /// Starts the program of a session.
    ///
    /// Throws `not_found` if there is no such program.
    pub(super) fn of_session(session: SsmSession) -> Result<Line> {
        let (name, value) = session.variable;
        let mut command = Command::new(&session.program);
        command.args(session.arguments).env(name, value.0);
        Self::spawn(command, Some(session.end))
            .map_err(|e| Error::io("start", session.program.as_ref(), &e))
    }

    fn spawn(mut command: Command, session: Option<SsmSessionEnd>) -> std::io::Result<Line> {
        let (near, far) = UnixStream::pair()?;
        let input = far.try_clone()?;
        let mut child = command
            .stdin(Stdio::from(OwnedFd::from(input)))
            .stdout(Stdio::from(OwnedFd::from(far)))
            .stderr(Stdio::piped())
            // Ctrl-C ends the run, and the run ends the program.
            .process_group(0)
            .spawn()?;
        // The command holds the other end of the socket.
        drop(command);
        let (send, messages) = channel();
        let stderr = child.stderr.take();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            let mut some = [0; 4096];
            if let Some(mut stderr) = stderr {
                while let Ok(length @ 1..) = stderr.read(&mut some) {
                    kept.extend_from_slice(&some[..length]);
                    kept.drain(..kept.len().saturating_sub(KEPT));
                }
            }
            drop(send.send(kept));
        });
        Ok(Line {
            socket: near.into(),
            proxy: Some(Self {
                child,
                messages,
                _session: session,
            }),
            round_trip: None,
        })
    }

    /// Returns why the program ended: its last messages, or its exit status.
    /// Returns `None` if it still runs.
    pub(super) fn reason(&mut self) -> Option<String> {
        let printed = self.messages.recv_timeout(LAST_WORDS).unwrap_or_default();
        let printed = tail(&printed, 3);
        let status = self.child.try_wait().ok().flatten();
        match (printed.trim(), status) {
            ("", None) => None,
            ("", Some(status)) => Some(status.to_string()),
            (printed, _) => Some(printed.to_owned()),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // OpenSSH sends the same signal. The program may already be gone.
            let _ = kill_process_group(group, Signal::HUP);
            let _ = kill_process_group(group, Signal::CONT);
        }
        let ends_by = Instant::now() + ENDS_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > ends_by {
                let _ = group.map(|group| kill_process_group(group, Signal::KILL));
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
