//! `known_hosts`: looks up hosts as OpenSSH does.
//!
//! Parsing and matching follow OpenSSH's `hostfile.c` and `match.c` line by
//! line, even where that is surprising; tests/integration/known_hosts.rs
//! compares the results with those of `ssh`. Two differences are deliberate.
//! First, invalid lines are logged with their number, and so are files that
//! cannot be read. Second, host certificates are not verified, so a line with
//! `@cert-authority` leads to an error with a hint.
//!
//! The files are read once, and again only after the playbook, the user or
//! another run has changed them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::host::Host;
use crate::report::Reporter;
use files::{Cached, Content};
use known::entries;
use names::name_of;

mod algorithms;
mod files;
mod known;
mod lines;
mod names;

pub(super) use algorithms::algorithms;
pub(super) use known::{Known, Place, Verdict};

/// The system's files, which come after the user's.
const SYSTEM: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];

/// The `known_hosts` files of a run.
#[derive(Debug)]
pub(super) struct KnownHosts {
    report: Reporter,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    all: Vec<Cached>,
    /// The messages that were already logged.
    logged: HashSet<String>,
}

impl KnownHosts {
    /// Prepares the files of a user with this home directory and those of the
    /// system, without reading them.
    pub(super) fn new(home: Option<&Path>, report: Reporter) -> Self {
        let users = home.iter().flat_map(|home| {
            ["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name))
        });
        let paths = users.chain(SYSTEM.map(PathBuf::from));
        let files = Files {
            all: paths.map(Cached::new).collect(),
            logged: HashSet::new(),
        };
        Self {
            report,
            files: Mutex::new(files),
        }
    }

    /// Looks up a host.
    pub(super) fn look_up(&self, host: &Host) -> Known {
        let files = self.current();
        let bare = name_of(&host.address);
        let (name, without_port) = match host.port {
            22 => (bare, None),
            port => (format!("[{bare}]:{port}"), Some(bare)),
        };
        Known {
            entries: entries(&files, &name),
            files,
            without_port,
        }
    }

    /// Returns the current contents of the files. Concurrent callers wait while
    /// a file is read.
    fn current(&self) -> Vec<(PathBuf, Arc<Content>)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Files { all, logged } = &mut *files;
        for file in &mut *all {
            for (level, text) in file.refresh() {
                if !logged.contains(&text) {
                    self.report.log(level, text.clone());
                    logged.insert(text);
                }
            }
        }
        let current = all.iter();
        current
            .map(|file| (file.path.clone(), Arc::clone(&file.content)))
            .collect()
    }
}
