//! One message, and the ways in which `journalctl` prints it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The priority of messages that do not have one.
pub(in super::super) const INFO: u8 = 6;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Entry {
    /// Microseconds since 1970.
    pub(in super::super) time: i64,
    /// The id of the boot.
    pub(in super::super) boot: String,
    pub(in super::super) host: String,
    /// From 0 (emergency) to 7 (debug).
    pub(in super::super) priority: u8,
    /// The name of the program.
    pub(in super::super) identifier: String,
    pub(in super::super) pid: Option<i32>,
    /// The unit that the message is of or about.
    pub(in super::super) unit: Option<String>,
    pub(in super::super) message: String,
}

/// The output formats, as in `journalctl --output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Style {
    #[default]
    Short,
    ShortFull,
    ShortIso,
    ShortPrecise,
    ShortUnix,
    Cat,
    Json,
}

impl Style {
    /// Returns the format of this name.
    pub(in super::super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "short" => Self::Short,
            "short-full" => Self::ShortFull,
            "short-iso" => Self::ShortIso,
            "short-precise" => Self::ShortPrecise,
            "short-unix" => Self::ShortUnix,
            "cat" => Self::Cat,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

impl Entry {
    /// Returns the text to print, with a line break.
    pub(in super::super) fn show(&self, style: Style, zone: &TimeZone) -> String {
        let time = Timestamp::from_microsecond(self.time).unwrap_or_default();
        let time = time.to_zoned(zone.clone());
        let stamp = |format: &str| time.strftime(format).to_string();
        let micros = self.time.rem_euclid(1_000_000);
        let stamp = match style {
            Style::Cat => return format!("{}\n", self.message),
            Style::Json => return format!("{}\n", self.fields()),
            Style::Short => stamp("%b %d %H:%M:%S"),
            Style::ShortFull => stamp("%a %Y-%m-%d %H:%M:%S %Z"),
            Style::ShortIso => stamp("%Y-%m-%dT%H:%M:%S%z"),
            Style::ShortPrecise => format!("{}.{micros:06}", stamp("%b %d %H:%M:%S")),
            Style::ShortUnix => format!("{}.{micros:06}", self.time.div_euclid(1_000_000)),
        };
        let pid = self.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
        let start = format!("{stamp} {} {}{pid}: ", self.host, self.identifier);
        // Further lines of a message are below its first one.
        let next = format!("\n{}", " ".repeat(start.chars().count()));
        format!("{start}{}\n", self.message.replace('\n', &next))
    }

    /// Returns the fields with the names that systemd gives them.
    fn fields(&self) -> serde_json::Value {
        let mut fields = json!({
            "__REALTIME_TIMESTAMP": self.time.to_string(),
            "_BOOT_ID": self.boot,
            "_HOSTNAME": self.host,
            "PRIORITY": self.priority.to_string(),
            "SYSLOG_IDENTIFIER": self.identifier,
            "MESSAGE": self.message,
        });
        if let Some(pid) = self.pid {
            fields["_PID"] = pid.to_string().into();
        }
        if let Some(unit) = &self.unit {
            let key = if self.pid == Some(1) {
                "UNIT"
            } else {
                "_SYSTEMD_UNIT"
            };
            fields[key] = unit.clone().into();
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_look_as_journalctl_shows_them() {
        let entry = Entry {
            time: 1_795_993_200_000_123,
            boot: "b".repeat(32),
            host: "web".to_owned(),
            priority: INFO,
            identifier: "nginx".to_owned(),
            pid: Some(42),
            unit: Some("nginx.service".to_owned()),
            message: "one\ntwo".to_owned(),
        };
        let shown = |style| entry.show(Style::named(style).unwrap(), &TimeZone::UTC);
        assert_eq!(
            shown("short"),
            "Nov 29 23:00:00 web nginx[42]: one\n                               two\n"
        );
        assert!(shown("short-iso").starts_with("2026-11-29T23:00:00+0000 web nginx[42]: "));
        assert!(shown("short-precise").starts_with("Nov 29 23:00:00.000123 web "));
        assert!(shown("short-unix").starts_with("1795993200.000123 web "));
        assert!(shown("short-full").starts_with("Sun 2026-11-29 23:00:00 UTC web "));
        assert_eq!(shown("cat"), "one\ntwo\n");
        let fields: serde_json::Value = serde_json::from_str(&shown("json")).unwrap();
        assert_eq!(fields["_SYSTEMD_UNIT"], "nginx.service");
        assert_eq!(fields["PRIORITY"], "6");
        assert_eq!(Style::named("verbose"), None);
    }
}
