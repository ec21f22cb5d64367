//! Pid 1 of a machine, from the fork to the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::Pid;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::cloud_init::{CloudInit, Progress};
use super::commands;
use super::console::Console;
use super::control::Control;
use super::dial;
use super::first_boot;
use super::host_keys::HostKey;
use super::journal;
use super::power::Delay;
use super::reaper::Reaper;
use super::spawn::Spawn;
use crate::machine::boot::{Boot, Ending};
use crate::machine::disk::standins::{BINARY, PATH, SFTP_SERVER, proxy_variables};
use crate::machine::execution::Execution;
use crate::machine::hooks::{Hooks, SshServer};
use crate::machine::jail;
use crate::machine::journal::Journal;
use crate::machine::message::{self, Channel, FromInit, ToInit};
use crate::machine::process;
use crate::machine::units::Manager;
use crate::machine::volumes;

/// How long processes may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);

/// The parts of a machine, in its first process.
pub(in crate::machine) struct MachineParts {
    pub(in crate::machine) boot: Boot,
    pub(in crate::machine) root_mount: OwnedFd,
    pub(in crate::machine) root: PathBuf,
    pub(in crate::machine) binary: PathBuf,
    /// The networks that the machine reaches without the proxy.
    pub(in crate::machine) networks: String,
    pub(in crate::machine) console: OwnedFd,
    pub(in crate::machine) socket: OwnedFd,
}

