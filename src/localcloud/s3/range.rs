//! Parses the byte ranges of requests.

use std::ops::Range;

/// Parses a `Range` header for an object of `size` bytes. Returns `None` for a
/// header that S3 ignores, in which case it sends the whole object, and an error
/// for a range outside the object.
pub(super) fn requested(header: &str, size: u64) -> Option<Result<Range<u64>, Unsatisfiable>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
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

/// What is wrong with the range of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not `bytes=FIRST-LAST`.
    Form,
    /// It begins after the end of the object.
    Start,
    /// It ends after the end of the object.
    End,
}

/// Parses `x-amz-copy-source-range`, which must have both ends and be within the
/// object.
pub(super) fn of_copy(header: &str, size: u64) -> Result<Range<u64>, Wrong> {
    let ends = header
        .strip_prefix("bytes=")
        .and_then(|ends| ends.split_once('-'));
    let (first, last) = ends.ok_or(Wrong::Form)?;
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Err(Wrong::Form),
        (Some(first), Some(_)) if first >= size => Err(Wrong::Start),
        (Some(_), Some(last)) if last >= size => Err(Wrong::End),
        (Some(first), Some(last)) => Ok(first..last + 1),
        _ => Err(Wrong::Form),
    }
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
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
        assert_eq!(of_copy("bytes=2-4", 5), Ok(2..5));
        assert_eq!(of_copy("bytes=2-5", 5), Err(Wrong::End));
        assert_eq!(of_copy("bytes=5-5", 5), Err(Wrong::Start));
        for header in ["bytes=2-", "0-1", "bytes=1-0", "bytes=-1", "bytes=0-1,3-4"] {
            assert_eq!(of_copy(header, 5), Err(Wrong::Form), "{header}");
        }
        assert_eq!(
            of_copy(&format!("bytes=0-{}", u64::MAX), 5),
            Err(Wrong::End)
        );
    }
}
