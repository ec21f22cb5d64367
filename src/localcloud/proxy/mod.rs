//! The only way out of an instance: a forward proxy for http and https.
//!
//! An instance has no route to the world. It has this proxy on a socket in its
//! own network namespace, served here, in the daemon: public addresses on the
//! ports 80 and 443, the configured package sources, and nothing else. Package
//! files are kept, so that the second instance installs from this machine.

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

pub(crate) use service::{CACHE_LIMIT, Proxy, Settings};
