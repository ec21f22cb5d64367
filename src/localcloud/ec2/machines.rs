//! The machines behind the instances: one task each, which does one thing at a
//! time and writes down what came of it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::call::{Effect, Facts, iso};
use super::launch::decode;
use super::state::{Group, Instance, OnShutdown, Peer, Permission, Phase, Region, State};
use super::{Ec2, Inner, catalog, instances, network, now};
use crate::faults::{Act, BOOT, Fault, Plans};
use crate::machine::{Boot, Ending, Faults, Ingress, Limits, Machine, Port, Protocol, Runtime};
use crate::metadata::{self, Metadata};
use crate::proxy::Proxy;

/// Who logs in to an instance, as on Amazon Linux.
const USER: &str = "ec2-user";

/// How long a machine may take to shut itself down before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happens to a machine.
enum Command {
    Boot(Option<Fault>),
    Stop {
        force: bool,
    },
    Reboot,
    Terminate,
    /// The daemon ends; the record stays as it is.
    Leave,
}

/// All machines.
#[derive(Clone)]
pub(crate) struct Machines(Arc<Shared>);

struct Shared {
    runtime: Runtime,
    proxy: Proxy,
    ec2: OnceLock<Weak<Inner>>,
    lives: Mutex<HashMap<String, mpsc::UnboundedSender<Command>>>,
    tasks: TaskTracker,
    groups_changed: Notify,
}

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machines")
    }
}

impl Machines {
    pub(crate) fn new(runtime: Runtime, proxy: Proxy) -> Self {
        Self(Arc::new(Shared {
            runtime,
            proxy,
            ec2: OnceLock::new(),
            lives: Mutex::default(),
            tasks: TaskTracker::new(),
            groups_changed: Notify::new(),
        }))
    }

    /// Begins to follow what EC2 decides; disks of unknown instances go.
    pub(super) fn begin(&self, ec2: &Ec2, kept: Vec<String>) {
        // Set once, right after EC2 was made.
        drop(self.0.ec2.set(Arc::downgrade(&ec2.0)));
        let this = self.clone();
        let asked = self.clone();
        tokio::spawn(async move {
            let listener = asked.0.runtime.listen_for_metadata().await;
            let listener = listener
                .map_err(std::io::Error::other)
                .and_then(TcpListener::from_std);
            let look_up: metadata::LookUp = Arc::new(move |address| asked.metadata(address));
            match listener {
                Ok(listener) => drop(metadata::serve(listener, look_up).await),
                Err(e) => log::error!("there is no metadata service: {e}"),
            }
        });
        tokio::spawn(async move {
            for id in this.0.runtime.disks().unwrap_or_default() {
                if !kept.contains(&id) {
                    this.remove_disk(&id).await;
                }
            }
            loop {
                this.0.groups_changed.notified().await;
                this.enforce_groups().await;
            }
        });
        self.0.groups_changed.notify_one();
    }

    fn ec2(&self) -> Option<Ec2> {
        self.0.ec2.get()?.upgrade().map(Ec2)
    }

