//! Hosts behind AWS Systems Manager: `ssh` through a session with an instance, which
//! needs neither an open port nor a public address.
//!
//! AWS's session-manager-plugin carries the data, like a `ProxyCommand`. The clients of
//! AWS start and end the session.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::connection::Patience;
use super::errors::tail;
use super::host::{Host, Secret};
use super::proxy::{Line, Proxy};
use crate::error::{Error, ErrorKind, Result};
use crate::report::text;

/// The most bytes that the plugin may print before the host answers.
const LONGEST: usize = 16 << 10;

/// The beginning of an ssh server's first line.
const SSH: &[u8] = b"SSH-";

/// How many of the plugin's last lines count for an error.
const LAST_LINES: usize = 4;

/// How soon the rest of a line is looked for.
const GLANCE: Duration = Duration::from_millis(5);

/// An instance that is reached through Systems Manager.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SsmTarget {
    /// The id of the instance.
    pub instance: String,
    /// The region of the instance.
    pub region: String,
    /// The profile in `--profile`, for the AWS CLI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

impl SsmTarget {
    /// Returns the `ProxyCommand` with which OpenSSH reaches the instance, as AWS
    /// documents it. It needs the AWS CLI.
    #[must_use]
    pub fn proxy_command(&self) -> String {
        let mut command = format!(
            "aws ssm start-session --target {} --document-name AWS-StartSSHSession --parameters \
             portNumber=%p --region {}",
            self.instance, self.region
        );
        if let Some(profile) = &self.profile {
            command.push_str(" --profile ");
            command.push_str(&shell_words::quote(profile).replace('%', "%%"));
        }
        command
    }
}

/// Starts sessions.
pub trait SsmSessions: fmt::Debug + Send + Sync {
    /// Starts a session with a port of an instance.
    ///
    /// Throws `not_found` if the plugin is not installed, `unreachable` if the agent of
    /// the instance has no connection, `denied`.
    fn start<'a>(&'a self, target: &'a SsmTarget, port: u16) -> BoxFuture<'a, Result<SsmSession>>;
}

/// A session that has started, and the program that carries its data.
#[derive(Debug)]
pub struct SsmSession {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Name and value of an environment variable.
    pub variable: (&'static str, Secret),
    /// Ends the session.
    pub end: SsmSessionEnd,
}

/// Ends a session when it is dropped.
pub struct SsmSessionEnd(Option<Box<dyn FnOnce() + Send + Sync>>);

impl SsmSessionEnd {
    /// Calls this function when it is dropped.
    #[must_use]
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl fmt::Debug for SsmSessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SsmSessionEnd")
    }
}

