//! The ssh connections of a run: kept, used again, and shared by those who go
//! through the same jump host.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::command::{Command, Finished};
use super::connect;
use super::connection::{Connection, LOGIN_TIMEOUT, Patience};
use super::errors::{Halt, halted};
use super::gate::Shut;
use super::host::{Host, Trust};
use super::known_hosts::KnownHosts;
use super::login;
use super::pin::Pin;
use super::pump;
use super::trust::{self, KeyTypes, Offered};
use super::tunnel::Jump;
use crate::clients::Local;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, text};

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
    pub(in crate::clients) fn new(
        local: Local,
        report: Reporter,
        cancel: CancellationToken,
    ) -> Self {
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
            login::private_key(key)?;
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