    fn lives(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Command>>> {
        self.0.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the instance of an address can learn about itself.
    fn metadata(&self, address: IpAddr) -> Option<Arc<Metadata>> {
        let ec2 = self.ec2()?;
        let state = ec2.state();
        state.regions.iter().find_map(|(region, known)| {
            let mut up = known.instances.values().filter(|i| i.phase.is_up());
            let instance = up.find(|i| IpAddr::V4(i.address) == address)?;
            let metadata = metadata_of(instance, known, region, &ec2.0.facts);
            Some(Arc::new(metadata))
        })
    }

    /// What an instance has written to its console.
    pub(super) fn console(&self, id: &str) -> Vec<u8> {
        self.0.runtime.console(id).unwrap_or_default()
    }

    /// Has done what a change demands.
    pub(super) fn follow(
        &self,
        region: &str,
        effects: Vec<Effect>,
        plans: &Plans,
        run: Option<&str>,
    ) {
        for effect in effects {
            match effect {
                // Counted here, in the order of the launches.
                Effect::Boot(id) => self.send(region, id, Command::Boot(plans.hit(run, BOOT))),
                Effect::Stop { id, force } => self.send(region, id, Command::Stop { force }),
                Effect::Reboot(id) => self.send(region, id, Command::Reboot),
                Effect::Terminate(id) => self.send(region, id, Command::Terminate),
                Effect::Groups => self.0.groups_changed.notify_one(),
            }
        }
    }

    fn send(&self, region: &str, id: String, command: Command) {
        let mut lives = self.lives();
        let sender = lives.entry(id.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let life = Life {
                machines: self.clone(),
                region: region.to_owned(),
                id,
                commands: receiver,
                overtaken_by: None,
            };
            self.0.tasks.spawn(life.run());
            sender
        });
        // The task ends only after it has left the map.
        drop(sender.send(command));
    }

    async fn remove_disk(&self, id: &str) {
        if let Err(e) = self.0.runtime.remove_disk(id).await {
            log::warn!("cannot remove the disk of {id}: {e}");
        }
    }

    async fn enforce_groups(&self) {
        let Some(ec2) = self.ec2() else { return };
        let ports = ports(&ec2.state());
        if let Err(e) = self.0.runtime.set_firewall(ports).await {
            log::error!("cannot enforce the security groups: {e}");
        }
    }

    /// Ends every machine; disks stay.
    pub(super) async fn shut_down(&self) {
        let all: Vec<_> = self.lives().values().cloned().collect();
        for life in all {
            drop(life.send(Command::Leave));
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.runtime.shutdown().await;
    }
}

/// A machine that runs, with what the daemon does for it: the sockets of those
/// services lie in the machine's network and would keep it in being.
struct Running {
    machine: Machine,
    _services: DropGuard,
}

/// One instance's task.
struct Life {
    machines: Machines,
    region: String,
    id: String,
    commands: mpsc::UnboundedReceiver<Command>,
    /// What was asked for during a slow boot: it comes first.
    overtaken_by: Option<Command>,
}

/// What the task wakes up for.
enum Event {
    Command(Command),
    Ended(Ending),
}

impl Life {
    async fn run(mut self) {
        let mut machine: Option<Running> = None;
        while let Some(event) = self.next(machine.as_ref()).await {
            machine = match event {
                Event::Command(Command::Boot(fault)) => self.boot(fault).await,
                Event::Command(Command::Stop { force }) => {
                    stop(machine, if force { Duration::ZERO } else { PATIENCE }).await;
                    self.becomes(Phase::Stopped, None);
                    None
                }
                Event::Command(Command::Reboot) | Event::Ended(Ending::Reboot) => {
                    stop(machine, PATIENCE).await;
                    self.boot(None).await
                }
                Event::Command(Command::Terminate) => {
                    stop(machine, Duration::ZERO).await;
                    self.terminated(None).await;
                    return;
                }
                Event::Command(Command::Leave) => {
                    stop(machine, PATIENCE).await;
                    return;
                }
                Event::Ended(Ending::PowerOff) => {
                    let why = (
                        "Client.InstanceInitiatedShutdown",
                        "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
                    );
                    if self.on_shutdown() == OnShutdown::Terminate {
                        self.terminated(Some(why)).await;
                        return;
                    }
                    self.becomes(Phase::Stopped, Some(why));
                    None
                }
                Event::Ended(Ending::Killed) => {
                    let why = (
                        "Server.InternalError",
                        "Server.InternalError: the machine broke down",
                    );
                    self.becomes(Phase::Stopped, Some(why));
                    None
                }
            };
        }
    }

    /// The next command, or the machine's own end.
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
        let ec2 = self.machines.ec2()?;
        let state = ec2.state();
        state
            .regions
            .get(&self.region)?
            .instances
            .get(&self.id)
            .cloned()
    }

    fn on_shutdown(&self) -> OnShutdown {
        self.instance().map_or(OnShutdown::Stop, |i| i.on_shutdown)
    }

    /// Writes the phase down, unless the instance is on its way out.
    fn becomes(&self, phase: Phase, reason: Option<(&str, &str)>) {
        let Some(ec2) = self.machines.ec2() else {
            return;
        };
        ec2.change(|state| {
            let Some(region) = state.regions.get_mut(&self.region) else {
                return;
            };
            let Some(known) = region.instances.get(&self.id) else {
                return;
            };
            let kept = known.reason.clone();
            let overtaken = match phase {
                Phase::Terminated => false,
                // A stop was asked for meanwhile; its command comes next.
                Phase::Running => known.phase != Phase::Pending,
                _ => known.phase.is_ending(),
            };
            if !overtaken {
                let kept = kept.as_ref().map(|(code, words)| (&**code, &**words));
                region.set_phase(&self.id, phase, reason.or(kept), now());
            }
        });
        self.machines.0.groups_changed.notify_one();
    }

    /// The end: out of the map first, for nothing more can happen.
    async fn terminated(&self, reason: Option<(&str, &str)>) {
        self.machines.remove_disk(&self.id).await;
        self.machines.lives().remove(&self.id);
        self.becomes(Phase::Terminated, reason);
    }

    /// Boots the machine. Nothing is booted when something else was asked for
    /// during a slow boot: that is done instead.
    async fn boot(&mut self, fault: Option<Fault>) -> Option<Running> {
        let instance = self.instance()?;
        if let Some(wait) = fault.as_ref().and_then(delay) {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                command = self.commands.recv() => {
                    self.overtaken_by = command;
                    return None;
                }
            }
        }
        let boot = boot_of(&instance, fault.as_ref());
        match self.machines.0.runtime.boot(boot).await {
            Ok(machine) => {
                let services = CancellationToken::new();
                if let Some(listener) = machine.take_proxy() {
                    self.serve_proxy(listener, &services);
                }
                self.becomes(Phase::Running, None);
                Some(Running {
                    machine,
                    _services: services.drop_guard(),
                })
            }
            Err(e) => {
                log::error!("{} did not boot: {e}", self.id);
                let words = format!("Server.InternalError: {e}");
                self.becomes(Phase::Stopped, Some(("Server.InternalError", &words)));
                None
            }
        }
    }

