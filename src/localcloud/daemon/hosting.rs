//! Prepares the runtime for instances and reports what this machine can do for
//! them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::network_record::NetworkRecord;
use super::settings::{SETTINGS, base_settings};
use crate::ec2::{Machines, Store};
use crate::home::Home;
pub use crate::machine::Check;
use crate::machine::{self, Runtime, RuntimeSettings, System};
use crate::proxy::{self, Proxy};

/// The runtime of this cloud's instances, before EC2's records control it.
pub(super) struct Hosting {
    runtime: Runtime,
    proxy: Proxy,
    system: String,
}

impl Hosting {
    /// Waits until instances can boot: until their common files are written and
    /// the outdated packages are known, which are determined at most once in 12
    /// hours.
    pub(super) async fn until_ready(&self) -> Result<(), String> {
        self.runtime.until_ready().await.map_err(|e| e.to_string())
    }

    /// Returns the host's address in the network of the instances.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.runtime.gateway()
    }

    pub(super) fn subnet(&self) -> Ipv4Net {
        self.runtime.subnet()
    }

    /// Returns the name of the operating system that the instances run.
    pub(super) fn system(&self) -> String {
        self.system.clone()
    }

    /// Returns the number of installed packages that have newer versions.
    pub(super) fn held_packages(&self) -> Option<usize> {
        self.runtime.held_packages()
    }

    /// Returns the names of the resources that no cgroup limits.
    pub(super) fn unlimited(&self) -> Vec<&'static str> {
        self.runtime.unlimited()
    }

    /// Hands the instances over to EC2, whose records control them from then
    /// on.
    pub(super) fn hand_over(self, store: &Arc<Store>) -> Machines {
        Machines::begin(self.runtime, self.proxy, Arc::clone(store))
    }
}

/// Prepares the runtime. `packages` is the directory for the package files that
/// instances download. Returns `None` without root, as there are no instances
/// then.
pub(super) async fn begin(
    home: &Home,
    previous: &NetworkRecord,
    port: u16,
    packages: PathBuf,
) -> Result<Option<Hosting>, String> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    if packages != home.packages() {
        machine::adopt_packages(&packages, &home.packages());
    }
    let runtime = Runtime::start(RuntimeSettings {
        state_dir: home.state.clone(),
        binary: home.state.join("autorun"),
        endpoint_port: port,
        subnet: previous.subnet.as_deref().and_then(|net| net.parse().ok()),
        base: base_settings(Path::new(SETTINGS))?,
    })
    .await
    .map_err(|e| e.to_string())?;
    let proxy = Proxy::new(proxy_settings(packages))
        .map_err(|e| format!("cannot set up the instances' proxy: {e}"))?;
    let system = System::of_host().name;
    Ok(Some(Hosting {
        runtime,
        proxy,
        system,
    }))
}

/// Checks what this machine can do for instances.
///
/// # Errors Fails if the administrator's settings are unusable; the text is for
/// the user.
pub fn checks() -> Result<Vec<Check>, String> {
    let settings = base_settings(Path::new(SETTINGS))?;
    Ok(machine::checks(&settings))
}

fn proxy_settings(packages: PathBuf) -> proxy::Settings {
    let variable = |name: &str| {
        let upper = name.to_uppercase();
        [name, &upper]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    proxy::Settings {
        cache_dir: packages,
        cache_limit: proxy::CACHE_LIMIT,
        upstream: variable("http_proxy"),
        upstream_https: variable("https_proxy"),
        no_proxy: variable("no_proxy").unwrap_or_default(),
        package_sources: Proxy::package_sources_of_host(),
    }
}
