//! Connects to a host: TCP, handshake, host key.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ssh2::{MethodType, Session};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::config::AddressFamily;
use super::connection::{Connection, Patience};
use super::errors::Halt;
use super::gate::{self, Shut};
use super::host::Host;
use super::known_hosts::KnownHosts;
use super::libssh2::{is_closed, is_key_exchange};
use super::login::authenticate;
use super::proxy::{Line, Proxy};
use super::ssm;
use super::trust::{Expected, Offered};
use crate::error::{Error, ErrorKind, Result};
use crate::local::Local;
use crate::report::{Reporter, text};

/// Opens the TCP connection; dropping the future cancels it.
pub(super) async fn tcp(host: &Host, patience: &Patience) -> Result<Line> {
    let patience = &patience.for_connecting(host);
    let failed = |reason: &str| {
        let message = format!(
            "cannot connect to {} port {}: {reason}",
            host.address, host.port
        );
        Error::new(ErrorKind::Unreachable, message).unsent()
    };
    let (stream, round_trip) = match tokio::time::timeout(patience.left(), connected(host)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(e)) => {
            let reason = e.to_string();
            let reason = reason
                .split(" (os error")
                .next()
                .unwrap_or(&reason)
                .to_lowercase();
            return Err(match e.kind() {
                std::io::ErrorKind::ConnectionRefused => failed(&reason)
                    .hint("no ssh server listens on this port (yet): check the address and `port`"),
                std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                    failed(&reason).hint(
                        "check the address, that the host is up, and this machine's network or VPN",
                    )
                }
                _ => failed(&reason),
            });
        }
        Err(_) => {
            let limit = text::duration(patience.limit);
            let message = format!(
                "{} port {} did not answer within {limit}",
                host.address, host.port
            );
            return Err(Error::new(ErrorKind::Timeout, message).unsent().hint(
                "check that a security group rule opens the port for this machine's address",
            ));
        }
    };
    let setup = |e: std::io::Error| failed(&e.to_string());
    stream.set_nodelay(true).map_err(setup)?;
    // Notice a host that vanished after 60 s; the default would be about 15
    // minutes.
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&stream, 60_000).map_err(|e| setup(e.into()))?;
    let stream = stream.into_std().map_err(setup)?;
    stream.set_nonblocking(false).map_err(setup)?;
    Ok(Line {
        round_trip: Some(round_trip),
        ..Line::from(OwnedFd::from(stream))
    })
}

/// How long an attempt to connect is alone before another one begins beside it.
const AGAIN: Duration = Duration::from_millis(200);

/// How long an attempt beside the first one lasts.
const BESIDE: Duration = Duration::from_secs(1);

/// How many attempts there may be beside the first ones of all hosts.
static MORE: Semaphore = Semaphore::const_new(100);

/// Connects. The kernel repeats a lost SYN only after 1, 3 and 7 seconds, and loses
/// those to a host that still boots. So another attempt begins every 200 ms; the
/// first one that is answered counts. Also returns how long the connection took.
async fn connected(host: &Host) -> std::io::Result<(TcpStream, Duration)> {
    let addresses = tokio::net::lookup_host((host.address.as_str(), host.port)).await?;
    let addresses: Vec<SocketAddr> = match host.settings.address_family {
        None => addresses.collect(),
        Some(AddressFamily::Inet) => addresses.filter(SocketAddr::is_ipv4).collect(),
        Some(AddressFamily::Inet6) => addresses.filter(SocketAddr::is_ipv6).collect(),
    };
    if addresses.is_empty() {
        return Err(std::io::Error::other(
            "it has no address of the family that the ssh configuration names",
        ));
    }
    let began = Instant::now();
    let mut first = pin!(TcpStream::connect(&addresses[..]));
    let mut others = FuturesUnordered::new();
    let mut again = tokio::time::interval_at(tokio::time::Instant::now() + AGAIN, AGAIN);
    let stream = loop {
        tokio::select! {
            done = &mut first => break done?,
            Some(Ok(done)) = others.next() => break done?,
            _ = again.tick() => {
                if let Ok(permit) = MORE.try_acquire() {
                    let attempt = TcpStream::connect(&addresses[..]);
                    others.push(async {
                        let _permit = permit;
                        tokio::time::timeout(BESIDE, attempt).await
                    });
                }
            }
        }
    };
    Ok((stream, began.elapsed()))
}