/// Runs the machine until it ends.
pub(in crate::machine) fn run(machine: MachineParts, hooks: Hooks) -> ExitCode {
    match boot(&machine).and_then(|runtime| live(&runtime, machine, hooks)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Confines this process to the machine.
fn boot(machine: &MachineParts) -> io::Result<tokio::runtime::Runtime> {
    let result = enter(machine).and_then(|()| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    });
    if let Err(error) = &result {
        let reason = error.to_string();
        message::send(&machine.socket, &FromInit::Failed { reason }, &[])?;
    }
    result
}

fn enter(machine: &MachineParts) -> io::Result<()> {
    process::handle(Signal::SIGCHLD, SigHandler::SigDfl)?;
    // The kernel ignores a signal that pid 1 has no handler for. With the
    // standard library's handlers, many signals at once would overflow their
    // stack.
    process::handle(Signal::SIGBUS, SigHandler::SigDfl)?;
    process::handle(Signal::SIGSEGV, SigHandler::SigDfl)?;
    nix::unistd::setsid()?;
    nix::unistd::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    nix::unistd::dup2_stderr(&machine.console)?;
    let MachineParts { boot, root, .. } = machine;
    jail::enter(&machine.root_mount, root, &machine.binary, boot)
}

fn live(runtime: &tokio::runtime::Runtime, machine: MachineParts, hooks: Hooks) -> io::Result<()> {
    let local = LocalSet::new();
    local.block_on(runtime, async move {
        let MachineParts {
            boot,
            networks,
            console,
            socket,
            ..
        } = machine;
        let daemon = Channel::new(socket)?;
        let init = Init::new(&boot, &networks, Console::new(File::from(console)));
        match init.serve(&daemon, boot, hooks).await {
            Ok(Some(ending)) => {
                init.end(ending).await;
                daemon.send(&FromInit::Ending(ending), &[]).await
            }
            Ok(None) => Ok(()),
            Err(error) => {
                let reason = error.to_string();
                daemon.send(&FromInit::Failed { reason }, &[]).await
            }
        }
    })
}

/// The state of init.
struct Init {
    console: Console,
    journal: Journal,
    reaper: Reaper,
    units: Manager,
    environment: Vec<(String, String)>,
}

impl Init {
    fn new(boot: &Boot, networks: &str, console: Console) -> Self {
        console.stamped(&format!("autorun: instance {} is booting", boot.id));
        let mut environment = vec![("PATH".to_owned(), PATH.to_owned())];
        environment.extend(proxy_variables(networks));
        let reaper = Reaper::default();
        in_background("the reaper", reaper.clone().reap());
        let journal = Journal::new();
        let units = Manager::new(reaper.clone(), journal.clone(), environment.clone());
        Self {
            console,
            journal,
            reaper,
            units,
            environment,
        }
    }

    /// Boots, and serves until the machine is to end. Returns `None` if the
    /// daemon has ended.
    async fn serve(
        &self,
        daemon: &Channel,
        boot: Boot,
        hooks: Hooks,
    ) -> io::Result<Option<Ending>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let (plans, mut planned) = mpsc::unbounded_channel();
        let (names, mut new_names) = mpsc::unbounded_channel();
        let (progress, _) = watch::channel(Progress::Running);
        let (volumes, mut asked) = mpsc::unbounded_channel();
        let control = Control {
            units: self.units.clone(),
            progress: Rc::new(progress),
            ends: Rc::default(),
            plans,
            names,
            volumes,
        };
        first_boot::settle(&boot)?;
        let progress = Rc::clone(&control.progress);
        in_background("the control socket", control.serve(Control::bind()?));
        in_background("the console", journal::console(self.console.clone()));
        let (journal, units) = (&self.journal, &self.units);
        in_background(
            "the system log",
            journal::syslog(journal.clone(), units.clone()),
        );
        in_background(
            "the journal",
            journal::native(journal.clone(), units.clone()),
        );
        in_background("streams for the journal", journal::streams(journal.clone()));
        // The first message of the daemon means that the veth pair is
        // connected.
        if daemon.receive::<ToInit>().await?.is_none() {
            return Ok(None);
        }
        self.start_ssh(&boot, hooks).await?;
        daemon.send(&FromInit::Ready, &[]).await?;
        if let Some(name) = first_boot::kept_name(&boot) {
            daemon.send(&FromInit::Named(name), &[]).await?;
        }
        // With volumes, the next message means that they are attached.
        if !boot.volumes.is_empty() && daemon.receive::<ToInit>().await?.is_none() {
            return Ok(None);
        }
        let mut answers = Answers::default();
        let mut user_data = self.start_services(boot, progress);
        let ending = {
            let planned = next_ending(&mut planned);
            let unusable = async {
                match (&mut user_data).await {
                    Ok(Err(reason)) => reason,
                    _ => std::future::pending().await,
                }
            };
            tokio::pin!(planned, unusable);
            loop {
                tokio::select! {
                    ending = &mut planned => break Some(ending),
                    _ = terminate.recv() => break Some(Ending::PowerOff),
                    message = daemon.receive::<ToInit>() => match message {
                        Ok(Some((ToInit::Execute(execution), descriptors))) => {
                            self.execute(execution, descriptors);
                        }
                        Ok(Some((ToInit::Dial { port }, descriptors))) => {
                            in_background("a session", dial::carry(port, descriptors));
                        }
                        Ok(Some((ToInit::Volumes { number, answer }, _))) => {
                            answers.pass(number, answer);
                        }
                        _ => break None,
                    },
                    reason = &mut unusable => return Err(io::Error::other(reason)),
                    Some((request, reply)) = asked.recv() => {
                        let number = answers.expect(reply);
                        daemon.send(&FromInit::Volumes { number, request }, &[]).await?;
                    }
                    Some(name) = new_names.recv() => daemon.send(&FromInit::Named(name), &[]).await?,
                }
            }
        };
        // What happens to a script during shutdown is not its result.
        user_data.abort();
        Ok(ending)
    }

    fn execute(&self, execution: Execution, descriptors: Vec<OwnedFd>) {
        let (environment, reaper) = (self.environment.clone(), self.reaper.clone());
        let work = commands::execute(execution, descriptors, environment, reaper);
        in_background("a command of the agent", work);
    }

    async fn start_ssh(&self, boot: &Boot, hooks: Hooks) -> io::Result<()> {
        let key = HostKey::on_disk(&boot.hostname)?;
        if !boot.faults.host_keys_late_in_console {
            show_keys(boot, &self.console)?;
        }
        if boot.faults.no_ssh {
            return Ok(());
        }
        let server = SshServer {
            listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 22)).await?,
            host_keys: vec![key.file],
            drop_after: boot.faults.drop_ssh_after,
            environment: self.environment.clone(),
            reaper: self.reaper.clone(),
            sftp_server: PathBuf::from(SFTP_SERVER),
        };
        in_background("the ssh server", (hooks.sshd)(server));
        Ok(())
    }

    /// Starts user data and units, which run concurrently as on a real machine.
    /// The task fails if the user data cannot be run at all.
    fn start_services(
        &self,
        boot: Boot,
        progress: Rc<watch::Sender<Progress>>,
    ) -> JoinHandle<Result<(), String>> {
        let cloud_init = CloudInit {
            console: self.console.clone(),
            reaper: self.reaper.clone(),
            environment: self.environment.clone(),
            user: boot.user.clone(),
            faults: boot.faults.clone(),
            stages: self.units.stages().clone(),
            progress,
        };
        let mounted = self.mount_volumes(&boot).shared();
        let (units, before) = (self.units.clone(), mounted.clone());
        spawn_local(async move {
            before.await;
            units.start_enabled().await;
        });
        let console = self.console.clone();
        spawn_local(async move {
            mounted.await;
            cloud_init.run(boot.user_data.clone()).await?;
            if boot.faults.host_keys_late_in_console
                && let Err(error) = show_keys(&boot, &console)
            {
                console.stamped(&format!("autorun: cannot show the host keys: {error}"));
            }
            Ok(())
        })
    }

    /// Mounts the volumes of `/etc/fstab`, as a boot does.
    fn mount_volumes(&self, boot: &Boot) -> impl Future<Output = ()> + use<> {
        let has_volumes = !boot.volumes.is_empty();
        let (console, reaper) = (self.console.clone(), self.reaper.clone());
        let environment = self.environment.clone();
        async move {
            if has_volumes && let Err(error) = mount_all(&reaper, &environment).await {
                console.stamped(&format!("autorun: cannot mount volumes: {error}"));
            }
        }
    }

    /// Stops units, then all other processes.
    async fn end(&self, ending: Ending) {
        let what = match ending {
            Ending::Reboot => "Rebooting",
            Ending::PowerOff | Ending::Killed => "Powering off",
        };
        self.console.stamped(&format!("systemd: {what}."));
        let stopped = async {
            self.units.stop_all().await;
            signal_all(Signal::SIGTERM);
            self.reaper.alone().await;
        };
        if tokio::time::timeout(PATIENCE, stopped).await.is_err() {
            log::info!("processes did not end after SIGTERM and are killed");
        }
        signal_all(Signal::SIGKILL);
    }
}

