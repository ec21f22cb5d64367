//! Reads OpenSSH's own format of private keys, as far as a login needs it: the
//! public key, the comment, whether a passphrase protects the key, and whether
//! the file is whole. An Ed25519 key that no passphrase protects is read whole;
//! libssh2 reads the other private keys itself.
//!
//! The format is in OpenSSH's PROTOCOL.key. The crate ssh-key reads it too, but
//! refuses one ECDSA P-256 key of 256: those whose private number begins with a zero
//! byte, which the format leaves out.

use std::sync::Arc;

use ring::signature::Ed25519KeyPair;
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
    /// The key pair, if it is an Ed25519 key that no passphrase protects.
    pub(crate) ed25519: Option<Arc<Ed25519KeyPair>>,
}

/// What the private part of a key shows.
struct Private {
    comment: String,
    ed25519: Option<Arc<Ed25519KeyPair>>,
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
    let mut ed25519 = None;
    if !encrypted {
        // Behind an encrypted key, a cipher may leave its authentication tag.
        reader.ensure_finished()?;
        if let Some(private) = read_private(&private, &public_blob, &public.algorithm())? {
            public.set_comment(private.comment);
            ed25519 = private.ed25519;
        }
    }
    Ok(OpensshKey {
        public,
        encrypted,
        ed25519,
    })
}

/// Checks and reads the private part.
///
/// `None`: the algorithm's private keys have other fields than this function knows.
fn read_private(
    mut private: &[u8],
    public_blob: &[u8],
    algorithm: &Algorithm,
) -> Result<Option<Private>, Fault> {
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
    Ok(Some(Private {
        comment: String::from_utf8_lossy(&comment).into_owned(),
        ed25519: match algorithm {
            Algorithm::Ed25519 => ed25519(&fields),
            _ => None,
        },
    }))
}

/// Returns the key pair of the fields of an Ed25519 key: the public key, and the seed
/// with the public key behind it. `None` if they do not belong together.
fn ed25519(fields: &[Vec<u8>]) -> Option<Arc<Ed25519KeyPair>> {
    let [public, private] = fields else {
        return None;
    };
    let seed = private.strip_suffix(public.as_slice())?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()?;
    Some(Arc::new(pair))
}

/// Splits a public key into its fields.
fn fields_of(mut blob: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    let mut fields = Vec::new();
    while !blob.is_finished() {
        fields.push(Vec::<u8>::decode(&mut blob)?);
    }
    Ok(fields)
}
