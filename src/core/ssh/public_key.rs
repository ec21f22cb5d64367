//! Public host keys: which ones OpenSSH accepts, and when two are the same.
//!
//! libssh2 verifies the signature of a host. This module only parses keys, as
//! strictly as OpenSSH does: a line in `known_hosts` counts only if OpenSSH
//! accepts its key.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The smallest RSA modulus in bits, and the longest number in a key in bytes.
const SMALLEST_RSA: usize = 1024;
const LONGEST_NUMBER: usize = 16384 / 8;

/// The type of a key. A signature algorithm stands for its key type, so
/// `rsa-sha2-256` is an RSA key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ed25519,
    Ecdsa256,
    Ecdsa384,
    Ecdsa521,
    Rsa,
    /// A type that OpenSSH supports and libssh2 does not verify, by its name.
    Other(String),
}

impl Kind {
    fn named(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        Some(match name {
            "ssh-ed25519" => Self::Ed25519,
            "ecdsa-sha2-nistp256" => Self::Ecdsa256,
            "ecdsa-sha2-nistp384" => Self::Ecdsa384,
            "ecdsa-sha2-nistp521" => Self::Ecdsa521,
            "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => Self::Rsa,
            "ssh-dss" | "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com" => {
                Self::Other(name.to_owned())
            }
            _ if name.ends_with("-cert-v01@openssh.com") => Self::Other(name.to_owned()),
            _ => return None,
        })
    }

    /// Returns the name of the key type.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Ecdsa256 => "ecdsa-sha2-nistp256",
            Self::Ecdsa384 => "ecdsa-sha2-nistp384",
            Self::Ecdsa521 => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
            Self::Other(name) => name,
        }
    }

    /// Returns the curve of an ECDSA key and the length of its points.
    fn curve(&self) -> Option<(&'static [u8], usize)> {
        match self {
            Self::Ecdsa256 => Some((b"nistp256", 65)),
            Self::Ecdsa384 => Some((b"nistp384", 97)),
            Self::Ecdsa521 => Some((b"nistp521", 133)),
            Self::Ed25519 | Self::Rsa | Self::Other(_) => None,
        }
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) kind: Kind,
    /// The fields after the name; numbers are without leading zeros.
    parts: Vec<Vec<u8>>,
}

impl PublicKey {
    /// Parses a key in its wire format.
    pub(super) fn of_blob(blob: &[u8]) -> Option<Self> {
        let mut blob = Blob(blob);
        let kind = Kind::named(blob.string()?)?;
        let parts = match &kind {
            Kind::Ed25519 => vec![sized(blob.string()?, 32)?],
            Kind::Rsa => rsa(&mut blob)?,
            Kind::Ecdsa256 | Kind::Ecdsa384 | Kind::Ecdsa521 => {
                let (curve, length) = kind.curve()?;
                vec![point(&mut blob, curve, length)?]
            }
            Kind::Other(name) => match name.as_str() {
                "ssh-dss" => (0..4).map(|_| blob.number()).collect::<Option<_>>()?,
                "sk-ssh-ed25519@openssh.com" => {
                    vec![sized(blob.string()?, 32)?, blob.string()?.to_vec()]
                }
                "sk-ecdsa-sha2-nistp256@openssh.com" => {
                    let point = point(&mut blob, b"nistp256", 65)?;
                    vec![point, blob.string()?.to_vec()]
                }
                _ => vec![std::mem::take(&mut blob.0).to_vec()],
            },
        };
        blob.0.is_empty().then_some(Self { kind, parts })
    }

    /// Parses the two fields of a line: the name of the type, and base64.
    pub(super) fn of_fields(name: &[u8], base64: &[u8]) -> Result<Self, &'static str> {
        let kind = Kind::named(name).ok_or("its key type is unknown")?;
        // OpenSSH's decoder in C skips white space, such as the end of a
        // Windows line.
        let blanks = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        let digits: Vec<u8> = base64.iter().copied().filter(|b| !blanks(b)).collect();
        let key = BASE64_STANDARD.decode(digits).ok();
        key.and_then(|blob| Self::of_blob(&blob))
            .filter(|key| key.kind == kind)
            .ok_or("its key is not valid")
    }
}

fn sized(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    (bytes.len() == length).then(|| bytes.to_vec())
}

fn rsa(blob: &mut Blob<'_>) -> Option<Vec<Vec<u8>>> {
    let (exponent, modulus) = (blob.number()?, blob.number()?);
    let first = modulus.first()?;
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    (bits >= SMALLEST_RSA).then(|| vec![exponent, modulus])
}

/// Parses an uncompressed point.
fn point(blob: &mut Blob<'_>, curve: &[u8], length: usize) -> Option<Vec<u8>> {
    let same = blob.string()? == curve;
    let point = sized(blob.string()?, length)?;
    (same && point[0] == 4).then_some(point)
}

/// The remaining bytes of a key.
struct Blob<'a>(&'a [u8]);

impl<'a> Blob<'a> {
    fn string(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    /// Parses a positive number and removes leading zeros.
    fn number(&mut self) -> Option<Vec<u8>> {
        let bytes = self.string()?;
        let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let number = &bytes[zeros..];
        (!negative && number.len() <= LONGEST_NUMBER).then(|| number.to_vec())
    }
}
