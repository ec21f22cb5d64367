//! Lists the files of the host's installed packages.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::super::system;

const DPKG: &str = "/var/lib/dpkg";

/// Returns the paths in the package database, unsorted. Some may be missing.
pub(super) fn files() -> io::Result<Vec<PathBuf>> {
    if Path::new(DPKG).join("status").is_file() {
        return files_of_dpkg(Path::new(DPKG));
    }
    match system::program("rpm") {
        Some(rpm) => files_of_rpm(&rpm),
        None => Err(io::Error::other(
            "instances need the package database of dpkg or rpm, and neither is installed",
        )),
    }
}

/// Whether a supported package database exists.
pub(super) fn are_known() -> bool {
    Path::new(DPKG).join("status").is_file() || system::program("rpm").is_some()
}

/// The files of which at least one changes with every package change.
pub(super) fn databases() -> Vec<PathBuf> {
    let names = [
        "/etc/alternatives",
        "/var/lib/alternatives",
        "/var/lib/dpkg/alternatives",
        "/var/lib/dpkg/diversions",
        "/var/lib/dpkg/statoverride",
        "/var/lib/dpkg/status",
        "/var/lib/rpm/Packages",
        "/var/lib/rpm/rpmdb.sqlite",
        "/var/lib/rpm/rpmdb.sqlite-wal",
        "/usr/lib/sysimage/rpm/rpmdb.sqlite",
        "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    ];
    names.map(PathBuf::from).to_vec()
}

fn files_of_dpkg(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(database.join("info"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "list")
        {
            files.extend(lines(&fs::read(&path)?));
        }
    }
    let diversions = fs::read_to_string(database.join("diversions")).unwrap_or_default();
    files.extend(diverted(&diversions));
    for entry in fs::read_dir(database.join("alternatives"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        files.extend(alternative(&name.to_string_lossy(), &text));
    }
    Ok(files)
}

fn files_of_rpm(rpm: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new(rpm)
        .args(["-qa", "--qf", "[%{FILENAMES}\\n]"])
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().next().unwrap_or("no error message");
        return Err(io::Error::other(format!("rpm cannot list files: {first}")));
    }
    Ok(lines(&output.stdout).collect())
}

/// Returns the absolute paths in a text, one a line, without `/.`, the root.
fn lines(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| line.starts_with(b"/") && *line != b"/.")
        .map(|line| PathBuf::from(std::ffi::OsStr::from_bytes(line)))
}

/// Returns the names of diverted files: the second line of each group of three.
fn diverted(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().skip(1).step_by(3).map(PathBuf::from)
}

/// Returns the links of an alternative: those in `/etc/alternatives` and those
/// that lead there. The file contains the state, the link, then pairs of a
/// slave's name and its link, up to an empty line.
fn alternative(master: &str, text: &str) -> Vec<PathBuf> {
    let mut lines = text.lines().skip(1).take_while(|line| !line.is_empty());
    let mut by_name = BTreeMap::new();
    if let Some(link) = lines.next() {
        by_name.insert(master.to_owned(), link.to_owned());
    }
    while let (Some(slave), Some(link)) = (lines.next(), lines.next()) {
        by_name.insert(slave.to_owned(), link.to_owned());
    }
    let all = by_name
        .into_iter()
        .flat_map(|(name, link)| [format!("/etc/alternatives/{name}"), link]);
    all.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_list_has_a_path_a_line() {
        let found: Vec<_> = lines(b"/.\n/usr\n/usr/bin/a b\n\nrelative\n").collect();
        assert_eq!(found, [Path::new("/usr"), Path::new("/usr/bin/a b")]);
    }

    #[test]
    fn diverted_files_keep_their_other_names() {
        let text = "/bin/sh\n/bin/sh.distrib\ndash\n/a\n/a.real\nlocal\n";
        let found: Vec<_> = diverted(text).collect();
        assert_eq!(found, [Path::new("/bin/sh.distrib"), Path::new("/a.real")]);
    }

    #[test]
    fn an_alternative_is_a_chain_of_links() {
        let text = "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n\n";
        let found = alternative("awk", text);
        let expected = [
            "/etc/alternatives/awk",
            "/usr/bin/awk",
            "/etc/alternatives/nawk",
            "/usr/bin/nawk",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(alternative("x", "").is_empty());
    }
}
