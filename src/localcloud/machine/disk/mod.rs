//! What the files of a machine are made of: its own layer over the seed over
//! the host's files.
//!
//! The seed is a layer in memory, made once by the zygote. It hides what is
//! private to the host and holds all that differs in a machine, so that a boot
//! copies nothing.

pub(super) mod accounts;
pub(super) mod in_use;
pub(super) mod layers;
pub(super) mod masks;
pub(super) mod package_settings;
pub(super) mod seed;
pub(super) mod standins;
