//! `journalctl`.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::super::super::files;
use super::super::init::control::Reply;
use super::super::journal::{self, Entry, Position, Style};
use super::super::units::{full_name, is_built_in};
use super::options::{Known, Value, parse};
use super::{since, unsupported};

const KNOWN: [Known; 23] = [
    (Some('u'), "unit", Value::Required),
    (Some('t'), "identifier", Value::Required),
    (Some('p'), "priority", Value::Required),
    (Some('n'), "lines", Value::Optional),
    (Some('o'), "output", Value::Required),
    (Some('S'), "since", Value::Required),
    (Some('U'), "until", Value::Required),
    (Some('b'), "boot", Value::Optional),
    (Some('f'), "follow", Value::No),
    (Some('r'), "reverse", Value::No),
    (Some('e'), "pager-end", Value::No),
    (Some('x'), "catalog", Value::No),
    (Some('a'), "all", Value::No),
    (Some('l'), "full", Value::No),
    (Some('m'), "merge", Value::No),
    (Some('q'), "quiet", Value::No),
    (Some('k'), "dmesg", Value::No),
    (None, "no-pager", Value::No),
    (None, "no-tail", Value::No),
    (None, "utc", Value::No),
    (None, "system", Value::No),
    (None, "sync", Value::No),
    (None, "flush", Value::No),
];

/// The names of priorities.
const PRIORITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// How often new messages are looked for.
const PAUSE: Duration = Duration::from_millis(100);

/// The messages to print, and how.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "options are independent")]
struct Query {
    units: Vec<String>,
    identifiers: Vec<String>,
    /// The lowest and the highest priority.
    priorities: Option<(u8, u8)>,
    /// The microseconds of the first and after the last message.
    since: Option<i64>,
    until: Option<i64>,
    this_boot: bool,
    lines: Option<usize>,
    style: Style,
    follow: bool,
    reverse: bool,
    quiet: bool,
    utc: bool,
}

/// Runs `journalctl`.
pub(super) fn run(args: &[String]) -> Reply {
    match query(args) {
        Ok(query) => print(&query),
        Err(reply) => reply,
    }
}

fn query(args: &[String]) -> Result<Query, Reply> {
    let args = with_values_in_place(args);
    let (given, words) = parse("journalctl", &KNOWN, &args)?;
    let mut query = Query::default();
    let mut tail = None;
    let now = files::now();
    let moment = |text: &str| {
        let failed = || Reply::failure(format!("Failed to parse timestamp: {text}"), 1);
        let time = since::time(text, &now).ok_or_else(failed)?;
        Ok(time.timestamp().as_microsecond())
    };
    for (name, value) in given {
        let value = value.as_deref().unwrap_or_default();
        match name {
            "unit" => query.units.push(full_name(value)),
            "identifier" => query.identifiers.push(value.to_owned()),
            "priority" => query.priorities = Some(priorities(value)?),
            "lines" => query.lines = lines(value)?,
            "output" => {
                let style = Style::named(value);
                let output = || unsupported("journalctl", &format!("--output={value}"));
                query.style = style.ok_or_else(output)?;
            }
            "since" => query.since = Some(moment(value)?),
            "until" => query.until = Some(moment(value)?),
            "boot" if matches!(value, "" | "0" | "-0") => query.this_boot = true,
            "boot" => return Err(unsupported("journalctl", &format!("--boot={value}"))),
            "dmesg" => return Err(unsupported("journalctl", "--dmesg")),
            "follow" => {
                query.follow = true;
                tail = tail.or(Some(10));
            }
            "no-tail" => tail = Some(usize::MAX),
            "pager-end" => tail = tail.or(Some(1000)),
            "reverse" => query.reverse = true,
            "quiet" => query.quiet = true,
            "utc" => query.utc = true,
            // All messages are on disk when they are written, in one journal, in
            // full, and without a pager.
            _ => {}
        }
    }
    query.lines = query.lines.or(tail).filter(|lines| *lines != usize::MAX);
    for word in words {
        match word.split_once('=') {
            Some(("_SYSTEMD_UNIT" | "UNIT", unit)) => query.units.push(unit.to_owned()),
            Some(("SYSLOG_IDENTIFIER", name)) => query.identifiers.push(name.to_owned()),
            Some(_) => return Err(unsupported("journalctl", &word)),
            None => {
                return Err(Reply::failure(
                    format!("Failed to add match '{word}': Invalid argument"),
                    1,
                ));
            }
        }
    }
    Ok(query)
}