/// Returns the key that a host offers for these algorithms, without logging in.
pub(super) fn offered(
    host: &Host,
    line: Line,
    algorithms: &str,
    patience: &Patience,
) -> Result<Offered> {
    handshake(host, line, algorithms, patience).map(|(_, offered)| offered)
}

/// Performs the handshake, verifies the host key and logs in.
pub(super) fn login(
    host: &Host,
    line: Line,
    local: &Local,
    known: &KnownHosts,
    report: &Reporter,
    patience: &Patience,
) -> Result<Connection> {
    let expected = Expected::for_host(host, known, &local.data_dir)?;
    let (connection, offered) = handshake(host, line, &expected.algorithms(), patience)?;
    expected.check(host, &offered)?;
    let until = Some(patience.until);
    connection
        .gate
        .open(until, &patience.cancel, gate::BEFORE_LOGIN);
    authenticate(&connection, host, local)?;
    report.debug(format!("logged in to {} ({})", host.name, host.login()));
    Ok(connection)
}

fn handshake(
    host: &Host,
    line: Line,
    algorithms: &str,
    patience: &Patience,
) -> Result<(Connection, Offered)> {
    let mut connection = Connection::over(line.socket, &patience.for_connecting(host))?;
    connection.proxy = line.proxy;
    connection.round_trip = line.round_trip;
    connection
        .session
        .method_pref(MethodType::HostKey, algorithms)
        .map_err(|e| Error::internal(format!("cannot start an ssh session: {e}")))?;
    connection
        .finish(|session| session.clone().handshake())
        .map_err(|halt| {
            let error = no_handshake(host, &connection.session, &halt);
            match connection.proxy.as_mut().and_then(Proxy::reason) {
                Some(why) => match &host.ssm {
                    Some(target) => ssm::failed(host, target, &why),
                    None => proxy_failed(host, &why),
                },
                None => error,
            }
        })?;
    let offered = Offered::from_session(&connection.session)
        .ok_or_else(|| Error::internal(format!("{} offered no host key", host.address)))?;
    Ok((connection, offered))
}

/// Creates the error for a `ProxyCommand` that ended or printed why it fails.
fn proxy_failed(host: &Host, why: &str) -> Error {
    let message = format!("the ProxyCommand for {} failed: {why}", host.name);
    Error::new(ErrorKind::Unreachable, message)
        .hint(format!("`ssh {}` runs the same program", host.arguments()))
}

/// Creates the error for a failed handshake.
fn no_handshake(host: &Host, session: &Session, halt: &Halt) -> Error {
    let banner = session.banner_bytes().map(String::from_utf8_lossy);
    let spoke_ssh = banner.as_ref().is_some_and(|b| b.starts_with("SSH-"));
    let (reason, hint) = match halt {
        Halt::Shut(Shut::Cancelled) => return Error::cancelled(),
        Halt::Shut(Shut::Late) if host.settings.proxy_command.is_some() => {
            return proxy_failed(host, "no ssh server answered through it in time");
        }
        Halt::Shut(Shut::Late) => (
            "it did not answer in time".to_owned(),
            "check that the address and `port` are those of an ssh server".to_owned(),
        ),
        Halt::Shut(Shut::TooMuch) => (
            "it sends data without end".to_owned(),
            "check that the address and `port` are those of an ssh server".to_owned(),
        ),
        Halt::Broken(_) if banner.as_deref().is_some_and(is_busy) => {
            let message = format!(
                "{} port {} accepts no more logins now: it says `{}`",
                host.address,
                host.port,
                instead_of_banner(banner.as_deref())
            );
            return Error::new(ErrorKind::Throttled, message).hint(
                "log in to fewer hosts or users at once, or raise MaxStartups and \
                 PerSourcePenalties in the sshd of the host",
            );
        }
        Halt::Broken(_) if banner.is_some() && !spoke_ssh => (
            format!("it says `{}`", instead_of_banner(banner.as_deref())),
            "check that the address and `port` are those of an ssh server".to_owned(),
        ),
        Halt::Broken(error) => match error {
            error if is_closed(error) => (
                "it closed the connection".to_owned(),
                "the host may still be starting, or it may refuse this machine: try again, and \
                 check the log of sshd on the host"
                    .to_owned(),
            ),
            // libssh2 returns the same error for both causes.
            error if is_key_exchange(error) => (
                "no common ssh algorithm, or it closed the connection".to_owned(),
                format!("`ssh {} -vv true` shows which of the two", host.arguments()),
            ),
            error => (
                error.message().to_owned(),
                format!("`ssh {} -vv true` may show the reason", host.arguments()),
            ),
        },
    };
    Error::new(
        ErrorKind::Unreachable,
        format!(
            "{} port {} did not speak ssh: {reason}",
            host.address, host.port
        ),
    )
    .hint(hint)
}

