//! A running machine, from the daemon's side.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::boot::{AgentFault, Ending};
use super::cgroups::Group;
use super::claims::Claim;
use super::dial::dial;
use super::disk::in_use::DiskInUse;
use super::execution::{Execution, Running};
use super::message::{Channel, FromInit, ToInit};
use super::network::switch::Switch;
use super::volumes::{DataVolume, Request, Volumes};

/// The maximum size, in bytes, of console output that are returned, as on AWS.
const CONSOLE: u64 = 64 * 1024;

/// The resources that a machine occupies until its end.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) switch: Arc<Switch>,
    /// The interface index of its veth pair's end in the switch.
    pub(super) cable: u32,
    pub(super) group: Group,
    pub(super) _ids: Claim,
    pub(super) _disk: DiskInUse,
}

impl Held {
    /// Releases the resources after the machine's end.
    pub(super) async fn release(self) {
        self.switch.unplug(self.cable).await;
        let group = self.group.clone();
        let removed = tokio::task::spawn_blocking(move || group.remove()).await;
        match removed {
            Ok(Err(error)) => log::warn!("{error}"),
            Err(error) => log::warn!("cannot remove the cgroup of an instance: {error}"),
            Ok(Ok(())) => {}
        }
    }
}

/// A handle to a running machine. Dropping it does not end the machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    agent: Option<AgentFault>,
    channel: Arc<Channel>,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    proxy: Mutex<Option<TcpListener>>,
    volumes: Arc<Volumes>,
    /// The ids of volumes whose detachment had to wait.
    freed: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    ending: watch::Receiver<Option<Ending>>,
    failure: Arc<OnceLock<String>>,
}

impl Machine {
    /// Takes over a machine that has booted.
    pub(super) fn new(
        (id, agent): (String, Option<AgentFault>),
        pidfd: Arc<AsyncFd<OwnedFd>>,
        proxy: TcpListener,
        (volumes, freed): (Volumes, mpsc::UnboundedReceiver<String>),
        channel: Channel,
        held: Held,
    ) -> Self {
        let channel = Arc::new(channel);
        let volumes = Arc::new(volumes);
        let (sender, ending) = watch::channel(None);
        let failure = Arc::default();
        let watch = watch_over(
            Arc::clone(&channel),
            Arc::clone(&pidfd),
            Arc::clone(&volumes),
            held,
            sender,
            Arc::clone(&failure),
        );
        tokio::spawn(watch);
        Self(Arc::new(Inner {
            id,
            agent,
            channel,
            pidfd,
            proxy: Mutex::new(Some(proxy)),
            volumes,
            freed: Mutex::new(Some(freed)),
            ending,
            failure,
        }))
    }

    /// Returns the non-blocking listener of the machine's proxy, once. Drop it
    /// when the machine has ended: an open socket keeps the machine's network
    /// namespace.
    #[must_use]
    pub(crate) fn take_proxy(&self) -> Option<TcpListener> {
        let mut proxy = self.0.proxy.lock().unwrap_or_else(PoisonError::into_inner);
        proxy.take()
    }

    /// Attaches a volume.
    pub(crate) fn attach(&self, volume: &DataVolume) -> io::Result<()> {
        self.0.volumes.attach(volume)
    }

    /// Detaches a volume. Returns whether it is detached. One in use is detached
    /// when it is unmounted, and then reported by `take_freed`. `force` unmounts it.
    pub(crate) fn detach(&self, volume: &str, force: bool) -> io::Result<bool> {
        self.0.volumes.detach(volume, force)
    }

    /// Returns the receiver of volumes whose detachment had to wait, once.
    #[must_use]
    pub(crate) fn take_freed(&self) -> Option<mpsc::UnboundedReceiver<String>> {
        let mut freed = self.0.freed.lock().unwrap_or_else(PoisonError::into_inner);
        freed.take()
    }

    /// Returns the name of the machine's disk, an instance id.
    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns what is wrong with the agent of Systems Manager.
    pub(crate) fn agent_fault(&self) -> Option<AgentFault> {
        self.0.agent
    }

    /// Starts a command in the machine.
    pub(crate) async fn execute(&self, execution: Execution) -> io::Result<Running> {
        Running::start(&self.0.channel, execution).await
    }

