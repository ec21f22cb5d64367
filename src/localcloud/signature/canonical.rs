//! The canonical form of a request, which version 4 signs.

use hyper::HeaderMap;
use hyper::http::request::Parts;

use crate::query::{self, Plus, Query};

/// Returns the canonical request, or `None` if its path cannot be decoded or a
/// signed header is missing.
pub(super) fn request(
    parts: &Parts,
    query: &Query,
    signed_headers: &[&str],
    payload: &str,
) -> Option<Vec<u8>> {
    let path = query::encode(query::decode(parts.uri.path(), Plus::Literal)?, query::PATH);
    let mut text = format!("{}\n{path}\n{}\n", parts.method, parameters(query)).into_bytes();
    for name in signed_headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(&value(&parts.headers, name)?);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{}\n{payload}", signed_headers.join(";")).as_bytes());
    Some(text)
}

/// Returns the canonical query, which contains all parameters but the signature.
fn parameters(query: &Query) -> String {
    let encode = |text: &str| query::encode(text, query::VALUE);
    let mut pairs: Vec<(String, String)> = query
        .pairs()
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Returns a header's value with runs of blanks replaced by single blanks, or
/// `None` if the header is missing.
fn value(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let value = headers.get(name)?.as_bytes();
    let words: Vec<&[u8]> = value
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
        .collect();
    Some(words.join(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(uri: &str, headers: &[(&str, &[u8])]) -> Option<String> {
        let mut request = hyper::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let text = self::request(&parts, &query, &names, "hash")?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    #[test]
    fn spellings_of_one_request_have_one_canonical_form() {
        let one = canonical("/b/a%20b/~?x=1%202&a=", &[("h", b"a b")]).unwrap();
        assert_eq!(one, "GET\n/b/a%20b/~\na=&x=1%202\nh:a b\n\nh\nhash");
        for (uri, value) in [
            ("/b/a%20b/%7E?a=&x=1%202", "a b"),
            ("/b/a%20b/%7e?a&x=1+2", "a  b"),
            ("/b/a%20b/~?a&&%78=1+2", "a\tb"),
            ("/b%2Fa%20b/~?a&x=1+2", "a b"),
        ] {
            let other = canonical(uri, &[("h", value.as_bytes())]).unwrap();
            assert_eq!(other, one, "{uri}");
        }
    }

    #[test]
    fn different_requests_have_different_canonical_forms() {
        let one = canonical("/b/a/b?x=1", &[("h", b"a")]).unwrap();
        for (uri, value) in [
            ("/b/a//b?x=1", &b"a"[..]),
            ("/b/./a/b?x=1", b"a"),
            ("/b/c/../a/b?x=1", b"a"),
            ("/b/a/b/?x=1", b"a"),
            ("/b/a%252Fb?x=1", b"a"),
            ("/B/a/b?x=1", b"a"),
            ("/b/a/b?x=1&x=1", b"a"),
            ("/b/a/b?X=1", b"a"),
            ("/b/a/b?x=%201", b"a"),
            ("/b/a/b?x=1", b"A"),
            ("/b/a/b?x=1", b"a,"),
            ("/b/a/b?x=1", b"\xff"),
        ] {
            assert_ne!(canonical(uri, &[("h", value)]).unwrap(), one, "{uri}");
        }
        let bytes = |value: &[u8]| {
            let mut request = hyper::Request::get("/").header("h", value);
            let headers = request.headers_mut().unwrap();
            super::value(headers, "h")
        };
        assert_ne!(bytes(b"\xff"), bytes(b"\xfe"));
        assert_eq!(canonical("/b/%zz", &[]), None);
    }
}
