//! The time since 1970, as state on disk and protocols count it.

use jiff::Timestamp;

/// Whole seconds.
pub(crate) fn seconds() -> i64 {
    Timestamp::now().as_second()
}

/// Milliseconds; none before 1970.
pub(crate) fn millis() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// An instant in milliseconds as AWS writes it.
pub(crate) fn iso(millis: u64) -> String {
    let time = i64::try_from(millis)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or_default();
    format!("{time:.3}")
}
