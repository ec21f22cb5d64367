//! The user's own ssh key, for an instance whose private key is on another machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, ErrorKind, Result};

/// The kinds of keys that EC2 Instance Connect accepts, as public keys begin.
const KINDS: [&str; 2] = ["ssh-ed25519 ", "ssh-rsa "];

/// The usual files with such keys, in the order of preference.
const FILES: [&str; 2] = ["id_ed25519", "id_rsa"];

/// The login users of images with EC2 Instance Connect: Amazon Linux and Ubuntu. Some
/// other images have these users, too.
const USERS: [&str; 2] = ["ec2-user", "ubuntu"];

/// A key with which the user can log in.
#[derive(Debug)]
pub(super) struct OwnKey {
    /// The public key, as `authorized_keys` has it.
    pub(super) public: String,
    /// The file with the private key; without one, the agent has it.
    pub(super) file: Option<PathBuf>,
}

impl OwnKey {
    /// Finds a key of the user for an instance whose private key should be in `missing`.
    ///
    /// Fails if the image does not accept other keys, or if the user has none.
    pub(super) fn find(missing: &Path, user: &str, home: Option<&Path>) -> Result<Self> {
        let without = |why: &str| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "the private key `{}` of the instance is not on this machine, and {why}",
                    missing.display()
                ),
            )
        };
        if !USERS.contains(&user) {
            let why = format!(
                "the image of the instance, whose user is `{user}`, does not have EC2 Instance \
                 Connect, which would accept your own key"
            );
            return Err(without(&why).hint(
                "log in on the machine that created the key, or copy the file from there; images \
                 of Amazon Linux and Ubuntu have EC2 Instance Connect",
            ));
        }
        let found = of_agent().or_else(|| of_files(home?));
        found.ok_or_else(|| {
            without("you have no RSA or Ed25519 key of your own in the ssh agent or in ~/.ssh").hint(
                "create a key with `ssh-keygen -t ed25519`, log in on the machine that created the \
                 key of the instance, or copy the file from there",
            )
        })
    }

    /// Says where the key is.
    pub(super) fn place(&self) -> String {
        match &self.file {
            Some(file) => file.display().to_string(),
            None => "in the ssh agent".to_owned(),
        }
    }
}

/// Returns the first key of the ssh agent that fits.
fn of_agent() -> Option<OwnKey> {
    let listed = Command::new("ssh-add")
        .arg("-L")
        .stdin(Stdio::null())
        .output();
    let listed = String::from_utf8(listed.ok()?.stdout).ok()?;
    let public = listed.lines().find(|line| is_accepted(line))?;
    Some(OwnKey {
        public: public.to_owned(),
        file: None,
    })
}

/// Returns the first key in the usual files, with its public key beside it.
fn of_files(home: &Path) -> Option<OwnKey> {
    FILES.iter().find_map(|name| {
        let file = home.join(".ssh").join(name);
        let public = std::fs::read_to_string(file.with_extension("pub")).ok()?;
        let public = public.lines().find(|line| is_accepted(line))?.to_owned();
        file.exists().then_some(OwnKey {
            public,
            file: Some(file),
        })
    })
}

fn is_accepted(line: &str) -> bool {
    KINDS.iter().any(|kind| line.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usable_file_is_found() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        assert!(of_files(home.path()).is_none());
        let write = |name: &str, text: &str| std::fs::write(ssh.join(name), text).unwrap();
        write("id_ed25519.pub", "ssh-ed25519 AAAA me\n");
        write("id_rsa", "private");
        write("id_rsa.pub", "ecdsa-sha2-nistp256 AAAA me\n");
        // The one has no private key, and the other one is of another kind.
        assert!(of_files(home.path()).is_none());
        write("id_rsa.pub", "ssh-rsa AAAB me\n");
        let found = of_files(home.path()).unwrap();
        assert_eq!(found.public, "ssh-rsa AAAB me");
        assert_eq!(found.file.as_deref(), Some(&*ssh.join("id_rsa")));
        write("id_ed25519", "private");
        assert_eq!(of_files(home.path()).unwrap().public, "ssh-ed25519 AAAA me");
    }

    #[test]
    fn an_image_without_instance_connect_is_named() {
        let error = OwnKey::find(Path::new("/keys/shop"), "admin", None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`/keys/shop`") && text.contains("`admin`"),
            "{text}"
        );
        assert!(error.hint.as_ref().unwrap().contains("copy the file"));
    }
}