    /// The way out of the machine, until it ends.
    fn serve_proxy(&self, listener: std::net::TcpListener, until: &CancellationToken) {
        let (machines, id) = (&self.machines.0, self.id.clone());
        let (proxy, until) = (machines.proxy.clone(), until.clone());
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(machines.tasks.spawn(async move {
                until.run_until_cancelled(proxy.serve(listener, id)).await;
            })),
            Err(e) => log::error!("{id} has no way out: {e}"),
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

/// How long a fault keeps an instance pending.
fn delay(fault: &Fault) -> Option<Duration> {
    match fault.act {
        Act::SlowBoot => Some(Duration::from_secs_f64(fault.seconds.unwrap_or(20.0))),
        Act::EndlessBoot => Some(Duration::MAX),
        _ => None,
    }
}

fn boot_of(instance: &Instance, fault: Option<&Fault>) -> Boot {
    let mut faults = Faults::default();
    if let Some(fault) = fault {
        match fault.act {
            Act::FailUserData => {
                faults.user_data_exit = Some(i32::from(fault.status.unwrap_or(1)));
            }
            Act::DegradeUserData => faults.degraded = true,
            Act::DropSsh => faults.drop_ssh_after = Some(fault.bytes.unwrap_or(20_000)),
            Act::NoSsh => faults.no_ssh = true,
            Act::NoCloudInit => faults.no_cloud_init = true,
            Act::NoConsoleKeys => faults.host_keys_not_in_console = true,
            Act::OtherConsoleKeys => faults.other_host_keys_in_console = true,
            Act::LateConsoleKeys => faults.host_keys_late_in_console = true,
            _ => {}
        }
    }
    Boot {
        id: instance.id.clone(),
        address: instance.address,
        hostname: instance
            .private_name()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned(),
        authorized_keys: instance.authorized_keys.clone(),
        user: USER.to_owned(),
        user_data: instance.user_data.as_deref().and_then(decode),
        limits: limits_of(&instance.instance_type),
        faults,
    }
}

/// What a type has; a type that is not known here has what the free one has.
fn limits_of(instance_type: &str) -> Limits {
    let known = catalog::instance_type(instance_type);
    known.map_or(
        Limits {
            mebibytes: 1024,
            vcpus: 2,
        },
        |known| Limits {
            mebibytes: known.mebibytes,
            vcpus: known.vcpus,
        },
    )
}

fn metadata_of(instance: &Instance, known: &Region, region: &str, facts: &Facts) -> Metadata {
    let name = |id: &String| known.groups.get(id).map(|g: &Group| g.name.clone());
    let subnet = facts.subnet.to_string();
    Metadata {
        instance_id: instance.id.clone(),
        ami_id: instance.image.clone(),
        instance_type: instance.instance_type.clone(),
        architecture: instance.architecture.clone(),
        local_ipv4: instance.address.to_string(),
        public_ipv4: instance.public.then(|| instance.address.to_string()),
        local_hostname: instance.private_name(),
        public_hostname: None,
        mac: instances::mac(instance),
        interface_id: instance.interface.clone(),
        subnet_id: network::subnet_id(region),
        subnet_cidr: subnet.clone(),
        vpc_id: network::vpc_id(region),
        vpc_cidr: subnet,
        region: region.to_owned(),
        availability_zone: instance.zone.clone(),
        account: facts.account.clone(),
        reservation_id: instance.reservation.clone(),
        pending_time: iso(instance.launched),
        key_name: instance
            .key_name
            .clone()
            .zip(instance.authorized_keys.first().cloned()),
        security_groups: instance.groups.iter().filter_map(name).collect(),
        security_group_ids: instance.groups.clone(),
        user_data: instance.user_data.as_deref().and_then(decode),
        iam_profile: instance.iam_profile.clone(),
        tags: instance.tags.clone().into_iter().collect(),
        instance_metadata_tags: instance.metadata.tags,
        tokens_required: instance.metadata.tokens_required,
        enabled: instance.metadata.enabled,
    }
}

/// What may reach which instance, by the groups' rules.
fn ports(state: &State) -> Vec<Port> {
    let mut ports = Vec::new();
    for region in state.regions.values() {
        let up = || region.instances.values().filter(|i| i.phase.is_up());
        let members = |group: &str| -> Vec<ipnet::Ipv4Net> {
            up().filter(|i| i.groups.iter().any(|g| g == group))
                .map(|i| i.address.into())
                .collect()
        };
        for instance in up() {
            let rules = instance
                .groups
                .iter()
                .filter_map(|id| region.groups.get(id))
                .flat_map(|group| &group.ingress);
            let ingress = rules.flat_map(|rule| {
                let sources = match &rule.permission.peer {
                    Peer::V4(net) => vec![*net],
                    Peer::V6(_) => Vec::new(),
                    Peer::Group(id) => members(id),
                };
                sources
                    .into_iter()
                    .filter_map(|source| ingress(&rule.permission, source))
                    .collect::<Vec<_>>()
            });
            ports.push(Port {
                address: instance.address,
                ingress: ingress.collect(),
            });
        }
    }
    ports
}

fn ingress(permission: &Permission, source: ipnet::Ipv4Net) -> Option<Ingress> {
    let port = |port: Option<i32>, otherwise: u16| {
        port.and_then(|port| u16::try_from(port).ok())
            .unwrap_or(otherwise)
    };
    let (protocol, from_port, to_port) = match permission.protocol.as_str() {
        "tcp" => (
            Protocol::Tcp,
            port(permission.from, 0),
            port(permission.to, 65535),
        ),
        "udp" => (
            Protocol::Udp,
            port(permission.from, 0),
            port(permission.to, 65535),
        ),
        // Type and code: -1 means every one.
        "icmp" => (
            Protocol::Icmp,
            port(permission.from, 65535),
            port(permission.to, 65535),
        ),
        "-1" => (Protocol::All, 0, 65535),
        // No other protocol crosses the local cloud's network.
        _ => return None,
    };
    Some(Ingress {
        protocol,
        from_port,
        to_port,
        source,
    })
}
