//! Formats of times.

/// Formats a time as `2026-11-25T22:10:03.123Z`.
#[must_use]
pub fn timestamp(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds);
    time.map_or_else(|_| milliseconds.to_string(), |time| time.to_string())
}

/// Formats a time as `2026-11-25 22:10`, in this machine's time zone.
#[must_use]
pub fn minute(milliseconds: i64) -> String {
    local(milliseconds, "%Y-%m-%d %H:%M")
}

/// Formats a time in this machine's time zone.
#[must_use]
pub fn local(milliseconds: i64, format: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds);
    time.map_or_else(
        |_| milliseconds.to_string(),
        |time| {
            let time = time.to_zoned(jiff::tz::TimeZone::system());
            time.strftime(format).to_string()
        },
    )
}
