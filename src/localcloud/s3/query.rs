//! Percent encoding and query strings, as signatures and listings need them.

use percent_encoding::percent_decode_str;

/// What a `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    Literal,
    Space,
}

/// The decoded pairs of a query string, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(raw: &str) -> Self {
        let text = |part| String::from_utf8_lossy(&decode(part, Plus::Space)).into_owned();
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
        )
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Undoes percent encoding; what is no escape is kept.
pub(super) fn decode(text: &str, plus: Plus) -> Vec<u8> {
    let spaced = match plus {
        Plus::Space => text.replace('+', " "),
        Plus::Literal => text.to_owned(),
    };
    percent_decode_str(&spaced).collect()
}

/// Percent-encodes everything but letters, digits, `-._~` and what is in `keep`.
pub(super) fn encode(bytes: &[u8], keep: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let text = "a/ü +%\u{1}~";
        let encoded = encode(text.as_bytes(), b"/");
        assert_eq!(encoded, "a/%C3%BC%20%2B%25%01~");
        assert_eq!(decode(&encoded, Plus::Literal), text.as_bytes());
    }

    #[test]
    fn broken_escapes_stay() {
        assert_eq!(decode("%", Plus::Literal), b"%");
        assert_eq!(decode("%4", Plus::Literal), b"%4");
        assert_eq!(decode("%zz+", Plus::Space), b"%zz ");
    }

    #[test]
    fn queries_keep_order_and_empty_values() {
        let query = Query::parse("acl&b=2&&a=1=1");
        assert!(query.has("acl"));
        assert_eq!(query.get("a"), Some("1=1"));
        assert_eq!(query.pairs().count(), 3);
    }
}
