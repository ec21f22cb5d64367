//! Shared by the switch and the machines' ends of its veth pairs: names, interface
//! indexes and netlink connections.

use std::io;
use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use tokio::task::JoinHandle;

/// The next hop of the machines. Only they see this address.
pub(super) const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The name of the switch's end of the veth pair to the host.
pub(super) const UPLINK: &str = "host";

/// Opens a netlink connection in the current thread's network namespace.
pub(in super::super) fn connect() -> io::Result<(Handle, JoinHandle<()>)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok((handle, tokio::spawn(connection)))
}

/// Returns the index of an interface.
pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await? {
        Some(link) => Ok(link.header.index),
        None => Err(rtnetlink::Error::RequestFailed),
    }
}
