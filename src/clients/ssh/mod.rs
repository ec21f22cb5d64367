//! ssh: run a command, copy a file, verify who answers.
//!
//! libssh2 blocks by nature, so everything here runs on blocking threads, in
//! non-blocking mode with poll(2). A connection is kept and used again; two
//! jobs at once on one host get two connections.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Local;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, Stream, text};
use channel::Channel;
use connect::{Connection, Halt, LOGIN_TIMEOUT, Patience};
use gate::Shut;
use known_hosts::KnownHosts;
pub use trust::{KeyTypes, Offered, Pin, is_fingerprint};
use tunnel::Jump;

mod channel;
mod connect;
pub mod copy_programs;
mod gate;
mod known_hosts;
mod public_key;
mod pump;
mod shell;
mod trust;
mod tunnel;

/// Who to connect to and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// What log lines call it.
    pub name: String,
    /// Address or host name.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// Private key file; none means the agent and the usual files.
    pub key: Option<PathBuf>,
    /// How its host key is verified.
    pub trust: Trust,
    /// What unlocks the private key file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Secret>,
    /// What sudo asks for there; none means that it asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_password: Option<Secret>,
    /// The jump host through which it is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Box<Host>>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// How a host key is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// `~/.ssh/known_hosts` and the other files that OpenSSH reads.
    KnownHosts,
    /// This fingerprint and no other, as `SHA256:...`.
    Fingerprint(String),
    /// The key pinned for this EC2 instance id.
    Instance(String),
}

/// What a command reads.
#[derive(Default)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Empty,
    /// This text.
    Bytes(Vec<u8>),
    /// All that this gives, which must not keep others waiting for long.
    Reader(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::Reader(_) => "Reader",
        })
    }
}

/// Where a command's standard output goes instead of into its result.
pub struct Sink(pub Box<dyn Write + Send>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// A command to run.
#[derive(Debug, Default)]
pub struct Command {
    /// Text for the user's login shell.
    pub command: String,
    /// Directory to run it in.
    pub cwd: Option<String>,
    /// Environment variables; they travel inside the connection, never in a
    /// command line.
    pub env: BTreeMap<String, String>,
    /// Its standard input.
    pub stdin: Stdin,
    /// Where its standard output goes; none means into the result.
    pub stdout: Option<Sink>,
    /// Whether it runs as root by sudo.
    pub sudo: bool,
    /// Time after which it is ended.
    pub timeout: Option<Duration>,
    /// Whether its output goes to the log while it runs.
    pub live: bool,
}

/// What became of a command.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    /// Exit status; 128 + n for signal n, as a shell says it.
    pub status: i64,
    /// Name of the signal that ended it, as `TERM`.
    pub signal: Option<String>,
    /// Standard output, at most the last [`KEPT`] bytes.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// Bytes of output that did not fit.
    pub dropped: u64,
    /// How long it took.
    pub seconds: f64,
}

/// How much of each output a result holds: its end. The log has all of it.
pub const KEPT: usize = 4 << 20;

/// Idle connections by host.
type Idle = Arc<Mutex<HashMap<Host, Vec<Connection>>>>;

/// The way through a jump host: open, not yet, or closed a moment ago.
#[derive(Debug, Default)]
struct Way {
    jump: Option<Arc<Jump>>,
    failed: Option<(Instant, Error)>,
}

/// Ways by jump host. Many who want one at once share one login.
type Ways = Mutex<HashMap<Host, Arc<tokio::sync::Mutex<Way>>>>;

/// The ssh connections of a run.
#[derive(Debug)]
pub struct Ssh {
    local: Local,
    known_hosts: Arc<KnownHosts>,
    report: Reporter,
    cancel: CancellationToken,
    idle: Idle,
    ways: Ways,
    /// Instances whose unverified key has been spoken of.
    unverified: Mutex<HashSet<String>>,
}

impl Ssh {
    pub(super) fn new(local: Local, report: Reporter, cancel: CancellationToken) -> Self {
        Self {
            known_hosts: Arc::new(KnownHosts::new(local.home.as_deref(), report.clone())),
            local,
            report,
            cancel,
            idle: Idle::default(),
            ways: Ways::default(),
            unverified: Mutex::default(),
        }
    }

