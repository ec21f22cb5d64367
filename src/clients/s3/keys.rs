//! The keys of objects on the wire: in URLs, and in the XML of lists.

use aws_sdk_s3::types::EncodingType;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What a key's URL spells out: all but RFC 3986's unreserved characters, and
/// the slash.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

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

/// Whether XML 1.0 can carry a key, so that a request may hold it in its body.
pub(super) fn fits_xml(key: &str) -> bool {
    key.chars().all(|c| match c {
        '\u{fffe}' | '\u{ffff}' => false,
        // The SDK writes a carriage return as a reference, so it stays one.
        _ => c >= ' ' || "\t\n\r".contains(c),
    })
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
    fn xml_carries_no_control_characters() {
        assert!(fits_xml("a/b c+ü\t<&>"));
        assert!(!fits_xml("a\u{1}"));
        assert!(fits_xml("\r"));
        assert!(!fits_xml("a\u{ffff}"));
    }
}
