//! Text formatting: lists, plurals, durations, line wrapping, control characters.
//!
//! Wrapping does not use the crate textwrap: twenty lines here keep the indentation
//! of each line and never break a word. Sizes and durations have the format of the
//! manual, with a space before the unit.

use std::fmt::Write as _;
use std::time::Duration;

/// Returns `1 instance` or `2 instances`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// Returns `` `a`, `b` or `c` ``.
#[must_use]
pub fn or_ticked<S: AsRef<str>>(items: &[S]) -> String {
    let ticked: Vec<String> = items.iter().map(|s| format!("`{}`", s.as_ref())).collect();
    match ticked.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

/// Returns the first items, and the number of the others: `a, b and 3 more`.
#[must_use]
pub fn some_of(items: impl IntoIterator<Item = String>, most: usize) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.len().checked_sub(most) {
        None | Some(0) => items.join(", "),
        Some(more) => format!("{} and {more} more", items[..most].join(", ")),
    }
}

/// Formats a duration: `350 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`.
#[must_use]
pub fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    if d < Duration::from_secs(1) {
        format!("{} ms", d.as_millis())
    } else if seconds < 60 {
        format!("{:.1} s", d.as_secs_f64())
    } else {
        let parts = match seconds {
            60..3600 => [(seconds / 60, "min"), (seconds % 60, "s")],
            3600..86_400 => [(seconds / 3600, "h"), (seconds % 3600 / 60, "min")],
            _ => [(seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")],
        };
        let parts = parts.iter().filter(|(n, _)| *n > 0);
        let parts: Vec<String> = parts.map(|(n, unit)| format!("{n} {unit}")).collect();
        parts.join(" ")
    }
}

/// Formats a size: `512 bytes`, `1.5 KiB`, `100.0 MiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let value = n as f64;
    match n {
        0..1024 => count(usize::try_from(n).unwrap_or(0), "byte"),
        1024..1_048_576 => format!("{:.1} KiB", value / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", value / 1_048_576.0),
        _ => format!("{:.1} GiB", value / 1_073_741_824.0),
    }
}

/// Wraps lines longer than 80 columns between words and indents the continuation
/// lines. Never breaks a word, so that it can be copied.
#[must_use]
pub fn wrap(text: &str, indent: usize) -> String {
    wrap_to(text, indent, 80)
}

/// Like [`wrap`], for another number of columns.
#[must_use]
pub fn wrap_to(text: &str, indent: usize, columns: usize) -> String {
    let lines = text
        .split('\n')
        .map(|line| wrap_line(line, indent, columns));
    lines.collect::<Vec<_>>().join("\n")
}

fn wrap_line(line: &str, indent: usize, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let words = line.trim_start_matches(' ');
    // Keep the line's own indentation.
    let begin = line.len() - words.len();
    let mut out = String::with_capacity(line.len() + 16);
    out.push_str(&line[..begin]);
    let mut column = begin;
    for word in words.split(' ') {
        let width = word.chars().count();
        if column > begin && column + 1 + width > columns {
            out.push('\n');
            out.push_str(&" ".repeat(indent.max(begin)));
            column = indent.max(begin);
        } else if column > begin {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

/// Returns the candidate most similar to `name`, if one is similar enough to be a
/// misspelling of it.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    // One typo, and another one for every four letters.
    let tolerated = |c: &str| 1 + name.len().min(c.len()) / 4;
    candidates
        .into_iter()
        // Most candidates are too short or too long, which is found out faster.
        .filter(|c| c.chars().count().abs_diff(length) <= tolerated(c))
        .map(|c| (strsim::damerau_levenshtein(name, c), c))
        .filter(|(distance, c)| *distance <= tolerated(c))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// Escapes control characters, so that output of hosts cannot control the terminal.
/// Keeps newlines and tabs.
#[must_use]
pub fn harmless(text: &str) -> String {
    // A fast path for ordinary text.
    if text
        .bytes()
        .all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t'))
    {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' || !is_control(c) {
            out.push(c);
        } else {
            let _ = write!(out, "{}", c.escape_default());
        }
    }
    out
}

/// Returns whether a character is a control character or changes the direction of
/// text.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(harmless("a\x1b[31mred\r\n\tb"), "a\\u{1b}[31mred\\r\n\tb");
    }

    #[test]
    fn the_nearest_name_is_similar() {
        let names = ["launch_instance", "create_bucket"];
        assert_eq!(nearest("lanch_instance", names), Some("launch_instance"));
        assert_eq!(nearest("delete_everything", names), None);
        assert_eq!(nearest("nmae", ["name", "type"]), Some("name"));
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_millis(350)), "350 ms");
        assert_eq!(duration(Duration::from_millis(4200)), "4.2 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_secs(300)), "5 min");
        assert_eq!(duration(Duration::from_secs(7500)), "2 h 5 min");
        assert_eq!(duration(Duration::from_secs(7200)), "2 h");
        assert_eq!(duration(Duration::from_secs(266_400)), "3 d 2 h");
    }

    #[test]
    fn long_lines_break_between_words() {
        let text = format!("hint: {}\nshort", "word ".repeat(20).trim_end());
        let wrapped = wrap(&text, 6);
        assert!(
            wrapped.lines().all(|line| line.chars().count() <= 80),
            "{wrapped}"
        );
        assert_eq!(wrapped.lines().count(), 3);
        assert_eq!(wrapped.replace("\n      ", " "), text);
    }

    #[test]
    fn a_wrapped_line_keeps_its_indentation() {
        let text = format!("    hint: {}", "word ".repeat(20).trim_end());
        let wrapped = wrap(&text, 6);
        assert!(wrapped.starts_with("    hint: word"), "{wrapped}");
        assert!(
            wrapped.lines().nth(1).unwrap().starts_with("      word"),
            "{wrapped}"
        );
    }

    #[test]
    fn long_lists_are_shortened() {
        let letters = || ["a", "b", "c"].map(str::to_owned);
        assert_eq!(some_of(letters(), 3), "a, b, c");
        assert_eq!(some_of(letters(), 1), "a and 2 more");
    }

    #[test]
    fn lists_end_in_or() {
        assert_eq!(or_ticked(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
