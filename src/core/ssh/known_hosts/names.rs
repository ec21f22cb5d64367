//! Host names: patterns in a list, hashed names, and the form of a name for
//! lookups.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

/// The limit of a name in a list, in bytes; the size of OpenSSH's buffer.
pub(super) const LONGEST_NAME: usize = 1023;

#[derive(Clone, Debug)]
pub(super) enum Names {
    /// The salt and the HMAC of one name.
    Hashed([u8; 20], [u8; 20]),
    /// Patterns, separated by commas.
    List(Vec<u8>),
}

impl Names {
    /// Returns whether a name in lower case is among these.
    pub(super) fn include(&self, name: &str) -> bool {
        match self {
            Self::Hashed(salt, hash) => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::sign(&key, name.as_bytes()).as_ref() == hash
            }
            Self::List(list) => is_listed(name, list),
        }
    }

    /// Returns whether the list contains only names, no patterns.
    pub(super) fn are_plain(&self) -> bool {
        match self {
            Self::Hashed(..) => true,
            Self::List(list) => !list.iter().any(|byte| b"*?!".contains(byte)),
        }
    }
}

/// Parses `|1|salt|hash`.
pub(super) fn hashed(names: &[u8]) -> Option<Names> {
    let rest = names.strip_prefix(b"|1|")?;
    let bar = rest.iter().position(|byte| *byte == b'|')?;
    let twenty = |text: &[u8]| <[u8; 20]>::try_from(BASE64_STANDARD.decode(text).ok()?).ok();
    Some(Names::Hashed(
        twenty(&rest[..bar])?,
        twenty(&rest[bar + 1..])?,
    ))
}

pub(super) fn is_too_long(pattern: &[u8]) -> bool {
    pattern.strip_prefix(b"!").unwrap_or(pattern).len() >= LONGEST_NAME
}

/// Returns whether a pattern matches and no negated pattern does.
pub(super) fn is_listed(name: &str, list: &[u8]) -> bool {
    let mut listed = false;
    for pattern in list.split(|byte| *byte == b',') {
        match pattern.strip_prefix(b"!") {
            Some(pattern) if matches(name.as_bytes(), pattern) => return false,
            Some(_) => {}
            None => listed |= matches(name.as_bytes(), pattern),
        }
    }
    listed
}

/// Returns whether a pattern with `*` and `?` matches a whole name.
pub(super) fn matches(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    // The position of the last star, and the end of what it matches.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(next) {
            Some(b'*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[at] => {
                at += 1;
                next += 1;
            }
            _ => match &mut star {
                Some((position, until)) => {
                    *until += 1;
                    at = *until;
                    next = *position + 1;
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|byte| *byte == b'*')
}

/// Returns the name that OpenSSH looks up: an address in its canonical form, a
/// name in lower case.
pub(super) fn name_of(address: &str) -> String {
    let (bare, scope) = match address.split_once('%') {
        Some((bare, _)) => (bare, &address[bare.len()..]),
        None => (address, ""),
    };
    if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return format!("{}{}", canonical_form(address), scope.to_ascii_lowercase());
    }
    match ipv4(address) {
        Some(address) => address.to_string(),
        None => address.to_ascii_lowercase(),
    }
}

/// Formats an address like the C library, which shows the embedded IPv4 address
/// of old IPv4-compatible addresses.
pub(super) fn canonical_form(address: Ipv6Addr) -> String {
    let segments = address.segments();
    let embeds = segments[..6].iter().all(|segment| *segment == 0) && segments[6] != 0;
    match embeds.then(|| address.to_ipv4()).flatten() {
        Some(inside) => format!("::{inside}"),
        None => address.to_string(),
    }
}

/// Parses an address like the C library: one to four numbers, each decimal,
/// octal or hexadecimal; the last one fills the remaining bytes.
pub(super) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers = text.split('.').map(|part| {
        let (digits, radix) = match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        let is_number = digits.chars().all(|digit| digit.is_digit(radix));
        is_number
            .then(|| u32::from_str_radix(digits, radix).ok())
            .flatten()
    });
    let numbers = numbers.collect::<Option<Vec<u32>>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|number| *number > 0xff) {
        return None;
    }
    let room = 8 * (4 - u32::try_from(first.len()).ok()?);
    if u64::from(*last) >= 1 << room {
        return None;
    }
    let high = first
        .iter()
        .fold(0_u64, |all, number| all << 8 | u64::from(*number));
    let address = (high << room) | u64::from(*last);
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let all = [
            ("web", "web", true),
            ("web", "we", false),
            ("web", "w*", true),
            ("web", "*", true),
            ("", "*", true),
            ("", "", true),
            ("web", "", false),
            ("web", "w?b", true),
            ("web", "w??b", false),
            ("web.example.com", "*.example.com", true),
            ("example.com", "*.example.com", false),
            ("a.b.c", "*.*.*", true),
            ("aaab", "*a*b", true),
            ("aaab", "a*a*a*a*b", false),
            ("[web]:2222", "[web]:*", true),
            ("web", "[w]eb", false),
        ];
        for (name, pattern, fit) in all {
            assert_eq!(
                matches(name.as_bytes(), pattern.as_bytes()),
                fit,
                "{name} {pattern}"
            );
        }
    }

    #[test]
    fn lists_are_parsed_like_in_openssh() {
        let all = [
            ("web", "db,web", true),
            ("web", "*,!web", false),
            ("web", "!web,*", false),
            ("web", "!db", false),
            ("web", "!!web,*", true),
            ("web", ",,web,", true),
        ];
        for (name, list, listed) in all {
            assert_eq!(is_listed(name, list.as_bytes()), listed, "{name} {list}");
        }
    }

    #[test]
    fn addresses_are_in_canonical_form() {
        let all = [
            ("Web.Example.COM", "web.example.com"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("FE80::1%eth0", "fe80::1%eth0"),
            ("::FFFF:10.0.0.1", "::ffff:10.0.0.1"),
            ("::10.0.0.1", "::10.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0x7f.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("1.2.3.256", "1.2.3.256"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("10.example", "10.example"),
            ("10.", "10."),
        ];
        for (address, name) in all {
            assert_eq!(name_of(address), name);
        }
    }
}
