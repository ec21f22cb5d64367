//! What the switch and the machines' sides of its cables have in common: names,
//! numbers and the way to ask the kernel about interfaces.

use std::io;
use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use tokio::task::JoinHandle;

/// Where machines send packets to; nobody else sees this address.
pub(super) const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The end of the host's cable in the switch.
pub(super) const UPLINK: &str = "host";

/// A netlink connection of the current thread's network namespace.
pub(in super::super) fn connect() -> io::Result<(Handle, JoinHandle<()>)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok((handle, tokio::spawn(connection)))
}

/// Number of an interface.
pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await? {
        Some(link) => Ok(link.header.index),
        None => Err(rtnetlink::Error::RequestFailed),
    }
}
