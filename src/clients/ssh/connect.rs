//! Connecting: TCP, handshake, host key, login.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ssh2::{Channel, ErrorCode, Session};

use super::{Host, Local, Offered, trust};
use crate::clients::keys;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, text};

/// Time for each of TCP connect, handshake and login.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Keys tried when none is named and the agent has none that fits; OpenSSH's
/// own order.
const USUAL_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// A logged-in connection.
pub(super) struct Connection {
    pub(super) session: Session,
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
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Opens a channel, which tells whether the other side is still there.
    pub(super) fn open(&self) -> std::result::Result<Channel, ssh2::Error> {
        self.session.set_timeout(millis(LOGIN_TIMEOUT));
        self.session.set_blocking(true);
        self.session.channel_session()
    }
}

fn millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}

/// Opens the TCP connection; dropping the future gives it up.
pub(super) async fn tcp(host: &Host, timeout: Duration) -> Result<OwnedFd> {
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
    let stream = match tokio::time::timeout(timeout, connecting).await {
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
            let limit = text::duration(timeout);
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

/// The key a host offers, without logging in.
pub(super) fn offered(
    host: &Host,
    stream: OwnedFd,
    known: Option<&Path>,
    timeout: Duration,
) -> Result<Offered> {
    handshake(host, stream, known, timeout).map(|(_, offered)| offered)
}

/// Handshake, host key, login.
pub(super) fn login(
    host: &Host,
    stream: OwnedFd,
    local: &Local,
    known: Option<&Path>,
    report: &Reporter,
) -> Result<Connection> {
    let socket = stream
        .try_clone()
        .map_err(|e| Error::internal(e.to_string()))?;
    let (session, offered) = handshake(host, stream, known, LOGIN_TIMEOUT)?;
    trust::check(&session, host, &offered, known, &local.data_dir)?;
    authenticate(&session, host, local)?;
    report.debug(format!("logged in to {} ({})", host.name, host.login()));
    Ok(Connection { session, socket })
}

fn handshake(
    host: &Host,
    stream: OwnedFd,
    known: Option<&Path>,
    timeout: Duration,
) -> Result<(Session, Offered)> {
    let mut session =
        Session::new().map_err(|e| Error::internal(format!("cannot start an ssh session: {e}")))?;
    trust::prefer_known_types(&session, host, known);
    session.set_timeout(millis(timeout));
    session.set_tcp_stream(stream);
    session
        .handshake()
        .map_err(|e| no_handshake(host, &session, &e))?;
    let offered = Offered::of(&session)
        .ok_or_else(|| Error::internal(format!("{} offered no host key", host.address)))?;
    Ok((session, offered))
}

/// Why there was no handshake, and what to do about it.
fn no_handshake(host: &Host, session: &Session, error: &ssh2::Error) -> Error {
    let banner = session.banner_bytes().map(String::from_utf8_lossy);
    let spoke_ssh = banner.as_ref().is_some_and(|b| b.starts_with("SSH-"));
    let (reason, hint) = match error.code() {
        ErrorCode::Session(-9) => (
            "it did not answer in time".to_owned(),
            "is this an ssh server? Check the address and `port`".to_owned(),
        ),
        _ if banner.is_some() && !spoke_ssh => (
            "it answered in another protocol".to_owned(),
            "no ssh server listens there: check the address and `port`".to_owned(),
        ),
        ErrorCode::Session(-43 | -13) => (
            "it closed the connection".to_owned(),
            "it may still be starting, or refuse this machine: try again, and look at the log of \
             sshd there"
                .to_owned(),
        ),
        // libssh2 does not tell the two apart.
        ErrorCode::Session(-8 | -5) => (
            "no common ssh algorithm, or it closed the connection".to_owned(),
            format!("`ssh {} -vv true` shows which", host.arguments()),
        ),
        _ => (
            error.message().to_owned(),
            format!("`ssh {} -vv true` may show more", host.arguments()),
        ),
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

/// Logs in with the host's key file, or with the agent and the usual files.
fn authenticate(session: &Session, host: &Host, local: &Local) -> Result<()> {
    let mut tried = Vec::new();
    let mut agent_runs = false;
    if let Some(key) = &host.key {
        with_named_key(session, host, key, &mut tried)?;
    } else {
        agent_runs = with_agent(session, host, None, &mut tried);
        let usual = local.home.iter().flat_map(|home| {
            USUAL_KEYS
                .iter()
                .map(move |name| home.join(".ssh").join(name))
        });
        for key in usual.filter(|key| key.exists()) {
            if session.authenticated() {
                break;
            }
            with_file(session, host, &key, &mut tried);
        }
    }
    if session.authenticated() {
        return Ok(());
    }
    let (message, hint) = if tried.is_empty() {
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
                tried.join(", ")
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
    session: &Session,
    host: &Host,
    key: &Path,
    tried: &mut Vec<String>,
) -> Result<()> {
    let shown = key.display();
    let file = private_key(key)?;
    let locked = file.filter(|file| file.encrypted);
    if host.passphrase.is_none()
        && let Some(file) = locked
    {
        let blob = file.public.to_bytes().unwrap_or_default();
        with_agent(session, host, Some(&blob), tried);
        if session.authenticated() {
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
            super::remote::quote(&key.to_string_lossy())
        )));
    }
    if with_file(session, host, key, tried) == Login::KeyNotRead && host.passphrase.is_some() {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the passphrase does not unlock the ssh key `{shown}`"),
        )
        .hint(format!(
            "try it by hand: `ssh-keygen -y -f {}`",
            super::remote::quote(&key.to_string_lossy())
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

fn with_file(session: &Session, host: &Host, key: &Path, tried: &mut Vec<String>) -> Login {
    if keys::refuse_open(key).is_err() {
        tried.push(format!("not `{}`, as others can read it", key.display()));
        return Login::Answered;
    }
    tried.push(format!("`{}`", key.display()));
    let passphrase = host.passphrase.as_ref().map(|secret| secret.0.as_str());
    // A refusal is not the end: the next key may fit. `authenticated` tells.
    match session.userauth_pubkey_file(&host.user, None, key, passphrase) {
        Err(e) if e.code() == ErrorCode::Session(-16) => Login::KeyNotRead,
        _ => Login::Answered,
    }
}

/// Tries the agent's keys, or only the one with this blob; whether there is an
/// agent.
fn with_agent(
    session: &Session,
    host: &Host,
    only: Option<&[u8]>,
    tried: &mut Vec<String>,
) -> bool {
    let Ok(mut agent) = session.agent() else {
        return false;
    };
    if agent.connect().is_err() || agent.list_identities().is_err() {
        return false;
    }
    for identity in agent.identities().unwrap_or_default() {
        if only.is_some_and(|blob| blob != identity.blob()) {
            continue;
        }
        tried.push(format!("the agent's `{}`", identity.comment()));
        if agent.userauth(&host.user, &identity).is_ok() {
            break;
        }
    }
    true
}
