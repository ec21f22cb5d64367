//! `known_hosts`: what it says of a host, as OpenSSH reads it.
//!
//! Parsing and matching follow OpenSSH's `hostfile.c` and `match.c` line by
//! line, also where that is surprising; tests/integration/known_hosts.rs asks
//! `ssh` itself. Two things differ by decision: a line that does not count is
//! logged with its number, and so is a file that cannot be read; and host
//! certificates are not verified, so that a line with `@cert-authority` leads to
//! an error that says what to do.
//!
//! The files are read once, and again only when they have changed: by the
//! playbook, by the user, by another run.

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

/// Names of files of the system, which count after the user's.
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
    /// What the log says of them already.
    said: HashSet<String>,
}

impl KnownHosts {
    /// Those of a user with this home directory, and the system's. Nothing is
    /// read yet.
    pub(super) fn new(home: Option<&Path>, report: Reporter) -> Self {
        let users = home.iter().flat_map(|home| {
            ["known_hosts", "known_hosts2"].map(|name| home.join(".ssh").join(name))
        });
        let paths = users.chain(SYSTEM.map(PathBuf::from));
        let files = Files {
            all: paths.map(Cached::new).collect(),
            said: HashSet::new(),
        };
        Self {
            report,
            files: Mutex::new(files),
        }
    }

    /// What is said of a host.
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

    /// The files as they are now. Whoever comes while one is read waits for it.
    fn current(&self) -> Vec<(PathBuf, Arc<Content>)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Files { all, said } = &mut *files;
        for file in &mut *all {
            for (level, text) in file.refresh() {
                if !said.contains(&text) {
                    self.report.log(level, text.clone());
                    said.insert(text);
                }
            }
        }
        let current = all.iter();
        current
            .map(|file| (file.path.clone(), Arc::clone(&file.content)))
            .collect()
    }
}
