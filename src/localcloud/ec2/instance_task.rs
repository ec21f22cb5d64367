//! The task of one instance. It executes one command at a time on the instance's
//! machine and records the result in the state.

use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::boot::{boot_of, data_volumes};
use super::fleet::{Command, Fleet};
use super::spot::{INTERRUPTED, NOTICE};
use super::state::{Instance, Millis, OnShutdown, Phase, Saving};
use crate::clock;
use crate::faults::{Act, Fault};
use crate::machine::{DataVolume, Ending, Machine};
use crate::proxy::Online;

/// How long a machine may take to shut down before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running machine and the services that the daemon runs for it. The services
/// end together with the machine, because their sockets are in the machine's
/// network namespace and would keep the namespace alive.
struct Running {
    machine: Machine,
    _services: DropGuard,
}

/// One instance's task.
pub(super) struct InstanceTask {
    fleet: Arc<Fleet>,
    region: String,
    id: String,
    commands: mpsc::UnboundedReceiver<Command>,
    /// A command that arrived during a slow boot. It is executed first.
    overtaken_by: Option<Command>,
    /// How long a reboot takes, from the fault of the last start.
    reboots_in: Option<Duration>,
}

/// An event for which the task wakes up.
enum Event {
    Command(Command),
    Ended(Ending),
}

