//! Values of options that have a form of their own.

use std::time::Duration;

/// A value, or `none`, which overrides the value in a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum OrNone<T> {
    None,
    Some(T),
}

impl<T> OrNone<T> {
    pub(in crate::cli) fn into_option(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }
}

/// Parses `none`, or a duration such as `2h`, `1h 30m`, `90s` or `3d`.
pub(in crate::cli) fn parse_ttl(text: &str) -> Result<OrNone<Duration>, String> {
    if text == "none" {
        return Ok(OrNone::None);
    }
    parse_time(text).map(OrNone::Some)
}

/// Parses a duration such as `2h`, `1h 30m`, `90s` or `3d`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 3600;
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.trim().parse::<u64>().ok());
    let seconds = days.map(|days| days.saturating_mul(DAY)).or_else(|| {
        let parsed: jiff::SignedDuration = text.parse().ok()?;
        u64::try_from(parsed.as_secs()).ok()
    });
    seconds
        .filter(|seconds| (1..=365 * DAY).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "use a time from 1s to 365d, such as 90m, 2h, 1h 30m or 3d".to_owned())
}

/// Parses a tag that both EC2 and S3 accept and that is not reserved.
pub(super) fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    check_tag(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checks a tag; see [`parse_tag`].
pub(in crate::cli) fn check_tag(key: &str, value: &str) -> Result<(), String> {
    let good = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    if ["aws:", "autorun:"].iter().any(|own| key.starts_with(own)) {
        return Err("keys that begin with aws: or autorun: are reserved".to_owned());
    }
    if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 {
        return Err("a key has 1 to 128 characters, a value at most 256".to_owned());
    }
    // The characters of S3, which allows fewer than EC2.
    if !key.chars().chain(value.chars()).all(good) {
        return Err("use only letters, digits, spaces and + - = . _ : / @".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_and_a_tag_are_checked() {
        let seconds = |n| Ok(OrNone::Some(Duration::from_secs(n)));
        assert_eq!(parse_ttl("2h"), seconds(7200));
        assert_eq!(parse_ttl("1h 30m"), seconds(5400));
        assert_eq!(parse_ttl("2d"), seconds(172_800));
        assert_eq!(parse_ttl("none"), Ok(OrNone::None));
        for bad in ["", "2", "-1h", "0s", "9999h", "soon"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_tag("team=web"), Ok(("team".into(), "web".into())));
        for bad in ["team", "=x", "aws:x=y", "autorun:run=y", "a=(b)"] {
            assert!(parse_tag(bad).is_err(), "{bad}");
        }
    }
}
