//! The options before a key in `authorized_keys`.
//!
//! A key with an unsupported option grants nothing, because the option could
//! restrict the key.

use std::net::IpAddr;

use ipnet::IpNet;

/// The rights that a key grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The command that runs instead of the client's command.
    pub(super) forced_command: Option<String>,
    pub(super) terminal: bool,
    pub(super) forwarding: bool,
    /// The allowed destinations as `host:port`. `None` allows all destinations.
    pub(super) destinations: Option<Vec<String>>,
}

impl Grant {
    pub(super) fn all() -> Self {
        Self {
            forced_command: None,
            terminal: true,
            forwarding: true,
            destinations: None,
        }
    }

    /// Whether the client may connect to this destination.
    pub(super) fn may_connect(&self, host: &str, port: u32) -> bool {
        let Some(destinations) = &self.destinations else {
            return self.forwarding;
        };
        let port = port.to_string();
        self.forwarding
            && destinations.iter().any(|allowed| {
                allowed.rsplit_once(':').is_some_and(|(name, number)| {
                    let name = name.trim_start_matches('[').trim_end_matches(']');
                    (name == "*" || name == host) && (number == "*" || number == port)
                })
            })
    }
}

/// Splits options at commas outside quotes.
fn split(options: &str) -> Vec<&str> {
    let mut quoted = false;
    let mut escaped = false;
    options
        .split(|c| {
            if c == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = c == '\\' && !escaped;
            c == ',' && !quoted
        })
        .collect()
}

/// Returns what a key with these options grants to a client at this address. Fails
/// with the reason if it grants nothing.
pub(super) fn parse(options: &str, client: IpAddr) -> Result<Grant, String> {
    let mut grant = Grant::all();
    if options.is_empty() {
        return Ok(grant);
    }
    for option in split(options) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(unquote(name, value)?)),
            None => (option, None),
        };
        apply(&mut grant, &name.to_ascii_lowercase(), value, client)?;
    }
    Ok(grant)
}

fn apply(
    grant: &mut Grant,
    name: &str,
    value: Option<String>,
    client: IpAddr,
) -> Result<(), String> {
    match (name, value) {
        ("restrict", None) => {
            grant.terminal = false;
            grant.forwarding = false;
        }
        ("pty", None) => grant.terminal = true,
        ("no-pty", None) => grant.terminal = false,
        ("port-forwarding", None) => grant.forwarding = true,
        ("no-port-forwarding", None) => grant.forwarding = false,
        ("command", Some(command)) => grant.forced_command = Some(command),
        ("from", Some(patterns)) => {
            if !allows_address(&patterns, client) {
                return Err(format!("`from` does not allow {client}"));
            }
        }
        ("expiry-time", Some(time)) => not_expired(&time)?,
        ("permitopen", Some(destination)) => {
            grant.destinations.get_or_insert_default().push(destination);
        }
        // This server does not have the features that these options allow or
        // forbid. sshd ignores `environment`, too, in its default configuration.
        ("permitlisten" | "tunnel" | "environment", Some(_))
        | (
            "agent-forwarding"
            | "no-agent-forwarding"
            | "x11-forwarding"
            | "no-x11-forwarding"
            | "user-rc"
            | "no-user-rc"
            | "no-touch-required",
            None,
        ) => {}
        _ => return Err(format!("the option `{name}` is not supported")),
    }
    Ok(())
}

fn unquote(name: &str, value: &str) -> Result<String, String> {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(|| format!("the value of the option `{name}` is not in quotes"))?;
    Ok(inner.replace("\\\"", "\""))
}

/// Whether a list of patterns matches an address. A pattern is a network or an
/// address with wildcards; `!` excludes it. Host names never match.
fn allows_address(patterns: &str, client: IpAddr) -> bool {
    let address = client.to_string();
    let mut found = false;
    for pattern in patterns.split(',').map(str::trim) {
        let (excluded, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let matches = match pattern.parse::<IpNet>() {
            Ok(network) => network.contains(&client),
            Err(_) => wildcard(pattern.as_bytes(), address.as_bytes()),
        };
        if matches && excluded {
            return false;
        }
        found |= matches;
    }
    found
}

/// Whether a text matches a pattern with `*` and `?`. The time is at most the
/// product of both lengths.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match (pattern.get(at), star) {
            (Some(b'*'), _) => {
                at += 1;
                star = Some((at, read));
            }
            (Some(&c), _) if c == b'?' || c == text[read] => {
                at += 1;
                read += 1;
            }
            (_, Some((after, taken))) => {
                at = after;
                read = taken + 1;
                star = Some((after, read));
            }
            (_, None) => return false,
        }
    }
    pattern[at..].iter().all(|&c| c == b'*')
}

/// Fails if a time has passed. The time has the form `YYYYMMDD[HHMM[SS]]` and is
/// local time, or UTC if it ends with `Z`.
fn not_expired(time: &str) -> Result<(), String> {
    let invalid = || format!("the `expiry-time` `{time}` is not a time");
    let (digits, zone) = match time.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, jiff::tz::TimeZone::UTC),
        None => (time, super::super::files::time_zone()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) {
        return Err(invalid());
    }
    let padded = format!("{digits:0<14}");
    let expiry = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &padded)
        .and_then(|time| time.to_zoned(zone))
        .map_err(|_| invalid())?;
    if expiry.timestamp() <= jiff::Timestamp::now() {
        return Err(format!("the key expired at {time}"));
    }
    Ok(())
}
