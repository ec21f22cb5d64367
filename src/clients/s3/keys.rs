//! Object keys: which keys are valid, the default key of an upload, and the
//! spelling of keys in URLs and in the XML of lists.
//!
//! A key in a playbook is used byte for byte, or [`check`], which every
//! function calls, refuses it. Only [`of_path`] derives a key from something
//! else. Objects that are already in a bucket can be listed and deleted
//! whatever their key is.

use std::path::{Component, Path};

use aws_sdk_s3::types::EncodingType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};

/// S3's limit, in bytes of UTF-8.
const LONGEST: usize = 1024;

/// The characters that a URL escapes: all except RFC 3986's unreserved
/// characters and the slash.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// Refuses a key that some function could not use unchanged.
///
/// Throws `invalid_option`.
pub fn check(key: &str) -> Result<()> {
    let Some(fault) = fault(key) else {
        return Ok(());
    };
    let error = Error::invalid(format!("`{key}` is not a valid object key: {fault}"));
    Err(match of_path(key) {
        Ok(other) => error.hint(format!("an upload of this path gets the key `{other}`")),
        Err(_) => error.hint("pass another key"),
    })
}

/// Returns why a key is not valid, or `None` if it is.
pub(super) fn fault(key: &str) -> Option<&'static str> {
    // The SDK treats a blank key as a missing one.
    if key.trim().is_empty() {
        Some("it is blank")
    } else if key.len() > LONGEST {
        Some("it has more than 1024 bytes in UTF-8")
    } else if key.contains('\0') {
        Some("it contains a NUL character")
    // Browsers and other clients resolve `.` and `..`, even in escaped form, so
    // the URL would lead to another object.
    } else if key.split('/').any(|part| part == "." || part == "..") {
        Some("a URL cannot contain `.` or `..` between slashes")
    } else {
        None
    }
}

/// Returns the default key of an uploaded file: a relative path as it is; for
/// any other path only the file name, so that the key does not reveal
/// directories of this machine.
///
/// Throws `invalid_option` if the path does not result in a valid key.
pub fn of_path(path: &str) -> Result<String> {
    let relative = || -> Option<String> {
        let parts = Path::new(path).components().enumerate();
        let names = parts.filter_map(|(at, part)| match part {
            Component::CurDir => None,
            Component::Normal(name) if at > 0 || name != "~" => Some(name.to_str()),
            _ => Some(None),
        });
        let names: Option<Vec<&str>> = names.collect();
        names.map(|names| names.join("/"))
    };
    let name = || {
        let name = Path::new(path).file_name()?;
        name.to_str().filter(|name| *name != "~").map(str::to_owned)
    };
    let key = relative().or_else(name).unwrap_or_default();
    match fault(&key) {
        None => Ok(key),
        Some(fault) => Err(Error::invalid(format!(
            "`{path}` does not result in a valid object key: {fault}"
        ))
        .hint("pass `key`")),
    }
}

/// Returns why a bucket policy cannot apply to this key alone, or `None` if it
/// can.
pub(crate) fn policy_fault(key: &str) -> Option<&'static str> {
    if key.contains(['*', '?']) {
        Some("in a bucket policy, `*` and `?` match other keys as well")
    } else if key.contains("${") {
        Some("in a bucket policy, `${` begins a variable")
    } else {
        None
    }
}

/// Escapes a key for a URL.
pub(super) fn in_url(key: &str) -> String {
    utf8_percent_encode(key, IN_URL).to_string()
}

/// Decodes a key from a list that was requested with `EncodingType::Url`,
/// because XML cannot contain every character of a key. `encoding` is what S3
/// used; in URL encoding, a plus sign is a space.
pub(super) fn listed(key: &str, encoding: Option<&EncodingType>) -> String {
    match encoding {
        Some(EncodingType::Url) => {
            let spaced = key.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        }
        _ => key.to_owned(),
    }
}

/// Returns whether the key needs a delete request of its own: XML cannot
/// contain every character, and some servers trim white space.
pub(super) fn needs_own_request(key: &str) -> bool {
    let plain = |c: char| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let trimmed = key.trim();
    // A blank key cannot have a request of its own: see `fault`.
    !trimmed.is_empty() && (trimmed != key || !key.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_in_urls_and_back_from_lists() {
        assert_eq!(in_url("a/b c+ü.png"), "a/b%20c%2B%C3%BC.png");
        let url = Some(&EncodingType::Url);
        assert_eq!(listed("a/b+c%2B%C3%BC%01.png", url), "a/b c+ü\u{1}.png");
        assert_eq!(listed("a/b+c%2B", None), "a/b+c%2B");
    }

    #[test]
    fn keys_that_xml_may_change_are_deleted_alone() {
        assert!(!needs_own_request("a/b c+ü<&>"));
        for odd in ["a\u{1}", "\r", "a\tb", "a\u{ffff}", " a", "a\n", "\u{a0}a"] {
            assert_eq!(needs_own_request(odd), !odd.trim().is_empty(), "{odd:?}");
        }
        assert!(!needs_own_request(" "));
    }

    #[test]
    fn keys_are_used_unchanged_or_refused() {
        let longest = "ü".repeat(512);
        for key in [
            "a//b", "/a", "a/", "/", "//", "~", "~/a", "...", "a/.b", "a..", "..a/b", "%2e%2e/a",
            "a b", " a", "a\n", "*", "${x}", "\\..\\a", "e\u{301}", "\u{1}", &longest,
        ] {
            assert_eq!(check(key), Ok(()), "{key:?}");
        }
        let too_long = format!("{longest}a");
        for key in [
            "", " ", "\t\n", "\u{a0}", ".", "..", "./a", "a/./b", "a/../b", "a/..", "../a", "/../",
            "a\0b", &too_long,
        ] {
            assert!(check(key).is_err(), "{key:?}");
        }
        let hint = check("./assets//logo.png").unwrap_err().hint.clone();
        assert!(hint.unwrap().ends_with("`assets/logo.png`"));
    }

    #[test]
    fn only_relative_paths_keep_their_directories() {
        for (path, key) in [
            ("assets/logo.png", "assets/logo.png"),
            ("./a//b/./c", "a/b/c"),
            ("a b/ü", "a b/ü"),
            ("a/~", "a/~"),
            ("~me/x", "~me/x"),
            ("/home/me/x.png", "x.png"),
            ("//srv/x.png", "x.png"),
            ("~/pictures/x.png", "x.png"),
            ("../secret/x.png", "x.png"),
            ("a/../b/x.png", "x.png"),
            ("./../x.png", "x.png"),
        ] {
            assert_eq!(of_path(path), Ok(key.to_owned()), "{path}");
        }
        for path in ["", "/", ".", "..", "a/..", "~", "~/", "/ ", "a\0b"] {
            assert!(of_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn keys_that_match_other_keys_in_a_policy_are_refused() {
        for key in ["a*", "?", "a${aws:userid}"] {
            assert!(policy_fault(key).is_some(), "{key}");
        }
        for key in ["a$b", "{a}", "a$", "[a-z]", "\\"] {
            assert_eq!(policy_fault(key), None, "{key}");
        }
    }
}
