//! Key pairs: create, import, describe and delete.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPrivateKey};
use ssh_key::public::RsaPublicKey;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use super::call::Call;
use super::filters::{Filtered, Filters};
use super::ids::{KEY_PAIR, new_id};
use super::params::Part;
use super::public_keys::{self, fingerprint, with_colons};
use super::refusal::{Refusal, Result};
use super::state::{KeyPair, Tags};
use super::xml::Xml;
use super::{ppk, tags};
use crate::clock::iso;

impl Filtered for KeyPair {
    fn values(&self, name: &str) -> Option<Vec<String>> {
        let one = match name {
            "key-name" => &self.name,
            "key-pair-id" => &self.id,
            "fingerprint" => &self.fingerprint,
            _ => return None,
        };
        Some(vec![one.clone()])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

fn write(xml: &mut Xml, pair: &KeyPair) {
    xml.text("keyPairId", &pair.id);
    xml.text("keyName", &pair.name);
    xml.text("keyFingerprint", &pair.fingerprint);
}

/// AWS's quota of key pairs in a region.
const MAX_KEY_PAIRS: usize = 5000;

/// Stores a public key under a new name.
fn store(call: &mut Call<'_>, name: &str, mut public: PublicKey, tags: Tags) -> Result<KeyPair> {
    if call.region().key_pairs.contains_key(name) {
        return Err(Refusal::new(
            "InvalidKeyPair.Duplicate",
            format!("The keypair already exists: {name}"),
        ));
    }
    if call.region().key_pairs.len() >= MAX_KEY_PAIRS {
        return Err(Refusal::new(
            "KeyPairLimitExceeded",
            "The maximum number of key pairs has been reached.",
        ));
    }
    let kind = match public.algorithm() {
        Algorithm::Ed25519 => "ed25519",
        _ => "rsa",
    };
    // As on AWS, the name of the key pair is the comment of the public key.
    public.set_comment(name);
    let text = public.to_openssh().map_err(|_| invalid_key())?;
    let fingerprint = fingerprint(&public).ok_or_else(invalid_key)?;
    let pair = KeyPair {
        id: new_id("key"),
        name: name.to_owned(),
        kind: kind.to_owned(),
        fingerprint,
        public_key: text,
        tags,
        created: call.now,
    };
    call.region()
        .key_pairs
        .insert(name.to_owned(), pair.clone());
    Ok(pair)
}

fn checked_name<'a>(request: &Part<'a>) -> Result<&'a str> {
    let name = request.required("KeyName")?;
    let why = if !name.is_ascii() || name.bytes().any(|b| b.is_ascii_control()) {
        "Character sets beyond ASCII are not supported."
    } else if name.len() > 255 {
        "Length exceeds maximum of 255."
    } else if name.trim() != name {
        "Key names may not begin or end with a space."
    } else {
        return Ok(name);
    };
    Err(Refusal::value("KeyName", name, why))
}

fn invalid_key() -> Refusal {
    Refusal::new(
        "InvalidKey.Format",
        "Key is not in valid OpenSSH public key format",
    )
}

pub(super) fn import_key_pair(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = checked_name(request)?;
    let tags = tags::specified(request, &["key-pair"], "key-pair")?;
    let material = request.given("PublicKeyMaterial");
    call.read_all()?;
    let material = material.ok_or_else(|| {
        Refusal::new(
            "MissingParameter",
            "The request must contain the parameter PublicKeyMaterial",
        )
    })?;
    let material = BASE64_STANDARD
        .decode(material)
        .map_err(|_| invalid_key())?;
    let public = public_keys::parse(&material).ok_or_else(invalid_key)?;
    let pair = store(call, name, public, tags)?;
    let mut xml = Xml::default();
    write(&mut xml, &pair);
    tags::write(&mut xml, &pair.tags);
    Ok(xml)
}

pub(super) fn create_key_pair(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = checked_name(request)?;
    let tags = tags::specified(request, &["key-pair"], "key-pair")?;
    let kind = request.text("KeyType").unwrap_or("rsa");
    let form = request.text("KeyFormat").unwrap_or("pem");
    call.read_all()?;
    let form = match form {
        "pem" => Form::Pem,
        "ppk" => Form::Ppk,
        other => return Err(Refusal::value("KeyFormat", other, "Expected pem or ppk.")),
    };
    let (private, public, fingerprint) = match kind {
        "ed25519" => new_ed25519(name, form)?,
        "rsa" => new_rsa(name, form)?,
        other => return Err(Refusal::value("KeyType", other, "Expected rsa or ed25519.")),
    };
    let mut pair = store(call, name, public, tags)?;
    if let Some(fingerprint) = fingerprint {
        pair.fingerprint = fingerprint;
        call.region()
            .key_pairs
            .insert(name.to_owned(), pair.clone());
    }
    let mut xml = Xml::default();
    write(&mut xml, &pair);
    tags::write(&mut xml, &pair.tags);
    xml.text("keyMaterial", private);
    Ok(xml)
}

