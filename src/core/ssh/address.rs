//! The forms in which people write the address of a host.

use std::net::Ipv6Addr;

use crate::error::{Error, Result};
use crate::report::text;

/// The longest name of a host, in bytes.
const LONGEST: usize = 255;

/// Characters that no host name contains. Most of them have a meaning in a
/// shell, which a `ProxyCommand` with `%h` would give to them.
const FORBIDDEN: &str = "'`\"$\\;&<>|(){}*?!,#=+~^";

/// A host as it is written: `[user@]host[:port]` or `ssh://[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host name or the IP address, without brackets.
    pub host: String,
    /// The user, if the text names one.
    pub user: Option<String>,
    /// The port, if the text names one.
    pub port: Option<u16>,
}

impl Address {
    /// Parses a host name, an IP address or one of the forms with a user or a
    /// port.
    ///
    /// Throws `invalid_option` if the text cannot be an address.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = |why: Refused| why.error(text);
        let uri = text.get(..6).filter(|s| s.eq_ignore_ascii_case("ssh://"));
        let rest = match uri {
            Some(scheme) => {
                let rest = &text[scheme.len()..];
                rest.strip_suffix('/').unwrap_or(rest)
            }
            None if text.contains("://") => return Err(refused(Refused::Url)),
            None => text,
        };
        // As in OpenSSH, a user name may contain `@`.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let user = user.map(|user| decoded(user, uri.is_some())).transpose();
        let user = user.map_err(refused)?;
        if let Some(user) = &user {
            check_user(user, uri.is_some()).map_err(refused)?;
        }
        let (host, port) = host_and_port(place).map_err(refused)?;
        let host = decoded(host, uri.is_some()).map_err(refused)?;
        check_host(&host).map_err(refused)?;
        Ok(Self {
            host,
            user,
            port: port
                .map(|port| parse_port(port).map_err(refused))
                .transpose()?,
        })
    }
}

/// Why a text cannot be an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Empty,
    Url,
    Path,
    Password,
    User,
    Port,
    NoPort,
    Brackets,
    Colons,
    Numbers,
    Dash,
    Blank,
    Long,
    Character(char),
}

impl Refused {
    fn error(self, given: &str) -> Error {
        let (why, hint) = match self {
            Self::Empty => (
                "the name is empty".to_owned(),
                "write it as NAME, USER@NAME or USER@NAME:PORT",
            ),
            Self::Url => (
                "it is a URL".to_owned(),
                "pass the name of the host alone, or ssh://USER@HOST:PORT",
            ),
            Self::Path => (
                "it contains a path".to_owned(),
                "pass the name of the host alone; scp() and scp_from() take paths on a host",
            ),
            // The text is not shown: it has the password.
            Self::Password => {
                return Error::invalid("the address of the host contains a password")
                    .hint("pass the password with the option `password`, from a secret variable");
            }
            Self::User => (
                "the part before `@` is not a user name".to_owned(),
                "write it as USER@HOST",
            ),
            Self::Port => (
                "the port is not a number from 1 to 65535".to_owned(),
                "write it as HOST:PORT, and an IPv6 address as [ADDRESS]:PORT",
            ),
            Self::NoPort => (
                "the port after `:` is missing".to_owned(),
                "write it as HOST:PORT, or without the `:`",
            ),
            Self::Brackets => (
                "the brackets do not enclose an IPv6 address".to_owned(),
                "write it as [ADDRESS] or [ADDRESS]:PORT",
            ),
            Self::Colons => (
                "it has more than one `:` and is not an IPv6 address".to_owned(),
                "write it as HOST:PORT, and an IPv6 address as [ADDRESS]:PORT",
            ),
            Self::Numbers => (
                "it is not an IPv4 address".to_owned(),
                "each of the four numbers must be from 0 to 255",
            ),
            Self::Dash => (
                "it begins with `-`".to_owned(),
                "pass options in the map after the address",
            ),
            Self::Blank => (
                "it contains a space or a control character".to_owned(),
                "remove spaces and line breaks, for example with trim()",
            ),
            Self::Long => (
                format!("it is longer than {LONGEST} characters"),
                "pass the name of one host; for several hosts, pass an array",
            ),
            Self::Character(',') => (
                "it contains `,`".to_owned(),
                "for several hosts, pass an array",
            ),
            Self::Character(c) => (
                format!("it contains `{}`", c.escape_debug()),
                "write it as NAME, USER@NAME or USER@NAME:PORT",
            ),
        };
        let shown: String = given.chars().take(LONGEST).collect();
        let shown = text::harmless(&shown.replace('\n', "\\n"));
        Error::invalid(format!("`{shown}` is not a host name or IP address: {why}")).hint(hint)
    }
}