    /// The key that a host offers when it is asked for one of these types,
    /// without logging in.
    ///
    /// Throws `timeout`, `unreachable`.
    pub async fn offered(
        &self,
        host: &Host,
        types: &KeyTypes,
        timeout: Duration,
    ) -> Result<Offered> {
        let patience = Patience::new(timeout, &self.cancel);
        let stream = self.reach(host, &patience).await?;
        let (host, algorithms) = (host.clone(), types.algorithms());
        blocking(move || connect::offered(&host, stream, &algorithms, &patience)).await
    }

    /// The pinned key of an instance, if there is one.
    pub fn pin(&self, instance: &str) -> Result<Option<Pin>> {
        Pin::load(&self.local.data_dir, instance)
    }

    /// Pins the first key of an instance; gives what another one pinned
    /// meanwhile.
    pub fn save_first_pin(&self, instance: &str, pin: Pin) -> Result<Pin> {
        pin.save_first(&self.local.data_dir, instance)
    }

    /// Pins the key of an instance.
    pub fn save_pin(&self, instance: &str, pin: &Pin) -> Result<()> {
        pin.save(&self.local.data_dir, instance)
    }

    /// A `known_hosts` file that holds the pinned key of an instance, for the
    /// ssh program. The host is asked for its key, which must be that one.
    ///
    /// Throws `not_found` when no key is pinned, `host_key_changed`.
    pub async fn known_hosts_of(&self, host: &Host, timeout: Duration) -> Result<PathBuf> {
        let Trust::Instance(id) = &host.trust else {
            return Err(Error::internal("only an instance's key is pinned"));
        };
        let Some(pin) = self.pin(id)? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the ssh host key of {id} was never seen"),
            )
            .hint("wait_until_ready, ssh_exec and scp pin it when they first log in"));
        };
        let types = KeyTypes::First(pin.key_type.clone());
        let offered = self.offered(host, &types, timeout).await?;
        if offered.fingerprint != pin.fingerprint {
            return Err(trust::changed(host, &pin.fingerprint, &offered));
        }
        offered.write_known_hosts(&self.local.data_dir, id, &host.address)
    }

    /// Forgets the key of an instance that is gone.
    pub fn forget_pin(&self, instance: &str) {
        Pin::remove(&self.local.data_dir, instance);
    }

    /// Whether the log says already that this instance's key is unverified.
    pub fn said_unverified(&self, instance: &str) -> bool {
        self.unverified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(instance)
    }

    /// Notes that the log says so.
    pub fn note_unverified(&self, instance: &str) {
        let mut unverified = self
            .unverified
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unverified.insert(instance.to_owned());
    }

    /// Runs a command, whatever its exit status.
    ///
    /// Throws `timeout`, `unreachable`, `denied`, `host_key_changed`,
    /// `cancelled`. `report` gets its live output.
    pub async fn run(&self, host: &Host, command: Command, report: &Reporter) -> Result<Finished> {
        let (connection, channel) = self.open(host).await?;
        let idle = Arc::clone(&self.idle);
        let cancel = self.cancel.clone();
        let (host, report) = (host.clone(), report.clone());
        blocking(move || {
            let started = Instant::now();
            let ran = pump::run(&connection, channel, &host, command, &cancel, &report)?;
            let (mut finished, reusable) = ran;
            finished.seconds = started.elapsed().as_secs_f64();
            if reusable {
                give_back(&idle, host, connection);
            }
            Ok(finished)
        })
        .await
    }

    /// Forgets idle connections, so that the next command logs in afresh.
    pub fn forget(&self, host: &Host) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(host);
    }

    /// A connection with an open channel: an idle one that still works, or a
    /// new one. Nothing has run yet, so trying again is safe.
    async fn open(&self, host: &Host) -> Result<(Connection, Channel)> {
        let patience = self.patience();
        loop {
            let idle = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(host).and_then(Vec::pop)
            };
            let Some(connection) = idle else { break };
            let patience = patience.clone();
            let open = move || match connection.open(&patience) {
                Ok(channel) => Ok(Some((connection, channel))),
                Err(Halt::Shut(Shut::Cancelled)) => Err(Error::cancelled()),
                Err(_) => Ok(None),
            };
            if let Some(open) = blocking(open).await? {
                return Ok(open);
            }
        }
        self.log_in(host).await
    }

    async fn log_in(&self, host: &Host) -> Result<(Connection, Channel)> {
        let patience = self.patience();
        let connection = self.connect(host, &patience).await?;
        let host = host.clone();
        blocking(move || {
            let opened = connection.open(&patience);
            let channel = opened.map_err(|halt| halted(&host, "opening a channel", &halt))?;
            Ok((connection, channel))
        })
        .await
    }

    /// For the way to an open channel.
    fn patience(&self) -> Patience {
        Patience::new(LOGIN_TIMEOUT, &self.cancel)
    }

    /// A new connection, logged in.
    async fn connect(&self, host: &Host, patience: &Patience) -> Result<Connection> {
        // Reject an unusable key before connecting.
        if let Some(key) = &host.key {
            connect::private_key(key)?;
        }
        let stream = self.reach(host, patience).await?;
        let (host, patience) = (host.clone(), patience.clone());
        let (local, report) = (self.local.clone(), self.report.clone());
        let known = Arc::clone(&self.known_hosts);
        blocking(move || connect::login(&host, stream, &local, &known, &report, &patience)).await
    }

    /// A socket that leads to a host: straight there, or through its jump host.
    async fn reach(&self, host: &Host, patience: &Patience) -> Result<OwnedFd> {
        let Some(via) = &host.via else {
            return connect::tcp(host, patience).await;
        };
        let late = || {
            Error::new(
                ErrorKind::Timeout,
                format!(
                    "{} port {} did not answer within {} through {}",
                    host.address,
                    host.port,
                    text::duration(patience.limit),
                    via.login()
                ),
            )
            .hint("check the security group's rules: is the port open for the jump host?")
        };
        let tunnel = async {
            loop {
                let jump = self.jump(host, via, patience).await?;
                // One that takes no more has a successor.
                if let Some(opened) = jump.open(host).await {
                    return opened.map(OwnedFd::from);
                }
                self.leave(via, &jump).await;
            }
        };
        tokio::time::timeout_at(patience.until.into(), tunnel)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// The connection to a jump host. It may be behind another one.
    async fn jump(&self, host: &Host, via: &Host, patience: &Patience) -> Result<Arc<Jump>> {
        let asked = Instant::now();
        let way = self.way(via);
        let mut way = way.lock().await;
        // What failed while this one waited its turn need not fail again.
        if let Some((at, error)) = &way.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if let Some(jump) = &way.jump {
            return Ok(Arc::clone(jump));
        }
        match Box::pin(self.connect(via, patience)).await {
            Ok(connection) => {
                let jump = Arc::new(Jump::over(connection, via.clone())?);
                way.jump = Some(Arc::clone(&jump));
                Ok(jump)
            }
            Err(error) => {
                let error = error.while_doing(&format!("jump host of {}", host.name));
                way.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn way(&self, via: &Host) -> Arc<tokio::sync::Mutex<Way>> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ways.entry(via.clone()).or_default())
    }

    /// The next one who wants to go this way makes a new connection.
    async fn leave(&self, via: &Host, jump: &Arc<Jump>) {
        let way = self.way(via);
        let mut way = way.lock().await;
        way.jump.take_if(|current| Arc::ptr_eq(current, jump));
    }

    /// Whether a host takes connections on its port, reached as it is reached for
    /// ssh.
    ///
    /// Throws `unreachable`, `timeout`.
    pub async fn accepts(&self, host: &Host, timeout: Duration) -> Result<()> {
        let patience = Patience::new(timeout, &self.cancel);
        self.reach(host, &patience).await.map(drop)
    }
}

fn give_back(idle: &Idle, host: Host, connection: Connection) {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    idle.entry(host).or_default().push(connection);
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::internal("an ssh worker stopped unexpectedly")))
}

