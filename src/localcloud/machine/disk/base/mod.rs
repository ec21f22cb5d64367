//! The base layer of instances: the files of the host's installed packages, in
//! a separate directory.
//!
//! It contains the world-readable files of packages and a fixed list of
//! generated files. No other file of the host, present or future, is visible in
//! it. It is built once, never changes, and exists as long as a disk uses it.
//! When packages change, a new base layer is built beside it. All local clouds
//! of a host share the base layers.

mod bases;
mod generated;
mod packages;
mod settings;
mod sources;
mod writer;

pub(crate) use self::settings::BaseSettings;
pub(in super::super) use bases::{Bases, packages_are_known};