/// Splits off the port. Only an IPv6 address has more than one colon.
fn host_and_port(place: &str) -> std::result::Result<(&str, Option<&str>), Refused> {
    if let Some(inside) = place.strip_prefix('[') {
        let (host, rest) = inside.split_once(']').ok_or(Refused::Brackets)?;
        if !is_ipv6(host) {
            return Err(Refused::Brackets);
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(Refused::Brackets),
        };
    }
    match place.matches(':').count() {
        0 => Ok((place, None)),
        1 => Ok(place
            .split_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port)))),
        _ if is_ipv6(place) => Ok((place, None)),
        _ => Err(Refused::Colons),
    }
}

/// Returns whether the text is an IPv6 address, with or without a zone.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    address.parse::<Ipv6Addr>().is_ok() && zone != Some("")
}

fn parse_port(port: &str) -> std::result::Result<u16, Refused> {
    if port.is_empty() {
        return Err(Refused::NoPort);
    }
    if port.contains('/') || port.starts_with('~') {
        return Err(Refused::Path);
    }
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let number = port.parse::<u16>().ok();
    number
        .filter(|port| digits && *port > 0)
        .ok_or(Refused::Port)
}

fn check_host(host: &str) -> std::result::Result<(), Refused> {
    if host.is_empty() {
        return Err(Refused::Empty);
    }
    if host.len() > LONGEST {
        return Err(Refused::Long);
    }
    if host.starts_with('-') {
        return Err(Refused::Dash);
    }
    if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Refused::Blank);
    }
    if host.contains('/') {
        return Err(Refused::Path);
    }
    let zone = is_ipv6(host);
    let odd = |c: &char| {
        FORBIDDEN.contains(*c)
            || (!c.is_ascii() && !c.is_alphanumeric())
            || (matches!(c, '[' | ']' | '@' | '%') && !zone)
    };
    if let Some(c) = host.chars().find(odd) {
        return Err(Refused::Character(c));
    }
    let numbers = host.split('.').collect::<Vec<_>>();
    let all_digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    // As for the system's resolver, a number that begins with 0 is octal.
    let is_byte = |part: &&str| match part.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u8::from_str_radix(octal, 8).is_ok(),
        _ => part.parse::<u8>().is_ok(),
    };
    if numbers.len() == 4 && numbers.iter().all(all_digits) && !numbers.iter().all(is_byte) {
        return Err(Refused::Numbers);
    }
    Ok(())
}

fn check_user(user: &str, in_uri: bool) -> std::result::Result<(), Refused> {
    if in_uri && user.contains(':') {
        return Err(Refused::Password);
    }
    if !is_user(user) {
        return Err(Refused::User);
    }
    Ok(())
}

/// Returns whether a text can be the name of a user. OpenSSH refuses the same
/// characters.
#[must_use]
pub fn is_user(user: &str) -> bool {
    !user.is_empty()
        && !user.starts_with('-')
        && !user.ends_with('\\')
        && !user
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "'`\";&<>|(){}".contains(c))
}

