//! Private keys in the format of PuTTY (PPK), version 3, without encryption.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use rsa::traits::PrivateKeyParts as _;
use rsa::{BoxedUint, RsaPrivateKey};
use ssh_key::PublicKey;
use ssh_key::private::Ed25519Keypair;

/// The characters in a line of base64.
const LINE: usize = 64;

/// Returns an ed25519 key. `public` is its public half.
pub(super) fn of_ed25519(key: &Ed25519Keypair, public: &PublicKey) -> ssh_key::Result<String> {
    let mut private = Vec::new();
    put(&mut private, &key.private.to_bytes());
    file(public, &private)
}

/// Returns an RSA key, or `None` if it does not have two primes.
pub(super) fn of_rsa(key: &RsaPrivateKey, public: &PublicKey) -> Option<String> {
    let [p, q] = key.primes() else {
        return None;
    };
    let mut private = Vec::new();
    for number in [key.d(), p, q, &key.crt_coefficient()?] {
        put(&mut private, &positive(number));
    }
    file(public, &private).ok()
}

/// Adds bytes in ssh's format, after their number.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// Returns a number in ssh's format. A leading zero shows that it is not negative.
fn positive(number: &BoxedUint) -> Vec<u8> {
    let bytes = number.to_be_bytes_trimmed_vartime();
    let sign = bytes.first().is_some_and(|first| *first >= 0x80);
    let sign = sign.then_some(0);
    sign.into_iter().chain(bytes.iter().copied()).collect()
}

fn file(public: &PublicKey, private: &[u8]) -> ssh_key::Result<String> {
    let algorithm = public.algorithm();
    let (kind, comment) = (algorithm.as_str(), public.comment().to_string());
    let blob = public.to_bytes()?;
    let mut signed = Vec::new();
    for part in [kind.as_bytes(), b"none", comment.as_bytes(), &blob, private] {
        put(&mut signed, part);
    }
    // Without a passphrase, the key of the checksum is empty.
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), &signed);
    Ok(format!(
        "PuTTY-User-Key-File-3: {kind}\nEncryption: none\nComment: {comment}\n\
         Public-Lines: {}\nPrivate-Lines: {}\nPrivate-MAC: {}\n",
        lines(&blob),
        lines(private),
        hex::encode(mac)
    ))
}

