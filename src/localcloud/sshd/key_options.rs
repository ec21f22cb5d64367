//! The options in front of a key in `authorized_keys`.
//!
//! An option that restricts the key is obeyed; with one that is not
//! understood, the key grants nothing.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a key is allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Run instead of what the client asks for.
    pub(super) forced_command: Option<String>,
    pub(super) terminal: bool,
    pub(super) forwarding: bool,
    /// `host:port` pairs that may be connected to; all if `None`.
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

    /// Whether a connection to this destination may be made.
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

/// Splits at commas outside quotes.
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

/// What a line's options leave to the key, for a client of that address.
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
            if !comes_from(&patterns, client) {
                return Err(format!("`from` does not allow {client}"));
            }
        }
        ("expiry-time", Some(time)) => not_expired(&time)?,
        ("permitopen", Some(destination)) => {
            grant.destinations.get_or_insert_default().push(destination);
        }
        // What these allow or forbid is never done here; variables of a key
        // are not taken over by sshd's defaults either.
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
        _ => return Err(format!("its option `{name}` is not supported")),
    }
    Ok(())
}

fn unquote(name: &str, value: &str) -> Result<String, String> {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(|| format!("the value of its option `{name}` is not in quotes"))?;
    Ok(inner.replace("\\\"", "\""))
}

/// Whether a pattern list matches the address: addresses with wildcards or
/// networks, `!` in front of what is excluded. Names never match.
fn comes_from(patterns: &str, client: IpAddr) -> bool {
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

/// Matches `*` and `?`, in time that no pattern can blow up.
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

/// A time as `YYYYMMDD[HHMM[SS]]`, local, or in UTC with `Z` behind it.
fn not_expired(time: &str) -> Result<(), String> {
    let unreadable = || format!("its `expiry-time` `{time}` is not a time");
    let (digits, zone) = match time.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, jiff::tz::TimeZone::UTC),
        None => (time, super::super::files::time_zone()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) {
        return Err(unreadable());
    }
    let padded = format!("{digits:0<14}");
    let expiry = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &padded)
        .and_then(|time| time.to_zoned(zone))
        .map_err(|_| unreadable())?;
    if expiry.timestamp() <= jiff::Timestamp::now() {
        return Err(format!("it expired at {time}"));
    }
    Ok(())
}