/// Decodes `%25` and the like in a URI.
fn decoded(part: &str, in_uri: bool) -> std::result::Result<String, Refused> {
    // A zone may also be written with a bare `%`.
    if !in_uri || (is_ipv6(part) && !part.contains("%25")) {
        return Ok(part.to_owned());
    }
    percent_encoding::percent_decode_str(part)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Refused::Blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_parsed() {
        for (text, user, host, port) in [
            ("web", "", "web", 0),
            ("web.example.com.", "", "web.example.com.", 0),
            ("my_host-1", "", "my_host-1", 0),
            ("büro", "", "büro", 0),
            ("10.0.0.7", "", "10.0.0.7", 0),
            ("127.1", "", "127.1", 0),
            ("admin@web", "admin", "web", 0),
            ("admin@web:2222", "admin", "web", 2222),
            ("web:22", "", "web", 22),
            ("joe@corp@web", "joe@corp", "web", 0),
            ("CORP\\joe@web", "CORP\\joe", "web", 0),
            ("::1", "", "::1", 0),
            ("[::1]", "", "::1", 0),
            ("[::1]:22", "", "::1", 22),
            ("admin@[2001:db8::7]:2222", "admin", "2001:db8::7", 2222),
            ("::ffff:10.0.0.7", "", "::ffff:10.0.0.7", 0),
            ("fe80::1%eth0", "", "fe80::1%eth0", 0),
            ("[fe80::1%eth0]:22", "", "fe80::1%eth0", 22),
            ("ssh://web", "", "web", 0),
            ("SSH://web/", "", "web", 0),
            ("ssh://admin@web:2222", "admin", "web", 2222),
            ("ssh://admin@web:2222/", "admin", "web", 2222),
            ("ssh://joe%40corp@web", "joe@corp", "web", 0),
            ("ssh://u@[fe80::1%25eth0]:22", "u", "fe80::1%eth0", 22),
            ("ssh://u@[fe80::1%eth0]:22", "u", "fe80::1%eth0", 22),
        ] {
            let parsed = Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let user = Some(user.to_owned()).filter(|user| !user.is_empty());
            let port = Some(port).filter(|port| *port > 0);
            let host = host.to_owned();
            assert_eq!(parsed, Address { host, user, port }, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty"),
            ("@web", "before `@`"),
            ("admin@", "empty"),
            (":22", "empty"),
            ("admin@:22", "empty"),
            ("web:", "port after `:` is missing"),
            ("web:0", "from 1 to 65535"),
            ("web:70000", "from 1 to 65535"),
            ("web:ssh", "from 1 to 65535"),
            ("web:+22", "from 1 to 65535"),
            ("web:22:33", "more than one `:`"),
            ("web:/etc/motd", "a path"),
            ("web:~/x", "a path"),
            ("10.0.0.0/24", "a path"),
            ("/etc/hosts", "a path"),
            ("http://web", "URL"),
            ("https://web:443/x", "URL"),
            ("ssh://web/path", "a path"),
            ("ssh://", "empty"),
            ("two words", "a space"),
            ("web\n", "a space"),
            ("\u{a0}web", "a space"),
            ("\u{feff}web", "contains `\\u{feff}`"),
            ("web\u{200b}", "contains `\\u{200b}`"),
            ("web\u{7}", "a space or a control"),
            ("-oProxyCommand=x", "begins with `-`"),
            ("a,b", "contains `,`"),
            ("web-*", "contains `*`"),
            ("$(id)", "contains `$`"),
            ("[::1", "brackets"),
            ("[web]:22", "brackets"),
            ("[::1]22", "brackets"),
            ("fe80::1%", "more than one `:`"),
            ("256.1.1.1", "IPv4"),
            ("10.0.0.1000", "IPv4"),
            ("0177.0.0.09", "IPv4"),
            ("my user@web", "before `@`"),
            ("-l@web", "before `@`"),
        ] {
            let error = Address::parse(text).expect_err(text);
            let shown = error.to_string();
            assert!(shown.contains(why), "{text}: {shown}");
            assert!(shown.contains("is not a host name or IP address"));
            assert!(error.hint.is_some() && !shown.contains('\n'), "{shown}");
        }
        let long = "x".repeat(256);
        assert!(Address::parse(&long).is_err());
        let error = Address::parse("ssh://admin:hunter22@web").unwrap_err();
        assert!(!error.to_string().contains("hunter22"));
    }
}
