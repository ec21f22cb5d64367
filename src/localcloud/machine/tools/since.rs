//! Times as `journalctl --since` takes them.

use jiff::civil::Time;
use jiff::{Span, ToSpan as _, Zoned};

/// Returns the time that the text means at this moment.
pub(super) fn time(text: &str, now: &Zoned) -> Option<Zoned> {
    let text = text.trim();
    let midnight = now.start_of_day().ok()?;
    match text {
        "now" => return Some(now.clone()),
        "today" => return Some(midnight),
        "yesterday" => return midnight.checked_sub(1.day()).ok(),
        "tomorrow" => return midnight.checked_add(1.day()).ok(),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: f64 = seconds.parse().ok()?;
        let offset = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
        let time = jiff::Timestamp::UNIX_EPOCH.checked_add(offset).ok()?;
        return Some(time.to_zoned(now.time_zone().clone()));
    }
    if let Some(back) = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")) {
        return now.checked_sub(span(back)?).ok();
    }
    if let Some(forward) = text.strip_prefix('+') {
        return now.checked_add(span(forward)?).ok();
    }
    if let Some(time) = clock(text) {
        return now.with().time(time).build().ok();
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let date: jiff::civil::Date = date.parse().ok()?;
    let (time, zone) = match time.strip_suffix(" UTC").or_else(|| time.strip_suffix('Z')) {
        Some(time) => (time, jiff::tz::TimeZone::UTC),
        None => (time, now.time_zone().clone()),
    };
    date.to_datetime(clock(time)?).to_zoned(zone).ok()
}

/// Parses `12:30` or `12:30:15`.
fn clock(text: &str) -> Option<Time> {
    let parts: Option<Vec<i8>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts?[..] {
        [hour, minute] => Time::new(hour, minute, 0, 0).ok(),
        [hour, minute, second] => Time::new(hour, minute, second, 0).ok(),
        _ => None,
    }
}

/// Parses `5 min`, `1h30min`, `2 days`.
fn span(text: &str) -> Option<Span> {
    let mut rest = text.trim();
    let mut seconds: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hr" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            _ => return None,
        };
        seconds = number
            .parse::<i64>()
            .ok()?
            .checked_mul(unit)?
            .checked_add(seconds)?;
        rest = after.trim_start();
    }
    Span::new().try_seconds(seconds).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn times_are_understood_as_by_systemd() {
        let noon: jiff::Timestamp = "2026-11-29T12:00:00+01:00".parse().unwrap();
        let now = noon.to_zoned(TimeZone::fixed(jiff::tz::offset(1)));
        for (text, expected) in [
            ("now", "2026-11-29T12:00:00+01:00"),
            ("today", "2026-11-29T00:00:00+01:00"),
            ("yesterday", "2026-11-28T00:00:00+01:00"),
            ("11:30", "2026-11-29T11:30:00+01:00"),
            ("2026-11-28", "2026-11-28T00:00:00+01:00"),
            ("2026-11-28 23:59:58", "2026-11-28T23:59:58+01:00"),
            ("2026-11-28 23:59:58 UTC", "2026-11-29T00:59:58+01:00"),
            ("2026-11-28T23:59:58Z", "2026-11-29T00:59:58+01:00"),
            ("-1h", "2026-11-29T11:00:00+01:00"),
            ("-1h30min", "2026-11-29T10:30:00+01:00"),
            ("5 min ago", "2026-11-29T11:55:00+01:00"),
            ("2 days ago", "2026-11-27T12:00:00+01:00"),
            ("@1796000400", "2026-11-30T02:00:00+01:00"),
        ] {
            let expected: jiff::Timestamp = expected.parse().unwrap();
            assert_eq!(time(text, &now).unwrap().timestamp(), expected, "{text}");
        }
        for text in [
            "",
            "soon",
            "25:00",
            "5 parsecs ago",
            "-",
            "2026-13-01",
            "@x",
        ] {
            assert_eq!(time(text, &now), None, "{text}");
        }
    }
}
