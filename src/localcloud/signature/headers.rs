//! Merges repeated headers and checks which headers a signature covers.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::{CONTENT_SHA256, Place};

/// The headers that describe content or make a request partial or conditional.
/// `content-type` is not in the list, because HTTP libraries add it without being
/// asked. An unsigned `content-type` has no effect.
const DECIDING: [&str; 12] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
];

/// Merges repeated headers into one header, in the form in which the signature
/// covers them. Code that reads a header then sees everything that was signed.
pub(crate) fn join_repeated(headers: &mut HeaderMap) {
    let repeated: Vec<HeaderName> = headers
        .keys()
        .filter(|name| headers.get_all(*name).iter().nth(1).is_some())
        .cloned()
        .collect();
    for name in repeated {
        let values = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
        let joined = values.collect::<Vec<_>>().join(&b',');
        if let Ok(value) = HeaderValue::from_bytes(&joined) {
            headers.insert(name, value);
        }
    }
}

/// Returns the headers that a signature in this place must cover but does not.
pub(super) fn not_covered(headers: &HeaderMap, signed: &[&str], place: Place) -> Vec<String> {
    let decides = |name: &str| match place {
        // Its value is part of the canonical request anyway.
        _ if name == CONTENT_SHA256 => false,
        _ if name == "host" || name.starts_with("x-amz-") => true,
        Place::Header => DECIDING.contains(&name),
        Place::Query | Place::Form => false,
    };
    let mut names: Vec<String> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| decides(name) && !signed.contains(name))
        .map(str::to_owned)
        .collect();
    if !headers.contains_key("host") && !signed.contains(&"host") {
        names.push("host".to_owned());
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn repeated_headers_become_one() {
        let mut all = headers(&[
            ("x-amz-meta-a", "1"),
            ("host", "h"),
            ("x-amz-meta-a", "2,3"),
        ]);
        join_repeated(&mut all);
        assert_eq!(all.len(), 2);
        assert_eq!(all["x-amz-meta-a"], "1,2,3");
        assert_eq!(all["host"], "h");
    }

    #[test]
    fn deciding_headers_must_be_signed() {
        let all = headers(&[
            ("host", "h"),
            ("x-amz-acl", "private"),
            ("content-md5", "x"),
            ("content-type", "text/plain"),
            ("user-agent", "curl"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ]);
        let missing = |signed: &[&str], place| not_covered(&all, signed, place).join(" ");
        assert_eq!(missing(&["host"], Place::Header), "content-md5 x-amz-acl");
        assert_eq!(missing(&["host"], Place::Query), "x-amz-acl");
        assert_eq!(missing(&["x-amz-acl"], Place::Query), "host");
    }
}
