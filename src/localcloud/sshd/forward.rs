//! Connections that a client makes through the instance (`ssh -L`, ProxyJump).

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

/// What is read at once: as much as one packet holds.
const CHUNK: usize = 32 * 1024;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The addresses behind `host`. Names are not looked up: only addresses are
/// reachable from an instance, and `localhost` needs no look-up.
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

/// Connects, answers the client and carries data until both sides are done or
/// the client has `closed` the channel; that is cancelled in any case.
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
        log::debug!("ssh: a forwarded connection is slow: {e}");
    }
    reply.accept().await;
    // What comes in is handed to the intake by the connection's handler.
    let (_, channel) = channel.split();
    let (from, to) = stream.into_split();
    let both = async { tokio::join!(send(from, &channel), receive(&intake, to)) };
    tokio::select! {
        _ = both => {}
        () = closed.cancelled() => {}
    }
    intake.abandon();
    if let Err(e) = channel.close().await {
        log::debug!("ssh: a client left before its forwarded connection: {e}");
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
        log::debug!("ssh: a client left before its forwarded connection: {e}");
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
        log::debug!("ssh: a forwarded connection is closed already: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost() {
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
