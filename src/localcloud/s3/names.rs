//! Rules for the names of buckets and the keys of objects.

use std::net::Ipv4Addr;

use s3s::S3ErrorCode;

use super::failure::{Naming as _, Result, fail, invalid_argument};

/// The prefix of bucket names that belong to another account, as popular names
/// on AWS do. Playbooks can rehearse a taken name with it.
pub(super) const TAKEN: &str = "taken-";

/// S3's limit of a key in bytes.
const MAX_KEY: usize = 1024;

/// Whether S3 allows the name for a general purpose bucket.
pub(super) fn is_bucket_name(name: &str) -> bool {
    let inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let reserved_head = ["xn--", "sthree-", "amzn-s3-demo-"];
    let reserved_tail = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && !name.contains("..")
        && name.parse::<Ipv4Addr>().is_err()
        && !reserved_head.iter().any(|head| name.starts_with(head))
        && !reserved_tail.iter().any(|tail| name.ends_with(tail))
}

/// Refuses an invalid bucket name.
pub(super) fn check_bucket(name: &str) -> Result<()> {
    if is_bucket_name(name) {
        Ok(())
    } else {
        Err(fail(
            S3ErrorCode::InvalidBucketName,
            "The specified bucket is not valid.",
        ))
    }
}

/// Refuses keys that are too long or contain a null byte, which a listing in XML
/// cannot show.
pub(super) fn check_key(key: &str) -> Result<()> {
    if key.len() > MAX_KEY {
        return Err(fail(S3ErrorCode::KeyTooLongError, "Your key is too long")
            .naming("Size", key.len().to_string())
            .naming("MaxSizeAllowed", MAX_KEY.to_string()));
    }
    if key.contains('\0') {
        return Err(invalid_argument("Object key must not contain a null byte"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules() {
        for name in ["abc", "a.b-c", "0ab", "my-bucket.example", &"a".repeat(63)] {
            assert!(is_bucket_name(name), "{name}");
        }
        let wrong = [
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "192.168.5.4",
            "xn--abc",
            "abc-s3alias",
            "abc--ol-s3",
            "sthree-abc",
            "amzn-s3-demo-a",
            "abc--x-s3",
            "a b",
            "abü",
            "",
        ];
        for name in wrong {
            assert!(!is_bucket_name(name), "{name}");
        }
        assert!(!is_bucket_name(&"a".repeat(64)));
    }

    #[test]
    fn keys_may_contain_anything_but_null_bytes() {
        assert!(check_key("../../etc/passwd").is_ok());
        assert!(check_key(&"ä".repeat(512)).is_ok());
        assert!(check_key(&"ä".repeat(513)).is_err());
        assert!(check_key("a\0b").is_err());
    }
}
