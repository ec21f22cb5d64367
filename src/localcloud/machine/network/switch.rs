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
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use super::super::disk::standins::METADATA;
use super::firewall::{Cable, Firewall, Gateway, Port};
use super::inside;
use super::links::{NEXT_HOP, UPLINK, connect, index_of};
use super::namespace::NetworkNamespace;

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
    inner: Handle,
    inner_connection: JoinHandle<()>,
    host: Handle,
    host_connection: JoinHandle<()>,
    cable: u32,
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.inner_connection.abort();
        self.host_connection.abort();
    }
}

impl Switch {
    /// Connects the zygote's namespace to the host, which gets the first
    /// address of the subnet.
    pub(in super::super) async fn start(
        host: Handle,
        host_connection: JoinHandle<()>,
        zygote: i32,
        subnet: Ipv4Net,
    ) -> io::Result<Self> {
        let namespace = NetworkNamespace::of_process(zygote)?;
        namespace.run(route_packets).await?;
        // Before the first veth pair, so that no packet passes unfiltered.
        let firewall = namespace.run(Firewall::raise).await?;
        let runtime = tokio::runtime::Handle::current();
        let (inner, inner_connection) = namespace
            .run(move || {
                let _entered = runtime.enter();
                connect()
            })
            .await?;
        let cable = plug_host(&host, zygote, subnet)
            .await
            .map_err(io::Error::other)?;
        let switch = Self {
            namespace,
            firewall: Arc::new(firewall),
            plugged: Mutex::default(),
            inner,
            inner_connection,
            host,
            host_connection,
            cable,
        };
        let uplink = index_of(&switch.inner, UPLINK).await;
        let uplink = uplink.map_err(io::Error::other)?;
        switch.admit(uplink, &[gateway(subnet)]).await?;
        let settled = switch.settle(subnet, uplink).await;
        settled.map_err(io::Error::other)?;
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

    async fn settle(&self, subnet: Ipv4Net, uplink: u32) -> Result<(), rtnetlink::Error> {
        let lo = index_of(&self.inner, "lo").await?;
        for index in [lo, uplink] {
            let up = LinkUnspec::new_with_index(index).up().build();
            self.inner.link().set(up).execute().await?;
        }
        let addresses = self.inner.address();
        for address in [NEXT_HOP, METADATA.0] {
            addresses.add(lo, address.into(), 32).execute().await?;
        }
        self.route(gateway(subnet).into(), uplink).await?;
        // Routes addresses without a machine to loopback. Their packets are
        // lost, but the switch answers ARP for them. Without an answer, the
        // host would retry only a second later, and reach a new machine that
        // much later.
        self.route(subnet, lo).await
    }

    async fn route(&self, to: Ipv4Net, index: u32) -> Result<(), rtnetlink::Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to.network(), to.prefix_len())
            .output_interface(index)
            .scope(rtnetlink::packet_route::route::RouteScope::Link)
            .build();
        // The interface of an earlier boot with this address may not have
        // disappeared yet.
        self.inner.route().add(route).replace().execute().await
    }

    /// Connects a machine. Returns the interface index of the switch's end.
    pub(in super::super) async fn plug(
        &self,
        name: &str,
        pid: i32,
        addresses: &[Ipv4Addr],
    ) -> io::Result<u32> {
        let private = addresses.first().copied().unwrap_or(NEXT_HOP);
        let peer = LinkUnspec::new_with_name("eth0")
            .setns_by_pid(pid.cast_unsigned())
            .address(mac(private).to_vec())
            .build();
        let cable = LinkMessageBuilder::<LinkVeth>::new(name, "eth0")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .up()
            .build();
        let plugged = async {
            self.inner.link().add(cable).execute().await?;
            index_of(&self.inner, name).await
        };
        let index = plugged.await.map_err(|error: rtnetlink::Error| {
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
        for address in addresses {
            let opened = self.route(address.into(), cable).await;
            opened.map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Removes both ends of a machine's veth pair.
    pub(in super::super) async fn unplug(&self, index: u32) {
        // Usually the veth pair already disappeared with the machine's namespace.
        if let Err(error) = self.inner.link().del(index).execute().await {
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
        if let Err(error) = self.host.link().del(self.cable).execute().await {
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

/// Creates the first free `autorunN`, with its other end in the switch.
async fn plug_host(host: &Handle, zygote: i32, subnet: Ipv4Net) -> Result<u32, rtnetlink::Error> {
    let name = add_cable(host, zygote).await?;
    let index = index_of(host, &name).await?;
    let address = gateway(subnet).into();
    let added = host.address().add(index, address, subnet.prefix_len());
    added.execute().await?;
    let up = LinkUnspec::new_with_index(index).up().build();
    host.link().set(up).execute().await?;
    Ok(index)
}

async fn add_cable(host: &Handle, zygote: i32) -> Result<String, rtnetlink::Error> {
    let mut number = 0;
    loop {
        let name = format!("autorun{number}");
        let peer = LinkUnspec::new_with_name(UPLINK)
            .setns_by_pid(zygote.cast_unsigned())
            .build();
        let cable = LinkMessageBuilder::<LinkVeth>::new(&name, UPLINK)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        match host.link().add(cable).execute().await {
            Ok(()) => return Ok(name),
            Err(error) if is_taken(&error) && number < MOST_CLOUDS => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn is_taken(error: &rtnetlink::Error) -> bool {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.raw_code() == -nix::libc::EEXIST,
        _ => false,
    }
}
