//! Parses the byte ranges of requests.

use std::ops::Range;

/// Parses a `Range` header for an object of `size` bytes. Returns `None` for a
/// header that S3 ignores, in which case it sends the whole object, and an error
/// for a range outside the object.
pub(super) fn requested(header: &str, size: u64) -> Option<Result<Range<u64>, Unsatisfiable>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse::<u64>().ok()
        } else {
            None
        }
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return None,
    };
    Some(if range.is_empty() {
        Err(Unsatisfiable)
    } else {
        Ok(range)
    })
}

/// The error for a range outside the object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsatisfiable;

/// Parses `x-amz-copy-source-range`, which must have both ends and be within the
/// object.
pub(super) fn of_copy(header: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first <= last && last < size).then(|| first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_on_s3() {
        assert_eq!(requested("bytes=0-4", 10), Some(Ok(0..5)));
        assert_eq!(requested("bytes=5-99", 10), Some(Ok(5..10)));
        assert_eq!(requested("bytes=5-", 10), Some(Ok(5..10)));
        assert_eq!(requested("bytes=-3", 10), Some(Ok(7..10)));
        assert_eq!(requested("bytes=-30", 10), Some(Ok(0..10)));
        assert_eq!(requested("bytes=10-", 10), Some(Err(Unsatisfiable)));
        assert_eq!(requested("bytes=-0", 10), Some(Err(Unsatisfiable)));
        assert_eq!(requested("bytes=0-0", 0), Some(Err(Unsatisfiable)));
        assert_eq!(
            requested(&format!("bytes=0-{}", u64::MAX), 10),
            Some(Ok(0..10))
        );
    }

    #[test]
    fn headers_that_s3_ignores_are_not_ranges() {
        for header in [
            "",
            "bytes",
            "lines=0-1",
            "bytes=4-2",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "bytes=-",
            "bytes=+1-2",
        ] {
            assert_eq!(requested(header, 10), None, "{header}");
        }
    }

    #[test]
    fn ranges_of_copies_have_both_ends() {
        assert_eq!(of_copy("bytes=2-4", 5), Some(2..5));
        assert_eq!(of_copy("bytes=2-5", 5), None);
        assert_eq!(of_copy("bytes=2-", 5), None);
        assert_eq!(of_copy(&format!("bytes=0-{}", u64::MAX), 5), None);
    }
}
