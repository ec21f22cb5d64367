//! The server: its configuration, its host keys, and accepting connections.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::{MethodKind, MethodSet, SshId, compression};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::connection;
use super::settings::{Reaper, Settings};
use crate::files;

/// The number of failed logins after which a connection is closed, as in OpenSSH.
const MAX_AUTH_TRIES: usize = 6;

/// The maximum number of connections that have not logged in yet, as in OpenSSH.
const MAX_STARTUPS: usize = 100;

/// How long the server waits after the kernel refuses to accept a connection for
/// lack of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The configuration of the server.
pub(crate) struct Config {
    /// The listener for clients.
    pub listener: TcpListener,
    /// Private host keys in OpenSSH's format. Only root may read them.
    pub host_keys: Vec<PathBuf>,
    /// A fault to rehearse: each connection is reset after this many bytes from
    /// its client.
    pub drop_after: Option<u64>,
    /// Variables of all sessions, in addition to `/etc/environment`.
    pub environment: Vec<(String, String)>,
    /// The reaper of the child processes.
    pub reaper: Arc<dyn Reaper>,
    /// The SFTP server, a program that is started with the name `sftp-server`.
    pub sftp_server: PathBuf,
}

/// Serves clients until the listener fails.
pub(crate) async fn serve(config: Config) -> io::Result<()> {
    let protocol = Arc::new(protocol(&config.host_keys)?);
    let settings = Arc::new(Settings {
        drop_after: config.drop_after,
        environment: config.environment,
        reaper: config.reaper,
        sftp_server: config.sftp_server,
        startups: Arc::new(Semaphore::new(MAX_STARTUPS)),
    });
    loop {
        match config.listener.accept().await {
            Ok((stream, client)) => {
                let Ok(startup) = Arc::clone(&settings.startups).try_acquire_owned() else {
                    log::warn!("ssh: refused {client}: too many clients are logging in");
                    continue;
                };
                let settings = Arc::clone(&settings);
                let protocol = Arc::clone(&protocol);
                tokio::spawn(connection::serve(protocol, settings, stream, startup));
            }
            Err(e) if is_of_one_client(&e) => log::debug!("ssh: lost a client: {e}"),
            Err(e) if is_shortage(&e) => {
                log::warn!("ssh: cannot accept a connection: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(e) => return Err(e),
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(
        error.raw_os_error(),
        Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)
    )
}

/// Returns the configuration of russh: logins with public keys only, no SHA-1, and
/// no time limit of idle sessions.
fn protocol(host_keys: &[PathBuf]) -> io::Result<russh::server::Config> {
    let keys = host_keys
        .iter()
        .map(|path| host_key(path))
        .collect::<io::Result<Vec<_>>>()?;
    let name = concat!("SSH-2.0-autorun_", env!("CARGO_PKG_VERSION"));
    Ok(russh::server::Config {
        server_id: SshId::Standard(name.into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // A delay only protects secrets that can be guessed, which keys cannot. An
        // agent may offer many keys, whose delays would add up.
        auth_rejection_time: Duration::from_millis(5),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        // russh also counts the initial `none` request of every client.
        max_auth_attempts: MAX_AUTH_TRIES + 1,
        inactivity_timeout: None,
        preferred: russh::Preferred {
            key: KEY_ALGORITHMS.into(),
            // Data is decompressed only after the login (zlib@openssh.com), so that
            // unauthenticated clients do not reach the decompressor.
            compression: vec![compression::NONE, compression::ZLIB_LEGACY].into(),
            ..russh::Preferred::default()
        },
        ..russh::server::Config::default()
    })
}

const KEY_ALGORITHMS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Reads a host key. Fails if users other than its owner may read it.
fn host_key(path: &Path) -> io::Result<PrivateKey> {
    let failed = |kind: io::ErrorKind, reason: &str| {
        let path = path.display();
        io::Error::new(kind, format!("cannot use the host key `{path}`: {reason}"))
    };
    let (file, found) = files::open(path).map_err(|e| failed(e.kind(), &e.to_string()))?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err(failed(
            io::ErrorKind::PermissionDenied,
            "it is readable by other users; set its mode to 0600",
        ));
    }
    let mut text = String::new();
    file.take(files::MOST)
        .read_to_string(&mut text)
        .map_err(|e| failed(e.kind(), &e.to_string()))?;
    russh::keys::decode_secret_key(&text, None)
        .map_err(|e| failed(io::ErrorKind::InvalidData, &e.to_string()))
}
