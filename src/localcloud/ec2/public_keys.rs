//! Public keys in the formats that `ImportKeyPair` takes: OpenSSH's, RFC 4716, and
//! DER in base64 or PEM. And the fingerprints that EC2 shows for imported keys.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPublicKey};
use s3s::crypto::{Checksum as _, Md5};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, Mpint, PublicKey};

/// The bits that an RSA key may have.
const RSA_BITS: std::ops::RangeInclusive<u32> = 1024..=4096;

/// The beginning of an ed25519 key in DER. 32 bytes follow.
const ED25519_DER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Parses a public key. Returns `None` if it is not an RSA or ed25519 key, or its
/// format or size is one that EC2 refuses.
pub(super) fn parse(material: &[u8]) -> Option<PublicKey> {
    let key = match std::str::from_utf8(material) {
        Ok(text) => parse_text(text.trim())?,
        Err(_) => from_der(material)?,
    };
    match &key {
        KeyData::Ed25519(_) => {}
        KeyData::Rsa(rsa) => {
            let bits = number(rsa.n())?.bit_width_vartime();
            if !RSA_BITS.contains(&bits) {
                return None;
            }
        }
        _ => return None,
    }
    Some(PublicKey::new(key, ""))
}

fn parse_text(text: &str) -> Option<KeyData> {
    if let Some(lines) = between(text, "---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2") {
        return from_wire(&from_base64(&without_headers(&lines))?);
    }
    for kind in ["PUBLIC KEY", "RSA PUBLIC KEY"] {
        let begin = format!("-----BEGIN {kind}-----");
        if let Some(lines) = between(text, &begin, "-----END") {
            return from_der(&from_base64(&lines.concat())?);
        }
    }
    if let Some((kind, rest)) = text.split_once(char::is_whitespace)
        && let Some(encoded) = rest.split_whitespace().next()
        && (kind == "ssh-rsa" || kind == "ssh-ed25519")
    {
        return from_wire(&from_base64(encoded)?);
    }
    // Without a name of the type: DER, or a whole line once more in base64.
    let decoded = from_base64(text)?;
    from_der(&decoded).or_else(|| {
        let line = std::str::from_utf8(&decoded).ok()?.trim();
        let is_line = line.starts_with("ssh-") || line.starts_with("---- BEGIN SSH2");
        is_line.then(|| parse_text(line)).flatten()
    })
}

/// Returns the lines between two lines, or `None` if the first or the last line of
/// the text is another one.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<Vec<&'a str>> {
    let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
    let last = lines.pop()?;
    if lines.is_empty() || lines.remove(0) != begin || !last.starts_with(end) {
        return None;
    }
    Some(lines)
}

/// Returns the base64 of a key in RFC 4716's format. A header that ends with a
/// backslash continues on the next line.
fn without_headers(lines: &[&str]) -> String {
    let mut encoded = String::new();
    let mut continues = false;
    for line in lines {
        let is_header = continues || line.contains(':');
        continues = is_header && line.ends_with('\\');
        if !is_header {
            encoded.push_str(line);
        }
    }
    encoded
}

/// Decodes base64, and ignores characters that are not base64, as EC2 does.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let is_digit = |c: &char| c.is_ascii_alphanumeric() || "+/=".contains(*c);
    let digits: String = text.chars().filter(is_digit).collect();
    BASE64_STANDARD.decode(digits).ok()
}

fn from_wire(blob: &[u8]) -> Option<KeyData> {
    let key = PublicKey::from_bytes(blob).ok()?;
    Some(key.key_data().clone())
}

fn from_der(der: &[u8]) -> Option<KeyData> {
    if let Some(rest) = der.strip_prefix(&ED25519_DER) {
        return Some(KeyData::Ed25519(Ed25519PublicKey(rest.try_into().ok()?)));
    }
    let key = RsaPublicKey::from_public_key_der(der)
        .or_else(|_| RsaPublicKey::from_pkcs1_der(der))
        .ok()?;
    let number =
        |number: &BoxedUint| Mpint::from_positive_bytes(&number.to_be_bytes_trimmed_vartime());
    let key = ssh_key::public::RsaPublicKey::new(number(key.e()), number(key.n())).ok()?;
    Some(KeyData::Rsa(key))
}

fn number(number: &Mpint) -> Option<BoxedUint> {
    let bytes = number.as_positive_bytes()?;
    Some(BoxedUint::from_be_slice_vartime(bytes))
}

/// Returns the fingerprint that EC2 shows for an imported key: the MD5 of an RSA
/// key in DER, and OpenSSH's fingerprint of an ed25519 key without its prefix.
pub(super) fn fingerprint(key: &PublicKey) -> Option<String> {
    let KeyData::Rsa(rsa) = key.key_data() else {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        return Some(fingerprint.trim_start_matches("SHA256:").to_owned());
    };
    let key = RsaPublicKey::new_unchecked(number(rsa.n())?, number(rsa.e())?);
    let der = key.to_public_key_der().ok()?;
    Some(with_colons(&Md5::checksum(der.as_bytes())))
}

/// Writes bytes in hexadecimal digits with colons.
pub(super) fn with_colons(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ImportKeyPair.html's
    // formats, made by OpenSSH 9.2 and OpenSSL 3 from one key. The fingerprint is what
    // `openssl pkey -pubin -pubout -outform DER | openssl md5 -c` prints.
    const OPENSSH: &str = include_str!("testdata/rsa.pub");
    const RFC4716: &str = include_str!("testdata/rsa.rfc4716");
    const PEM: &str = include_str!("testdata/rsa.pem");
    const PKCS1: &str = include_str!("testdata/rsa.pkcs1.pem");
    const RSA_FINGERPRINT: &str = include_str!("testdata/rsa.md5");
    const ED25519: &str = include_str!("testdata/ed25519.pub");
    const ED25519_PEM: &str = include_str!("testdata/ed25519.pem");
    const ED25519_FINGERPRINT: &str = include_str!("testdata/ed25519.sha256");

    fn fingerprint_of(material: &[u8]) -> Option<String> {
        fingerprint(&parse(material)?)
    }

    #[test]
    fn all_formats_of_a_key_have_the_fingerprint_of_the_reference() {
        let body: String = PEM.lines().filter(|line| !line.starts_with('-')).collect();
        let encoded = BASE64_STANDARD.encode(OPENSSH);
        let der = BASE64_STANDARD.decode(&body).unwrap();
        let windows = RFC4716.replace('\n', "\r\n");
        let forms: [&[u8]; 8] = [
            OPENSSH.as_bytes(),
            RFC4716.as_bytes(),
            windows.as_bytes(),
            PEM.as_bytes(),
            PKCS1.as_bytes(),
            body.as_bytes(),
            encoded.as_bytes(),
            &der,
        ];
        for (n, form) in forms.into_iter().enumerate() {
            let found = fingerprint_of(form);
            assert_eq!(found.as_deref(), Some(RSA_FINGERPRINT.trim()), "form {n}");
        }
        for form in [ED25519, ED25519_PEM] {
            let found = fingerprint_of(form.as_bytes());
            assert_eq!(found.as_deref(), Some(ED25519_FINGERPRINT.trim()), "{form}");
        }
    }

    #[test]
    fn other_keys_are_refused() {
        for text in [
            include_str!("testdata/ecdsa.pub"),
            include_str!("testdata/rsa8192.pub"),
            include_str!("testdata/rsa.pub").split_at(60).0,
            "ssh-rsa",
            "ssh-rsa AAAA",
            "nonsense",
            "",
            "---- BEGIN SSH2 PUBLIC KEY ----\nsth",
            "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