async fn mount_all(reaper: &Reaper, environment: &[(String, String)]) -> io::Result<()> {
    // Opened for reading too, a fifo does not wait for its reader.
    let console = File::options()
        .read(true)
        .write(true)
        .open("/dev/console")?;
    let child = Spawn::new(BINARY)
        .arg0("mount")
        .args(["-a"])
        .environment(environment)
        .output(console.into())?
        .start(reaper)?;
    // The reaper lives as long as this process.
    let _ = child.exited.await;
    Ok(())
}

/// The programs that wait for answers of the daemon about volumes.
#[derive(Default)]
struct Answers {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<volumes::Answer>>,
}

impl Answers {
    /// Returns the number of the next request.
    fn expect(&mut self, reply: oneshot::Sender<volumes::Answer>) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, reply);
        self.last
    }

    fn pass(&mut self, number: u64, answer: volumes::Answer) {
        if let Some(reply) = self.waiting.remove(&number) {
            // The program may have ended.
            let _ = reply.send(answer);
        }
    }
}

/// Sends a signal to every other process.
fn signal_all(signal: Signal) {
    // The call fails if there is no other process.
    let _ = nix::sys::signal::kill(Pid::from_raw(-1), signal);
}

fn in_background(what: &'static str, work: impl Future<Output = io::Result<()>> + 'static) {
    spawn_local(async move {
        if let Err(error) = work.await {
            log::error!("{what} ended: {error}");
        }
    });
}

/// Waits until a planned ending is due. A newer plan replaces an older one.
async fn next_ending(plans: &mut mpsc::UnboundedReceiver<Option<(Ending, Delay)>>) -> Ending {
    let mut plan: Option<(Ending, tokio::time::Instant)> = None;
    loop {
        let due = async {
            match plan {
                Some((ending, at)) => {
                    tokio::time::sleep_until(at).await;
                    ending
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ending = due => return ending,
            Some(newer) = plans.recv() => {
                let now = tokio::time::Instant::now();
                plan = newer.map(|(ending, delay)| (ending, now + delay.left()));
            }
        }
    }
}

/// Shows the host keys on the console, subject to the faults.
fn show_keys(boot: &Boot, console: &Console) -> io::Result<()> {
    let faults = &boot.faults;
    if faults.other_host_keys_in_console {
        HostKey::of_no_machine(&boot.hostname)?.show(console)
    } else if faults.host_keys_not_in_console {
        Ok(())
    } else {
        HostKey::on_disk(&boot.hostname)?.show(console)
    }
}