/// Returns the number of the lines, and the lines.
fn lines(bytes: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(bytes);
    let starts = (0..text.len()).step_by(LINE);
    let lines: Vec<&str> = starts
        .map(|start| &text[start..text.len().min(start + LINE)])
        .collect();
    format!("{}\n{}", lines.len(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use rsa::pkcs1::DecodeRsaPrivateKey as _;

    use super::super::key_pairs::public_of;
    use super::*;

    // `puttygen` converted these keys.

    #[test]
    fn an_ed25519_key_is_that_of_puttygen() {
        let pem = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz
c2gtZWQyNTUxOQAAACDa+1WsX2Jj4C+i04DGmxhtavoPfL0/3i/9gnauP2uq9AAA
AJA+9DPqPvQz6gAAAAtzc2gtZWQyNTUxOQAAACDa+1WsX2Jj4C+i04DGmxhtavoP
fL0/3i/9gnauP2uq9AAAAEBh+EvU71/70Gxq3VXPsP6R/VxBff1KVjCS/U8qZut/
Cdr7VaxfYmPgL6LTgMabGG1q+g98vT/eL/2Cdq4/a6r0AAAABm15IGtleQECAwQF
Bgc=
-----END OPENSSH PRIVATE KEY-----
";
        let ppk = "\
PuTTY-User-Key-File-3: ssh-ed25519
Encryption: none
Comment: my key
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAINr7VaxfYmPgL6LTgMabGG1q+g98vT/eL/2Cdq4/
a6r0
Private-Lines: 1
AAAAIGH4S9TvX/vQbGrdVc+w/pH9XEF9/UpWMJL9Typm638J
Private-MAC: b42c50cf1a66af0163f56a54872fe7bdcc6f6fa438f470c580033d90776ae2d7
";
        let key = ssh_key::PrivateKey::from_openssh(pem).unwrap();
        let pair = key.key_data().ed25519().unwrap();
        assert_eq!(of_ed25519(pair, key.public_key()).unwrap(), ppk);
    }

    #[test]
    fn an_rsa_key_is_that_of_puttygen() {
        let pem = "\
-----BEGIN RSA PRIVATE KEY-----
MIICWwIBAAKBgQC3au2VTp6WJffCD3Q2UunP4qLsj4oaW8uHUYekaYp8INX7yhtn
jFbY/PlWm7CS8DLblj1U6QZHbUeWrrs0I1tK7pM3z+Z8qWp871k4TDBhPoYzzJWf
XKkuZXZSXnhqee9wGgGfhm8RpzFoqJ4vDs+gtCtgQS3iUKKiEYI2qKqpOwIDAQAB
AoGAH7ew8AHRcLuOFZPgj8hUwGs7q1bDFf3Lu1HA+BB8LyzqdAkmJgjht9I/N9fi
d/ZrhQd9AaLuQAnIuGjs3H5EuexzHJGVOG0+pyNCR67WoenMZdUzWYWxur+RLAlP
zyFWiPOonphMcj8J/GTVe7A/krwFlZUTtkCojy0feDnJR3ECQQDjD45yTtQyGxMd
OidwRtzBz7KHSaTvuyr8MhhnJ9thuWpmXPs1f8NOn/rUMBPeKRrONKej11X6UTFi
MsQ95T1zAkEAzstnTMqBZjswClXvg+BIxmQQVdPm4pbyGfVsNyeHDLLAas25r+XI
p2Xpu+a94aDr361FX6nql6B7gxbal19zGQJAMuGjjB36ExhaGiyT9ecLRSsj2Ik6
OrZ4lXcsXMFjuexw2Wtwp7Zvr8jNzorPiPMxHJBUGLUCgUt8g4LY0v3x3QJANIi1
2GtFjjwRCz8jlsP+mO/IupUXfY7NOE0Bzc0r4Mz0Vu2mc4oTfHtGcqa+rDgeU/eH
vTLEVvq9BeNjarsj2QJAab/+eq/syT9vM2BYDrmtzG28PruqTENcVBKQCX4gbzN8
93LhelpntYuWrGBTdsnv0XqBU1FiGD9By0LJ8vdMyg==
-----END RSA PRIVATE KEY-----
";
        let ppk = "\
PuTTY-User-Key-File-3: ssh-rsa
Encryption: none
Comment: mine
Public-Lines: 4
AAAAB3NzaC1yc2EAAAADAQABAAAAgQC3au2VTp6WJffCD3Q2UunP4qLsj4oaW8uH
UYekaYp8INX7yhtnjFbY/PlWm7CS8DLblj1U6QZHbUeWrrs0I1tK7pM3z+Z8qWp8
71k4TDBhPoYzzJWfXKkuZXZSXnhqee9wGgGfhm8RpzFoqJ4vDs+gtCtgQS3iUKKi
EYI2qKqpOw==
Private-Lines: 8
AAAAgB+3sPAB0XC7jhWT4I/IVMBrO6tWwxX9y7tRwPgQfC8s6nQJJiYI4bfSPzfX
4nf2a4UHfQGi7kAJyLho7Nx+RLnscxyRlThtPqcjQkeu1qHpzGXVM1mFsbq/kSwJ
T88hVojzqJ6YTHI/Cfxk1XuwP5K8BZWVE7ZAqI8tH3g5yUdxAAAAQQDjD45yTtQy
GxMdOidwRtzBz7KHSaTvuyr8MhhnJ9thuWpmXPs1f8NOn/rUMBPeKRrONKej11X6
UTFiMsQ95T1zAAAAQQDOy2dMyoFmOzAKVe+D4EjGZBBV0+bilvIZ9Ww3J4cMssBq
zbmv5cinZem75r3hoOvfrUVfqeqXoHuDFtqXX3MZAAAAQGm//nqv7Mk/bzNgWA65
rcxtvD67qkxDXFQSkAl+IG8zfPdy4XpaZ7WLlqxgU3bJ79F6gVNRYhg/QctCyfL3
TMo=
Private-MAC: c13c62311837a0132d9154df6202d9d938052dc18b3b8cc1641b432267f9c933
";
        let key = RsaPrivateKey::from_pkcs1_pem(pem).unwrap();
        let public = public_of(&key, "mine").unwrap();
        assert_eq!(of_rsa(&key, &public).unwrap(), ppk);
    }
}
