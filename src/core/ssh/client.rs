//! The ssh connections of a run: kept for reuse, and shared by all hosts behind
//! the same jump host.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::command::{Command, Finished, Ran};
use super::config::{Question, SshConfig};
use super::connect;
use super::connection::{Connection, LOGIN_TIMEOUT, Patience};
use super::errors::{Halt, halted};
use super::gate::Shut;
use super::host::{Configuration, Host, Trust};
use super::idle::Idle;
use super::known_hosts::KnownHosts;
use super::login;
use super::pin::Pin;
use super::proxy::{Line, Proxy};
use super::pump;
use super::reboots::{Boots, Expected};
use super::ssm::{self, SsmSessions};
use super::trust::{self, KeyTypes, Offered};
use super::tunnel::Jump;
use crate::confinement::Confinement;
use crate::error::{Error, ErrorKind, Result};
use crate::key_file;
use crate::local::Local;
use crate::report::{Reporter, text};

/// The connection to a jump host: open, not yet open, or failed recently.
#[derive(Debug, Default)]
struct Route {
    jump: Option<Arc<Jump>>,
    failed: Option<(Instant, Error)>,
}

/// The connections to jump hosts. Concurrent users of one jump host share one
/// login.
type Routes = Mutex<HashMap<Host, Arc<tokio::sync::Mutex<Route>>>>;

/// A connection with an open channel.
pub(super) type Opened = (Connection, Channel);

/// A connection on the way to its channel.
pub(super) enum Begun {
    Open(Opened),
    /// The login is to follow, with this deadline.
    Reached(Line, Patience),
}

impl Begun {
    /// Returns how long the way to the host and back takes, if that is known.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Open((connection, _)) => connection.round_trip,
            Self::Reached(line, _) => line.round_trip,
        }
    }
}

/// The ssh connections of a run.
#[derive(Debug)]
pub struct Ssh {
    local: Local,
    /// What a rehearsal may connect to.
    confinement: Option<Confinement>,
    known_hosts: Arc<KnownHosts>,
    config: SshConfig,
    /// Starts sessions of Systems Manager.
    sessions: Option<Arc<dyn SsmSessions>>,
    report: Reporter,
    pub(super) cancel: CancellationToken,
    pub(super) idle: Arc<Idle>,
    routes: Routes,
    boots: Arc<Boots>,
    /// Instances for whose unverified key a warning was logged.
    unverified: Mutex<HashSet<String>>,
    /// Messages about OpenSSH's configuration that were already logged.
    noted: Mutex<HashSet<String>>,
}