/// The format of a new private key.
#[derive(Clone, Copy)]
enum Form {
    /// PKCS #1 for RSA. Ed25519 has no such format, so it is OpenSSH's.
    Pem,
    /// That of PuTTY.
    Ppk,
}

/// The text of a private key, its public key, and the fingerprint that AWS
/// shows for it if this is not the fingerprint of the public key.
type NewKey = (String, PublicKey, Option<String>);

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        "InternalError",
        format!("cannot create a key pair: {error}"),
    )
    .status(500)
}

fn new_ed25519(name: &str, form: Form) -> Result<NewKey> {
    let mut key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(failed)?;
    key.set_comment(name);
    let public = key.public_key();
    let text = match (form, key.key_data().ed25519()) {
        (Form::Ppk, Some(pair)) => ppk::of_ed25519(pair, public).map_err(failed)?,
        _ => key.to_openssh(LineEnding::LF).map_err(failed)?.to_string(),
    };
    Ok((text, public.clone(), None))
}

/// Returns the public half of an RSA key.
pub(super) fn public_of(key: &RsaPrivateKey, comment: &str) -> ssh_key::Result<PublicKey> {
    let number = |number: &BoxedUint| {
        ssh_key::Mpint::from_positive_bytes(&number.to_be_bytes_trimmed_vartime())
    };
    let public = RsaPublicKey::new(number(key.e()), number(key.n()))?;
    Ok(PublicKey::new(public.into(), comment))
}

/// Creates an RSA key of 2048 bits, as AWS does.
fn new_rsa(name: &str, form: Form) -> Result<NewKey> {
    let key = RsaPrivateKey::new(&mut rand::rng(), 2048).map_err(failed)?;
    let public = public_of(&key, name).map_err(failed)?;
    let text = match form {
        Form::Pem => {
            let pem = key.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF);
            pem.map_err(failed)?.to_string()
        }
        Form::Ppk => ppk::of_rsa(&key, &public).ok_or_else(|| failed("more than two primes"))?,
    };
    // AWS's fingerprint of a key that it creates is the SHA-1 of the private
    // key in PKCS #8.
    let pkcs8 = key.to_pkcs8_der().map_err(failed)?;
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, pkcs8.as_bytes());
    Ok((text, public, Some(with_colons(digest.as_ref()))))
}

/// Returns the key pairs with these names and ids, or all.
fn asked(call: &mut Call<'_>, names: &[&str], ids: &[&str]) -> Result<Vec<KeyPair>> {
    let mut asked = BTreeMap::new();
    for name in names {
        let found = call.region().key_pairs.get(*name).cloned();
        let found = found.filter(|pair| call.visible(pair.created));
        let pair = found.ok_or_else(|| KEY_PAIR.not_found(&[name]))?;
        asked.insert(pair.name.clone(), pair);
    }
    for id in ids {
        let found = call.region().key_pairs.find(id).next().cloned();
        let pair = found.ok_or_else(|| KEY_PAIR.not_found(&[id]))?;
        asked.insert(pair.name.clone(), pair);
    }
    if names.is_empty() && ids.is_empty() {
        return Ok(call.region().key_pairs.values().cloned().collect());
    }
    Ok(asked.into_values().collect())
}

pub(super) fn describe_key_pairs(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let names = request.list("KeyName");
    let ids = request.list("KeyPairId");
    let with_key = request.flag("IncludePublicKey")?.unwrap_or(false);
    let filters = Filters::of(request)?;
    call.read_all()?;
    let pairs = filters.keep(asked(call, &names, &ids)?)?;
    let mut xml = Xml::default();
    xml.list("keySet", pairs, |xml, pair| {
        write(xml, &pair);
        tags::write_list(xml, &pair.tags);
        xml.text("keyType", &pair.kind);
        xml.text("createTime", iso(pair.created));
        xml.option("publicKey", with_key.then_some(&pair.public_key));
    });
    Ok(xml)
}

pub(super) fn delete_key_pair(call: &mut Call<'_>, request: &Part<'_>) -> Result<Xml> {
    let name = request.text("KeyName");
    let id = request.text("KeyPairId");
    call.read_all()?;
    if name.is_none() && id.is_none() {
        request.required("KeyName")?;
    }
    let pairs = &call.region().key_pairs;
    let by_name = name.and_then(|name| pairs.get(name));
    let known = by_name.or_else(|| pairs.find(id?).next());
    // As on AWS, deleting a missing key pair is not an error.
    let Some(pair) = known.cloned() else {
        return Ok(Xml::done());
    };
    call.region().key_pairs.remove(&pair.name);
    let mut xml = Xml::done();
    xml.text("keyPairId", pair.id);
    Ok(xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_rsa_key_has_the_formats_of_aws() {
        let (pem, public, fingerprint) = new_rsa("mine", Form::Pem).unwrap();
        assert!(
            pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\nMII"),
            "{pem}"
        );
        let text = public.to_openssh().unwrap();
        assert!(
            text.starts_with("ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB"),
            "{text}"
        );
        assert_eq!(fingerprint.unwrap().len(), 59);
    }
}
