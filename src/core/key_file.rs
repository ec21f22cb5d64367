//! Private key files: reads them, and explains what is wrong with a file that
//! ssh cannot use.
//!
//! Line ends, indentation and a missing final newline do not matter here:
//! editors and secret stores change them. Everything else has to be right.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::signature::Ed25519KeyPair;
use ssh_key::{Algorithm, PublicKey};

use crate::error::{Error, Result};
use crate::keys::refuse_open;
use crate::openssh_key;

/// The characters in a line of a key.
const LINE: usize = 70;

/// A private key, for libssh2.
#[derive(Clone)]
pub struct PrivateKeyFile {
    /// The text in the usual form.
    pub text: String,
    /// The public key, if the file shows it; PEM files do not.
    pub public: Option<PublicKey>,
    /// Whether a passphrase protects the private key.
    pub encrypted: bool,
    /// The key pair, if it is an Ed25519 key in OpenSSH's format that no passphrase
    /// protects. libssh2 would parse `text` twice for each login, with OpenSSL's decoders:
    /// a third of the CPU time of a short command.
    pub ed25519: Option<Arc<Ed25519KeyPair>>,
}

impl std::fmt::Debug for PrivateKeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKeyFile")
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

/// Reads a private key that only its owner may read.
///
/// Throws `not_found`, `denied`, and `invalid_option` if it is not a private
/// key that can be used.
pub fn load(path: &Path) -> Result<PrivateKeyFile> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io("read the ssh key", path, &e))?;
    // A pipe would be waited for without end, and is empty at the second login.
    if !kind.is_file() && !kind.is_dir() {
        return Err(Fault::NotAFile.error(path));
    }
    refuse_open(path)?;
    let bytes = std::fs::read(path).map_err(|e| Error::io("read the ssh key", path, &e))?;
    parse(path, &bytes)
}

/// Returns whether a file has a public key, which names a key of the ssh agent.
#[must_use]
pub fn is_public(path: &Path) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|kind| kind.is_file());
    let text = is_file
        .then(|| std::fs::read_to_string(path).ok())
        .flatten();
    text.is_some_and(|text| PublicKey::from_openssh(text.trim()).is_ok())
}

/// Parses the content of a private key file.
///
/// Throws `invalid_option` with the reason and what repairs the file.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<PrivateKeyFile> {
    let fault = |fault: Fault| fault.error(path);
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(fault(Fault::Utf16));
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    let Some((label, body)) = armored(text).map_err(fault)? else {
        return Err(fault(without_private_key(text)));
    };
    if label != "OPENSSH PRIVATE KEY" {
        if label == "DSA PRIVATE KEY" {
            return Err(fault(Fault::Unsupported("DSA")));
        }
        let lines: Vec<&str> = body.lines().map(str::trim).collect();
        let body = lines.join("\n");
        if is_of_no_ssh_kind(label, &lines) {
            return Err(fault(Fault::Foreign));
        }
        return Ok(PrivateKeyFile {
            encrypted: label.starts_with("ENCRYPTED") || body.contains("ENCRYPTED"),
            text: format!(
                "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
                body.trim_matches('\n')
            ),
            public: None,
            ed25519: None,
        });
    }
    let base64: Vec<char> = body.chars().filter(|c| !c.is_whitespace()).collect();
    let lines: Vec<String> = base64.chunks(LINE).map(String::from_iter).collect();
    let key = BASE64_STANDARD
        .decode(lines.concat())
        .map_err(|e| fault(Fault::Damaged(e.to_string())))?;
    let key = openssh_key::read(&key).map_err(|e| fault(Fault::Damaged(e.to_string())))?;
    match key.public.algorithm() {
        Algorithm::Dsa => return Err(fault(Fault::Unsupported("DSA"))),
        Algorithm::SkEcdsaSha2NistP256 | Algorithm::SkEd25519 => {
            return Err(fault(Fault::SecurityKey));
        }
        _ => {}
    }
    let body = lines.join("\n");
    Ok(PrivateKeyFile {
        encrypted: key.encrypted,
        public: Some(key.public),
        ed25519: key.ed25519,
        text: format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"),
    })
}

