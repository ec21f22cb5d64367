//! The operating system of the host, which every machine runs too.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The operating system of the host and its machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct System {
    /// The id, such as `debian`.
    pub id: String,
    /// The version, such as `12`; empty for rolling releases.
    pub version: String,
    /// The full name, such as `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// The package manager, if it is a known one.
    pub package_manager: Option<PackageManager>,
    /// The architecture in AWS's terms: `x86_64` or `arm64`.
    pub arch: String,
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PackageManager {
    /// For Debian, Ubuntu and their derivatives.
    Apt,
    /// For Amazon Linux, Fedora and their relatives.
    Dnf,
}

impl PackageManager {
    /// Returns the command name.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Dnf => "dnf",
        }
    }
}

impl System {
    /// Reads the host's operating system.
    #[must_use]
    pub(crate) fn of_host() -> Self {
        let release = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        Self::from_release(&release)
    }

    fn from_release(release: &str) -> Self {
        let field = |name: &str| {
            let values = release.lines().filter_map(|line| line.split_once('='));
            let mut found = values.filter(|(key, _)| *key == name);
            let value = found.next().map_or("", |(_, value)| value);
            value.trim().trim_matches(['"', '\'']).to_owned()
        };
        let id = Some(field("ID")).filter(|id| !id.is_empty());
        let name = Some(field("PRETTY_NAME")).filter(|name| !name.is_empty());
        Self {
            version: field("VERSION_ID"),
            name: name.unwrap_or_else(|| "Linux".to_owned()),
            id: id.unwrap_or_else(|| "linux".to_owned()),
            package_manager: package_manager(),
            arch: match std::env::consts::ARCH {
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
        }
    }
}

fn package_manager() -> Option<PackageManager> {
    if Path::new("/usr/bin/apt-get").exists() {
        return Some(PackageManager::Apt);
    }
    let dnf = ["/usr/bin/dnf", "/usr/bin/microdnf", "/usr/bin/yum"];
    let found = dnf.iter().any(|path| Path::new(path).exists());
    found.then_some(PackageManager::Dnf)
}

/// Finds a program in the system's directories, regardless of `PATH`.
pub(super) fn program(name: &str) -> Option<std::path::PathBuf> {
    const PLACES: [&str; 6] = [
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
    ];
    let mut candidates = PLACES.iter().map(|place| Path::new(place).join(name));
    candidates.find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_files_are_read() {
        let system = System::from_release(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n",
        );
        assert_eq!(system.id, "debian");
        assert_eq!(system.version, "12");
        assert_eq!(system.name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(System::from_release("").name, "Linux");
    }
}
