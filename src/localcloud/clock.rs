//! The current time in the formats of state files and protocols.

use jiff::Timestamp;

/// Returns the seconds since 1970.
pub(crate) fn seconds() -> i64 {
    Timestamp::now().as_second()
}

/// Returns the milliseconds since 1970, or 0 if the clock shows an earlier
/// time.
pub(crate) fn millis() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// Formats a time, given in milliseconds since 1970, as AWS does.
pub(crate) fn iso(millis: u64) -> String {
    let time = i64::try_from(millis)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or_default();
    format!("{time:.3}")
}