    /// Connects to a port of the machine.
    pub(crate) async fn dial(&self, port: u16) -> io::Result<UnixStream> {
        dial(&self.0.channel, port).await
    }

    /// Requests a shutdown, and kills the machine if it does not end in time.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            self.kill();
            self.ended().await;
        }
    }

    /// Kills the machine and all processes in it.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits until the machine's processes and its veth pair are gone.
    pub(crate) async fn ended(&self) -> Ending {
        let mut ending = self.0.ending.clone();
        let ended = ending.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|ending| *ending)
            .unwrap_or(Ending::Killed)
    }

    /// Returns why the machine ended by itself, if it failed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.0.failure.get().cloned()
    }

    /// Whether the machine has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.ending.borrow().is_some()
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(self.0.pidfd.get_ref(), signal) {
            log::debug!("cannot signal an instance, which may have ended: {error}");
        }
    }
}

/// Reads the end of a console file. The machine need not be running.
pub(super) fn console_of(path: &Path) -> io::Result<Vec<u8>> {
    match File::open(path) {
        Ok(file) => tail(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn tail(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(CONSOLE);
    let mut text = vec![0; usize::try_from(length - start).unwrap_or_default()];
    let mut filled = 0;
    // The machine may shorten the file meanwhile.
    while filled < text.len() {
        match file.read_at(&mut text[filled..], start + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    text.truncate(filled);
    Ok(text)
}

/// Watches the machine until its end. An end of file of the machine's socket would
/// end the machine.
async fn watch_over(
    channel: Arc<Channel>,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    volumes: Arc<Volumes>,
    held: Held,
    sender: watch::Sender<Option<Ending>>,
    failure: Arc<OnceLock<String>>,
) {
    let mut ending = Ending::Killed;
    loop {
        tokio::select! {
            biased;
            message = channel.receive::<FromInit>() => match message {
                Ok(Some((FromInit::Ending(reported), _))) => ending = reported,
                Ok(Some((FromInit::Failed { reason }, _))) => {
                    log::warn!("an instance failed: {reason}");
                    // The first reason is the cause.
                    let _ = failure.set(reason);
                }
                Ok(Some((FromInit::Named(name), _))) => {
                    if let Err(error) = set_host_name(&pidfd, name).await {
                        log::warn!("cannot set the host name of an instance: {error}");
                    }
                }
                Ok(Some((FromInit::Volumes { number, request }, _))) => {
                    tokio::spawn(answer(
                        Arc::clone(&channel),
                        Arc::clone(&volumes),
                        (number, request),
                    ));
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            },
            _ = pidfd.readable() => break,
        }
    }
    until_gone(&pidfd).await;
    volumes.release();
    held.release().await;
    sender.send_replace(Some(ending));
}

/// Answers a request about volumes.
async fn answer(channel: Arc<Channel>, volumes: Arc<Volumes>, (number, request): (u64, Request)) {
    let answer = tokio::task::spawn_blocking(move || volumes.perform(&request)).await;
    let answer = answer.unwrap_or_else(|error| Err(error.to_string()));
    if let Err(error) = channel.send(&ToInit::Volumes { number, answer }, &[]).await {
        log::debug!("cannot answer an instance, which may have ended: {error}");
    }
}

/// Sets the host name of a machine, whose own processes lack the privilege.
async fn set_host_name(pidfd: &AsyncFd<OwnedFd>, name: String) -> io::Result<()> {
    let pidfd = pidfd.get_ref().try_clone()?;
    let (sender, receiver) = oneshot::channel();
    // The thread is in the machine's namespace afterwards, so it is not reused.
    let thread = std::thread::Builder::new().name("host name".to_owned());
    thread.spawn(move || {
        let entered = setns(pidfd, CloneFlags::CLONE_NEWUTS);
        let set = entered.and_then(|()| nix::unistd::sethostname(name));
        // The receiver may have been dropped.
        let _ = sender.send(set.map_err(io::Error::from));
    })?;
    receiver.await.map_err(io::Error::other)?
}

/// Waits for the end of a namespace's first process, which ends all others.
pub(super) async fn until_gone(pidfd: &AsyncFd<OwnedFd>) {
    if let Err(error) = pidfd.readable().await {
        log::warn!("cannot wait for the end of an instance: {error}");
    }
}
