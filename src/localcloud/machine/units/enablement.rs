//! Determines and changes which units start at boot: links below
//! `/etc/systemd/system`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::super::super::files;
use super::loader::{Found, Loader, Unit, file_name, full_name};

/// The state of a unit that `systemctl is-enabled` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enabled {
    Yes,
    Disabled,
    Static,
    Masked,
    Alias,
}

impl Enabled {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "enabled",
            Self::Disabled => "disabled",
            Self::Static => "static",
            Self::Masked => "masked",
            Self::Alias => "alias",
        }
    }

    pub(super) fn is_yes(self) -> bool {
        matches!(self, Self::Yes | Self::Static | Self::Alias)
    }
}

/// The maximum number of links that are read, and thus the most enabled units.
const MOST_LINKS: usize = 1024;

/// The link to the target that a boot reaches.
const DEFAULT: &str = "default.target";

impl Loader {
    /// Returns the names of all units that start at boot.
    pub(super) fn enabled(&self) -> Vec<String> {
        let links = self.links();
        let mut names: Vec<_> = links.iter().map(|link| file_name(link)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns every link that makes a unit start.
    fn links(&self) -> Vec<PathBuf> {
        let directories = files::entries(self.administrator()).map(|entry| entry.path());
        let directories = directories.filter(|path| {
            let kind = path.extension();
            kind.is_some_and(|kind| kind == "wants" || kind == "requires")
        });
        let links = directories.flat_map(files::entries);
        links.take(MOST_LINKS).map(|entry| entry.path()).collect()
    }

    /// Returns a unit's state. Returns `None` if the unit does not exist.
    pub(super) fn is_enabled(&self, name: &str) -> io::Result<Option<Enabled>> {
        Ok(match self.find(name)? {
            Found::Masked => Some(Enabled::Masked),
            Found::Missing => None,
            Found::Unit(unit) => Some(self.enablement(name, &unit)),
        })
    }

    fn enablement(&self, name: &str, unit: &Unit) -> Enabled {
        let is_it = |link: &PathBuf| file_name(link) == unit.name;
        if self.links().iter().any(is_it) {
            Enabled::Yes
        } else if unit.name != name {
            Enabled::Alias
        } else if unit.file.has_section("Install") {
            Enabled::Disabled
        } else {
            Enabled::Static
        }
    }

    /// Makes a unit start at boot. Returns the lines to print.
    pub(super) fn enable(&self, unit: &Unit) -> io::Result<Vec<String>> {
        let mut changes = Vec::new();
        for link in self.wanted_links(unit) {
            if let Some(parent) = link.parent() {
                fs::create_dir_all(parent)?;
            }
            if fs::read_link(&link).is_ok_and(|target| target == unit.path) {
                continue;
            }
            remove(&link)?;
            symlink(&unit.path, &link)?;
            let (link, target) = (link.display(), unit.path.display());
            changes.push(format!("Created symlink {link} → {target}."));
        }
        for other in unit.file.words("Install", "Also") {
            // Units that name each other would recurse forever.
            if let Found::Unit(mut other) = self.find(&other)?
                && other.name != unit.name
            {
                other.file = without_also(&other);
                changes.extend(self.enable(&other)?);
            }
        }
        Ok(changes)
    }

    /// Reverts `enable`. Returns the lines to print.
    pub(super) fn disable(&self, unit: &Unit) -> io::Result<Vec<String>> {
        let mut changes = Vec::new();
        let aliases = self.alias_links(unit);
        let links = self.links();
        let own = links
            .into_iter()
            .filter(|link| file_name(link) == unit.name);
        for link in own.chain(aliases) {
            if link.symlink_metadata().is_ok() {
                fs::remove_file(&link)?;
                changes.push(format!("Removed \"{}\".", link.display()));
            }
        }
        Ok(changes)
    }

    /// Makes it impossible to start a unit.
    pub(super) fn mask(&self, name: &str) -> io::Result<Vec<String>> {
        let link = self.administrator().join(name);
        if fs::read_link(&link).is_ok_and(|target| target == Path::new("/dev/null")) {
            return Ok(Vec::new());
        }
        if link.symlink_metadata().is_ok_and(|found| found.is_file()) {
            let message = format!("File {} already exists.", link.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        remove(&link)?;
        symlink("/dev/null", &link)?;
        Ok(vec![format!(
            "Created symlink {} → /dev/null.",
            link.display()
        )])
    }

    /// Reverts `mask`.
    pub(super) fn unmask(&self, name: &str) -> io::Result<Vec<String>> {
        let link = self.administrator().join(name);
        if fs::read_link(&link).is_ok_and(|target| target == Path::new("/dev/null")) {
            fs::remove_file(&link)?;
            return Ok(vec![format!("Removed \"{}\".", link.display())]);
        }
        Ok(Vec::new())
    }

    /// Makes a unit file outside the search path known. Returns the lines to
    /// print.
    pub(super) fn link(&self, file: &Path) -> io::Result<Vec<String>> {
        let link = self.administrator().join(file_name(file));
        if !file.is_absolute() || !file.is_file() {
            let message = format!("File {}: No such file or directory", file.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        if link == file || fs::read_link(&link).is_ok_and(|target| target == file) {
            return Ok(Vec::new());
        }
        if link.symlink_metadata().is_ok_and(|found| found.is_file()) {
            let message = format!("File {} already exists.", link.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        remove(&link)?;
        symlink(file, &link)?;
        let (link, file) = (link.display(), file.display());
        Ok(vec![format!("Created symlink {link} → {file}.")])
    }

    /// Returns the target that a boot reaches.
    pub(super) fn default_target(&self) -> String {
        let link = fs::read_link(self.administrator().join(DEFAULT));
        link.map_or_else(
            |_| "multi-user.target".to_owned(),
            |target| file_name(&target),
        )
    }

    /// Sets the target that a boot reaches. Returns the lines to print.
    pub(super) fn set_default(&self, target: &str) -> io::Result<Vec<String>> {
        let Found::Unit(unit) = self.find(target)? else {
            let message = format!("Unit file {target} does not exist.");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        };
        let link = self.administrator().join(DEFAULT);
        remove(&link)?;
        symlink(&unit.path, &link)?;
        let (link, target) = (link.display(), unit.path.display());
        Ok(vec![format!("Created symlink {link} → {target}.")])
    }

    fn wanted_links(&self, unit: &Unit) -> Vec<PathBuf> {
        let of_key = |key: &'static str, kind: &'static str| {
            let targets = unit.file.words("Install", key);
            let targets = targets.into_iter().filter(|target| !target.contains('/'));
            targets.map(move |target| {
                let directory = format!("{target}.{kind}");
                self.administrator().join(directory).join(&unit.name)
            })
        };
        let wants = of_key("WantedBy", "wants");
        let requires = of_key("RequiredBy", "requires");
        wants
            .chain(requires)
            .chain(self.alias_links(unit))
            .collect()
    }

    fn alias_links(&self, unit: &Unit) -> Vec<PathBuf> {
        let aliases = unit.file.words("Install", "Alias");
        let aliases = aliases.iter().filter(|alias| !alias.contains('/'));
        let aliases = aliases.map(|alias| full_name(alias));
        let aliases = aliases.filter(|alias| *alias != unit.name);
        aliases
            .map(|alias| self.administrator().join(alias))
            .collect()
    }
}

fn without_also(unit: &Unit) -> super::file::UnitFile {
    let mut file = unit.file.clone();
    file.merge("[Install]\nAlso=\n");
    file
}

fn remove(link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
