//! The zygote from the daemon's side: starts it and requests machines from it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::super::logbook;
use super::disk::package_settings;
use super::disk::seed::Seed;
use super::error::Error;
use super::message::{self, Channel, FromInit, FromZygote, Order, ToZygote, ZygoteConfig};
use super::packages;
use super::settings::RuntimeSettings;
use super::zygote::ZYGOTE;

/// How long the creation of a machine's first process may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The length in bytes at which the log of the zygote is rotated.
const LONGEST_LOG: u64 = 1 << 20;

/// A running zygote. Dropping it ends the zygote and all machines.
#[derive(Debug)]
pub(super) struct ZygoteHandle {
    process: Mutex<Child>,
    pid: i32,
    channel: Arc<Channel>,
    /// The state of the preparations, once they end: the number of held
    /// packages, or why no machine can boot.
    ready: watch::Receiver<Option<Result<Option<usize>, String>>>,
}

impl ZygoteHandle {
    /// Starts the zygote and waits for its namespaces. The other preparations
    /// continue in the background.
    pub(super) async fn start(
        settings: &RuntimeSettings,
        base: PathBuf,
        subnet: Ipv4Net,
    ) -> Result<Self, Error> {
        let attempt = "start the process that instances fork from";
        let (mut process, channel) = spawn(settings).map_err(|error| Error::io(attempt, error))?;
        if let Err(error) = introduce(&channel, settings, base.clone(), subnet).await {
            end(&mut process);
            return Err(error);
        }
        let channel = Arc::new(channel);
        let (sender, ready) = watch::channel(None);
        let state_dir = settings.state_dir.clone();
        tokio::spawn(get_ready(Arc::clone(&channel), state_dir, base, sender));
        Ok(Self {
            pid: process.id().cast_signed(),
            process: Mutex::new(process),
            channel,
            ready,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until machines can boot.
    pub(super) async fn until_ready(&self) -> Result<(), Error> {
        let mut ready = self.ready.clone();
        let state = ready.wait_for(Option::is_some).await;
        match state.as_deref() {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(reason))) => Err(Error::new(reason.clone())),
            Ok(None) | Err(_) => Err(Error::new("the local cloud is shutting down")),
        }
    }

    /// Returns the number of held packages, once it is known.
    pub(super) fn held_packages(&self) -> Option<usize> {
        match &*self.ready.borrow() {
            Some(Ok(held)) => *held,
            _ => None,
        }
    }

    /// Requests a machine. Returns its socket, its pid and its pidfd.
    pub(super) async fn order(
        &self,
        order: Order,
        console: &File,
    ) -> io::Result<(Channel, i32, AsyncFd<OwnedFd>)> {
        let (ours, theirs) = message::pair()?;
        let order = ToZygote::Boot(Box::new(order));
        let fds = [theirs.as_fd(), console.as_fd()];
        self.channel.send(&order, &fds).await?;
        drop(theirs);
        let channel = Channel::new(ours)?;
        let started = tokio::time::timeout(PATIENCE, channel.receive::<FromInit>());
        match started.await?? {
            Some((FromInit::Started { pid }, fds)) => match fds.into_iter().next() {
                Some(pidfd) => Ok((channel, pid, message::watched(pidfd)?)),
                None => Err(io::Error::other(
                    "the first process came without a descriptor",
                )),
            },
            Some((FromInit::Failed { reason }, _)) => Err(io::Error::other(reason)),
            _ => Err(io::Error::other(
                "the process that instances fork from has ended",
            )),
        }
    }

    /// Kills the zygote. The kernel removes everything that belongs to it.
    pub(super) fn end(&self) {
        end(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for ZygoteHandle {
    fn drop(&mut self) {
        self.end();
    }
}

fn end(process: &mut Child) {
    if let Err(error) = process.kill().and_then(|()| process.wait()) {
        log::debug!("cannot end the process that instances fork from: {error}");
    }
}

/// Starts the process without the daemon's environment, which machines could
/// read.
fn spawn(settings: &RuntimeSettings) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = message::pair()?;
    let log = settings.state_dir.join("zygote.log");
    logbook::rotate(&log, LONGEST_LOG)?;
    let log = logbook::open(&log)?;
    let process = Command::new(&settings.binary)
        .arg0(ZYGOTE)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    Ok((process, Channel::new(ours)?))
}

async fn introduce(
    channel: &Channel,
    settings: &RuntimeSettings,
    base: PathBuf,
    subnet: Ipv4Net,
) -> Result<(), Error> {
    let attempt = "create the namespaces of instances";
    let failed = |error: io::Error| Error::io(attempt, error);
    let config = ZygoteConfig {
        state_dir: settings.state_dir.clone(),
        binary: settings.binary.clone(),
        subnet: subnet.to_string(),
        base,
    };
    let start = ToZygote::Start(config);
    channel.send(&start, &[]).await.map_err(failed)?;
    match channel.receive::<FromZygote>().await.map_err(failed)? {
        Some((FromZygote::Up, _)) => Ok(()),
        Some((FromZygote::Failed { reason }, _)) => Err(Error::io(attempt, reason)),
        Some((FromZygote::Seeded, _)) | None => Err(Error::io(
            attempt,
            "the process that instances fork from has ended; see zygote.log in the state directory",
        )),
    }
}

/// Waits for the seed and the packages, then reports that machines can boot.
async fn get_ready(
    channel: Arc<Channel>,
    state_dir: PathBuf,
    base: PathBuf,
    sender: watch::Sender<Option<Result<Option<usize>, String>>>,
) {
    let (packages, seeded) = tokio::join!(packages::prepare(&state_dir), seeded(&channel));
    let ready = async {
        seeded?;
        let Some(packages) = packages else {
            return Ok(None);
        };
        let layer = Seed::new(state_dir.join("packages/layer"), base)?;
        package_settings::place_packages(&layer, &packages)?;
        let layer = ToZygote::Packages(layer.root().to_owned());
        channel.send(&layer, &[]).await?;
        Ok(Some(packages.held))
    };
    let ready: io::Result<_> = ready.await;
    let ready = ready.map_err(|error| format!("cannot prepare the files of instances: {error}"));
    sender.send_replace(Some(ready));
}

async fn seeded(channel: &Channel) -> io::Result<()> {
    match channel.receive::<FromZygote>().await? {
        Some((FromZygote::Seeded, _)) => Ok(()),
        Some((FromZygote::Failed { reason }, _)) => Err(io::Error::other(reason)),
        _ => Err(io::Error::other(
            "the process that instances fork from has ended",
        )),
    }
}
