//! Percent encoding and query strings, parsed strictly: an ambiguous or broken
//! text is an error, so that the signed text is always the text that the
//! service acts on.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The characters to encode in a name or a value: all but letters, digits and
/// `-._~`.
pub(crate) const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The characters to encode in a path: the same, without the slash.
pub(crate) const PATH: &AsciiSet = &VALUE.remove(b'/');

/// The meaning of a `+`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    Literal,
    Space,
}

/// The decoded pairs of a query string, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query. Returns `None` if an escape is broken or a name or value
    /// is not UTF-8.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        let text = |part| String::from_utf8(decode(part, Plus::Space)?).ok();
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| Some((text(name)?, text(value)?)));
        Some(Self(pairs.collect::<Option<_>>()?))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns a name that occurs more than once, ignoring case.
    pub(crate) fn repeated(&self) -> Option<&str> {
        let mut seen = HashSet::new();
        self.pairs()
            .map(|(name, _)| name)
            .find(|name| !seen.insert(name.to_ascii_lowercase()))
    }
}

/// Decodes percent encoding. Returns `None` if an escape is broken.
pub(crate) fn decode(text: &str, plus: Plus) -> Option<Vec<u8>> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let whole = |(at, _): (usize, &str)| is_digit(bytes.get(at + 1)) && is_digit(bytes.get(at + 2));
    if !text.match_indices('%').all(whole) {
        return None;
    }
    Some(match plus {
        Plus::Space => percent_decode_str(&text.replace('+', " ")).collect(),
        Plus::Literal => percent_decode_str(text).collect(),
    })
}

/// Percent-encodes the characters of a text that are in the set.
pub(crate) fn encode(text: impl AsRef<[u8]>, set: &'static AsciiSet) -> String {
    percent_encode(text.as_ref(), set).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_text_decodes_to_itself() {
        let text = "a/ü +%\u{1}~";
        let encoded = encode(text, PATH);
        assert_eq!(encoded, "a/%C3%BC%20%2B%25%01~");
        assert_eq!(decode(&encoded, Plus::Literal).unwrap(), text.as_bytes());
    }

    #[test]
    fn broken_escapes_and_invalid_utf8_are_refused() {
        for broken in ["%", "%4", "a%zz", "%%41", "%+1"] {
            assert_eq!(decode(broken, Plus::Literal), None, "{broken}");
            assert_eq!(decode(broken, Plus::Space), None, "{broken}");
            assert!(Query::parse(&format!("a={broken}")).is_none(), "{broken}");
        }
        assert!(Query::parse("a=%FF").is_none());
        assert!(Query::parse("%C3=a").is_none());
    }

    #[test]
    fn queries_keep_order_and_empty_values() {
        let query = Query::parse("acl&b=2&&a=1=1").unwrap();
        assert!(query.has("acl"));
        assert_eq!(query.get("a"), Some("1=1"));
        assert_eq!(query.pairs().count(), 3);
        assert_eq!(query.repeated(), None);
    }

    #[test]
    fn a_name_given_twice_is_found() {
        let repeated = |raw| Query::parse(raw).unwrap().repeated().is_some();
        assert!(repeated("a=1&b=2&a=1"));
        assert!(repeated("acl&acl"));
        assert!(repeated("%61=1&a=2"));
        assert!(repeated("X-Amz-Date=1&x-amz-date=2"));
        assert!(!repeated("a=b&b=a"));
    }
}
