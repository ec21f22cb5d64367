//! What the files of a machine are made of: its own disk, over the seed, over the
//! base layer.
//!
//! The base layer is what the host's packages consist of, the seed what differs
//! in every machine, so that a boot copies nothing. Neither is ever changed, and
//! nothing that a machine writes reaches a file of the host.

pub(super) mod accounts;
pub(super) mod base;
pub(super) mod image;
pub(super) mod in_use;
pub(super) mod overlay;
pub(super) mod package_settings;
pub(super) mod seed;
pub(super) mod standins;
