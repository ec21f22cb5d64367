//! The part of an object a request asks for.

use std::ops::Range;

/// Reads a `Range` header for something of `size` bytes: `None` if the header
/// is none that S3 honours (it then sends everything), an error if nothing of
/// the object is in it.
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

/// Nothing of the object is in the range.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsatisfiable;

/// Reads `x-amz-copy-source-range`, which must name both ends and lie inside.
pub(super) fn of_copy(header: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    (first <= last && last < size).then(|| first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_s3_reads_them() {
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
    fn other_headers_are_no_ranges() {
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
    fn copies_name_both_ends() {
        assert_eq!(of_copy("bytes=2-4", 5), Some(2..5));
        assert_eq!(of_copy("bytes=2-5", 5), None);
        assert_eq!(of_copy("bytes=2-", 5), None);
        assert_eq!(of_copy(&format!("bytes=0-{}", u64::MAX), 5), None);
    }
}
