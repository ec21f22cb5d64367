//! Encoded words of RFC 2047, in which S3 takes and returns metadata that is not
//! ASCII.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Decodes a text that consists of encoded words. Any other text is returned
/// unchanged.
pub(super) fn decode(text: &str) -> String {
    let words = text.split(' ').map(word).collect::<Option<Vec<_>>>();
    let decoded = words.and_then(|words| String::from_utf8(words.concat()).ok());
    decoded.unwrap_or_else(|| text.to_owned())
}

/// Encodes a text unless it consists of printable ASCII characters.
pub(super) fn encode(text: &str) -> String {
    if text.chars().all(|c| matches!(c, ' '..='~' | '\t')) {
        text.to_owned()
    } else {
        format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(text))
    }
}

fn word(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix("=?")?.strip_suffix("?=")?;
    let (charset, rest) = inner.split_once('?')?;
    let (encoding, content) = rest.split_once('?')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    match encoding {
        "B" | "b" => BASE64_STANDARD.decode(content).ok(),
        "Q" | "q" => quoted(content),
        _ => None,
    }
}

/// Decodes the encoding `Q`: `_` is a blank and `=` begins a byte in hexadecimal.
fn quoted(content: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = content.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match first {
            b'_' => bytes.push(b' '),
            b'=' => {
                let (digits, others) = rest.split_at_checked(2)?;
                bytes.extend(hex::decode(digits).ok()?);
                rest = others;
            }
            other => bytes.push(*other),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_and_other_texts_are_not() {
        assert_eq!(decode("=?UTF-8?B?YWJj?="), "abc");
        assert_eq!(decode("=?utf-8?Q?a_=C3=BC?="), "a ü");
        assert_eq!(decode("=?UTF-8?B?YQ==?= =?UTF-8?Q?b?="), "ab");
        for other in [
            "abc",
            "",
            "=?UTF-8?B?=GGG?=",
            "=?UTF-8?Q?=C3?=",
            "=?x?B?YQ==?=",
            "a =?UTF-8?Q?b?=",
        ] {
            assert_eq!(decode(other), other);
        }
    }

    #[test]
    fn only_texts_that_are_not_ascii_are_encoded() {
        assert_eq!(encode("a b"), "a b");
        assert_eq!(encode("\u{1}"), "=?UTF-8?B?AQ==?=");
        assert_eq!(encode("ü"), "=?UTF-8?B?w7w=?=");
        assert_eq!(decode(&encode("日本")), "日本");
    }
}
