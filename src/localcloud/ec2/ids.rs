//! Ids in AWS's format: random ids, ids derived from names, and validation.

use sha2::{Digest as _, Sha256};

/// Returns a new random id, for example `i-0123456789abcdef0`.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}-0{:016x}", rand::random::<u64>())
}

/// Returns an id derived from `words`, for example `ami-0123..`. The same words
/// have the same id in every local cloud.
pub(super) fn stable_id(prefix: &str, words: &[&str]) -> String {
    let digest = hex::encode(Sha256::digest(words.join("/").as_bytes()));
    format!("{prefix}-{}", &digest[..17])
}

/// Whether a text is an id with this prefix, for example `i-0123abcd`. AWS's
/// ids have 17 digits, old ones 8.
pub(super) fn is_id(prefix: &str, id: &str) -> bool {
    id.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| {
            (8..=17).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

/// Returns a new request id in AWS's format, a UUID.
pub(crate) fn new_request_id() -> String {
    let (a, b) = (rand::random::<u64>(), rand::random::<u64>());
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_and_hexadecimal_digits() {
        assert!(is_id("i", "i-0123456789abcdef0"));
        assert!(!is_id("i", "i-xyz"));
        assert!(!is_id("ami", "i-0123456789abcdef0"));
    }
}
