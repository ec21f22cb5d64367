//! The files of OpenSSH's configuration, and a quick look for a line that may
//! apply.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::local::Local;

const SYSTEM: &str = "/etc/ssh/ssh_config";
const SYSTEM_PARTS: &str = "/etc/ssh/ssh_config.d";

/// Keywords that distributions put into the system's files, and that do not
/// matter here. A file with no other keyword does not apply to any host.
const WITHOUT_EFFECT: [&str; 8] = [
    "host",
    "match",
    "sendenv",
    "hashknownhosts",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "forwardx11",
    "forwardx11trusted",
];

/// Files that distributions include, and that do not matter here or are looked
/// at in any case.
const INCLUDED: [&str; 2] = [
    "/etc/ssh/ssh_config.d/*.conf",
    "/etc/crypto-policies/back-ends/openssh.config",
];

/// The files to ask ssh about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sources {
    /// The argument of `-F`; `None` means ssh's usual files.
    file: Option<PathBuf>,
    /// The files to look at before.
    looked_at: Vec<PathBuf>,
    /// Whether the playbook or the environment names the file, which must exist.
    named: bool,
}

impl Sources {
    /// Returns the files of a host: the one that the playbook names, the one
    /// that the environment names, or the usual ones.
    pub(super) fn of(file: Option<&Path>, local: &Local) -> Self {
        let named = file.or(local.ssh_config.as_deref());
        if let Some(named) = named {
            let is_none = named.as_os_str() == "none";
            return Self {
                file: Some(named.to_owned()),
                looked_at: Some(named.to_owned())
                    .filter(|_| !is_none)
                    .into_iter()
                    .collect(),
                named: !is_none,
            };
        }
        let mut parts: Vec<PathBuf> = std::fs::read_dir(SYSTEM_PARTS)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        parts.sort();
        let system = std::iter::once(PathBuf::from(SYSTEM)).chain(parts);
        let users = local.home.as_ref().map(|home| home.join(".ssh/config"));
        match users {
            // ssh takes the home directory from the list of users, not from
            // HOME, which has the keys and known_hosts files of autorun.
            Some(users) if has_other_home(local) => {
                let file = if users.exists() {
                    users
                } else {
                    PathBuf::from(SYSTEM)
                };
                Self {
                    looked_at: if file.as_path() == Path::new(SYSTEM) {
                        system.collect()
                    } else {
                        vec![file.clone()]
                    },
                    file: Some(file),
                    named: false,
                }
            }
            users => Self {
                file: None,
                looked_at: users.into_iter().chain(system).collect(),
                named: false,
            },
        }
    }

    /// Returns the arguments of ssh that name the file.
    pub(super) fn arguments(&self) -> Vec<String> {
        let file = self.file.iter();
        file.flat_map(|file| ["-F".to_owned(), file.display().to_string()])
            .collect()
    }

    /// Returns the first file with a line that may apply to a host.
    ///
    /// Throws `not_found`, `denied` if a named file cannot be read.
    pub(super) fn first_that_may_apply(&self) -> Result<Option<PathBuf>> {
        for path in &self.looked_at {
            match std::fs::read(path) {
                Ok(bytes) if may_apply(&String::from_utf8_lossy(&bytes)) => {
                    return Ok(Some(path.clone()));
                }
                Ok(_) => {}
                Err(e) if self.named => {
                    return Err(Error::io("read the ssh configuration", path, &e).hint(
                        "`ssh_config` of host() and AUTORUN_SSH_CONFIG name a file in the format of \
                         ~/.ssh/config",
                    ));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                // Let ssh report why it cannot read the file.
                Err(_) => return Ok(Some(path.clone())),
            }
        }
        Ok(None)
    }
}

/// Returns whether a line may apply to a host. This does not parse the file: any
/// line counts, unless distributions have it in their files.
fn may_apply(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        let end = line.find(|c: char| c.is_whitespace() || c == '=');
        let (word, rest) = line.split_at(end.unwrap_or(line.len()));
        let word = word.to_ascii_lowercase();
        match word.as_str() {
            "" => false,
            comment if comment.starts_with('#') => false,
            "include" => !INCLUDED.contains(&rest.trim()),
            word => !WITHOUT_EFFECT.contains(&word),
        }
    })
}

/// Returns whether HOME is not the home directory of this process's user.
fn has_other_home(local: &Local) -> bool {
    let (Some(home), Some(own)) = (&local.home, own_home()) else {
        return false;
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(home) != real(&own)
}

/// Returns the home directory of this process's user, if `/etc/passwd` has it.
fn own_home() -> Option<PathBuf> {
    let id = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&id.as_str())).then(|| fields.get(5).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_distributions_do_not_apply_to_any_host() {
        let debian = "# comment\n\nInclude /etc/ssh/ssh_config.d/*.conf\n\nHost *\n\
            #   Port 22\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n    \
            GSSAPIAuthentication yes\n";
        let fedora = "Match final all\n\tInclude /etc/crypto-policies/back-ends/openssh.config\n\
            \tForwardX11Trusted yes\n\tSendEnv XMODIFIERS\n";
        for text in ["", "#Port 1\n", "Host web\n", debian, fedora] {
            assert!(!may_apply(text), "{text}");
        }
        for text in [
            "Host web\n\tHostName 10.0.0.7",
            "User=admin",
            "port 2222",
            "Include work.d/*",
            "  ProxyJump bastion # comment",
            "broken",
        ] {
            assert!(may_apply(text), "{text}");
        }
    }

    #[test]
    fn the_playbook_precedes_the_environment_and_none_means_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut local = Local {
            home: Some(dir.path().to_owned()),
            ..Local::default()
        };
        // HOME is another one than that of the user, and has no file.
        let system = Sources::of(None, &local);
        assert_eq!(system.arguments(), ["-F", SYSTEM]);
        let own = dir.path().join(".ssh/config");
        std::fs::create_dir(dir.path().join(".ssh")).unwrap();
        std::fs::write(&own, "User x\n").unwrap();
        let found = Sources::of(None, &local).first_that_may_apply().unwrap();
        assert_eq!(found.as_deref(), Some(own.as_path()));
        local.ssh_config = Some("none".into());
        let none = Sources::of(None, &local);
        assert_eq!(none.first_that_may_apply().unwrap(), None);
        let named = Sources::of(Some(&dir.path().join("nosuch")), &local);
        assert!(named.first_that_may_apply().is_err());
    }
}
