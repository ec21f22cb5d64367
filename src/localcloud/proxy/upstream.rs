//! The upstream proxy: the proxy through which the host reaches the internet.

use std::fmt;
use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use super::target::Target;

/// An upstream proxy. Only the upstream proxy itself receives its credentials.
pub(super) struct Upstream {
    pub(super) proxy: Target,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Parses the value of `http_proxy`. An empty value means that there is no
    /// upstream proxy.
    pub(super) fn parse(name: &str, value: Option<&str>) -> io::Result<Option<Self>> {
        let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        // The error does not contain the value, which may contain a password.
        let invalid = |reason: &str| {
            let reason = format!("cannot use the proxy in {name}: {reason}");
            io::Error::new(io::ErrorKind::InvalidInput, reason)
        };
        let rest = match value.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(invalid("the URL must begin with http://")),
            None => value,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        let place: Uri = place
            .parse()
            .map_err(|_| invalid("the URL has no valid host"))?;
        let proxy = place
            .authority()
            .and_then(|authority| Target::new(authority, Some(80)).ok())
            .ok_or_else(|| invalid("the URL has no valid host"))?;
        let authorization = credentials.map(authorization).transpose();
        Ok(Some(Self {
            proxy,
            authorization: authorization.map_err(|()| invalid("the credentials are not text"))?,
        }))
    }
}

fn authorization(credentials: &str) -> Result<HeaderValue, ()> {
    let encoded = STANDARD.encode(percent_decode_str(credentials).collect::<Vec<_>>());
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The hosts that are reached without the upstream proxy, from `no_proxy`.
pub(super) struct Exceptions(Vec<String>);

impl Exceptions {
    pub(super) fn parse(list: &str) -> Self {
        let entries = list.split([',', ' ', '\t']).map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty());
        Self(entries.map(str::to_ascii_lowercase).collect())
    }

    pub(super) fn contain(&self, target: &Target) -> bool {
        self.0.iter().any(|entry| matches(entry, target))
    }
}

fn matches(entry: &str, target: &Target) -> bool {
    if entry == "*" || entry == target.host || entry == target.to_string() {
        return true;
    }
    if let (Some(address), Ok(net)) = (target.address(), entry.parse::<IpNet>()) {
        return net.contains(&address);
    }
    if target.address().is_some() || entry.parse::<IpAddr>().is_ok() {
        return false;
    }
    let domain = entry.trim_start_matches('*').trim_start_matches('.');
    match target.host.strip_suffix(domain) {
        Some(front) => !domain.is_empty() && (front.is_empty() || front.ends_with('.')),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> io::Result<Option<Upstream>> {
        Upstream::parse("http_proxy", Some(value))
    }

    #[test]
    fn urls_with_and_without_credentials_are_parsed() {
        let plain = parse("proxy.example.com:3128").unwrap().unwrap();
        assert_eq!(plain.proxy.to_string(), "proxy.example.com:3128");
        assert!(plain.authorization.is_none());
        let full = parse("http://me:p%40ss@10.0.0.1/").unwrap().unwrap();
        assert_eq!(full.proxy.to_string(), "10.0.0.1:80");
        assert_eq!(full.authorization.as_ref().unwrap(), "Basic bWU6cEBzcw==");
        assert!(!format!("{full:?}").contains("bWU6"));
        assert!(parse("").unwrap().is_none());
    }

    #[test]
    fn the_error_for_another_kind_of_proxy_does_not_contain_its_secret() {
        let error = parse("socks5://me:secret@10.0.0.1").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn exceptions_are_domains_hosts_and_networks() {
        let exceptions = Exceptions::parse("localhost, .corp.example,example.org,10.0.0.0/8,h:81");
        let has = |text: &str| {
            let target = Target::new(&text.parse().unwrap(), Some(80)).unwrap();
            exceptions.contain(&target)
        };
        assert!(has("localhost") && has("a.corp.example") && has("corp.example"));
        assert!(has("www.example.org") && has("10.2.3.4") && has("h:81"));
        assert!(!has("myexample.org") && !has("11.0.0.1") && !has("h") && !has("example.com"));
    }
}
