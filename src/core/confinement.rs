//! The addresses that a rehearsal may connect to: its local cloud, and the
//! instances there.

use crate::error::{Error, Result};
use crate::ssh::Host;

/// A network of IPv4 addresses, for example `10.77.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u32,
    bits: u32,
}

impl Network {
    /// Parses a network; returns `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: std::net::Ipv4Addr = address.parse().ok()?;
        let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
        Some(Self {
            address: address.into(),
            bits,
        })
    }

    /// Returns whether an address is in the network.
    #[must_use]
    pub fn contains(self, address: std::net::Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
        u32::from(address) & mask == self.address & mask
    }
}

/// The network of a rehearsal.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// The network of the instances; `None` if they do not boot.
    network: Option<Network>,
    /// The URL of the local cloud.
    cloud: String,
}

impl Confinement {
    /// Creates the network of a rehearsal whose local cloud has the URL `cloud`.
    #[must_use]
    pub fn new(network: Option<Network>, cloud: &str) -> Self {
        Self {
            network,
            cloud: cloud.to_owned(),
        }
    }

    /// Returns whether the rehearsal has instances that boot.
    #[must_use]
    pub fn has_instances(&self) -> bool {
        self.network.is_some()
    }

    /// Returns whether a host and its jump hosts are instances of the rehearsal.
    #[must_use]
    pub fn has_host(&self, host: &Host) -> bool {
        let own = self.has_address(&host.address) && !host.has_proxy();
        own && host.via.as_deref().is_none_or(|via| self.has_host(via))
    }

    /// Returns whether a URL is of the local cloud or of one of its instances.
    #[must_use]
    pub fn has_url(&self, url: &str) -> bool {
        let (Ok(url), Ok(cloud)) = (url::Url::parse(url), url::Url::parse(&self.cloud)) else {
            return false;
        };
        let is_cloud = url.origin() == cloud.origin();
        is_cloud || url.host_str().is_some_and(|host| self.has_address(host))
    }

    fn has_address(&self, address: &str) -> bool {
        let address = address.parse();
        let network = self.network;
        network.is_some_and(|network| address.is_ok_and(|address| network.contains(address)))
    }

    pub fn check_host(&self, host: &Host) -> Result<()> {
        if self.has_host(host) {
            return Ok(());
        }
        Err(outside(&host.address))
    }

    pub fn check_url(&self, url: &str) -> Result<()> {
        if self.has_url(url) {
            return Ok(());
        }
        Err(outside(url))
    }
}

/// The error of a function that forgot to ask before it connects.
fn outside(what: &str) -> Error {
    Error::internal(format!(
        "the rehearsal was about to connect to {what}, which is outside of it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cloud_and_its_instances_are_inside() {
        let network = Network::parse("10.77.0.0/20");
        let inside = Confinement::new(network, "http://10.77.0.1:4577");
        for (url, is_inside) in [
            ("http://10.77.0.1:4577/bucket/key", true),
            ("http://10.77.1.4:8080/", true),
            ("http://10.78.1.4/", false),
            ("http://127.0.0.1:4577/", false),
            ("https://example.com/", false),
            ("http://10.77.1.4.example.com/", false),
            ("http://10.77.1.4@example.com/", false),
            ("nonsense", false),
        ] {
            assert_eq!(inside.has_url(url), is_inside, "{url}");
        }
        let records = Confinement::new(None, "http://127.0.0.1:4577");
        assert!(records.has_url("http://127.0.0.1:4577/bucket"));
        assert!(!records.has_url("http://127.0.0.1:80/"));
        assert!(!records.has_url("http://172.31.0.4/"));
    }
}
