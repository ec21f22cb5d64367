//! The router between the host and the machines: the zygote's network
//! namespace.
//!
//! Machines send all packets to one next hop, an address of the switch's
//! loopback interface, for which the switch answers ARP. On the veth pair to the
//! host it answers ARP for all machines.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::Ipv4Net;

use super::super::disk::standins::METADATA;
use super::firewall::{Cable, Firewall, Gateway, Port};
use super::inside;
use super::links::{NEXT_HOP, UPLINK};
use super::namespace::NetworkNamespace;
use super::routing::{Peer, Route, Routing};

/// The maximum number of local clouds that can run at once on a host.
const MOST_CLOUDS: u32 = 64;

/// The switch, from the daemon's side.
#[derive(Debug)]
pub(in super::super) struct Switch {
    namespace: NetworkNamespace,
    firewall: Arc<Firewall>,
    /// The addresses of the plugged veth pairs, by the interface indexes of their
    /// ends here.
    plugged: Mutex<HashMap<u32, Vec<Ipv4Addr>>>,
    inner: Arc<Routing>,
    host: Arc<Routing>,
    /// The index of the host's interface.
    cable: u32,
}

impl Switch {
    /// Connects the zygote's namespace to the host, which gets the first
    /// address of the subnet.
    pub(in super::super) async fn start(
        host: Routing,
        zygote: i32,
        subnet: Ipv4Net,
    ) -> io::Result<Self> {
        let namespace = NetworkNamespace::of_process(zygote)?;
        namespace.run(route_packets).await?;
        // Before the first veth pair, so that no packet passes unfiltered.
        let firewall = namespace.run(Firewall::raise).await?;
        let inner = namespace.run(Routing::open).await?;
        let cable = plug_host(&host, zygote, subnet)?;
        let uplink = inner.index_of(UPLINK)?;
        let switch = Self {
            namespace,
            firewall: Arc::new(firewall),
            plugged: Mutex::default(),
            inner: Arc::new(inner),
            host: Arc::new(host),
            cable,
        };
        switch.admit(uplink, &[gateway(subnet)]).await?;
        settle(&switch.inner, subnet, uplink)?;
        switch.namespace.run(answer_for_all).await?;
        Ok(switch)
    }

    /// Returns the listener of the metadata service. It is here and not in the
    /// machines, where a server on port 80 of all addresses would conflict with
    /// it.
    pub(in super::super) async fn listen_for_metadata(&self) -> io::Result<TcpListener> {
        self.namespace.run(|| inside::listen(METADATA)).await
    }

    /// Replaces the security group rules of all machines at once.
    pub(in super::super) async fn let_in(
        &self,
        gateway: Gateway,
        ports: Vec<Port>,
    ) -> io::Result<()> {
        self.change(move |firewall| firewall.enforce(gateway, &ports))
            .await
    }

    /// Allows a veth pair to use its addresses.
    async fn admit(&self, index: u32, addresses: &[Ipv4Addr]) -> io::Result<()> {
        for address in addresses.iter().copied() {
            let cable = Cable { index, address };
            self.change(move |firewall| firewall.admit(cable)).await?;
            self.plugged().entry(index).or_default().push(address);
        }
        Ok(())
    }

    /// Changes the firewall on a blocking thread: many rules take milliseconds.
    async fn change(
        &self,
        change: impl FnOnce(&Firewall) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let firewall = Arc::clone(&self.firewall);
        let changed = tokio::task::spawn_blocking(move || change(&firewall)).await;
        changed.map_err(io::Error::other)?
    }

