//! The files of a machine, in three layers: its own disk, the seed, the base
//! layer.
//!
//! The base layer contains the files of the host's packages, the seed what
//! differs in every machine, so that a boot copies nothing. Neither ever
//! changes, and no write in a machine reaches a file of the host.

pub(super) mod accounts;
pub(super) mod base;
pub(super) mod image;
pub(super) mod in_use;
pub(super) mod overlay;
pub(super) mod package_settings;
pub(super) mod seed;
pub(super) mod standins;
