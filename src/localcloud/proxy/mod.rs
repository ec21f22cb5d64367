//! A forward proxy for HTTP and HTTPS, which is an instance's only access to the
//! internet.
//!
//! An instance does not have a route to the internet. The daemon serves this proxy
//! on a socket in the instance's network namespace. The proxy forwards to public
//! addresses on the ports 80 and 443 and to the package sources of the host, and
//! refuses everything else. It caches package files, so that the second instance
//! installs from the host's disk.

mod addresses;
mod body;
mod cache;
mod failure;
mod origin;
mod packages;
mod service;
mod sources;
mod store;
mod target;
mod tunnel;
mod upstream;

#[cfg(test)]
mod tests;

pub(crate) use service::{CACHE_LIMIT, Online, Proxy, Settings};
