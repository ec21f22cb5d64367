//! Which units start at boot: links below `/etc/systemd/system`.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::super::super::files;
use super::loader::{Found, Loader, Unit, file_name, full_name};

/// What a unit is, as `systemctl is-enabled` says it.
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

/// Links that count: so many units can be enabled.
const MOST_LINKS: usize = 1024;

impl Loader {
    /// What is to be started at boot.
    pub(super) fn enabled(&self) -> Vec<String> {
        let links = self.links();
        let mut names: Vec<_> = links.iter().map(|link| file_name(link)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Every link that makes a unit start.
    fn links(&self) -> Vec<PathBuf> {
        let directories = files::entries(self.administrator()).map(|entry| entry.path());
        let directories = directories.filter(|path| {
            let kind = path.extension();
            kind.is_some_and(|kind| kind == "wants" || kind == "requires")
        });
        let links = directories.flat_map(files::entries);
        links.take(MOST_LINKS).map(|entry| entry.path()).collect()
    }

    /// Whether a unit starts at boot; `None` if there is no such unit.
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

    /// Makes a unit start at boot; gives back what is to be said about it.
    pub(super) fn enable(&self, unit: &Unit) -> io::Result<Vec<String>> {
        let mut said = Vec::new();
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
            said.push(format!("Created symlink {link} → {target}."));
        }
        for other in unit.file.words("Install", "Also") {
            // Units that name each other would go round for ever.
            if let Found::Unit(mut other) = self.find(&other)?
                && other.name != unit.name
            {
                other.file = without_also(&other);
                said.extend(self.enable(&other)?);
            }
        }
        Ok(said)
    }

    /// Undoes that; gives back what is to be said about it.
    pub(super) fn disable(&self, unit: &Unit) -> io::Result<Vec<String>> {
        let mut said = Vec::new();
        let aliases = self.alias_links(unit);
        let links = self.links();
        let own = links
            .into_iter()
            .filter(|link| file_name(link) == unit.name);
        for link in own.chain(aliases) {
            if link.symlink_metadata().is_ok() {
                fs::remove_file(&link)?;
                said.push(format!("Removed \"{}\".", link.display()));
            }
        }
        Ok(said)
    }

    /// Makes a unit impossible to start.
    pub(super) fn mask(&self, name: &str) -> io::Result<Vec<String>> {
        let link = self.administrator().join(name);
        if fs::read_link(&link).is_ok_and(|target| target == Path::new("/dev/null")) {
            return Ok(Vec::new());
        }
        if link.symlink_metadata().is_ok_and(|found| found.is_file()) {
            let said = format!("File {} already exists.", link.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, said));
        }
        remove(&link)?;
        symlink("/dev/null", &link)?;
        Ok(vec![format!(
            "Created symlink {} → /dev/null.",
            link.display()
        )])
    }

    /// Undoes that.
    pub(super) fn unmask(&self, name: &str) -> io::Result<Vec<String>> {
        let link = self.administrator().join(name);
        if fs::read_link(&link).is_ok_and(|target| target == Path::new("/dev/null")) {
            fs::remove_file(&link)?;
            return Ok(vec![format!("Removed \"{}\".", link.display())]);
        }
        Ok(Vec::new())
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