/// What sshd sends in place of its banner while it refuses connections, in OpenSSH's
/// source.
const BUSY: [&str; 2] = ["Exceeded MaxStartups", "Not allowed at this time"];

fn is_busy(banner: &str) -> bool {
    BUSY.iter().any(|text| banner.starts_with(text))
}

/// How much of what a server says in place of a banner is shown, in characters.
const SHOWN: usize = 60;

/// Returns the first line that a server says in place of a banner.
fn instead_of_banner(banner: Option<&str>) -> String {
    let line = banner
        .and_then(|text| text.lines().next())
        .unwrap_or_default();
    text::harmless(line).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom as _;
    use rand::{RngExt as _, SeedableRng as _};
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    /// Returns data that a host might send before the login, in any order, and
    /// whether it repeats without end.
    fn preface(random: &mut StdRng) -> (Vec<u8>, bool) {
        let long = [b'x'; 3000];
        let pieces: [&[u8]; 12] = [
            b"\r\n",
            b"\n",
            b"SSH-",
            b"SSH-2.0-host\r\n",
            b"SSH-1.99-host\n",
            b"Welcome.\r\n",
            &long,
            b"\0",
            b"\xff\xff\xff\xff\x04",
            b"\x00\x00\x00\x0c\x0a\x14",
            b"\x00\x00\x00\x0c\x0a\x02",
            b"HTTP/1.1 200 OK\r\n",
        ];
        let count = random.random_range(0..8);
        let chosen = (0..count).map(|_| *pieces.choose(random).unwrap());
        (chosen.collect::<Vec<_>>().concat(), random.random())
    }

    /// Sends the data, once or until the reader stops; then keeps the
    /// connection open.
    fn play((bytes, forever): (Vec<u8>, bool), mut socket: UnixStream) {
        let until = Instant::now() + Duration::from_secs(2);
        socket
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        while socket.write_all(&bytes).is_ok() && forever && !bytes.is_empty() {
            if Instant::now() > until {
                return;
            }
        }
        // Wait until the other side closes the connection.
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    }

    #[test]
    fn no_data_before_the_login_extends_the_deadline() {
        let text = std::env::var("AUTORUN_TEST_SEED");
        let seed: u64 = text.map_or_else(|_| rand::random(), |text| text.parse().unwrap());
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..8 {
            let prefaces: Vec<_> = (0..16).map(|_| preface(&mut random)).collect();
            std::thread::scope(|scope| {
                for preface in prefaces {
                    scope.spawn(move || {
                        let (near, far) = UnixStream::pair().unwrap();
                        let shown = format!("seed {seed}: {preface:?}");
                        let host = std::thread::spawn(move || play(preface, far));
                        let limit = Duration::from_millis(300);
                        let patience = Patience::new(limit, &CancellationToken::new());
                        let started = Instant::now();
                        let connection = Connection::over(near.into(), &patience).unwrap();
                        let shaken = connection.finish(|session| session.clone().handshake());
                        drop(connection);
                        assert!(shaken.is_err(), "{shown}");
                        let took = started.elapsed();
                        assert!(took < Duration::from_millis(1500), "{took:?} for {shown}");
                        host.join().unwrap();
                    });
                }
            });
        }
    }

    #[test]
    fn ctrl_c_ends_the_wait_for_a_host() {
        let (near, _far) = UnixStream::pair().unwrap();
        let cancel = CancellationToken::new();
        let patience = Patience::new(Duration::from_secs(60), &cancel);
        let connection = Connection::over(near.into(), &patience).unwrap();
        let waiting = std::thread::spawn(move || {
            let done = connection.finish(|session| session.clone().handshake());
            matches!(done, Err(Halt::Shut(Shut::Cancelled)))
        });
        cancel.cancel();
        assert!(waiting.join().unwrap());
    }
}