/// The identifiers of the kinds of keys that ssh has, in DER: RSA, the curves P-256,
/// P-384 and P-521, and Ed25519.
const KINDS: [&[u8]; 5] = [
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
    b"\x2b\x81\x04\x00\x22",
    b"\x2b\x81\x04\x00\x23",
    b"\x2b\x65\x70",
];

/// Returns whether a key in PEM form is of a kind that ssh does not have, such as another
/// curve. That shows only if no passphrase protects the key.
fn is_of_no_ssh_kind(label: &str, lines: &[&str]) -> bool {
    if !matches!(label, "PRIVATE KEY" | "EC PRIVATE KEY") || lines.iter().any(|l| l.contains(':')) {
        return false;
    }
    let der = BASE64_STANDARD.decode(lines.concat()).unwrap_or_default();
    let has = |kind: &&[u8]| der.windows(kind.len()).any(|part| part == *kind);
    !der.is_empty() && !KINDS.iter().any(has)
}

/// Returns the label and the body of a private key in PEM form.
fn armored(text: &str) -> std::result::Result<Option<(&str, &str)>, Fault> {
    // `openssl ecparam` writes the curve before the key.
    let mut blocks = text.split("-----BEGIN ").skip(1);
    let begins = blocks.find_map(|block| {
        let (label, _) = block.split_once("-----")?;
        label.ends_with("PRIVATE KEY").then_some(label)
    });
    let Some(label) = begins else {
        return Ok(None);
    };
    let begin = format!("-----BEGIN {label}-----");
    let Some((_, body)) = text.split_once(&begin) else {
        return Ok(None);
    };
    let Some((body, _)) = body.split_once(&format!("-----END {label}-----")) else {
        return Err(if body.contains("\\n") {
            Fault::Escaped
        } else {
            Fault::Truncated
        });
    };
    if body.contains("\\n") {
        return Err(Fault::Escaped);
    }
    Ok(Some((label, body)))
}

/// Returns what a text is that has no private key.
fn without_private_key(text: &str) -> Fault {
    let first = text.split_whitespace().next().unwrap_or_default();
    let of_key = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
    let is_line = of_key.iter().any(|start| first.starts_with(start));
    match text {
        "" => Fault::Empty,
        _ if first.starts_with("PuTTY-User-Key-File") => Fault::Putty,
        _ if text.contains("BEGIN SSH2 ENCRYPTED PRIVATE KEY") => Fault::Ssh2,
        _ if is_line && first.contains("-cert-v01@") => Fault::Certificate,
        _ if is_line || text.contains("PUBLIC KEY--") => Fault::Public,
        _ if text.contains("-----BEGIN CERTIFICATE") => Fault::TlsCertificate,
        _ if first.starts_with("b3BlbnNzaC1rZXkt") => Fault::NoHeader,
        _ => Fault::NotAKey,
    }
}

/// What is wrong with a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    NotAKey,
    Public,
    Certificate,
    TlsCertificate,
    Putty,
    Ssh2,
    Utf16,
    Truncated,
    Escaped,
    NoHeader,
    Damaged(String),
    NotAFile,
    Foreign,
    Unsupported(&'static str),
    SecurityKey,
}