impl Ssh {
    /// Creates the connections of a run, of which none is open yet.
    #[must_use]
    pub fn new(
        local: Local,
        confinement: Option<Confinement>,
        report: Reporter,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            confinement,
            known_hosts: Arc::new(KnownHosts::new(local.home.as_deref(), report.clone())),
            config: SshConfig::new(local.clone(), cancel.clone()),
            local,
            sessions: None,
            report,
            cancel,
            idle: Arc::default(),
            routes: Routes::default(),
            boots: Arc::default(),
            unverified: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// Returns the same connections, which can also use sessions of Systems Manager.
    #[must_use]
    pub fn with_sessions(mut self, sessions: Arc<dyn SsmSessions>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Returns a host with the settings of OpenSSH's configuration, if it
    /// applies.
    ///
    /// Throws `not_found`, `invalid_option`, `timeout`, `cancelled`.
    pub async fn configured(&self, host: Host) -> Result<Host> {
        let host = self.config.apply(host).await?;
        let unused = host.settings.unused().join(", ");
        if !unused.is_empty() {
            let text = format!(
                "{}: these options of the ssh configuration are not used: {unused}",
                host.name
            );
            // Many hosts often have the same ones.
            self.note_about(&unused, &text);
        }
        Ok(host)
    }

    /// Returns an instance with the jump host that OpenSSH's configuration has
    /// for its address. Nothing else in the configuration applies to an
    /// instance: its launch determines the rest. A configuration that cannot be
    /// read is logged as a warning.
    pub async fn through_configured_jump(
        &self,
        mut host: Host,
        file: Option<PathBuf>,
    ) -> Result<Host> {
        let question = Question {
            name: host.address.clone(),
            user: Some(host.user.clone()),
            port: Some(host.port),
            file,
            via: false,
        };
        match self.config.jump_to(&question).await {
            Ok(via) => host.via = via,
            Err(error) if question.file.is_some() || error.kind == ErrorKind::Cancelled => {
                return Err(error);
            }
            Err(error) => self.note(&format!(
                "{}: continuing without the ssh configuration: {error}",
                host.name
            )),
        }
        host.configuration = Configuration::Off;
        Ok(host)
    }

    /// Returns a host that a playbook passes, with the settings that its map
    /// does not have.
    pub async fn remembered(&self, mut host: Host) -> Result<Host> {
        self.config.remember(&mut host).await?;
        Ok(host)
    }

    /// Logs a warning once.
    fn note(&self, text: &str) {
        self.note_about(text, text);
    }

    /// Logs the first warning about a subject.
    fn note_about(&self, subject: &str, text: &str) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.insert(subject.to_owned()) {
            self.report.warn(text.to_owned());
        }
    }

    /// Returns the key that a host offers for one of these types, without
    /// logging in.
    ///
    /// Throws `timeout`, `unreachable`.
    pub async fn offered(
        &self,
        host: &Host,
        types: &KeyTypes,
        timeout: Duration,
    ) -> Result<Offered> {
        let patience = Patience::new(timeout, &self.cancel);
        let line = self.reach(host, &patience).await?;
        let (host, algorithms) = (host.clone(), types.algorithms());
        blocking(move || connect::offered(&host, line, &algorithms, &patience)).await
    }

    /// Returns the pinned key of an instance, if there is one.
    pub fn pin(&self, instance: &str) -> Result<Option<Pin>> {
        Pin::load(&self.local.data_dir, instance)
    }

    /// Pins the first key of an instance. Returns the key that another process
    /// pinned in the meantime, if there is one.
    pub fn save_first_pin(&self, instance: &str, pin: Pin) -> Result<Pin> {
        pin.save_first(&self.local.data_dir, instance)
    }

    /// Pins the key of an instance.
    pub fn save_pin(&self, instance: &str, pin: &Pin) -> Result<()> {
        pin.save(&self.local.data_dir, instance)
    }

    /// Writes a `known_hosts` file with the pinned key of an instance, for the
    /// ssh program, and returns its path. The host must offer that key.
    ///
    /// Throws `not_found` if no key is pinned, `host_key_changed`.
    pub async fn known_hosts_of(&self, host: &Host, timeout: Duration) -> Result<PathBuf> {
        let Trust::Instance(id) = &host.trust else {
            return Err(Error::internal("only an instance's key is pinned"));
        };
        let Some(pin) = self.pin(id)? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no ssh host key is pinned for {id}"),
            )
            .hint("wait_until_ready, ssh_exec and scp pin the key at their first login"));
        };
        let types = KeyTypes::First(pin.key_type.clone());
        let offered = self.offered(host, &types, timeout).await?;
        if offered.fingerprint != pin.fingerprint {
            return Err(trust::not_pinned(host, &pin, &offered));
        }
        offered.write_known_hosts(&self.local.data_dir, id, &host.address)
    }

    /// Forgets the key of an instance that is gone.
    pub fn forget_pin(&self, instance: &str) {
        Pin::remove(&self.local.data_dir, instance);
    }

    /// Returns whether the unverified key of this instance was already logged.
    pub fn logged_unverified(&self, instance: &str) -> bool {
        self.unverified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(instance)
    }

    /// Records that the unverified key of this instance was logged.
    pub fn note_unverified(&self, instance: &str) {
        let mut unverified = self
            .unverified
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unverified.insert(instance.to_owned());
    }

    /// Runs a command; any exit status is a success. `report` gets its live
    /// output.
    ///
    /// Throws `timeout`, `unreachable`, `denied`, `host_key_changed`,
    /// `cancelled`.
    pub async fn run(&self, host: &Host, command: Command, report: &Reporter) -> Result<Finished> {
        match self.try_run(host, command, report).await? {
            Ran::Finished(finished) => Ok(finished),
            Ran::Refused(error) => Err(error),
        }
    }

    /// Like [`Ssh::run`], but an account that runs no commands at all is not an
    /// error.
    pub async fn try_run(&self, host: &Host, command: Command, report: &Reporter) -> Result<Ran> {
        let opened = self.open(host).await?;
        self.run_on(opened, host, command, report).await
    }

    /// Runs a command on an open connection.
    pub(super) async fn run_on(
        &self,
        (connection, channel): Opened,
        host: &Host,
        command: Command,
        report: &Reporter,
    ) -> Result<Ran> {
        let idle = Arc::clone(&self.idle);
        let cancel = self.cancel.clone();
        let (host, report) = (host.clone(), report.clone());
        let boots = Arc::clone(&self.boots);
        blocking(move || {
            let started = Instant::now();
            let ran = pump::run(
                &connection,
                channel,
                &host,
                command,
                &cancel,
                &report,
                &boots,
            )?;
            let (mut ran, reusable) = ran;
            if let Ran::Finished(finished) = &mut ran {
                finished.seconds = started.elapsed().as_secs_f64();
            }
            if reusable {
                idle.keep(host, connection);
            }
            Ok(ran)
        })
        .await
    }

    /// Expects that a host reboots, for this reason, in place of the boot that
    /// was seen last. Its idle connections are dropped.
    pub fn expect_reboot(&self, host: &Host, cause: &str, certain: bool) {
        self.boots.expect(host, cause, certain);
        self.forget(host);
    }

    /// Returns the reboot that a host has yet to go through.
    pub fn expected_reboot(&self, host: &Host) -> Option<Expected> {
        self.boots.expected(host)
    }

    /// Expects no reboot of a host any more.
    pub fn forgive_reboot(&self, host: &Host) {
        self.boots.forgive(host);
    }

    /// Records that a host does not answer, as during a reboot.
    pub fn note_outage(&self, host: &Host) {
        self.boots.lost(host);
    }

    /// Returns the id of the boot in which the last command on a host ran.
    pub fn last_boot(&self, host: &Host) -> Option<String> {
        self.boots.boot(host)
    }

    /// Drops the idle connections to a host, so that the next command logs in
    /// again.
    pub fn forget(&self, host: &Host) {
        self.idle.forget(host);
    }

    /// Returns a connection with an open channel: an idle connection that still
    /// works, or a new one. No command has run yet, so a retry is safe.
    ///
    /// Throws `throttled` if the host refuses new connections for long.
    pub(super) async fn open(&self, host: &Host) -> Result<Opened> {
        let until = Instant::now() + LOGIN_TIMEOUT;
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = self.begin(host).await?;
            match self.opened(host, begun).await {
                // sshd drops connections at random while many others log in.
                Err(error)
                    if error.kind == ErrorKind::Throttled && Instant::now() + pause < until =>
                {
                    tokio::select! {
                        () = self.cancel.cancelled() => return Err(Error::cancelled()),
                        () = tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Returns an idle connection that still works, or a line to the host.
    pub(super) async fn begin(&self, host: &Host) -> Result<Begun> {
        let patience = self.patience();
        while let Some(connection) = self.idle.take(host) {
            let patience = patience.clone();
            let open = move || match connection.open(&patience) {
                Ok(channel) => Ok(Some((connection, channel))),
                Err(Halt::Shut(Shut::Cancelled)) => Err(Error::cancelled()),
                Err(_) => Ok(None),
            };
            if let Some(opened) = blocking(open).await? {
                return Ok(Begun::Open(opened));
            }
        }
        let patience = self.patience_for(host);
        check_key(host)?;
        let line = self.reach(host, &patience).await?;
        Ok(Begun::Reached(line, patience))
    }

    /// Logs in to a host that was reached, and opens a channel.
    pub(super) async fn opened(&self, host: &Host, begun: Begun) -> Result<Opened> {
        let (line, patience) = match begun {
            Begun::Open(opened) => return Ok(opened),
            Begun::Reached(line, patience) => (line, patience),
        };
        let login = self.login(host, line, &patience);
        let host = host.clone();
        blocking(move || {
            let connection = login()?;
            let opened = connection.open(&patience);
            let channel = opened.map_err(|halt| halted(&host, "opening a channel", &halt))?;
            Ok((connection, channel))
        })
        .await
    }

    /// Returns the deadline for connecting and opening a channel.
    fn patience(&self) -> Patience {
        Patience::new(LOGIN_TIMEOUT, &self.cancel)
    }

    /// Returns the deadline for logging in to a host, which a long
    /// `ConnectTimeout` extends.
    fn patience_for(&self, host: &Host) -> Patience {
        let connects = host.settings.connect_timeout.unwrap_or_default();
        let longer = if connects > LOGIN_TIMEOUT {
            connects
        } else {
            Duration::ZERO
        };
        Patience::new(LOGIN_TIMEOUT + longer, &self.cancel)
    }

    /// Opens a new connection and logs in.
    async fn connect(&self, host: &Host, patience: &Patience) -> Result<Connection> {
        check_key(host)?;
        let line = self.reach(host, patience).await?;
        blocking(self.login(host, line, patience)).await
    }

    /// Returns the work of a login, for a blocking thread.
    fn login(
        &self,
        host: &Host,
        line: Line,
        patience: &Patience,
    ) -> impl FnOnce() -> Result<Connection> + Send + use<> {
        let (host, patience) = (host.clone(), patience.clone());
        let (local, report) = (self.local.clone(), self.report.clone());
        let known = Arc::clone(&self.known_hosts);
        move || connect::login(&host, line, &local, &known, &report, &patience)
    }

    /// Opens a socket to a host: directly, through its jump host or Systems Manager, or
    /// to the `ProxyCommand` of OpenSSH's configuration.
    async fn reach(&self, host: &Host, patience: &Patience) -> Result<Line> {
        if let Some(confinement) = &self.confinement {
            confinement.check_host(host)?;
        }
        if let Some(target) = &host.ssm {
            return ssm::open(self.sessions.as_deref(), (host, target), patience).await;
        }
        let Some(via) = &host.via else {
            if let Some(command) = &host.settings.proxy_command {
                return Proxy::start(command, host, &self.local);
            }
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
            .hint("check that a security group rule opens the port for the jump host")
        };
        let tunnel = async {
            loop {
                let jump = self.jump(host, via, patience).await?;
                // A connection that accepts no more tunnels is replaced by a
                // new one.
                if let Some(opened) = jump.open(host).await {
                    return opened.map(|socket| Line::from(OwnedFd::from(socket)));
                }
                self.forget_jump(via, &jump).await;
            }
        };
        tokio::time::timeout_at(patience.until.into(), tunnel)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Closes the connections that are not in use.
    pub fn close(&self) {
        self.idle.close();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.clear();
    }

    /// Returns the connection to a jump host, which may itself be behind
    /// another one.
    async fn jump(&self, host: &Host, via: &Host, patience: &Patience) -> Result<Arc<Jump>> {
        let asked = Instant::now();
        let route = self.route(via);
        let mut route = route.lock().await;
        // A failure during the wait for the lock counts for this caller too.
        if let Some((at, error)) = &route.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if let Some(jump) = &route.jump {
            return Ok(Arc::clone(jump));
        }
        match Box::pin(self.connect(via, patience)).await {
            Ok(connection) => {
                let jump = Arc::new(Jump::over(connection, via.clone())?);
                route.jump = Some(Arc::clone(&jump));
                Ok(jump)
            }
            Err(error) => {
                let mut error =
                    error.while_doing(&format!("cannot reach {} through its jump host", host.name));
                error.hint = error
                    .hint
                    .take()
                    .map(|hint| format!("for the jump host {} (`via`): {hint}", via.name));
                route.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn route(&self, via: &Host) -> Arc<tokio::sync::Mutex<Route>> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(via.clone()).or_default())
    }

    /// Drops the connection to a jump host; the next caller opens a new one.
    async fn forget_jump(&self, via: &Host, jump: &Arc<Jump>) {
        let route = self.route(via);
        let mut route = route.lock().await;
        route.jump.take_if(|current| Arc::ptr_eq(current, jump));
    }

    /// Checks that a host accepts connections on its port, reached in the same
    /// way as for ssh.
    ///
    /// Throws `unreachable`, `timeout`.
    pub async fn accepts(&self, host: &Host, timeout: Duration) -> Result<()> {
        let patience = Patience::new(timeout, &self.cancel);
        // With a `ProxyCommand`, only the host's answer shows that it is reached. A
        // session waits for it anyway.
        if host.via.is_none() && host.settings.proxy_command.is_some() {
            return self.offered(host, &KeyTypes::Any, timeout).await.map(drop);
        }
        self.reach(host, &patience).await.map(drop)
    }
}

/// The first pause before another attempt at a host that refuses new connections.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Rejects an unusable key before connecting.
fn check_key(host: &Host) -> Result<()> {
    match &host.key {
        // The agent may have the private key.
        Some(key) if key_file::is_public(key) => Ok(()),
        Some(key) => login::private_key(key).map(drop),
        None => Ok(()),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::internal("an ssh worker stopped unexpectedly")))
}