/// Attaches the values that journalctl also takes as the next word.
fn with_values_in_place(args: &[String]) -> Vec<String> {
    let mut result: Vec<String> = Vec::new();
    for arg in args {
        let before = result.last_mut().filter(|before| {
            let takes_number = before.as_str() == "--lines" || (ends_with(before, 'n'));
            let takes_boot = before.as_str() == "--boot" || ends_with(before, 'b');
            let number = arg == "all" || arg.parse::<u32>().is_ok();
            let boot = arg == "0" || arg.parse::<i32>().is_ok_and(|number| number < 0);
            (takes_number && number) || (takes_boot && boot)
        });
        match before {
            Some(before) if before.starts_with("--") => {
                before.push('=');
                before.push_str(arg);
            }
            Some(before) => before.push_str(arg),
            None => result.push(arg.clone()),
        }
    }
    result
}

/// Whether a word is a group of letters that ends with this one.
fn ends_with(word: &str, letter: char) -> bool {
    let letters = word
        .strip_prefix('-')
        .and_then(|rest| rest.strip_suffix(letter));
    letters.is_some_and(|before| before.chars().all(|c| "fexarqlm".contains(c)))
}

fn lines(value: &str) -> Result<Option<usize>, Reply> {
    match value {
        "" => Ok(Some(10)),
        "all" => Ok(Some(usize::MAX)),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| Reply::failure(format!("Failed to parse lines '{number}'"), 1)),
    }
}

/// Parses `err`, `3` or a range such as `crit..warning`.
fn priorities(value: &str) -> Result<(u8, u8), Reply> {
    let one = |name: &str| {
        let is_it =
            |known: &&str| known.starts_with(name) && matches!(name.len(), 3..) || *known == name;
        let named = PRIORITIES
            .iter()
            .position(is_it)
            .and_then(|at| u8::try_from(at).ok());
        let number = name.parse().ok().filter(|number| *number < 8);
        let failed = || Reply::failure(format!("Unknown log level {name}"), 1);
        number.or(named).ok_or_else(failed)
    };
    match value.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (one(from)?, one(to)?);
            Ok((from.min(to), from.max(to)))
        }
        None => Ok((0, one(value)?)),
    }
}

fn print(query: &Query) -> Reply {
    let built_in = query.units.iter().filter(|unit| is_built_in(unit));
    let built_in: Vec<_> = built_in.cloned().collect();
    match journal::open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return no_permission(),
        _ => {}
    }
    let (all, position) = journal::all().unwrap_or_default();
    let zone = if query.utc {
        TimeZone::UTC
    } else {
        files::time_zone()
    };
    let boot = journal::boot_id();
    let mut found: Vec<_> = all
        .iter()
        .filter(|entry| query.wants(entry, &boot))
        .collect();
    if let Some(lines) = query.lines {
        found.drain(..found.len().saturating_sub(lines));
    }
    if query.reverse {
        found.reverse();
    }
    let is_empty = found.is_empty();
    let mut text = String::new();
    let mut last_boot: Option<&str> = None;
    for entry in found {
        let is_other = last_boot.is_some_and(|last| last != entry.boot);
        if is_other && !query.quiet && !matches!(query.style, Style::Cat | Style::Json) {
            let _ = writeln!(text, "-- Boot {} --", entry.boot);
        }
        last_boot = Some(&entry.boot);
        text += &entry.show(query.style, &zone);
    }
    if query.follow {
        return follow(query, text, position, &boot, &zone);
    }
    match built_in.first() {
        Some(unit) if is_empty => Reply::failure(
            format!(
                "journalctl: {unit} is a part of the local cloud, which does not write to the \
                 journal (see `autorun docs local-cloud`)"
            ),
            1,
        ),
        _ if is_empty && !query.quiet => Reply::success("-- No entries --\n"),
        _ => Reply::success(text),
    }
}

