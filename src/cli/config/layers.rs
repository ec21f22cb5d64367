//! What a settings file contains, and how two files are combined.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::args::{OnError, OrNone};
use crate::cli::notify::Webhook;
use crate::error::Place;

/// The setting `ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LedgerPlace {
    /// The directory of the ledger on this machine.
    Directory(PathBuf),
    /// The URL of a shared ledger.
    Shared(String),
}

/// A value in a settings file, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Set<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// The settings of a file, or of several.
#[derive(Clone, Debug, Default)]
pub(super) struct FileSettings {
    pub(super) region: Option<Set<String>>,
    pub(super) profile: Option<Set<String>>,
    pub(super) role: Option<Set<String>>,
    pub(super) endpoint_url: Option<Set<Vec<String>>>,
    pub(super) ttl: Option<Set<OrNone<Duration>>>,
    pub(super) tags: BTreeMap<String, Set<String>>,
    pub(super) on_error: Option<Set<OnError>>,
    pub(super) again: Option<Set<bool>>,
    pub(super) notify: Option<Set<OrNone<Webhook>>>,
    pub(super) log_file: Option<Set<PathBuf>>,
    /// The file for `ssh -F`, or `none`. Only in the user's file.
    pub(super) ssh_config: Option<Set<PathBuf>>,
    /// Only in the user's file.
    pub(super) ledger: Option<Set<LedgerPlace>>,
}

impl FileSettings {
    /// Returns these settings, and those of `below` that these do not have.
    pub(super) fn over(self, below: Self) -> Self {
        // A role belongs to the profile of its file or of one below it.
        let role = below.role.filter(|_| self.profile.is_none());
        let mut tags = below.tags;
        tags.extend(self.tags);
        Self {
            tags,
            region: self.region.or(below.region),
            profile: self.profile.or(below.profile),
            role: self.role.or(role),
            endpoint_url: self.endpoint_url.or(below.endpoint_url),
            ttl: self.ttl.or(below.ttl),
            on_error: self.on_error.or(below.on_error),
            again: self.again.or(below.again),
            notify: self.notify.or(below.notify),
            log_file: self.log_file.or(below.log_file),
            ssh_config: self.ssh_config.or(below.ssh_config),
            ledger: self.ledger.or(below.ledger),
        }
    }
}