impl Host {
    /// `user@address`, with the port if it is not 22.
    #[must_use]
    pub fn login(&self) -> String {
        match self.port {
            22 => format!("{}@{}", self.user, self.address),
            port => format!("{}@{}:{port}", self.user, self.address),
        }
    }

    /// OpenSSH's arguments that lead there, for a shell. `-J` would do for a
    /// jump host if it had an option for that one's key.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut arguments = Vec::new();
        if let Some(key) = &self.key {
            let key = key.to_string_lossy();
            arguments.push(if key.contains('%') {
                // It begins a token, which only the option can be told not to be.
                let option = format!("IdentityFile=\"{}\"", key.replace('%', "%%"));
                format!("-o {}", shell_words::quote(&option))
            } else {
                format!("-i {}", shell_words::quote(&key))
            });
        }
        if self.port != 22 {
            arguments.push(format!("-p {}", self.port));
        }
        if let Some(via) = &self.via {
            // What is a token to the jump host's own ssh is none to this one.
            let way = via.arguments().replace('%', "%%");
            let proxy = format!("ProxyCommand=ssh -W '[%h]:%p' {way}");
            arguments.push(format!("-o {}", shell_words::quote(&proxy)));
        }
        let login = format!("{}@{}", self.user, self.address);
        arguments.push(shell_words::quote(&login).into_owned());
        arguments.join(" ")
    }
}