impl InstanceTask {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        region: &str,
        id: String,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            fleet,
            region: region.to_owned(),
            id,
            commands,
            overtaken_by: None,
            reboots_in: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut machine: Option<Running> = None;
        while let Some(event) = self.next(machine.as_ref()).await {
            machine = match event {
                Event::Command(Command::Boot(Some(fault))) if fault.act == Act::FailBoot => {
                    let code = fault.code.as_deref();
                    let code = code.unwrap_or("Client.InvalidKMSKey.InvalidState");
                    let message = fault.message.as_deref();
                    let message =
                        message.unwrap_or("The KMS key provided is in an incorrect state");
                    let message = format!("{code}: {message}");
                    self.terminated(Some((code, &message))).await;
                    return;
                }
                Event::Command(Command::Boot(fault)) => {
                    self.reboots_in = fault.as_ref().and_then(reboot_delay);
                    self.boot(fault).await
                }
                Event::Command(Command::Stop { force }) => {
                    stop(machine, if force { Duration::ZERO } else { PATIENCE }).await;
                    self.set_phase(Phase::Stopped, None);
                    None
                }
                Event::Command(Command::Reboot) | Event::Ended(Ending::Reboot) => {
                    stop(machine, PATIENCE).await;
                    let takes = self.reboots_in;
                    match takes {
                        Some(wait) if self.overtaken_within(wait).await => None,
                        _ => self.boot(None).await,
                    }
                }
                Event::Command(Command::Save { snapshot, reboots }) => {
                    let stays = if reboots {
                        stop(machine, PATIENCE).await;
                        None
                    } else {
                        machine
                    };
                    self.save(&snapshot, stays.is_some()).await;
                    if reboots {
                        self.boot(None).await
                    } else {
                        stays
                    }
                }
                Event::Command(Command::Terminate) => {
                    stop(machine, Duration::ZERO).await;
                    self.terminated(None).await;
                    return;
                }
                Event::Command(Command::Interrupt) => {
                    stop(machine, PATIENCE).await;
                    let message = format!("{INTERRUPTED}: Spot instance termination");
                    let reason = (INTERRUPTED, &*message);
                    self.terminated(Some(reason)).await;
                    return;
                }
                Event::Command(Command::Leave { force }) => {
                    stop(machine, if force { Duration::ZERO } else { PATIENCE }).await;
                    return;
                }
                Event::Ended(Ending::PowerOff) => {
                    let reason = (
                        "Client.InstanceInitiatedShutdown",
                        "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
                    );
                    if self.on_shutdown() == OnShutdown::Terminate {
                        self.terminated(Some(reason)).await;
                        return;
                    }
                    self.set_phase(Phase::Stopped, Some(reason));
                    None
                }
                Event::Ended(Ending::Killed) => {
                    let why = machine.and_then(|running| running.machine.failure());
                    let why = why.unwrap_or_else(|| "the instance ended unexpectedly".to_owned());
                    let message = format!("Server.InternalError: {why}");
                    self.set_phase(Phase::Stopped, Some(("Server.InternalError", &message)));
                    None
                }
            };
        }
    }

    /// Waits for the next command or for the machine's end.
    async fn next(&mut self, running: Option<&Running>) -> Option<Event> {
        if let Some(command) = self.overtaken_by.take() {
            return Some(Event::Command(command));
        }
        let Some(running) = running else {
            return self.commands.recv().await.map(Event::Command);
        };
        tokio::select! {
            command = self.commands.recv() => command.map(Event::Command),
            ending = running.machine.ended() => Some(Event::Ended(ending)),
        }
    }

    fn instance(&self) -> Option<Instance> {
        let state = self.fleet.store.state();
        state
            .regions
            .get(&self.region)?
            .instances
            .get(&self.id)
            .cloned()
    }

    /// Returns the CIDR block of the instance's VPC.
    fn network(&self, instance: &Instance) -> Ipv4Net {
        let state = self.fleet.store.state();
        let region = state.regions.get(&self.region);
        let vpc = region.and_then(|region| region.networks.vpcs.get(&instance.vpc));
        vpc.filter(|vpc| !vpc.is_default)
            .map_or(self.fleet.store.facts.subnet, |vpc| vpc.cidr)
    }

    fn on_shutdown(&self) -> OnShutdown {
        self.instance().map_or(OnShutdown::Stop, |i| i.on_shutdown)
    }

    /// Records the phase, unless a later request has changed the phase already.
    fn set_phase(&self, phase: Phase, reason: Option<(&str, &str)>) {
        self.fleet.store.change(|state| {
            let Some(region) = state.regions.get_mut(&self.region) else {
                return;
            };
            let Some(known) = region.instances.get(&self.id) else {
                return;
            };
            let kept = known.reason.clone();
            let overtaken = match phase {
                Phase::Terminated => false,
                // A stop was requested meanwhile. Its command comes next.
                Phase::Running => known.phase != Phase::Pending,
                _ => known.phase.is_ending(),
            };
            if !overtaken {
                let kept = kept.as_ref().map(|(code, message)| (&**code, &**message));
                region.set_phase(&self.id, phase, reason.or(kept), clock::millis());
            }
        });
        self.fleet.groups_changed.notify_one();
    }

    /// Removes the disk and records the end. The task leaves the map before the
    /// phase changes, so that no further command is sent to it.
    async fn terminated(&self, reason: Option<(&str, &str)>) {
        self.fleet.remove_disk(&self.id).await;
        self.fleet.tasks().remove(&self.id);
        self.set_phase(Phase::Terminated, reason);
        self.fleet.forget_volumes().await;
    }

    /// Waits. Returns whether a command arrived in the meantime; it is executed
    /// next.
    async fn overtaken_within(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            command = self.commands.recv() => {
                self.overtaken_by = command;
                true
            }
        }
    }

    /// Boots the machine. If a command arrives during a slow boot, the boot is
    /// abandoned and the command is executed instead.
    async fn boot(&mut self, fault: Option<Fault>) -> Option<Running> {
        let instance = self.instance()?;
        if let Some(wait) = fault.as_ref().and_then(delay)
            && self.overtaken_within(wait).await
        {
            return None;
        }
        let volumes = self.volumes();
        if let Some(fault) = fault
            .as_ref()
            .filter(|fault| fault.act == Act::InterruptSpot)
        {
            self.interrupt(fault);
        }
        let boot = boot_of(&instance, self.network(&instance), volumes, fault.as_ref());
        match self.fleet.runtime.boot(boot).await {
            Ok(machine) => {
                let services = CancellationToken::new();
                if let Some(listener) = machine.take_proxy() {
                    self.serve_proxy(listener, &services);
                }
                self.follow_detachments(&machine, &services);
                self.set_phase(Phase::Running, None);
                Some(Running {
                    machine,
                    _services: services.drop_guard(),
                })
            }
            Err(e) => {
                log::error!("cannot boot {}: {e}", self.id);
                let message = format!("Server.InternalError: {e}");
                self.set_phase(Phase::Stopped, Some(("Server.InternalError", &message)));
                None
            }
        }
    }

    /// Announces the interruption of a spot instance after some time, and interrupts it
    /// when its notice ends. Both outlive reboots.
    fn interrupt(&self, fault: &Fault) {
        let wait = Duration::from_secs_f64(fault.seconds.unwrap_or_default());
        let notice = fault.notice.map_or(NOTICE, Duration::from_secs_f64);
        let (fleet, region, id) = (
            Arc::clone(&self.fleet),
            self.region.clone(),
            self.id.clone(),
        );
        // The tracker waits for its tasks when the daemon ends. This one is too slow.
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let mut announced = false;
            fleet.store.change(|state| {
                let region = state.regions.get_mut(&region);
                let instance = region.and_then(|region| region.instances.get_mut(&id));
                if let Some(spot) = instance.and_then(|instance| instance.spot.as_mut()) {
                    spot.interruption = Some(clock::millis() + millis(notice));
                    announced = true;
                }
            });
            if announced {
                tokio::time::sleep(notice).await;
                if let Some(task) = fleet.tasks().get(&id) {
                    drop(task.send(Command::Interrupt));
                }
            }
        });
    }

    /// Returns the volumes of the next boot. What was detached before ends here.
    fn volumes(&self) -> Vec<DataVolume> {
        let mut volumes = Vec::new();
        self.fleet.store.change(|state| {
            let Some(region) = state.regions.get_mut(&self.region) else {
                return;
            };
            region.finish_detaching(&self.id);
            if let Some(instance) = region.instances.get(&self.id) {
                volumes = data_volumes(region, instance);
            }
        });
        volumes
    }

    /// Detaches the volumes that were requested during the boot, and records
    /// detachments that wait for the machine.
    fn follow_detachments(&self, machine: &Machine, until: &CancellationToken) {
        let waiting = self.instance().into_iter().flat_map(|i| i.attachments);
        for attachment in waiting.filter(|one| one.detaching) {
            match machine.detach(&attachment.volume, false) {
                Ok(true) => self.fleet.detached(&self.region, &attachment.volume),
                Ok(false) => {}
                Err(e) => log::error!("cannot detach {}: {e}", attachment.volume),
            }
        }
        let Some(mut freed) = machine.take_freed() else {
            return;
        };
        let (fleet, region, until) = (Arc::clone(&self.fleet), self.region.clone(), until.clone());
        self.fleet.tracker.spawn(async move {
            while let Some(Some(volume)) = until.run_until_cancelled(freed.recv()).await {
                fleet.detached(&region, &volume);
            }
        });
    }

    /// Copies the disk to a snapshot, and records whether that succeeded.
    async fn save(&self, snapshot: &str, runs: bool) {
        let runtime = &self.fleet.runtime;
        let saving = match runtime.save_disk(&self.id, snapshot, runs).await {
            Ok(()) => Saving::Done,
            Err(e) => {
                log::error!("cannot copy the disk of {}: {e}", self.id);
                Saving::Failed
            }
        };
        let mut wanted = false;
        self.fleet.store.change(|state| {
            let Some(region) = state.regions.get_mut(&self.region) else {
                return;
            };
            let image = region
                .images
                .find(snapshot)
                .next()
                .map(|own| own.id.clone());
            if let Some(own) = image.and_then(|id| region.images.get_mut(&id)) {
                own.saving = saving;
            }
            if let Some(own) = region.snapshots.get_mut(snapshot) {
                own.saving = saving;
                wanted = true;
            }
        });
        // It was deleted meanwhile, or there is nothing in it.
        if !wanted || saving == Saving::Failed {
            self.fleet.remove_snapshot(snapshot).await;
        }
    }

    /// Serves the proxy, which is the machine's only access to the internet,
    /// until the machine ends.
    fn serve_proxy(&self, listener: std::net::TcpListener, until: &CancellationToken) {
        let (fleet, id) = (&self.fleet, self.id.clone());
        let (proxy, until) = (fleet.proxy.clone(), until.clone());
        let (store, region) = (Arc::clone(&fleet.store), self.region.clone());
        let of = id.clone();
        let online: Online = Arc::new(move || {
            let state = store.state();
            let region = state.regions.get(&region);
            region.is_some_and(|region| region.reaches_internet(&of, clock::millis()))
        });
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(fleet.tracker.spawn(async move {
                until
                    .run_until_cancelled(proxy.serve(listener, id, online))
                    .await;
            })),
            Err(e) => log::error!("cannot serve the proxy of {id}: {e}"),
        }
    }
}

async fn stop(running: Option<Running>, patience: Duration) {
    let Some(Running { machine, .. }) = &running else {
        return;
    };
    if patience.is_zero() {
        machine.kill();
        machine.ended().await;
    } else {
        machine.stop(patience).await;
    }
}

/// Returns how long a fault makes a reboot.
fn reboot_delay(fault: &Fault) -> Option<Duration> {
    (fault.act == Act::SlowReboot).then(|| Duration::from_secs_f64(fault.seconds.unwrap_or(20.0)))
}

/// Returns how long a fault keeps an instance pending.
fn delay(fault: &Fault) -> Option<Duration> {
    match fault.act {
        Act::SlowBoot => Some(Duration::from_secs_f64(fault.seconds.unwrap_or(20.0))),
        Act::EndlessBoot => Some(Duration::MAX),
        _ => None,
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
