//! The keys of objects: which ones can be used, what an upload calls a file, and
//! how a key is written in URLs and in the XML of lists.
//!
//! A key that a playbook names is used byte for byte, or refused by [`check`],
//! which every function asks. Only [`of_path`] makes a key out of something
//! else. What is already in a bucket is listed and emptied whatever its key is.

use std::path::{Component, Path};

use aws_sdk_s3::types::EncodingType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};

/// S3's limit, counted in UTF-8.
const LONGEST: usize = 1024;

/// What a key's URL spells out: all but RFC 3986's unreserved characters, and
/// the slash.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// Refuses a key that some function could not use as it is.
///
/// Throws `invalid_option`.
pub fn check(key: &str) -> Result<()> {
    let Some(fault) = fault(key) else {
        return Ok(());
    };
    let error = Error::invalid(format!("`{key}` cannot be an object's key: {fault}"));
    Err(match of_path(key) {
        Ok(other) => error.hint(format!("an upload of that path has the key `{other}`")),
        Err(_) => error.hint("give another key"),
    })
}

/// Why a key cannot be used; nothing when it can.
pub(super) fn fault(key: &str) -> Option<&'static str> {
    // The SDK takes a blank one for a missing one.
    if key.trim().is_empty() {
        Some("it is blank")
    } else if key.len() > LONGEST {
        Some("it has more than 1024 bytes in UTF-8")
    } else if key.contains('\0') {
        Some("it has a NUL character")
    // Browsers and other clients resolve these, also when they are escaped, so
    // the URL would lead to another object.
    } else if key.split('/').any(|part| part == "." || part == "..") {
        Some("no URL can have `.` or `..` between its slashes")
    } else {
        None
    }
}

/// The key of a file that is uploaded without one: its relative path. Of any
/// other path it is the file's name alone, as the directories of this machine
/// concern no one else.
///
/// Throws `invalid_option` for a path that makes no key.
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
            "`{path}` does not make an object's key: {fault}"
        ))
        .hint("give `key`")),
    }
}

/// Why a bucket's policy cannot be about this key alone; nothing when it can.
pub(super) fn policy_fault(key: &str) -> Option<&'static str> {
    if key.contains(['*', '?']) {
        Some("a bucket policy takes `*` and `?` for other keys as well")
    } else if key.contains("${") {
        Some("a bucket policy takes `${` for the beginning of a variable")
    } else {
        None
    }
}

/// A key as part of a URL.
pub(super) fn in_url(key: &str) -> String {
    utf8_percent_encode(key, IN_URL).to_string()
}

/// A key as a list has it, which was asked for `EncodingType::Url`: XML cannot
/// carry every character of a key. S3 says whether it did as asked; a space is
/// a plus sign then.
pub(super) fn listed(key: &str, encoding: Option<&EncodingType>) -> String {
    match encoding {
        Some(EncodingType::Url) => {
            let spaced = key.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        }
        _ => key.to_owned(),
    }
}

/// Whether the key must be deleted by a request of its own: XML cannot carry all
/// characters, and some servers take away white space at its ends.
pub(super) fn goes_alone(key: &str) -> bool {
    let plain = |c: char| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let trimmed = key.trim();
    // A blank one has no request of its own: see `fault`.
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
    fn what_xml_may_change_goes_alone() {
        assert!(!goes_alone("a/b c+ü<&>"));
        for odd in ["a\u{1}", "\r", "a\tb", "a\u{ffff}", " a", "a\n", "\u{a0}a"] {
            assert_eq!(goes_alone(odd), !odd.trim().is_empty(), "{odd:?}");
        }
        assert!(!goes_alone(" "));
    }

    #[test]
    fn keys_are_used_as_they_are_or_refused() {
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
    fn no_policy_is_about_more_than_one_key() {
        for key in ["a*", "?", "a${aws:userid}"] {
            assert!(policy_fault(key).is_some(), "{key}");
        }
        for key in ["a$b", "{a}", "a$", "[a-z]", "\\"] {
            assert_eq!(policy_fault(key), None, "{key}");
        }
    }
}
