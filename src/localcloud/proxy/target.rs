//! The target of a request, and whether instances may reach it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::http::uri::Authority;
use tokio::sync::Semaphore;

use super::addresses;
use super::failure::Failure;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// The host in lower case. An IPv6 address has no brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    pub(super) fn new(authority: &Authority, default_port: Option<u16>) -> Result<Self, Failure> {
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()),
            None => default_port,
        };
        match port {
            Some(port) if !host.is_empty() && !authority.as_str().contains('@') => Ok(Self {
                host: host.trim_end_matches('.').to_ascii_lowercase(),
                port,
            }),
            _ => Err(Failure::invalid(format!(
                "`{host}` is not a host and a port"
            ))),
        }
    }

    /// Returns the host as an IP address, if it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How long a DNS look-up may take if the upstream proxy connects to the target
/// and the result only serves to check the address.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a DNS look-up may take if this proxy connects to the target.
const FIND_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of concurrent look-ups. Each occupies a thread of the pool
/// that also reads and writes files.
const LOOK_UPS: usize = 64;

/// The maximum number of targets that are remembered.
const MAX_REMEMBERED: usize = 4096;

/// How long a target behind the upstream proxy is allowed without another look-up.
/// On a host without DNS every look-up takes until its timeout.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Decides which targets instances may reach.
pub(super) struct Policy {
    /// `host` or `host:port` of the package sources.
    sources: Vec<String>,
    /// When targets behind the upstream proxy were allowed.
    allowed: Mutex<HashMap<Target, Instant>>,
    turns: Arc<Semaphore>,
}

impl Policy {
    pub(super) fn new(sources: &[String]) -> Self {
        let sources = sources.iter().map(|source| source.to_ascii_lowercase());
        Self {
            sources: sources.collect(),
            allowed: Mutex::default(),
            turns: Arc::new(Semaphore::new(LOOK_UPS)),
        }
    }

    /// Returns the addresses of a target. Fails if instances may not reach one of
    /// them.
    pub(super) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Failure> {
        self.check_port(target)?;
        let host = &target.host;
        let looking = tokio::time::timeout(FIND_TIMEOUT, self.look_up(target));
        let found: Vec<_> = match looking.await {
            Ok(Ok(found)) => found,
            Ok(Err(e)) => {
                return Err(Failure::unreachable(format!("cannot find `{host}`: {e}")));
            }
            Err(_) => {
                let reason = format!("cannot find `{host}`: no answer");
                return Err(Failure::timeout(reason));
            }
        };
        self.check_addresses(target, found.iter().map(SocketAddr::ip))?;
        Ok(found)
    }

    /// Checks a target to which the upstream proxy connects. A name that cannot be
    /// looked up here is allowed, because the upstream proxy may know it.
    pub(super) async fn check_for_upstream(&self, target: &Target) -> Result<(), Failure> {
        self.check_port(target)?;
        if let Some(address) = target.address() {
            return self.check_addresses(target, [address].into_iter());
        }
        if self.was_allowed(target) {
            return Ok(());
        }
        let looking = tokio::time::timeout(LOOK_UP_TIMEOUT, self.look_up(target));
        if let Ok(Ok(found)) = looking.await {
            let found: Vec<_> = found.iter().map(SocketAddr::ip).collect();
            self.check_addresses(target, found.into_iter())?;
        } else if target.host == "localhost" || target.host.ends_with(".localhost") {
            return Err(refused(target, "loopback"));
        }
        let mut allowed = self.allowed();
        if allowed.len() < MAX_REMEMBERED {
            allowed.insert(target.clone(), Instant::now());
        }
        Ok(())
    }

    /// Looks up a target with the system's resolver. The look-up occupies a thread
    /// until the resolver answers, even if the caller stops waiting. It therefore
    /// holds its permit until then.
    async fn look_up(&self, target: &Target) -> io::Result<Vec<SocketAddr>> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(io::Error::other)?;
        let place = (target.host.clone(), target.port);
        let looking = tokio::spawn(async move {
            let found = tokio::net::lookup_host(place).await;
            drop(turn);
            found.map(Iterator::collect)
        });
        looking.await.map_err(io::Error::other)?
    }

    fn was_allowed(&self, target: &Target) -> bool {
        let mut allowed = self.allowed();
        allowed.retain(|_, when| when.elapsed() < REMEMBERED);
        allowed.contains_key(target)
    }

    fn allowed(&self) -> std::sync::MutexGuard<'_, HashMap<Target, Instant>> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_port(&self, target: &Target) -> Result<(), Failure> {
        if matches!(target.port, 80 | 443) || self.is_source(target) {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "instances may only reach the ports 80 and 443, not {}",
            target.port
        )))
    }

    fn check_addresses(
        &self,
        target: &Target,
        found: impl Iterator<Item = IpAddr>,
    ) -> Result<(), Failure> {
        if self.is_source(target) {
            return Ok(());
        }
        // If the host's addresses are unknown, no target is safe.
        let own = addresses::host_addresses().map_err(|e| Failure::internal(e.to_string()))?;
        for address in found {
            if let Some(reason) = addresses::refusal(address, &own) {
                return Err(refused(target, reason));
            }
        }
        Ok(())
    }

    fn is_source(&self, target: &Target) -> bool {
        self.sources.iter().any(|source| {
            *source == target.to_string()
                || (*source == target.host && matches!(target.port, 80 | 443))
        })
    }
}

fn refused(target: &Target, reason: &str) -> Failure {
    Failure::refused(format!(
        "instances may only reach public addresses; `{}` is {reason}",
        target.host
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::new(&text.parse().unwrap(), Some(80)).unwrap()
    }

    async fn status(policy: &Policy, text: &str) -> Option<u16> {
        let failure = policy.addresses(&target(text)).await.err()?;
        Some(failure.status.as_u16())
    }

    #[test]
    fn targets_are_hosts_and_ports() {
        assert_eq!(target("Deb.Debian.org").to_string(), "deb.debian.org:80");
        assert_eq!(target("[::1]:443").to_string(), "[::1]:443");
        for text in ["user@example.com", "user:pass@example.com:80"] {
            assert!(Target::new(&text.parse().unwrap(), Some(80)).is_err());
        }
        assert!(Target::new(&"example.com".parse().unwrap(), None).is_err());
    }

    #[tokio::test]
    async fn private_targets_and_odd_ports_are_refused() {
        let policy = Policy::new(&[]);
        for text in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "169.254.169.254",
            "8.8.8.8:22",
            // Spellings that the system's resolver accepts as addresses.
            "2130706433",
            "127.1",
            "0x7f.1",
        ] {
            assert_eq!(status(&policy, text).await, Some(403), "{text}");
        }
        assert_eq!(status(&policy, "8.8.8.8:443").await, None);
    }

    #[tokio::test]
    async fn sources_may_be_private() {
        let policy = Policy::new(&["10.1.1.1".into(), "127.0.0.1:3142".into()]);
        assert_eq!(status(&policy, "10.1.1.1").await, None);
        assert_eq!(status(&policy, "10.1.1.1:8080").await, Some(403));
        assert_eq!(status(&policy, "127.0.0.1:3142").await, None);
        assert_eq!(status(&policy, "127.0.0.1:80").await, Some(403));
    }
}