/// Prints the text, and further messages until the reader is gone.
fn follow(
    query: &Query,
    text: String,
    mut position: Position,
    boot: &str,
    zone: &TimeZone,
) -> Reply {
    let mut out = io::stdout();
    let mut text = text;
    let mut entries = Vec::new();
    while out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
    {
        if text.is_empty() {
            std::thread::sleep(PAUSE);
        }
        entries.clear();
        // The file may be missing for a moment while it becomes the archive.
        position = position.read_on(&mut entries).unwrap_or(position);
        let wanted = entries.iter().filter(|entry| query.wants(entry, boot));
        text = wanted.map(|entry| entry.show(query.style, zone)).collect();
    }
    Reply::default()
}

fn no_permission() -> Reply {
    let message = "Hint: You are currently not seeing messages from other users and the system.\n      \
        Users in groups 'adm', 'systemd-journal' can see all messages.\n      \
        Pass -q to turn off this notice.\n\
        No journal files were opened due to insufficient permissions.";
    Reply::failure(message, 1)
}

impl Query {
    fn wants(&self, entry: &Entry, boot: &str) -> bool {
        let of_unit = |unit: &String| {
            entry
                .unit
                .as_ref()
                .is_some_and(|of| of == unit || matches(unit, of))
        };
        let (lowest, highest) = self.priorities.unwrap_or((0, 7));
        (self.units.is_empty() || self.units.iter().any(of_unit))
            && (self.identifiers.is_empty() || self.identifiers.contains(&entry.identifier))
            && (lowest..=highest).contains(&entry.priority)
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time <= until)
            && (!self.this_boot || entry.boot == boot)
    }
}

/// Whether a name matches a pattern with `*`, as of `journalctl -u 'php*'`.
pub(in super::super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::super::tests::words;
    use super::*;

    fn of(line: &str) -> Query {
        query(&words(line)).unwrap()
    }

    #[test]
    fn calls_of_scripts_are_understood() {
        let units = vec!["nginx.service".to_owned()];
        let plain = Query {
            units: units.clone(),
            ..Query::default()
        };
        let tail = |lines| Query {
            lines: Some(lines),
            units: units.clone(),
            ..Query::default()
        };
        assert_eq!(of("-u nginx --no-pager"), plain);
        assert_eq!(of("-n 20 -u nginx.service"), tail(20));
        assert_eq!(of("-n20 --unit=nginx"), tail(20));
        assert_eq!(of("-xeu nginx"), tail(1000));
        assert_eq!(of("-u nginx -n"), tail(10));
        assert_eq!(of("-u nginx --lines 5 -e"), tail(5));
        assert_eq!(
            of("-fu nginx"),
            Query {
                follow: true,
                ..tail(10)
            }
        );
        assert_eq!(
            of("-u nginx -f -n all"),
            Query {
                follow: true,
                ..plain
            }
        );
        assert_eq!(
            of("-b -o cat"),
            Query {
                this_boot: true,
                style: Style::Cat,
                ..Query::default()
            }
        );
        assert_eq!(of("-b 0"), of("-b0"));
        assert_eq!(of("-p err").priorities, Some((0, 3)));
        assert_eq!(of("-p warning..crit").priorities, Some((2, 4)));
        assert_eq!(of("-p 4").priorities, Some((0, 4)));
        assert_eq!(of("_SYSTEMD_UNIT=nginx.service").units, units);
    }

    #[test]
    fn other_calls_are_refused() {
        for line in [
            "-k",
            "-b -1",
            "-o verbose",
            "--since soon",
            "-p x",
            "--grep=x",
            "-D /x",
            "--vacuum-time=1s",
            "-n x",
            "_UID=0",
            "nginx",
        ] {
            let reply = query(&words(line)).unwrap_err();
            assert_eq!(reply.code, 1, "{line}");
        }
    }

    #[test]
    fn patterns_match_units() {
        assert!(matches("php*.service", "php8.2-fpm.service"));
        assert!(matches("*", "x.service") && matches("a*b*c", "aXbYc"));
        assert!(!matches("php*.service", "nginx.service") && !matches("a", "ab"));
    }
}
