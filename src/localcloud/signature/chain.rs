//! Computations with the secret access key: signatures, and the chain of
//! signatures over the chunks of a body.

use ring::hmac;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The name of version 4's algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The last part of every scope.
pub(super) const TERMINATOR: &str = "aws4_request";

/// The chain of signatures of a request and its chunks. Each signature covers
/// the previous signature.
#[derive(Clone)]
pub(crate) struct Chain {
    key: Vec<u8>,
    date: String,
    scope: String,
    previous: String,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({}, ..)", self.scope)
    }
}

impl Chain {
    /// Creates the chain of a request that was signed at `date` for `scope`: day,
    /// region and service.
    pub(super) fn new(secret: &str, date: &str, scope: [&str; 3]) -> Self {
        let secret = format!("AWS4{secret}").into_bytes();
        let key = scope
            .into_iter()
            .chain([TERMINATOR])
            .fold(secret, |key, part| sign(&key, part.as_bytes()));
        Self {
            key,
            date: date.to_owned(),
            scope: format!("{}/{TERMINATOR}", scope.join("/")),
            previous: String::new(),
        }
    }

    /// Whether `signature` is the signature of a canonical request.
    pub(super) fn request(&mut self, canonical: &[u8], signature: &str) -> bool {
        let text = signed_text(&self.date, &self.scope, canonical);
        self.advance(&text, signature)
    }

    /// Whether `signature` is the signature of a form's policy.
    pub(super) fn policy(&self, policy: &str, signature: &str) -> bool {
        same(&hex::encode(sign(&self.key, policy.as_bytes())), signature)
    }

    /// Whether `signature` is the signature of the next chunk, whose content has
    /// the SHA-256 `content`.
    pub(crate) fn chunk(&mut self, content: &[u8], signature: &str) -> bool {
        // AWS's format has the digest of an empty string before the content's.
        let rest = format!("{}\n{}", digest(b""), hex::encode(content));
        let text = self.text("PAYLOAD", &rest);
        self.advance(&text, signature)
    }

    /// Whether `signature` is the signature of the trailer.
    pub(crate) fn trailer(&mut self, canonical: &str, signature: &str) -> bool {
        let text = self.text("TRAILER", &digest(canonical.as_bytes()));
        self.advance(&text, signature)
    }

    fn text(&self, kind: &str, rest: &str) -> String {
        format!(
            "{ALGORITHM}-{kind}\n{}\n{}\n{}\n{rest}",
            self.date, self.scope, self.previous
        )
    }

    fn advance(&mut self, text: &str, signature: &str) -> bool {
        self.previous = hex::encode(sign(&self.key, text.as_bytes()));
        same(&self.previous, signature)
    }
}

/// Returns the text that a signature of a canonical request signs. The scope is
/// the day, region and service.
pub(super) fn string_to_sign(date: &str, scope: &str, canonical: &[u8]) -> String {
    signed_text(date, &format!("{scope}/{TERMINATOR}"), canonical)
}

fn signed_text(date: &str, scope: &str, canonical: &[u8]) -> String {
    format!("{ALGORITHM}\n{date}\n{scope}\n{}", digest(canonical))
}

pub(super) fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

/// Returns a signature of version 2.
pub(super) fn sign_sha1(secret: &str, text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    hmac::sign(&key, text).as_ref().to_vec()
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Compares in constant time, so that the time does not reveal where a guessed
/// signature differs.
pub(super) fn same(calculated: &str, presented: &str) -> bool {
    calculated.as_bytes().ct_eq(presented.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_sha1_agrees_with_the_rfc() {
        // RFC 2202, case 2.
        let case_2 = sign_sha1("Jefe", b"what do ya want for nothing?");
        assert_eq!(
            hex::encode(case_2),
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
    }

    /// The example of AWS's documentation: a chunk of 65536 bytes, a chunk of
    /// 1024 bytes and the empty last chunk.
    #[test]
    fn chunks_verify_only_in_order() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let scope = ["20130524", "us-east-1", "s3"];
        let mut chain = Chain::new(secret, "20130524T000000Z", scope);
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
            .clone_into(&mut chain.previous);
        let content = |length| Sha256::digest(vec![b'a'; length]);
        let signatures = [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ];
        let mut whole = chain.clone();
        for (length, signature) in [65536, 1024, 0].into_iter().zip(signatures) {
            assert!(whole.chunk(&content(length), signature), "{length}");
        }
        assert!(!chain.chunk(&content(1024), signatures[1]));
    }
}
