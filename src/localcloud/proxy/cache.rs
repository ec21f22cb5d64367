//! The rules of the cache: which files are cached, and how HTTP's conditions and
//! ranges apply to a cached file.

use std::ops::Range;

use hyper::Uri;
use hyper::header::{HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use jiff::Timestamp;

use super::store::Head;

/// How long a cached file is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// A file with this name never changes.
    Forever,
    /// The file must be revalidated with its origin.
    Revalidated,
}

/// Returns how long a file may be cached, judged by its URL, or `None` if it is
/// not cached.
pub(super) fn lifetime(uri: &Uri) -> Option<Lifetime> {
    let path = uri.path();
    if uri.query().is_some() {
        return None;
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let has_end = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if has_end(&[".deb", ".udeb", ".ddeb", ".rpm"]) || path.contains("/by-hash/") {
        return Some(Lifetime::Forever);
    }
    if path.contains("/pool/") && !name.is_empty() {
        return Some(Lifetime::Forever);
    }
    let is_index = [
        "InRelease",
        "Release",
        "Release.gpg",
        "repomd.xml",
        "repomd.xml.asc",
    ]
    .contains(&name)
        || [
            "Packages",
            "Sources",
            "Translation-",
            "Contents-",
            "Components-",
            "Commands-",
        ]
        .iter()
        .any(|start| name.starts_with(start))
        || path.contains("/repodata/");
    is_index.then_some(Lifetime::Revalidated)
}

/// Whether the client already has this version of the file.
pub(super) fn is_not_modified(head: &Head, client_headers: &HeaderMap) -> bool {
    if let Some(tags) = text(client_headers, &IF_NONE_MATCH) {
        return tags.trim() == "*"
            || tags.split(',').any(|tag| {
                let tag = tag.trim();
                head.etag
                    .as_deref()
                    .is_some_and(|own| weak(own) == weak(tag))
            });
    }
    let (Some(since), Some(changed)) = (
        text(client_headers, &IF_MODIFIED_SINCE),
        &head.last_modified,
    ) else {
        return false;
    };
    match (date(since), date(changed)) {
        (Some(since), Some(changed)) => changed <= since,
        _ => since == changed,
    }
}

/// Returns the range of the file that a request asks for, or `Ok(None)` for the
/// whole file. Fails if the range is outside the file.
pub(super) fn range(head: &Head, client_headers: &HeaderMap) -> Result<Option<Range<u64>>, ()> {
    let Some(range) = text(client_headers, &RANGE).and_then(|range| range.strip_prefix("bytes="))
    else {
        return Ok(None);
    };
    if let Some(condition) = text(client_headers, &IF_RANGE) {
        let is_same = [&head.etag, &head.last_modified]
            .into_iter()
            .flatten()
            .any(|own| own == condition && !own.starts_with("W/"));
        if !is_same {
            return Ok(None);
        }
    }
    let Some((first, last)) = range.split_once('-') else {
        return Ok(None);
    };
    let length = head.length;
    let bounds = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..length,
        (Err(_), Ok(count)) if first.trim().is_empty() => length.saturating_sub(count)..length,
        // Several ranges or an invalid range: send the whole file.
        _ => return Ok(None),
    };
    if bounds.is_empty() {
        return Err(());
    }
    Ok(Some(bounds))
}

fn text<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const DATE: &str = "Sat, 17 May 2025 09:01:51 GMT";

    fn head() -> Head {
        Head {
            length: 100,
            etag: Some("\"a\"".into()),
            last_modified: Some(DATE.into()),
            ..Head::default()
        }
    }

    fn client_headers(headers: &[(HeaderName, &str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::try_from(*value).unwrap()))
            .collect()
    }

    #[test]
    fn packages_are_valid_forever_and_indices_are_revalidated() {
        let of = |path: &str| lifetime(&format!("http://h{path}").parse().unwrap());
        for path in [
            "/debian/pool/main/n/nginx/nginx_1.22.1-9_amd64.deb",
            "/debian/dists/x/main/binary-amd64/by-hash/SHA256/ab",
            "/al2023/core/x86_64/nginx-1.24.rpm",
        ] {
            assert_eq!(of(path), Some(Lifetime::Forever), "{path}");
        }
        for path in [
            "/debian/dists/bookworm/InRelease",
            "/debian/dists/bookworm/main/binary-amd64/Packages.xz",
            "/core/repodata/repomd.xml",
        ] {
            assert_eq!(of(path), Some(Lifetime::Revalidated), "{path}");
        }
        for path in ["/", "/index.html", "/x.deb?token=1", "/debian/pool/"] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let known = |name, value| is_not_modified(&head(), &client_headers(&[(name, value)]));
        assert!(known(IF_NONE_MATCH, "\"b\", W/\"a\""));
        assert!(!known(IF_NONE_MATCH, "\"b\""));
        assert!(known(IF_MODIFIED_SINCE, DATE));
        assert!(known(IF_MODIFIED_SINCE, "Sun, 18 May 2025 00:00:00 GMT"));
        assert!(!known(IF_MODIFIED_SINCE, "Fri, 16 May 2025 00:00:00 GMT"));
        assert!(!is_not_modified(&head(), &HeaderMap::new()));
    }

    #[test]
    fn ranges_are_parsed() {
        let part = |value| range(&head(), &client_headers(&[(RANGE, value)]));
        assert_eq!(part("bytes=0-9"), Ok(Some(0..10)));
        assert_eq!(part("bytes=90-"), Ok(Some(90..100)));
        assert_eq!(part("bytes=-10"), Ok(Some(90..100)));
        assert_eq!(part("bytes=50-500"), Ok(Some(50..100)));
        assert_eq!(part("bytes=100-"), Err(()));
        assert_eq!(part("bytes=0-1,5-6"), Ok(None));
        assert_eq!(part("lines=1-2"), Ok(None));
        let with = |condition| {
            range(
                &head(),
                &client_headers(&[(RANGE, "bytes=1-1"), (IF_RANGE, condition)]),
            )
        };
        assert_eq!(with("\"a\""), Ok(Some(1..2)));
        assert_eq!(with("\"b\""), Ok(None));
    }
}
