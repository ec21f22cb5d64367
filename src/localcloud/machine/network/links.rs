//! Shared by the switch and the machines' ends of its veth pairs: names and addresses.

use std::net::Ipv4Addr;

/// The next hop of the machines. Only they see this address.
pub(super) const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The name of the switch's end of the veth pair to the host.
pub(super) const UPLINK: &str = "host";