    fn plugged(&self) -> MutexGuard<'_, HashMap<u32, Vec<Ipv4Addr>>> {
        self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes interfaces or routes on a blocking thread: the kernel may take
    /// milliseconds, and makes one change at a time.
    async fn route<T: Send + 'static>(
        routing: &Arc<Routing>,
        change: impl FnOnce(&Routing) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let routing = Arc::clone(routing);
        let changed = tokio::task::spawn_blocking(move || change(&routing)).await;
        changed.map_err(io::Error::other)?
    }

    /// Connects a machine. Returns the interface index of the switch's end.
    pub(in super::super) async fn plug(
        &self,
        name: &str,
        pid: i32,
        addresses: &[Ipv4Addr],
    ) -> io::Result<u32> {
        let private = addresses.first().copied().unwrap_or(NEXT_HOP);
        let name = name.to_owned();
        let plugged = Self::route(&self.inner, move |routing| {
            let peer = Peer {
                name: "eth0",
                process: Some(pid),
                mac: Some(mac(private)),
            };
            routing.add_veth(&name, true, &peer)?;
            routing.index_of(&name)
        });
        let index = plugged.await.map_err(|error| {
            io::Error::other(format!(
                "cannot connect an instance to the network: {error}"
            ))
        })?;
        match self.admit(index, addresses).await {
            Ok(()) => Ok(index),
            Err(error) => {
                self.unplug(index).await;
                Err(error)
            }
        }
    }

    /// Routes a machine's addresses to its veth pair, once the machine's end is up:
    /// ARP requests that the machine misses would be repeated only after a
    /// second.
    pub(in super::super) async fn open(
        &self,
        addresses: impl Iterator<Item = Ipv4Addr>,
        cable: u32,
    ) -> io::Result<()> {
        let routes: Vec<Route> = addresses.map(|to| on_link(to.into(), cable)).collect();
        Self::route(&self.inner, move |routing| {
            // The interface of an earlier boot with this address may not have
            // disappeared yet.
            let mut routes = routes.iter();
            routes.try_for_each(|route| routing.replace_route(route))
        })
        .await
    }

    /// Removes both ends of a machine's veth pair.
    pub(in super::super) async fn unplug(&self, index: u32) {
        // Usually the veth pair already disappeared with the machine's namespace.
        let removed = Self::route(&self.inner, move |routing| routing.remove(index));
        if let Err(error) = removed.await {
            log::debug!("cannot remove the veth pair of an instance: {error}");
        }
        let addresses = self.plugged().remove(&index).unwrap_or_default();
        for address in addresses {
            let cable = Cable { index, address };
            let dismissed = self.change(move |firewall| firewall.dismiss(cable)).await;
            if let Err(error) = dismissed {
                log::warn!("cannot remove the veth pair of an instance from the firewall: {error}");
            }
        }
    }

    /// Removes the host's interface.
    pub(in super::super) async fn stop(&self) {
        let cable = self.cable;
        let removed = Self::route(&self.host, move |routing| routing.remove(cable));
        if let Err(error) = removed.await {
            log::debug!("cannot remove the interface of the local cloud: {error}");
        }
    }
}

/// Returns the host's address in a subnet.
pub(in super::super) fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) + 1)
}

/// Returns the hardware address of a machine, a locally administered one.
pub(in super::super) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x06, 0x00, a, b, c, d]
}

/// Makes the namespace a router that rejects packets with another machine's
/// address.
fn route_packets() -> io::Result<()> {
    let settings = [
        ("ip_forward", "1"),
        ("conf/all/rp_filter", "1"),
        ("conf/default/rp_filter", "1"),
        ("conf/all/accept_redirects", "0"),
        ("conf/all/send_redirects", "0"),
        ("conf/default/send_redirects", "0"),
    ];
    for (name, value) in settings {
        write_setting(name, value)?;
    }
    // The machines' network uses only IPv4. The kernel may not even support
    // IPv6.
    for whose in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{whose}/disable_ipv6");
        if Path::new(&path).exists() {
            write_file(&path, "1")?;
        }
    }
    Ok(())
}

/// Answers the host's ARP requests for all machines.
fn answer_for_all() -> io::Result<()> {
    write_setting(&format!("conf/{UPLINK}/proxy_arp"), "1")?;
    write_setting(&format!("neigh/{UPLINK}/proxy_delay"), "0")
}

fn write_setting(name: &str, value: &str) -> io::Result<()> {
    write_file(&format!("/proc/sys/net/ipv4/{name}"), value)
}

fn write_file(path: &str, value: &str) -> io::Result<()> {
    fs::write(path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write {path}: {error}")))
}

/// Turns the switch's own interfaces on, and routes the subnet.
fn settle(routing: &Routing, subnet: Ipv4Net, uplink: u32) -> io::Result<()> {
    let lo = routing.index_of("lo")?;
    for index in [lo, uplink] {
        routing.turn_on(index)?;
    }
    for address in [NEXT_HOP, METADATA.0] {
        routing.add_address(lo, address, 32)?;
    }
    routing.replace_route(&on_link(gateway(subnet).into(), uplink))?;
    // Routes addresses without a machine to loopback. Their packets are lost, but the
    // switch answers ARP for them. Without an answer, the host would retry only a
    // second later, and reach a new machine that much later.
    routing.replace_route(&on_link(subnet, lo))
}

fn on_link(to: Ipv4Net, interface: u32) -> Route {
    Route {
        to,
        interface,
        gateway: None,
        source: None,
    }
}

/// Creates the first free `autorunN`, with its other end in the switch.
fn plug_host(host: &Routing, zygote: i32, subnet: Ipv4Net) -> io::Result<u32> {
    let name = add_cable(host, zygote)?;
    let index = host.index_of(&name)?;
    host.add_address(index, gateway(subnet), subnet.prefix_len())?;
    host.turn_on(index)?;
    Ok(index)
}

fn add_cable(host: &Routing, zygote: i32) -> io::Result<String> {
    let mut number = 0;
    loop {
        let name = format!("autorun{number}");
        let peer = Peer {
            name: UPLINK,
            process: Some(zygote),
            mac: None,
        };
        match host.add_veth(&name, false, &peer) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_CLOUDS => {
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}
