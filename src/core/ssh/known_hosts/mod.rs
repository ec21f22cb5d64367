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
    /// The user's usual files.
    users: Vec<PathBuf>,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct Files {
    /// The files that have been read.
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
        let users = users.collect();
        let files = Files {
            all: Vec::new(),
            logged: HashSet::new(),
        };
        Self {
            report,
            users,
            files: Mutex::new(files),
        }
    }

    /// Looks up a host.
    pub(super) fn look_up(&self, host: &Host) -> Known {
        let settings = &host.settings;
        let usual_of_system = SYSTEM.map(PathBuf::from);
        let users = settings.known_hosts.as_ref().unwrap_or(&self.users);
        let system = match &settings.system_known_hosts {
            Some(files) => files.as_slice(),
            None => &usual_of_system,
        };
        let files = self.current(users.iter().chain(system));
        let (name, without_port) = match (&settings.host_key_alias, host.port) {
            (Some(alias), _) => (alias.to_ascii_lowercase(), None),
            (None, 22) => (name_of(&host.address), None),
            (None, port) => {
                let bare = name_of(&host.address);
                (format!("[{bare}]:{port}"), Some(bare))
            }
        };
        Known {
            entries: entries(&files, &name),
            files,
            without_port,
        }
    }

    /// Returns the current contents of these files. Concurrent callers wait
    /// while a file is read.
    fn current<'a>(
        &self,
        paths: impl Iterator<Item = &'a PathBuf>,
    ) -> Vec<(PathBuf, Arc<Content>)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Files { all, logged } = &mut *files;
        let mut current = Vec::new();
        for path in paths {
            let at = all.iter().position(|file| file.path == *path);
            let at = at.unwrap_or_else(|| {
                all.push(Cached::new(path.clone()));
                all.len() - 1
            });
            let file = &mut all[at];
            for (level, text) in file.refresh() {
                if !logged.contains(&text) {
                    self.report.log(level, text.clone());
                    logged.insert(text);
                }
            }
            current.push((path.clone(), Arc::clone(&file.content)));
        }
        current
    }
}
