//! The ssh host keys: created at the first boot, shown on the console at each
//! boot.

use std::fs;
use std::io;
use std::path::PathBuf;

use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use super::super::super::files;
use super::console::Console;

const DIRECTORY: &str = "/etc/ssh";
const ED25519: &str = "/etc/ssh/ssh_host_ed25519_key";

/// The host key of a machine.
pub(super) struct HostKey {
    pub(super) file: PathBuf,
    public: PublicKey,
}

impl HostKey {
    /// Reads the key on the disk. Creates a new key if it is missing.
    pub(super) fn on_disk(hostname: &str) -> io::Result<Self> {
        let file = PathBuf::from(ED25519);
        // A fifo or a directory in its place contains no key, so it is
        // replaced.
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        let public = if is_file {
            parse(&files::read_text(&file)?)?
        } else {
            make(hostname)?
        };
        Ok(Self { file, public })
    }

    /// Returns a key that no machine uses.
    pub(super) fn of_no_machine(hostname: &str) -> io::Result<Self> {
        let key = random(hostname)?;
        Ok(Self {
            file: PathBuf::new(),
            public: key.public_key().clone(),
        })
    }

    /// Writes the key to the console in cloud-init's format.
    pub(super) fn show(&self, console: &Console) -> io::Result<()> {
        let fingerprint = self.public.fingerprint(HashAlg::Sha256);
        let comment = self.public.comment();
        let public = self.public.to_openssh().map_err(io::Error::other)?;
        let rule = "#".repeat(61);
        let text = [
            "ec2: ",
            &format!("ec2: {rule}"),
            "ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----",
            &format!("ec2: 256 {fingerprint} {comment} (ED25519)"),
            "ec2: -----END SSH HOST KEY FINGERPRINTS-----",
            &format!("ec2: {rule}"),
            "-----BEGIN SSH HOST KEY KEYS-----",
            &public,
            "-----END SSH HOST KEY KEYS-----",
        ];
        // One write: a reader sees the whole block or none of it.
        console.write(format!("{}\r\n", text.join("\r\n")).as_bytes());
        Ok(())
    }
}

fn random(hostname: &str) -> io::Result<PrivateKey> {
    let mut key =
        PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(io::Error::other)?;
    key.set_comment(format!("root@{hostname}"));
    Ok(key)
}

fn make(hostname: &str) -> io::Result<PublicKey> {
    let key = random(hostname)?;
    let private = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let public = key.public_key().to_openssh().map_err(io::Error::other)?;
    fs::create_dir_all(DIRECTORY)?;
    files::replace(ED25519, private.as_bytes(), 0o600)?;
    let shown = format!("{public}\n");
    files::replace(format!("{ED25519}.pub"), shown.as_bytes(), 0o644)?;
    Ok(key.public_key().clone())
}

fn parse(text: &str) -> io::Result<PublicKey> {
    let key = PrivateKey::from_openssh(text).map_err(|error| {
        io::Error::other(format!("the ssh host key on the disk is unusable: {error}"))
    })?;
    Ok(key.public_key().clone())
}
