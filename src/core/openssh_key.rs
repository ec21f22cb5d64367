//! Reads OpenSSH's own format of private keys, as far as a login needs it: the
//! public key, the comment, whether a passphrase protects the key, and whether
//! the file is whole. libssh2 reads the private key itself.
//!
//! The format is in OpenSSH's PROTOCOL.key. The crate ssh-key reads it too, but
//! refuses one ECDSA P-256 key of 256: those whose private number begins with a zero
//! byte, which the format leaves out.

use ssh_key::encoding::{self, Decode, Reader as _};
use ssh_key::{Algorithm, PublicKey};

/// The first bytes of a key.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// What a private key in OpenSSH's format shows without its passphrase.
#[derive(Debug)]
pub(crate) struct OpensshKey {
    /// The public key. Without a passphrase it has the comment.
    pub(crate) public: PublicKey,
    /// Whether a passphrase protects the private key.
    pub(crate) encrypted: bool,
}

/// The reasons why a key cannot be read.
pub(crate) type Fault = ssh_key::Error;

/// Reads a key from its bytes, which are base64 text in a file.
pub(crate) fn read(bytes: &[u8]) -> Result<OpensshKey, Fault> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(Fault::FormatEncoding)?;
    let reader = &mut rest;
    let cipher = String::decode(reader)?;
    let _kdf = String::decode(reader)?;
    let _kdf_options = Vec::<u8>::decode(reader)?;
    if u32::decode(reader)? != 1 {
        return Err(encoding::Error::Length.into());
    }
    let public_blob = Vec::<u8>::decode(reader)?;
    let private = Vec::<u8>::decode(reader)?;
    let mut public = PublicKey::from_bytes(&public_blob)?;
    let encrypted = cipher != "none";
    if !encrypted {
        // Behind an encrypted key, a cipher may leave its authentication tag.
        reader.ensure_finished()?;
        if let Some(comment) = read_private(&private, &public_blob, &public.algorithm())? {
            public.set_comment(comment);
        }
    }
    Ok(OpensshKey { public, encrypted })
}

/// Checks the private part and returns its comment.
///
/// `None`: the algorithm's private keys have other fields than this function knows.
fn read_private(
    mut private: &[u8],
    public_blob: &[u8],
    algorithm: &Algorithm,
) -> Result<Option<String>, Fault> {
    // The places of the public key's fields among the private key's fields.
    let (count, public_places): (usize, &[usize]) = match algorithm {
        Algorithm::Ed25519 => (2, &[0]),
        Algorithm::Ecdsa { .. } => (3, &[0, 1]),
        Algorithm::Rsa { .. } => (6, &[1, 0]),
        _ => return Ok(None),
    };
    let reader = &mut private;
    if u32::decode(reader)? != u32::decode(reader)? {
        return Err(Fault::Crypto);
    }
    let name = Vec::<u8>::decode(reader)?;
    let fields = (0..count)
        .map(|_| Vec::<u8>::decode(reader))
        .collect::<Result<Vec<_>, _>>()?;
    let comment = Vec::<u8>::decode(reader)?;
    let padding_is_right = (1u8..).zip(reader.iter()).all(|(n, byte)| n == *byte);
    if !padding_is_right || reader.len() > 16 {
        return Err(Fault::FormatEncoding);
    }
    let expected = public_places.iter().map(|place| &fields[*place]);
    if !fields_of(public_blob)?
        .iter()
        .eq([&name].into_iter().chain(expected))
    {
        return Err(Fault::PublicKey);
    }
    Ok(Some(String::from_utf8_lossy(&comment).into_owned()))
}

/// Splits a public key into its fields.
fn fields_of(mut blob: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut fields = Vec::new();
    while !blob.is_finished() {
        fields.push(Vec::<u8>::decode(&mut blob)?);
    }
    Ok(fields)
}
