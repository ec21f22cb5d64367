//! The network of the machines: a router in its own namespace, with one veth pair
//! to the host and one to each machine.
//!
//! ```text
//! host: autorun0 10.x.y.1/20 ---- switch ---- eth0 10.x.y.5/32 of a machine
//!                                        \--- eth0 10.x.y.6/32 of another one
//! ```
//!
//! A machine in another VPC than the default one has its private address from
//! that VPC's CIDR block, and a second one from the subnet, which is closed if
//! the instance has no public address. All addresses in the switch are different, although VPCs may overlap.
//! Only the firewall separates the VPCs.
//!
//! A machine has no default route: it cannot reach addresses outside its networks
//! except through the proxy, which listens in the machine. The host has one
//! additional interface, which disappears with the namespace, that is, with the
//! zygote.

pub(super) mod firewall;
pub(super) mod inside;
pub(super) mod links;
pub(super) mod namespace;
mod netlink;
pub(crate) mod routing;
pub(super) mod subnet;
pub(super) mod switch;
