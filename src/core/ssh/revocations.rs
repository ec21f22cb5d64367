//! Host keys that `RevokedHostKeys` of the ssh configuration forbids.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ssh_key::PublicKey;

use crate::error::{Error, ErrorKind, Result};

/// The first bytes of a key revocation list in OpenSSH's binary format.
const LIST: &[u8] = b"SSHKRL\n\0";

/// Returns whether a file contains a key: as a line, or in a key revocation list.
///
/// Throws `not_found` and `denied` if the file cannot be read: as in OpenSSH, no key is
/// accepted then.
pub(super) fn contains(file: &Path, key: &[u8]) -> Result<bool> {
    let bytes =
        std::fs::read(file).map_err(|e| Error::io("read the revoked host keys in", file, &e))?;
    if bytes.starts_with(LIST) {
        return is_in_list(file, key);
    }
    let text = String::from_utf8_lossy(&bytes);
    let keys = text
        .lines()
        .filter_map(|line| PublicKey::from_openssh(line.trim()).ok());
    let mut blobs = keys.filter_map(|key| key.to_bytes().ok());
    Ok(blobs.any(|blob| blob == key))
}

/// Asks ssh-keygen, which knows the format, about a key.
fn is_in_list(file: &Path, key: &[u8]) -> Result<bool> {
    let failed = |why: &dyn std::fmt::Display| {
        let message = format!(
            "cannot look for the host key in `{}`: {why}",
            file.display()
        );
        Error::new(ErrorKind::Denied, message)
            .hint("install OpenSSH's ssh-keygen, or remove RevokedHostKeys")
    };
    let mut asked = Command::new("ssh-keygen")
        .args(["-Q", "-f"])
        .arg(file)
        .arg("/dev/stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(&e))?;
    if let Some(mut input) = asked.stdin.take() {
        let kind = super::trust::key_type(key).unwrap_or_default();
        let line = format!("{kind} {}\n", BASE64_STANDARD.encode(key));
        // It does not read a key if it cannot read the list; its status says so.
        let _ = input.write_all(line.as_bytes());
    }
    // A list that cannot be read counts as one that has the key.
    Ok(!asked.wait().map_err(|e| failed(&e))?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_text_and_in_revocation_lists() {
        let dir = tempfile::tempdir().unwrap();
        let run = |words: &[&str]| {
            let mut command = Command::new("ssh-keygen");
            let status = command
                .current_dir(dir.path())
                .arg("-q")
                .args(words)
                .status();
            assert!(status.unwrap().success(), "{words:?}");
        };
        for name in ["one", "other"] {
            run(&["-t", "ed25519", "-N", "", "-f", name]);
        }
        run(&["-k", "-f", "list", "one.pub"]);
        let public =
            |name: &str| std::fs::read_to_string(dir.path().join(format!("{name}.pub"))).unwrap();
        std::fs::write(
            dir.path().join("text"),
            format!("# keys\n\n{}", public("one")),
        )
        .unwrap();
        std::fs::write(dir.path().join("damaged"), LIST).unwrap();
        for (file, name, revoked) in [
            ("text", "one", true),
            ("text", "other", false),
            ("list", "one", true),
            ("list", "other", false),
            ("damaged", "other", true),
        ] {
            let key = PublicKey::from_openssh(public(name).trim()).unwrap();
            let found = contains(&dir.path().join(file), &key.to_bytes().unwrap());
            assert_eq!(found, Ok(revoked), "{file} {name}");
        }
        assert!(contains(&dir.path().join("missing"), &[]).is_err());
    }
}
