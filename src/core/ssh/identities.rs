//! The keys to offer to a host, in OpenSSH's order: the agent's keys that a file
//! names, the agent's other keys, the keys in files.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssh_key::PublicKey;

use super::certificate::Certificate;
use super::config::IdentityAgent;
use super::connection::Connection;
use super::host::Host;
use crate::error::{Error, ErrorKind};
use crate::key_file::{self, PrivateKeyFile};
use crate::local::Local;

/// The key files to try if the configuration names none, in OpenSSH's order.
pub(super) const USUAL_KEYS: [&str; 7] = [
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "id_xmss",
    "id_dsa",
];

/// A key file of the user.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) path: PathBuf,
    /// The public keys and certificates that belong to the file.
    blobs: Vec<Vec<u8>>,
    /// The certificates for the key, as text.
    pub(super) certificates: Vec<String>,
    /// The private key, or why this program cannot use it. An agent may have it
    /// nevertheless.
    pub(super) key: Result<PrivateKeyFile, Error>,
}

/// The keys of the agent.
pub(super) enum Agent {
    /// No agent answers.
    None,
    /// The agent and its keys.
    Running(ssh2::Agent, Vec<ssh2::PublicKey>),
}

impl Identity {
    /// Reads the key files that the configuration names, or else the usual ones
    /// that exist.
    pub(super) fn all(host: &Host, local: &Local) -> Vec<Self> {
        let settings = &host.settings;
        let certificates = settings.certificates();
        let read = |path: &Path| Self::read(path, &certificates);
        if let Some(files) = &settings.identity_files {
            files.iter().map(|file| read(file)).collect()
        } else {
            let folder = local.home.iter().map(|home| home.join(".ssh"));
            let usual = folder
                .flat_map(|folder| USUAL_KEYS.map(|name| folder.join(name)))
                .filter(|path| path.exists());
            usual.map(|path| read(&path)).collect()
        }
    }

    /// Reads a key file, and the public key and the certificate beside it.
    pub(super) fn read(path: &Path, certificates: &[String]) -> Self {
        let key = key_file::load(path);
        let beside = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            std::fs::read_to_string(name).ok()
        };
        let public = match &key {
            Ok(key) => key.public.clone(),
            // The file of a public key selects the agent's key.
            Err(_) => std::fs::read_to_string(path)
                .ok()
                .and_then(|t| public_key(&t)),
        };
        let public = public.or_else(|| public_key(&beside(".pub")?));
        let key_blob = public.and_then(|public| public.to_bytes().ok());
        let mut blobs: Vec<_> = key_blob.clone().into_iter().collect();
        let mut of_key = Vec::new();
        for text in beside("-cert.pub").iter().chain(certificates) {
            if let Some(certificate) = Certificate::parse(text)
                && key_blob.as_ref().is_none_or(|key| *key == certificate.key)
            {
                blobs.push(certificate.blob);
                of_key.push(text.clone());
            }
        }
        Self {
            path: path.to_owned(),
            blobs,
            certificates: of_key,
            key,
        }
    }

    /// Returns whether the file names a key or a certificate of the agent.
    pub(super) fn names(&self, blob: &[u8]) -> bool {
        self.blobs.iter().any(|own| own == blob)
    }

    /// Returns why the file is not used, if the agent does not have its key.
    pub(super) fn fault(&self, passphrase: bool) -> Option<Error> {
        let shown = self.path.display();
        match &self.key {
            Ok(key) if key.encrypted && !passphrase => Some(
                Error::new(
                    ErrorKind::Denied,
                    format!("the ssh key `{shown}` is protected by a passphrase"),
                )
                .hint(format!(
                    "load it into the ssh agent: `ssh-add {}`; or pass `key` and `passphrase` to \
                     host()",
                    shell_words::quote(&self.path.to_string_lossy())
                )),
            ),
            Ok(_) => None,
            Err(error) => Some(error.clone()),
        }
    }
}

impl Agent {
    /// Connects to the agent that the configuration names, or else to that of
    /// the environment.
    pub(super) fn of(connection: &Connection, host: &Host) -> Self {
        let socket = match &host.settings.identity_agent {
            Some(IdentityAgent::None) => return Self::None,
            Some(IdentityAgent::Socket(socket)) => Some(socket),
            None => None,
        };
        let usual = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
        match socket.or(usual.as_ref()) {
            Some(path) if answers(path) => {}
            _ => return Self::None,
        }
        let Ok(mut agent) = connection.session.agent() else {
            return Self::None;
        };
        if let Some(socket) = socket
            && agent.set_identity_path(socket).is_err()
        {
            return Self::None;
        }
        if agent.connect().is_err() || agent.list_identities().is_err() {
            return Self::None;
        }
        let keys = agent.identities().unwrap_or_default();
        Self::Running(agent, keys)
    }
}

/// How long an agent may take to list its keys.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Returns whether the agent at a socket lists its keys. libssh2 would wait without end
/// for one that is stuck.
fn answers(socket: &Path) -> bool {
    // The request SSH_AGENTC_REQUEST_IDENTITIES, after its length.
    const LIST_KEYS: [u8; 5] = [0, 0, 0, 1, 11];
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    let limit = Some(ANSWERS_WITHIN);
    stream.set_read_timeout(limit).is_ok()
        && stream.set_write_timeout(limit).is_ok()
        && stream.write_all(&LIST_KEYS).is_ok()
        && stream.read_exact(&mut [0; 5]).is_ok()
}

fn public_key(text: &str) -> Option<PublicKey> {
    PublicKey::from_openssh(text.trim()).ok()
}
