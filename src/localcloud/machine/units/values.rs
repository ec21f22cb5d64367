//! Values in unit files: paths, times, assignments.

use std::time::Duration;

use super::exec::split;

/// Returns an absolute path. Relative paths are below `/run`.
pub(super) fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/run/{path}")
    }
}

/// Parses a time such as `5`, `1min 30s` or `500ms`. Returns `None` for
/// `infinity`, and for invalid times.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for word in text.split_whitespace() {
        let split = word.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = word.split_at(split.unwrap_or(word.len()));
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total += Duration::try_from_secs_f64(number * seconds).ok()?;
    }
    Some(total)
}

/// Parses the lines of an environment file.
pub(super) fn assignments(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pair = |(key, value): (&str, &str)| {
        let value = split(value).join(" ");
        (key.trim().to_owned(), value)
    };
    pairs.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed() {
        assert_eq!(duration("1min 30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("infinity"), None);
    }

    #[test]
    fn environment_files_have_assignments() {
        let pairs = assignments("# remark\nA=\"b c\"\nnonsense\nD=e\n");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pairs, [pair("A", "b c"), pair("D", "e")]);
    }
}