impl Drop for SsmSessionEnd {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// Opens a socket to a host through a session, and waits for the host's first line.
pub(super) async fn open(
    sessions: Option<&dyn SsmSessions>,
    (host, target): (&Host, &SsmTarget),
    patience: &Patience,
) -> Result<Line> {
    let sessions = sessions.ok_or_else(|| Error::internal("no client starts sessions"))?;
    let late = || {
        let limit = text::duration(patience.limit);
        let message = format!(
            "{} port {} did not answer within {limit} through Systems Manager",
            host.name, host.port
        );
        Error::new(ErrorKind::Timeout, message)
            .hint("check this machine's network, and that the ssh server of the host runs")
    };
    let answered = answered(sessions, target, host);
    tokio::select! {
        () = patience.cancel.cancelled() => Err(Error::cancelled()),
        answered = tokio::time::timeout_at(patience.until.into(), answered) => {
            answered.unwrap_or_else(|_| Err(late()))
        }
    }
}

async fn answered(sessions: &dyn SsmSessions, target: &SsmTarget, host: &Host) -> Result<Line> {
    let session = sessions.start(target, host.port).await?;
    let mut line = Proxy::of_session(session)?;
    let read = async { after_preface(line.socket.try_clone()?).await };
    let printed = match read.await {
        Ok(Preface::Ssh(socket)) => {
            line.socket = socket;
            return Ok(line);
        }
        Ok(Preface::Ended(printed)) => tail(&printed, LAST_LINES),
        Err(error) => error.to_string(),
    };
    // The first line only announces the session.
    let reason = match printed.trim().rsplit_once('\n') {
        Some((_, last)) => Some(last.to_owned()),
        None => line.proxy.as_mut().and_then(Proxy::reason),
    };
    let reason = reason.unwrap_or_else(|| "the plugin did not connect".to_owned());
    Err(failed(host, target, &reason))
}

/// Creates the error for a session that has ended.
pub(super) fn failed(host: &Host, target: &SsmTarget, reason: &str) -> Error {
    let message = format!(
        "the session of Systems Manager with {} ({}) ended: {reason}",
        host.name, target.instance
    );
    Error::new(ErrorKind::Unreachable, message).hint(format!(
        "check that an ssh server listens on port {} of the instance; the log of its agent is in \
         /var/log/amazon/ssm",
        host.port
    ))
}

/// What comes before the first line of the ssh server.
#[derive(Debug)]
enum Preface {
    /// The server answers on this socket.
    Ssh(OwnedFd),
    /// The plugin has printed this, and closed the socket.
    Ended(Vec<u8>),
}

/// Removes what the plugin prints before the first line of the ssh server.
async fn after_preface(socket: OwnedFd) -> std::io::Result<Preface> {
    let socket = net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    let socket = UnixStream::from_std(socket)?;
    let mut seen = vec![0; LONGEST];
    let mut printed = Vec::new();
    loop {
        let peek = || Ok(recv(&socket, &mut seen[..], RecvFlags::PEEK)?.0);
        let there = socket.async_io(Interest::READABLE, peek).await?;
        let first = &seen[..there];
        if first.starts_with(SSH) {
            break;
        }
        if first.is_empty() || printed.len() > LONGEST {
            return Ok(Preface::Ended(printed));
        }
        if SSH.starts_with(first) {
            // Without a change, the socket reports no further bytes.
            tokio::time::sleep(GLANCE).await;
            continue;
        }
        let end = first.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(there, |end| end + 1);
        printed.extend_from_slice(&first[..length]);
        recv(&socket, &mut seen[..length], RecvFlags::empty())?;
    }
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    Ok(Preface::Ssh(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Returns what comes before the server's first line, and what follows.
    async fn read(pieces: &'static [&'static [u8]]) -> (Vec<u8>, Vec<u8>) {
        let (near, mut far) = net::UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            for piece in pieces {
                far.write_all(piece).unwrap();
                std::thread::sleep(GLANCE * 3);
            }
        });
        let found = match after_preface(near.into()).await.unwrap() {
            Preface::Ended(printed) => (printed, Vec::new()),
            Preface::Ssh(socket) => {
                let mut rest = Vec::new();
                net::UnixStream::from(socket)
                    .read_to_end(&mut rest)
                    .unwrap();
                (Vec::new(), rest)
            }
        };
        writer.join().unwrap();
        found
    }

    #[tokio::test]
    async fn the_plugins_words_are_not_the_hosts() {
        let (_, rest) = read(&[
            b"\nStarting session with SessionId: me-1\nSSH-2.0-a\r\n",
            b"\0",
        ])
        .await;
        assert_eq!(rest, b"SSH-2.0-a\r\n\0");
        let (_, rest) = read(&[b"\nStarting", b" session\n", b"SS", b"H-2.0-a\r\n"]).await;
        assert_eq!(rest, b"SSH-2.0-a\r\n");
        let (printed, _) = read(&[b"\nStarting session\n", b"\nrefused"]).await;
        assert_eq!(printed, b"\nStarting session\n\nrefused");
        assert_eq!(read(&[]).await, (Vec::new(), Vec::new()));
    }

    #[test]
    fn openssh_needs_the_command_line_of_aws() {
        let mut target = SsmTarget {
            instance: "i-0a".to_owned(),
            region: "eu-west-1".to_owned(),
            profile: None,
        };
        assert_eq!(
            target.proxy_command(),
            "aws ssm start-session --target i-0a --document-name AWS-StartSSHSession --parameters \
             portNumber=%p --region eu-west-1"
        );
        target.profile = Some("50% off".to_owned());
        let command = target.proxy_command();
        assert!(command.ends_with(" --profile '50%% off'"), "{command}");
    }

    #[test]
    fn a_session_ends_once() {
        let (send, ended) = std::sync::mpsc::channel();
        let end = SsmSessionEnd::new(move || send.send(()).unwrap());
        assert!(ended.try_recv().is_err());
        drop(end);
        assert_eq!(ended.iter().count(), 1);
    }
}
