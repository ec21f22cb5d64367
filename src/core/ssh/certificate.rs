//! The public key in an ssh certificate of a user.
//!
//! The crate ssh-key cannot read certificates that are valid forever, which is
//! what ssh-keygen creates by default.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What the type of a certificate ends with.
const SUFFIX: &str = "-cert-v01@openssh.com";

/// A certificate, for comparison with keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The certificate, as an agent lists it.
    pub(super) blob: Vec<u8>,
    /// The certified public key, as an agent lists it.
    pub(super) key: Vec<u8>,
}

impl Certificate {
    /// Reads the line of a file `KEY-cert.pub`; returns `None` if it is not a
    /// certificate.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let encoded = text.split_whitespace().nth(1)?;
        let blob = BASE64_STANDARD.decode(encoded).ok()?;
        let mut rest = blob.as_slice();
        let kind = std::str::from_utf8(field(&mut rest)?).ok()?;
        let kind = kind.strip_suffix(SUFFIX)?;
        let _nonce = field(&mut rest)?;
        let (fields, plain) = match kind {
            "ssh-ed25519" => (1, kind.to_owned()),
            // A key in a security device has its application as well.
            _ if kind.starts_with("sk-ssh-") => (2, format!("{kind}@openssh.com")),
            _ if kind.starts_with("sk-ecdsa-") => (3, format!("{kind}@openssh.com")),
            // Exponent and modulus, or curve and point.
            _ => (2, kind.to_owned()),
        };
        let mut key = Vec::new();
        append(&mut key, plain.as_bytes());
        for _ in 0..fields {
            append(&mut key, field(&mut rest)?);
        }
        Some(Self { blob, key })
    }
}

/// Takes a field from the front: its length in four bytes, and its bytes.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (bytes, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn append(key: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).unwrap_or_default();
    key.extend(length.to_be_bytes());
    key.extend(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `ssh-keygen -s ca -I me -n me k.pub`, which is valid forever.
    const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIOiMnrdaWcgVke4SDEbDj+QlbirEHP0eWyFRJGPz154FAAAAICbDfZQKSGg3HjFJLZQty8Tfc9Bz1RvqBBpSUvT3BJjJAAAAAAAAAAAAAAABAAAAAm1lAAAABgAAAAJtZQAAAAAAAAAA//////////8AAAAAAAAAggAAABVwZXJtaXQtWDExLWZvcndhcmRpbmcAAAAAAAAAF3Blcm1pdC1hZ2VudC1mb3J3YXJkaW5nAAAAAAAAABZwZXJtaXQtcG9ydC1mb3J3YXJkaW5nAAAAAAAAAApwZXJtaXQtcHR5AAAAAAAAAA5wZXJtaXQtdXNlci1yYwAAAAAAAAAAAAAAMwAAAAtzc2gtZWQyNTUxOQAAACAXteByH2rosEmDV5UD49xz2kTUzhmzQc4pQIeLsWdHCAAAAFMAAAALc3NoLWVkMjU1MTkAAABAKRakfiZAZtS+wDOdB5GExVFcYRK5stNhD8DAVq5vdY8uhXIuzs+sT3nIeBS1fZJ+hST0AyWMfsu6odVLLQydAw== me";
    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAICbDfZQKSGg3HjFJLZQty8Tfc9Bz1RvqBBpSUvT3BJjJ";

    #[test]
    fn the_key_in_a_certificate_is_read() {
        let certificate = Certificate::parse(CERTIFICATE).unwrap();
        assert_eq!(BASE64_STANDARD.encode(certificate.key), KEY);
        let broken = CERTIFICATE.replace("AAAAICbDfZQKSGg3", "////////////");
        for text in ["", "ssh-ed25519", &format!("ssh-ed25519 {KEY}"), &broken] {
            assert_eq!(Certificate::parse(text), None, "{text}");
        }
    }
}
