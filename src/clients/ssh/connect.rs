//! Connecting: TCP, handshake, host key, login.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use ssh2::{BlockDirections, MethodType, Session};
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::errors::{Halt, halted};
use super::gate::{self, Gate, Shut};
use super::host::Host;
use super::known_hosts::KnownHosts;
use super::libssh2::{is_broken, is_closed, is_key_exchange, is_of_a_file, must_wait};
use super::trust::{Expected, Offered};
use crate::clients::Local;
use crate::clients::keys;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, text};

/// Time from the first packet to the open channel, the way through a jump host
/// included.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How soon a cancellation is seen when nothing moves on a connection.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// Until when a host must have done something, and who may end the wait before.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// How long it was, for messages.
    pub(super) limit: Duration,
    pub(super) until: Instant,
    pub(super) cancel: CancellationToken,
}

impl Patience {
    pub(super) fn new(limit: Duration, cancel: &CancellationToken) -> Self {
        Self {
            limit,
            until: Instant::now() + limit,
            cancel: cancel.clone(),
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Keys tried when none is named and the agent has none that fits; OpenSSH's
/// own order.
const USUAL_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// A connection, whose session never blocks.
pub(super) struct Connection {
    pub(super) session: Session,
    pub(super) gate: Arc<Gate>,
    /// The session's own socket once more, to poll on.
    socket: OwnedFd,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A session on this socket, on which nothing was said yet.
    fn over(socket: OwnedFd, patience: &Patience) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| {
            Error::internal(format!("cannot start an ssh session: {e}"))
        };
        let mut session = Session::new().map_err(|e| failed(&e))?;
        session.set_blocking(false);
        let own = socket.try_clone().map_err(|e| failed(&e))?;
        let cancel = patience.cancel.clone();
        let gate = Gate::new(patience.until, cancel, gate::BEFORE_LOGIN);
        gate::guard(&mut session, socket, &gate);
        Ok(Self {
            session,
            gate,
            socket: own,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Opens a channel, which tells whether the other side is still there.
    pub(super) fn open(&self, patience: &Patience) -> std::result::Result<Channel, Halt> {
        let until = Some(patience.until);
        self.gate.open(until, &patience.cancel, gate::ASIDE);
        self.finish(Channel::open)
    }

    /// Repeats a call of libssh2 until it need not wait any more, or until the
    /// gate shuts.
    pub(super) fn finish<T>(
        &self,
        mut call: impl FnMut(&Session) -> std::result::Result<T, ssh2::Error>,
    ) -> std::result::Result<T, Halt> {
        loop {
            match call(&self.session) {
                Err(e) if must_wait(&e) => {}
                done => return done.map_err(Halt::Broken),
            }
            if let Some(shut) = self.gate.shut() {
                return Err(Halt::Shut(shut));
            }
            // If it fails, so does the call.
            let _ = self.wait(GLANCE);
        }
    }

    /// Waits until libssh2 can go on, at most so long.
    pub(super) fn wait(&self, longest: Duration) -> rustix::io::Result<()> {
        let flags = match self.session.block_directions() {
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
        };
        let longest = Timespec::try_from(longest).unwrap_or_default();
        match poll(&mut [PollFd::new(&self.fd(), flags)], Some(&longest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Ends it at once, whatever the other side does: what is freed afterwards
    /// has nothing to wait for.
    pub(super) fn cut(&self) {
        self.gate.close();
        // One that is gone already needs no end.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Opens the TCP connection; dropping the future gives it up.
pub(super) async fn tcp(host: &Host, patience: &Patience) -> Result<OwnedFd> {
    let connecting = tokio::net::TcpStream::connect((host.address.as_str(), host.port));
    let failed = |reason: &str| {
        Error::new(
            ErrorKind::Unreachable,
            format!(
                "cannot connect to {} port {}: {reason}",
                host.address, host.port
            ),
        )
    };
    let stream = match tokio::time::timeout(patience.left(), connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => {
            let reason = e.to_string();
            let reason = reason
                .split(" (os error")
                .next()
                .unwrap_or(&reason)
                .to_lowercase();
            return Err(match e.kind() {
                std::io::ErrorKind::ConnectionRefused => failed(&reason)
                    .hint("no ssh server listens there (yet); check the address and `port`"),
                std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                    failed(&reason).hint(
                        "check the address: is the host up, and this machine's network, or the \
                         VPN that leads there?",
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
            return Err(Error::new(ErrorKind::Timeout, message).hint(
                "check the security group's rules: is the port open for this machine's address?",
            ));
        }
    };
    let setup = |e: std::io::Error| failed(&e.to_string());
    stream.set_nodelay(true).map_err(setup)?;
    // A host that vanished is noticed after this, not after a quarter of an hour.
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(&stream, 60_000).map_err(|e| setup(e.into()))?;
    let stream = stream.into_std().map_err(setup)?;
    stream.set_nonblocking(false).map_err(setup)?;
    Ok(stream.into())
}

/// The key a host offers when it is asked for these algorithms, without logging
/// in.
pub(super) fn offered(
    host: &Host,
    stream: OwnedFd,
    algorithms: &str,
    patience: &Patience,
) -> Result<Offered> {
    handshake(host, stream, algorithms, patience).map(|(_, offered)| offered)
}

/// Handshake, host key, login.
pub(super) fn login(
    host: &Host,
    stream: OwnedFd,
    local: &Local,
    known: &KnownHosts,
    report: &Reporter,
    patience: &Patience,
) -> Result<Connection> {
    let expected = Expected::of(host, known, &local.data_dir)?;
    let (connection, offered) = handshake(host, stream, &expected.algorithms(), patience)?;
    expected.check(host, &offered)?;
    authenticate(&connection, host, local)?;
    report.debug(format!("logged in to {} ({})", host.name, host.login()));
    Ok(connection)
}

fn handshake(
    host: &Host,
    stream: OwnedFd,
    algorithms: &str,
    patience: &Patience,
) -> Result<(Connection, Offered)> {
    let connection = Connection::over(stream, patience)?;
    connection
        .session
        .method_pref(MethodType::HostKey, algorithms)
        .map_err(|e| Error::internal(format!("cannot start an ssh session: {e}")))?;
    connection
        .finish(|session| session.clone().handshake())
        .map_err(|halt| no_handshake(host, &connection.session, &halt))?;
    let offered = Offered::of(&connection.session)
        .ok_or_else(|| Error::internal(format!("{} offered no host key", host.address)))?;
    Ok((connection, offered))
}

/// Why there was no handshake, and what to do about it.
fn no_handshake(host: &Host, session: &Session, halt: &Halt) -> Error {
    let banner = session.banner_bytes().map(String::from_utf8_lossy);
    let spoke_ssh = banner.as_ref().is_some_and(|b| b.starts_with("SSH-"));
    let (reason, hint) = match halt {
        Halt::Shut(Shut::Cancelled) => return Error::cancelled(),
        Halt::Shut(Shut::Late) => (
            "it did not answer in time".to_owned(),
            "is this an ssh server? Check the address and `port`".to_owned(),
        ),
        Halt::Shut(Shut::TooMuch) => (
            "it sends without end".to_owned(),
            "is this an ssh server? Check the address and `port`".to_owned(),
        ),
        Halt::Broken(_) if banner.is_some() && !spoke_ssh => (
            "it answered in another protocol".to_owned(),
            "no ssh server listens there: check the address and `port`".to_owned(),
        ),
        Halt::Broken(error) => match error {
            error if is_closed(error) => (
                "it closed the connection".to_owned(),
                "it may still be starting, or refuse this machine: try again, and look at the \
                 log of sshd there"
                    .to_owned(),
            ),
            // libssh2 does not tell the two apart.
            error if is_key_exchange(error) => (
                "no common ssh algorithm, or it closed the connection".to_owned(),
                format!("`ssh {} -vv true` shows which", host.arguments()),
            ),
            error => (
                error.message().to_owned(),
                format!("`ssh {} -vv true` may show more", host.arguments()),
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

/// What a login has come to.
#[derive(Default)]
struct Tries {
    /// The keys that were tried, as messages name them.
    keys: Vec<String>,
    /// Whether the host has refused one of them.
    refused: bool,
}

/// Logs in with the host's key file, or with the agent and the usual files.
fn authenticate(connection: &Connection, host: &Host, local: &Local) -> Result<()> {
    let session = &connection.session;
    let mut tries = Tries::default();
    let mut agent_runs = false;
    if let Some(key) = &host.key {
        with_named_key(connection, host, key, &mut tries)?;
    } else {
        agent_runs = with_agent(connection, host, None, &mut tries)?;
        let usual = local.home.iter().flat_map(|home| {
            USUAL_KEYS
                .iter()
                .map(move |name| home.join(".ssh").join(name))
        });
        for key in usual.filter(|key| key.exists()) {
            if session.authenticated() {
                break;
            }
            with_file(connection, host, &key, &mut tries)?;
        }
    }
    if session.authenticated() {
        return Ok(());
    }
    let keys = tries.keys;
    let (message, hint) = if keys.is_empty() {
        let agent = match agent_runs {
            true => "the ssh agent holds none",
            false => "no ssh agent runs",
        };
        (
            format!(
                "cannot log in as {}: there is no ssh key to try: {agent}, and ~/.ssh has none",
                host.login()
            ),
            "pass `key`, load one with ssh-add, or make one with `ssh-keygen -t ed25519`",
        )
    } else {
        (
            format!(
                "{} refused the login; tried {}",
                host.login(),
                keys.join(", ")
            ),
            "check `user` and `key`: is the public half in ~/.ssh/authorized_keys there?",
        )
    };
    Err(Error::new(ErrorKind::Denied, message).hint(hint))
}

/// What is known of a private key file without unlocking it.
///
/// Throws `not_found`, `denied`, and `invalid_option` for what is no private key.
pub(super) fn private_key(key: &Path) -> Result<Option<keys::KeyFile>> {
    keys::refuse_open(key)?;
    match keys::read(key) {
        Ok(file) if !file.private => Err(Error::invalid(format!(
            "`{}` is a public key",
            key.display()
        ))
        .hint("pass the private key, the file without .pub")),
        Ok(file) => Ok(Some(file)),
        // PEM keys without their public half are libssh2's to read.
        Err(_) if keys::looks_private(key) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A key that the playbook names: an encrypted one is unlocked, or the agent
/// has it.
fn with_named_key(
    connection: &Connection,
    host: &Host,
    key: &Path,
    tries: &mut Tries,
) -> Result<()> {
    let shown = key.display();
    let file = private_key(key)?;
    let locked = file.filter(|file| file.encrypted);
    if host.passphrase.is_none()
        && let Some(file) = locked
    {
        let blob = file.public.to_bytes().unwrap_or_default();
        with_agent(connection, host, Some(&blob), tries)?;
        if connection.session.authenticated() {
            return Ok(());
        }
        return Err(Error::new(
            ErrorKind::Denied,
            format!(
                "cannot log in as {}: the ssh key `{shown}` is protected by a passphrase",
                host.login()
            ),
        )
        .hint(format!(
            "pass `passphrase` to host(), from a secret variable; or load the key into \
             the ssh agent: `ssh-add {}`",
            super::shell::quote(&key.to_string_lossy())
        )));
    }
    let login = with_file(connection, host, key, tries)?;
    if login == Login::KeyNotRead && host.passphrase.is_some() {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the passphrase does not unlock the ssh key `{shown}`"),
        )
        .hint(format!(
            "try it by hand: `ssh-keygen -y -f {}`",
            super::shell::quote(&key.to_string_lossy())
        )));
    }
    Ok(())
}

/// What became of a try to log in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    /// It worked, or the host refused.
    Answered,
    /// libssh2 cannot read the key file: a wrong passphrase, or no key at all.
    KeyNotRead,
}

/// What a try to log in came to.
///
/// A refusal is not the end: the next key may fit. Nor is the end of a connection
/// on which keys were refused: a host takes only so many. But one that has not
/// answered has not refused.
fn answered(
    result: std::result::Result<(), Halt>,
    host: &Host,
    tries: &mut Tries,
) -> Result<Login> {
    let halt = match result {
        Ok(()) => return Ok(Login::Answered),
        Err(halt) => halt,
    };
    match &halt {
        Halt::Broken(error) if is_of_a_file(error) => Ok(Login::KeyNotRead),
        Halt::Shut(_) => Err(halted(host, "logging in", &halt)),
        Halt::Broken(error) if is_broken(error) && !tries.refused => {
            Err(halted(host, "logging in", &halt))
        }
        Halt::Broken(_) => {
            tries.refused = true;
            Ok(Login::Answered)
        }
    }
}

fn with_file(connection: &Connection, host: &Host, key: &Path, tries: &mut Tries) -> Result<Login> {
    if keys::refuse_open(key).is_err() {
        let shown = key.display();
        tries
            .keys
            .push(format!("not `{shown}`, as others can read it"));
        return Ok(Login::Answered);
    }
    tries.keys.push(format!("`{}`", key.display()));
    let passphrase = host.passphrase.as_ref().map(|secret| secret.0.as_str());
    let login = connection
        .finish(|session| session.userauth_pubkey_file(&host.user, None, key, passphrase));
    answered(login, host, tries)
}

/// Tries the agent's keys, or only the one with this blob; whether there is an
/// agent.
fn with_agent(
    connection: &Connection,
    host: &Host,
    only: Option<&[u8]>,
    tries: &mut Tries,
) -> Result<bool> {
    let Ok(mut agent) = connection.session.agent() else {
        return Ok(false);
    };
    if agent.connect().is_err() || agent.list_identities().is_err() {
        return Ok(false);
    }
    for identity in agent.identities().unwrap_or_default() {
        if only.is_some_and(|blob| blob != identity.blob()) {
            continue;
        }
        let comment = text::harmless(identity.comment());
        tries.keys.push(format!("the agent's `{comment}`"));
        let login = connection.finish(|_| agent.userauth(&host.user, &identity));
        answered(login, host, tries)?;
        if connection.session.authenticated() {
            break;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom as _;
    use rand::{Rng as _, SeedableRng as _};
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    /// What comes before a login, in any order; some of it for ever.
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

    /// Sends it, once or for as long as it is taken; then keeps the line open.
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
        // Until the other side hangs up.
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    }

    #[test]
    fn no_preface_keeps_us_longer_than_we_have_patience() {
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
