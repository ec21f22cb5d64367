//! The settings files: the user's `~/.config/autorun/config.toml`, and
//! `autorun.toml` beside a playbook.
//!
//! In order of precedence: the command line, the environment, `autorun.toml`,
//! the user's file, the default. `autorun settings` shows which value counts.

pub(super) use merge::Settings;
pub(super) use show::show;
pub(super) use user::{ledger, shared_ledger, ssh_config};

mod access;
mod environment;
mod file;
mod layers;
mod merge;
mod show;
mod user;
