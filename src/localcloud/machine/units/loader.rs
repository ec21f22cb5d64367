//! Finds unit files: search path, aliases, templates, drop-ins, init scripts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::super::files;
use super::file::UnitFile;

/// The search path. The first directory with the file wins.
const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// The search path for the units of users' managers.
const USER_DIRECTORIES: [&str; 4] = [
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
];

/// The longest chain of aliases.
const LONGEST_CHAIN: usize = 8;

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Unit(Unit),
    Masked,
    Missing,
}

/// A unit with a file or an init script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The unit's own name, not an alias.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) file: UnitFile,
}

/// Finds and reads units.
#[derive(Clone, Debug)]
pub(super) struct Loader {
    directories: Vec<PathBuf>,
    init_scripts: PathBuf,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            directories: DIRECTORIES.iter().map(PathBuf::from).collect(),
            init_scripts: PathBuf::from("/etc/init.d"),
        }
    }
}

impl Loader {
    /// Finds the unit files of all users' managers.
    pub(super) fn of_users() -> Self {
        Self {
            directories: USER_DIRECTORIES.iter().map(PathBuf::from).collect(),
            init_scripts: PathBuf::new(),
        }
    }

    /// The directory of the administrator's units and links.
    pub(super) fn administrator(&self) -> &Path {
        &self.directories[0]
    }

    /// Finds a unit by its full name.
    pub(super) fn find(&self, name: &str) -> io::Result<Found> {
        if name.contains('/') {
            return Ok(Found::Missing);
        }
        let mut name = name.to_owned();
        for _ in 0..LONGEST_CHAIN {
            let Some(path) = self.path_of(&name) else {
                return Ok(self.init_script(&name));
            };
            match fs::read_link(&path) {
                Ok(target) if target == Path::new("/dev/null") => return Ok(Found::Masked),
                Ok(target) if is_alias(&target, &path) => name = file_name(&target),
                _ => return self.load(name, path),
            }
        }
        Ok(Found::Missing)
    }

    /// Returns the names of all units with files, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = self.directories.iter().flat_map(files::entries);
        let names = entries.map(|entry| file_name(&entry.path()));
        let mut names: Vec<_> = names.filter(|name| is_unit(name)).collect();
        names.sort();
        names.dedup();
        names
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        let candidates = [Some(name.to_owned()), template(name)];
        let mut paths = candidates.into_iter().flatten().flat_map(|name| {
            let at = move |directory: &PathBuf| directory.join(&name);
            self.directories.iter().map(at)
        });
        paths.find(|path| path.symlink_metadata().is_ok_and(|found| !found.is_dir()))
    }

    fn load(&self, name: String, path: PathBuf) -> io::Result<Found> {
        let mut file = UnitFile::default();
        let text = files::read(&path, files::MOST).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot read {}: {error}", path.display()),
            )
        })?;
        file.merge(&String::from_utf8_lossy(&text));
        for drop_in in self.drop_ins(&name) {
            file.merge(&String::from_utf8_lossy(&files::read(
                drop_in,
                files::MOST,
            )?));
        }
        Ok(Found::Unit(Unit { name, path, file }))
    }

    /// Returns the drop-ins sorted by name. If several directories have a name,
    /// the first one wins.
    fn drop_ins(&self, name: &str) -> Vec<PathBuf> {
        let mut found = BTreeMap::new();
        let names = [template(name), Some(name.to_owned())];
        for name in names.into_iter().flatten() {
            for directory in self.directories.iter().rev() {
                for entry in files::entries(directory.join(format!("{name}.d"))) {
                    let path = entry.path();
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "conf")
                    {
                        found.insert(file_name(&path), path);
                    }
                }
            }
        }
        found.into_values().collect()
    }

    /// Returns a service that wraps an init script.
    fn init_script(&self, name: &str) -> Found {
        let Some(stem) = name.strip_suffix(".service") else {
            return Found::Missing;
        };
        let path = self.init_scripts.join(stem);
        if !path.is_file() {
            return Found::Missing;
        }
        let script = path.display();
        let mut file = UnitFile::default();
        // These variables keep the scripts of Debian and Red Hat from calling
        // systemctl.
        file.merge(&format!(
            "[Unit]\nDescription=LSB: {stem}\n[Service]\nType=forking\nRemainAfterExit=yes\n\
             Environment=_SYSTEMCTL_SKIP_REDIRECT=1 SYSTEMCTL_SKIP_REDIRECT=1\n\
             ExecStart={script} start\nExecStop={script} stop\nExecReload={script} reload\n\
             [Install]\nWantedBy=multi-user.target\n"
        ));
        let name = name.to_owned();
        Found::Unit(Unit { name, path, file })
    }
}

/// Returns the full name of a unit.
pub(in super::super) fn full_name(name: &str) -> String {
    if is_unit(name) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Returns the last component of a path.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn is_unit(name: &str) -> bool {
    const KINDS: [&str; 10] = [
        "service",
        "socket",
        "target",
        "timer",
        "path",
        "mount",
        "automount",
        "swap",
        "slice",
        "device",
    ];
    let kind = name.rsplit_once('.').map(|(_, kind)| kind);
    kind.is_some_and(|kind| KINDS.contains(&kind))
}

fn template(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_once('@')?;
    let (_, kind) = rest.rsplit_once('.')?;
    Some(format!("{prefix}@.{kind}"))
}

/// Whether a link is an alias. A link to a file of the same name is just the
/// location.
fn is_alias(target: &Path, link: &Path) -> bool {
    let (target, link) = (file_name(target), file_name(link));
    target != link && Some(target.as_str()) != template(&link).as_deref() && is_unit(&target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn units_are_found_as_by_systemd() {
        let place = tempfile::tempdir().unwrap();
        let [etc, lib, init] = ["etc", "lib", "init.d"].map(|name| place.path().join(name));
        for directory in [&etc, &lib, &init, &etc.join("web.service.d")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(lib.join("web.service"), "[Service]\nExecStart=/a\n").unwrap();
        fs::write(etc.join("web.service.d/x.conf"), "[Service]\nUser=me\n").unwrap();
        fs::write(lib.join("worker@.service"), "[Service]\nExecStart=/w %i\n").unwrap();
        fs::write(init.join("old"), "").unwrap();
        symlink("/dev/null", etc.join("masked.service")).unwrap();
        symlink(lib.join("web.service"), etc.join("httpd.service")).unwrap();
        let loader = Loader {
            directories: vec![etc, lib],
            init_scripts: init,
        };
        let unit = |name: &str| match loader.find(name).unwrap() {
            Found::Unit(unit) => unit,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(unit("httpd.service").name, "web.service");
        assert_eq!(unit("web.service").file.last("Service", "User"), Some("me"));
        assert_eq!(unit("worker@3.service").name, "worker@3.service");
        assert_eq!(
            unit("old.service").file.last("Service", "Type"),
            Some("forking")
        );
        assert_eq!(loader.find("masked.service").unwrap(), Found::Masked);
        assert_eq!(loader.find("nosuch.service").unwrap(), Found::Missing);
        assert_eq!(loader.find("../web.service").unwrap(), Found::Missing);
    }

    #[test]
    fn the_suffix_service_is_optional() {
        assert_eq!(full_name("nginx"), "nginx.service");
        assert_eq!(full_name("a.timer"), "a.timer");
        assert_eq!(full_name("php8.2-fpm"), "php8.2-fpm.service");
    }
}
