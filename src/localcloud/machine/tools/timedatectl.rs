//! `timedatectl`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::super::files;
use super::super::init::control::Reply;
use super::options::{Known, Value, parse};
use super::{is_root, unsupported};

const KNOWN: [Known; 5] = [
    (None, "no-pager", Value::No),
    (None, "no-ask-password", Value::No),
    (Some('p'), "property", Value::Required),
    (Some('a'), "all", Value::No),
    (None, "value", Value::No),
];

/// The time zones.
const ZONES: &str = "/usr/share/zoneinfo";

/// Runs `timedatectl`.
pub(super) fn run(args: &[String]) -> Reply {
    let (given, words) = match parse("timedatectl", &KNOWN, args) {
        Ok(parsed) => parsed,
        Err(reply) => return reply,
    };
    let (mut properties, mut only_values) = (Vec::new(), false);
    for (name, value) in given {
        match name {
            "value" => only_values = true,
            "property" => {
                let value = value.unwrap_or_default();
                properties.extend(value.split(',').map(str::to_owned));
            }
            _ => {}
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["status"] => status(),
        ["show"] => show(&properties, only_values),
        ["list-timezones"] => list(),
        ["set-timezone", zone] => set_zone(zone),
        ["set-timezone"] => Reply::failure("Too few arguments.", 1),
        ["status" | "show" | "list-timezones" | "set-timezone", ..] => {
            Reply::failure("Too many arguments.", 1)
        }
        ["set-ntp", _] => {
            let message = "Failed to set ntp: NTP not supported: an instance of the local cloud \
                has this machine's clock (see `autorun docs local-cloud`)";
            Reply::failure(message, 1)
        }
        [verb, ..] => unsupported("timedatectl", verb),
    }
}

fn status() -> Reply {
    let now = Timestamp::now();
    let (name, zone) = (zone_name(), files::time_zone());
    let local = now.to_zoned(zone);
    let universal = now.to_zoned(TimeZone::UTC);
    let format = "%a %Y-%m-%d %H:%M:%S";
    let lines = [
        (
            "Local time",
            local.strftime(&format!("{format} %Z")).to_string(),
        ),
        (
            "Universal time",
            universal.strftime(&format!("{format} UTC")).to_string(),
        ),
        ("RTC time", "n/a".to_owned()),
        (
            "Time zone",
            format!("{name} ({})", local.strftime("%Z, %z")),
        ),
        (
            "System clock synchronized",
            yes(is_synchronized()).to_owned(),
        ),
        ("NTP service", "n/a".to_owned()),
        ("RTC in local TZ", "no".to_owned()),
    ];
    let width = lines
        .iter()
        .map(|(key, _)| key.len())
        .max()
        .unwrap_or_default();
    let lines = lines
        .iter()
        .map(|(key, value)| format!("{key:>width$}: {value}\n"));
    Reply::success(lines.collect::<String>())
}

fn show(properties: &[String], only_values: bool) -> Reply {
    let now = files::now().strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string();
    let all = [
        ("Timezone", zone_name()),
        ("LocalRTC", "no".to_owned()),
        ("CanNTP", "no".to_owned()),
        ("NTP", "no".to_owned()),
        ("NTPSynchronized", yes(is_synchronized()).to_owned()),
        ("TimeUSec", now),
    ];
    let is_wanted = |key: &str| properties.is_empty() || properties.iter().any(|one| one == key);
    let wanted = all.iter().filter(|(key, _)| is_wanted(key));
    let lines = wanted.map(|(key, value)| {
        if only_values {
            format!("{value}\n")
        } else {
            format!("{key}={value}\n")
        }
    });
    Reply::success(lines.collect::<String>())
}

fn list() -> Reply {
    match fs::read_to_string(Path::new(ZONES).join("tzdata.zi")) {
        Ok(text) => Reply::success(zones_in(&text).join("\n") + "\n"),
        Err(error) => Reply::failure(
            format!("Failed to read list of time zones: {ZONES}/tzdata.zi: {error}"),
            1,
        ),
    }
}

/// Returns the names of zones and their links, sorted.
fn zones_in(text: &str) -> Vec<&str> {
    let names = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        match words.next()? {
            "Z" => words.next(),
            "L" => words.nth(1),
            _ => None,
        }
    });
    let mut names: Vec<_> = names.chain(["UTC"]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn set_zone(zone: &str) -> Reply {
    if !is_root() {
        let message = "Failed to set time zone: Interactive authentication required.";
        return Reply::failure(message, 1);
    }
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    let file = Path::new(ZONES).join(zone);
    // A directory such as `Europe` is not a zone.
    if !zone.split('/').all(is_plain) || !file.is_file() {
        let message =
            format!("Failed to set time zone: Invalid or not installed time zone '{zone}'");
        return Reply::failure(message, 1);
    }
    match link_zone(zone) {
        Ok(()) => Reply::default(),
        Err(error) => Reply::failure(format!("Failed to set time zone: {error}"), 1),
    }
}

fn link_zone(zone: &str) -> io::Result<()> {
    let next = Path::new("/etc/.localtime.new");
    // Of an earlier call that was interrupted.
    let _ = fs::remove_file(next);
    symlink(format!("../usr/share/zoneinfo/{zone}"), next)?;
    fs::rename(next, "/etc/localtime")?;
    // Debian's own file, which systemd also keeps up to date there.
    if Path::new("/etc/timezone").exists() {
        files::replace("/etc/timezone", format!("{zone}\n").as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Returns the zone's name, which is in the target of the link.
fn zone_name() -> String {
    let target = fs::read_link("/etc/localtime").unwrap_or_else(|_| PathBuf::from("UTC"));
    let target = target.to_string_lossy().into_owned();
    let name = target.split_once("zoneinfo/").map(|(_, name)| name);
    name.unwrap_or("UTC").to_owned()
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Whether the kernel knows that this machine's clock is correct.
#[expect(unsafe_code, reason = "no dependency wraps adjtimex")]
fn is_synchronized() -> bool {
    use nix::libc;
    // SAFETY: a structure of numbers, for which zeros are valid.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: without modes the kernel only fills the structure. The C library's
    // function makes another system call, which instances may not make.
    let state = unsafe { libc::syscall(libc::SYS_adjtimex, &raw mut clock) };
    state >= 0 && clock.status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_links_are_listed() {
        let text = "# version 2025b\nR d 1916 o - Jun 14 23s 1 S\nZ Africa/Algiers 0:12:12 - LMT\n\
            0:9:21 - PMT 1911\nL Africa/Abidjan Africa/Accra\n";
        assert_eq!(zones_in(text), ["Africa/Accra", "Africa/Algiers", "UTC"]);
    }

    #[test]
    fn other_commands_are_refused() {
        let call = |line: &str| run(&super::super::tests::words(line));
        for line in [
            "set-time 12:00",
            "set-local-rtc 1",
            "set-ntp true",
            "timesync-status",
        ] {
            let reply = call(line);
            assert_eq!(reply.code, 1, "{line}");
            assert!(
                reply.err.contains("autorun docs local-cloud"),
                "{line}: {}",
                reply.err
            );
        }
        assert_eq!(call("set-timezone").code, 1);
    }

    #[test]
    fn single_properties_are_shown() {
        let call = |line: &str| run(&super::super::tests::words(line));
        assert_eq!(call("show -p LocalRTC").out, "LocalRTC=no\n");
        assert_eq!(call("show --property=NTP,CanNTP --value").out, "no\nno\n");
        assert!(call("").out.starts_with("               Local time: "));
    }
}
