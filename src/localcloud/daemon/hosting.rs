//! Prepares for machines, and says what this computer can do for them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::network_record::NetworkRecord;
use super::settings::{SETTINGS, base_settings};
use crate::ec2::{Machines, Store};
use crate::home::Home;
pub use crate::machine::Check;
use crate::machine::{self, Runtime, RuntimeSettings, System};
use crate::proxy::{self, Proxy};

/// The machines of this cloud, before EC2 has them.
pub(super) struct Hosting {
    runtime: Runtime,
    proxy: Proxy,
    system: String,
}

impl Hosting {
    /// Waits until machines can boot: what is private is hidden, and packages
    /// are asked about once in 12 hours.
    pub(super) async fn until_ready(&self) -> Result<(), String> {
        self.runtime.until_ready().await.map_err(|e| e.to_string())
    }

    /// The address of the host in the network of machines.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.runtime.gateway()
    }

    pub(super) fn subnet(&self) -> Ipv4Net {
        self.runtime.subnet()
    }

    /// What machines run.
    pub(super) fn system(&self) -> String {
        self.system.clone()
    }

    /// How many packages this computer is behind on.
    pub(super) fn held_packages(&self) -> Option<usize> {
        self.runtime.held_packages()
    }

    /// What nothing limits.
    pub(super) fn unlimited(&self) -> Vec<&'static str> {
        self.runtime.unlimited()
    }

    /// Lets EC2's records decide about the machines from here on.
    pub(super) fn hand_over(self, store: &Arc<Store>) -> Machines {
        Machines::begin(self.runtime, self.proxy, Arc::clone(store))
    }
}

/// Prepares for machines, where there can be any.
pub(super) async fn begin(
    home: &Home,
    before: &NetworkRecord,
    port: u16,
) -> Result<Option<Hosting>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let runtime = Runtime::start(RuntimeSettings {
        state_dir: home.state.clone(),
        binary: home.state.join("autorun"),
        endpoint_port: port,
        subnet: before.subnet.as_deref().and_then(|net| net.parse().ok()),
        base: base_settings(Path::new(SETTINGS))?,
    })
    .await
    .map_err(|e| e.to_string())?;
    let proxy = Proxy::new(proxy_settings(&home.state))
        .map_err(|e| format!("cannot set up the instances' proxy: {e}"))?;
    let system = System::of_host().name;
    Ok(Some(Hosting {
        runtime,
        proxy,
        system,
    }))
}

/// What this computer can do for instances.
///
/// # Errors
/// When the administrator's settings cannot be used, in words for the user.
pub fn checks() -> Result<Vec<Check>, String> {
    let settings = base_settings(Path::new(SETTINGS))?;
    Ok(machine::checks(&settings))
}

fn proxy_settings(state: &Path) -> proxy::Settings {
    let variable = |name: &str| {
        let upper = name.to_uppercase();
        [name, &upper]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    proxy::Settings {
        cache_dir: state.join("packages"),
        cache_limit: proxy::CACHE_LIMIT,
        upstream: variable("http_proxy"),
        upstream_https: variable("https_proxy"),
        no_proxy: variable("no_proxy").unwrap_or_default(),
        package_sources: Proxy::package_sources_of_host(),
    }
}