impl Fault {
    fn error(&self, path: &Path) -> Error {
        let shown = path.display();
        let file = shell_words::quote(&path.to_string_lossy()).into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let copy = shell_words::quote(&format!("{name}.new")).into_owned();
        let again = "copy the file again, from its first line to its last".to_owned();
        let create = "`ssh-keygen -t ed25519` creates one".to_owned();
        let (message, hint) = match self {
            Self::Empty => (format!("`{shown}` is not an ssh key: it is empty"), again),
            Self::NotAKey => (
                format!("`{shown}` is not an ssh key: it contains no key"),
                create,
            ),
            Self::Public => (
                format!("`{shown}` is a public key"),
                "pass the private key, the file without .pub".to_owned(),
            ),
            Self::Certificate => (
                format!("`{shown}` is an ssh certificate, not a private key"),
                "pass the private key; the certificate beside it, KEY-cert.pub, is used too"
                    .to_owned(),
            ),
            Self::TlsCertificate => (
                format!("`{shown}` is a TLS certificate, not an ssh key"),
                create,
            ),
            Self::Putty => (
                format!("`{shown}` is a key in PuTTY's format, which ssh does not read"),
                format!("convert it: `puttygen {file} -O private-openssh -o {copy}`"),
            ),
            Self::Ssh2 => (
                format!("`{shown}` is a key in the format of SSH2, which ssh does not read"),
                format!("convert it: `umask 077; ssh-keygen -i -f {file} > {copy}`"),
            ),
            Self::Utf16 => (
                format!("the ssh key `{shown}` cannot be read: it is UTF-16 text"),
                format!("convert it: `umask 077; iconv -f UTF-16 -t UTF-8 {file} > {copy}`"),
            ),
            Self::Truncated => (
                format!("the ssh key `{shown}` cannot be read: its last lines are missing"),
                again,
            ),
            Self::Escaped => (
                format!(
                    "the ssh key `{shown}` cannot be read: it has `\\n` in place of line breaks"
                ),
                format!("convert it: `umask 077; printf '%b' \"$(cat {file})\" > {copy}`"),
            ),
            Self::NoHeader => (
                format!("the ssh key `{shown}` cannot be read: its first line is missing"),
                again,
            ),
            Self::Damaged(why) => (
                format!("the ssh key `{shown}` cannot be read: its content is damaged ({why})"),
                again,
            ),
            Self::NotAFile => (
                format!("the ssh key `{shown}` is not a regular file"),
                "write the key to a file with mode 600, or load it into the ssh agent with \
                 `ssh-add`"
                    .to_owned(),
            ),
            Self::Foreign => (
                format!("`{shown}` is a private key of a kind that ssh does not have"),
                create,
            ),
            Self::Unsupported(kind) => (
                format!("the ssh key `{shown}` is a {kind} key, which autorun does not support"),
                "create a new key with `ssh-keygen -t ed25519`, and add it to \
                 ~/.ssh/authorized_keys on the host"
                    .to_owned(),
            ),
            Self::SecurityKey => (
                format!("the ssh key `{shown}` is on a security key"),
                format!("load it into the ssh agent: `ssh-add {file}`"),
            ),
        };
        Error::invalid(message).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Creates a key with ssh-keygen and returns the text of its file.
    fn key(folder: &Path, name: &str, options: &[&str]) -> String {
        let path = folder.join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-f"])
            .arg(&path)
            .args(options)
            .status();
        assert!(made.unwrap().success());
        std::fs::read_to_string(path).unwrap()
    }

    /// An ECDSA key of the tests whose private number has 31 bytes, as in one key of
    /// 256. ssh-keygen prints its public key.
    const SHORT_NUMBER: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
        b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS\n\
        1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQRLF3a5VKs182uNOcoQRCDAjTVNmvOn\n\
        E52mQj+oYRXZxYJINGJ+ehk8KGRHhWoPyttBcpchXSw5Nb1f4uC2zH02AAAAqAAAAAcAAA\n\
        AHAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEsXdrlUqzXza405\n\
        yhBEIMCNNU2a86cTnaZCP6hhFdnFgkg0Yn56GTwoZEeFag/K20FylyFdLDk1vV/i4LbMfT\n\
        YAAAAfN9IzSJGB2Xm3Khgayx7+nD/GB2JolhPqApa2rHO5IgAAAAxzaG9ydCBudW1iZXIB\n\
        AgMEBQ==\n\
        -----END OPENSSH PRIVATE KEY-----\n";

    /// Keys of the tests, which `openssl` made.
    const SECP256K1: &str = "-----BEGIN EC PRIVATE KEY-----\n\
        MHQCAQEEIBqHf8iojiRlXr47k6+X+xqW18ep/BVjYBUFIW3ATzHboAcGBSuBBAAK\n\
        oUQDQgAEAGLBvL26oDsAcjtwl8cqmKDqMjjESPysO5yE4YvmkAgIIaPlvQ5tP34d\n\
        feDScrzFWkx4oWvX1FE0j4JArX69Ew==\n\
        -----END EC PRIVATE KEY-----\n";
    const ED448: &str = "-----BEGIN PRIVATE KEY-----\n\
        MEcCAQAwBQYDK2VxBDsEOVPRfNIDEnLahdjoqFxUZpHAxFI7sbYlW+JkLgBPFUmd\n\
        xxCZMFy2x8pGzeSMy9AmWBwTUXriF+qbdw==\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn a_private_number_may_begin_with_a_zero_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, SHORT_NUMBER).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        let printed = Command::new("ssh-keygen").arg("-yf").arg(&path).output();
        let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
        let key = load(&path).unwrap();
        assert_eq!(key.public.unwrap().to_openssh().unwrap(), printed.trim());
        assert!(!key.encrypted);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let error = load(&path).unwrap_err();
        assert!(
            error.to_string().contains("is not a regular file"),
            "{error}"
        );
    }

