//! Connections that a client forwards through the instance (`ssh -L`, ProxyJump).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure, ChannelWriteHalf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::channels::Ends;
use super::intake::Intake;

/// How many bytes are read at a time: the size of a packet.
const CHUNK: usize = 32 * 1024;

/// How long connecting to a destination may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the addresses of `host`, which must be an IP address or `localhost`.
/// Names are not looked up, because an instance can reach other hosts only by their
/// addresses.
pub(super) fn destinations(host: &str, port: u32) -> Option<Vec<SocketAddr>> {
    let port = u16::try_from(port).ok()?;
    let addresses: Vec<IpAddr> = if host.eq_ignore_ascii_case("localhost") {
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
    } else {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        vec![host.parse().ok()?]
    };
    Some(
        addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect(),
    )
}

/// Connects, answers the client and forwards data until both sides are done or the
/// client closes the channel. Cancels `ends.closed` when it returns.
pub(super) async fn run(
    destinations: Vec<SocketAddr>,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    ends: Ends,
) {
    let Ends { intake, closed } = ends;
    let _closed = closed.clone().drop_guard();
    let connecting = TcpStream::connect(destinations.as_slice());
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            log::debug!("ssh: cannot connect to {destinations:?}: {e}");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return;
        }
        Err(_) => {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return;
        }
    };
    if let Err(e) = stream.set_nodelay(true) {
        log::debug!("ssh: cannot set TCP_NODELAY on a forwarded connection: {e}");
    }
    reply.accept().await;
    // The connection's handler passes the client's data to the intake.
    let (_, channel) = channel.split();
    let (from, to) = stream.into_split();
    let both = async { tokio::join!(send(from, &channel), receive(&intake, to)) };
    tokio::select! {
        _ = both => {}
        () = closed.cancelled() => {}
    }
    intake.abandon();
    if let Err(e) = channel.close().await {
        log::debug!("ssh: a client left before its forwarded connection ended: {e}");
    }
}

async fn send(mut from: OwnedReadHalf, channel: &ChannelWriteHalf<Msg>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if channel.data_bytes(buffer.split().freeze()).await.is_err() {
            return;
        }
    }
    if let Err(e) = channel.eof().await {
        log::debug!("ssh: a client left before its forwarded connection ended: {e}");
    }
}

async fn receive(intake: &Intake, mut to: OwnedWriteHalf) {
    while let Ok(Some(data)) = intake.next().await {
        if to.write_all(&data).await.is_err() {
            break;
        }
    }
    intake.abandon();
    if let Err(e) = to.shutdown().await {
        log::debug!("ssh: a forwarded connection is already closed: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_addresses_or_localhost() {
        let local = destinations("localhost", 80).unwrap();
        assert_eq!(
            local,
            ["127.0.0.1:80".parse().unwrap(), "[::1]:80".parse().unwrap()]
        );
        assert!(destinations("10.0.0.1", 22).is_some());
        assert!(destinations("[::1]", 22).is_some());
        assert_eq!(destinations("example.com", 22), None);
        assert_eq!(destinations("10.0.0.1", 65_536), None);
    }
}