/// How much of an output a message holds, in bytes.
const SHOWN: usize = 8 << 10;

/// Ends of output for messages: the last lines, harmless.
#[must_use]
pub fn tail(output: &[u8], lines: usize) -> String {
    let end = output.trim_ascii_end();
    let all = String::from_utf8_lossy(&end[end.len().saturating_sub(SHOWN)..]);
    let all: Vec<&str> = all.trim_end().lines().collect();
    text::harmless(&all[all.len().saturating_sub(lines)..].join("\n"))
}

/// What could not be done on a connection while it lasted.
fn halted(host: &Host, attempt: &str, halt: &Halt) -> Error {
    match halt {
        Halt::Shut(Shut::Cancelled) => Error::cancelled(),
        Halt::Shut(Shut::Late) => broken(host, attempt, &"it did not answer in time"),
        Halt::Shut(Shut::TooMuch) => broken(host, attempt, &"it sends without end"),
        Halt::Broken(error) => broken(host, attempt, &error.message()),
    }
}

/// An ssh2 error in the middle of something.
fn broken(host: &Host, attempt: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "the ssh connection to {} broke while {attempt}: {error}",
            host.login()
        ),
    )
    .hint("the next call logs in afresh; wait_for_ssh(server) waits until the host answers")
}

/// Both outputs of a command.
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_the_end_of_an_output_however_long_it_is() {
        assert_eq!(tail(b"a\nb\nc\n\n", 2), "b\nc");
        let long = vec![b'x'; 1 << 20];
        assert_eq!(tail(&long, 3).len(), SHOWN);
        assert!(!tail(b"\x1b[2J", 1).contains('\x1b'));
    }

    #[test]
    fn arguments_lead_there_through_every_jump_host() {
        let mut host = Host {
            name: "web".to_owned(),
            address: "10.0.0.7".to_owned(),
            port: 22,
            user: "admin".to_owned(),
            key: None,
            trust: Trust::KnownHosts,
            passphrase: None,
            sudo_password: None,
            via: None,
        };
        assert_eq!(host.arguments(), "admin@10.0.0.7");
        let jump = Host {
            address: "203.0.113.7".to_owned(),
            port: 2222,
            key: Some("/keys/50% off".into()),
            ..host.clone()
        };
        assert_eq!(
            jump.arguments(),
            "-o 'IdentityFile=\"/keys/50%% off\"' -p 2222 admin@203.0.113.7"
        );
        host.via = Some(Box::new(jump));
        let arguments = shell_words::split(&host.arguments()).unwrap();
        assert_eq!(
            arguments,
            [
                "-o",
                "ProxyCommand=ssh -W '[%h]:%p' -o 'IdentityFile=\"/keys/50%%%% off\"' -p 2222 \
                 admin@203.0.113.7",
                "admin@10.0.0.7",
            ]
        );
    }
}