    #[test]
    fn white_space_in_a_key_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let all = [
            key(dir.path(), "ed", &["-t", "ed25519"]),
            key(dir.path(), "rsa", &["-t", "rsa"]),
            key(dir.path(), "ec", &["-t", "ecdsa"]),
            key(dir.path(), "pem", &["-t", "rsa", "-m", "PEM"]),
            key(dir.path(), "pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
        ];
        for text in all {
            let read = |text: &str| parse(Path::new("key"), text.as_bytes()).unwrap().text;
            assert_eq!(read(&text), text);
            for changed in [
                text.replace('\n', "\r\n"),
                text.replace('\n', "\n    "),
                text.replace('\n', " \n"),
                text.trim_end().to_owned(),
                format!("\u{feff}\n\n{text}\n\n"),
                format!("Bag Attributes\n{text}"),
            ] {
                assert_eq!(read(&changed), text, "{changed}");
            }
            if text.contains("OPENSSH") {
                assert_eq!(read(&text.replace('\n', " ")), text);
                assert_eq!(read(&text.replacen('\n', "\n\n", 3)), text);
            }
        }
    }

    #[test]
    fn each_unusable_file_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let text = key(dir.path(), "ed", &["-t", "ed25519"]);
        let public = std::fs::read_to_string(dir.path().join("ed.pub")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let utf16: Vec<u8> = std::iter::once(0xfeff)
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let damaged = text.replacen("AAAA", "BBBB", 1);
        let rows: [(&[u8], &str, &str); 16] = [
            (
                SECP256K1.as_bytes(),
                "of a kind that ssh does not have",
                "ssh-keygen",
            ),
            (
                ED448.as_bytes(),
                "of a kind that ssh does not have",
                "ssh-keygen",
            ),
            (b"", "it is empty", "copy"),
            (b" \n", "it is empty", "copy"),
            (b"hello", "contains no key", "ssh-keygen"),
            (b"\x89PNG\0\0", "contains no key", "ssh-keygen"),
            (public.as_bytes(), "is a public key", "private key"),
            (
                b"-----BEGIN PUBLIC KEY-----\nAA\n",
                "is a public key",
                "private key",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\nAA\n",
                "a TLS certificate",
                "ssh-keygen",
            ),
            (
                b"ssh-ed25519-cert-v01@openssh.com AAAA x",
                "is an ssh certificate",
                "private key",
            ),
            (
                b"PuTTY-User-Key-File-3: ssh-ed25519\n",
                "PuTTY's format",
                "`puttygen 'a key'",
            ),
            (&utf16, "UTF-16", "; iconv"),
            (
                lines[..3].join("\n").leak().as_bytes(),
                "last lines are missing",
                "copy",
            ),
            (
                lines[1..].join("\n").leak().as_bytes(),
                "first line is missing",
                "copy",
            ),
            (
                text.replace('\n', "\\n").leak().as_bytes(),
                "in place of line breaks",
                "; printf",
            ),
            (damaged.as_bytes(), "is damaged", "copy"),
        ];
        for (bytes, why, hint) in rows {
            let error = parse(Path::new("a key"), bytes).unwrap_err();
            assert!(error.to_string().contains(why), "{why}: {error}");
            let shown = error.hint.clone().unwrap();
            assert!(shown.contains(hint), "{why}: {shown}");
            assert!(!format!("{error:?}").contains("b3Blbn"), "{error:?}");
        }
    }
}
