//! What of the host's files a machine does not see.
//!
//! At the top an allow-list. In the directories with a machine's own state
//! (`/etc`, `/var`, `/opt`, `/usr/local`) what others may not read on the host
//! either, and everything that leads elsewhere: sockets, pipes, devices. Then
//! what would be wrong in a new machine: logs, spools, other people's data. And
//! what the operator lists: the rule does not find secrets that everybody may read.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::seed::{Seed, top_level};

/// The top-level directories that are the system.
const KEPT: [&str; 10] = [
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "var", "opt",
];

/// The directories in which every file is looked at.
const WALKED: [&str; 4] = ["/etc", "/var", "/opt", "/usr/local"];

/// Data of the host: these directories start empty.
const EMPTIED: [&str; 21] = [
    "/etc/systemd/network",
    "/var/backups",
    "/var/crash",
    "/var/lib/cloud",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/libvirt",
    "/var/lib/lxc",
    "/var/lib/lxd",
    "/var/lib/machines",
    "/var/lib/mysql",
    "/var/lib/postgresql",
    "/var/lib/rancher",
    "/var/lib/redis",
    "/var/mail",
    "/var/snap",
    "/var/spool/cron",
    "/var/spool/mail",
    "/var/tmp",
];

/// Here the directories stay, as programs expect them; the files go.
const WITHOUT_FILES: &str = "/var/log";

/// Whether this path lies in a part of the host that machines see.
pub(in super::super) fn is_kept(path: &Path) -> bool {
    top_level(path).is_some_and(is_kept_name)
}

fn is_kept_name(name: &OsStr) -> bool {
    KEPT.iter().any(|kept| name == *kept)
}

/// Puts all masks into the seed.
pub(in super::super) fn apply(
    seed: &Seed,
    state_dir: &Path,
    mask_files: &[PathBuf],
) -> io::Result<()> {
    mask_top_level(seed)?;
    for start in WALKED {
        walk(seed, Path::new(start))?;
    }
    mask_enabled_units(seed)?;
    mask_host_keys(seed)?;
    for path in listed(mask_files).iter().map(PathBuf::as_path) {
        mask(seed, path)?;
    }
    mask(seed, state_dir)
}

fn mask_top_level(seed: &Seed) -> io::Result<()> {
    for entry in fs::read_dir("/")? {
        let entry = entry?;
        let path = entry.path();
        if is_kept_name(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            seed.empty_directory(&path)?;
        } else {
            seed.hide(&path)?;
        }
    }
    for wanted in ["/dev", "/home", "/proc", "/root", "/run", "/sys", "/tmp"] {
        seed.empty_directory(Path::new(wanted))?;
    }
    Ok(())
}

/// What is to happen with one entry.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Descend,
    Empty,
    Hide,
}

fn walk(seed: &Seed, directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // Not there, or gone meanwhile: then there is nothing to hide.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        match verdict(&path, &metadata) {
            Verdict::Keep => {}
            Verdict::Descend => walk(seed, &path)?,
            Verdict::Empty => {
                seed.empty_directory(&path)?;
            }
            Verdict::Hide => seed.hide(&path)?,
        }
    }
    Ok(())
}

fn verdict(path: &Path, metadata: &Metadata) -> Verdict {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return match is_emptied(path) || metadata.mode() & 0o001 == 0 {
            true => Verdict::Empty,
            false => Verdict::Descend,
        };
    }
    if kind.is_symlink() {
        return Verdict::Keep;
    }
    // A socket of the host's would lead to the host's process.
    let leads_elsewhere =
        kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device();
    let private = metadata.mode() & 0o004 == 0 || path.starts_with(WITHOUT_FILES);
    match leads_elsewhere || private {
        true => Verdict::Hide,
        false => Verdict::Keep,
    }
}

fn is_emptied(path: &Path) -> bool {
    EMPTIED.iter().any(|emptied| path == Path::new(emptied))
}

/// The host's enabled units would count as the machine's.
fn mask_enabled_units(seed: &Seed) -> io::Result<()> {
    for entry in entries("/etc/systemd/system") {
        let name = entry.file_name();
        let extension = Path::new(&name).extension();
        if extension.is_some_and(|ext| ext == "wants" || ext == "requires") {
            seed.empty_directory(&entry.path())?;
        }
    }
    Ok(())
}

fn mask_host_keys(seed: &Seed) -> io::Result<()> {
    for entry in entries("/etc/ssh") {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"ssh_host_") {
            seed.hide(&entry.path())?;
        }
    }
    Ok(())
}

fn entries(directory: &str) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

/// Hides one path, whatever it is, if machines would see it.
fn mask(seed: &Seed, path: &Path) -> io::Result<()> {
    let Ok(path) = path.canonicalize() else {
        return Ok(());
    };
    if !is_kept(&path) || seed.hides(&path) {
        return Ok(());
    }
    if path.is_dir() {
        seed.empty_directory(&path).map(drop)
    } else {
        seed.hide(&path)
    }
}

/// The paths that these files list: one absolute path a line, `#` for remarks.
fn listed(files: &[PathBuf]) -> Vec<PathBuf> {
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| paths_in(&text)).collect()
}

fn paths_in(text: &str) -> Vec<PathBuf> {
    let lines = text.lines().map(str::trim);
    let paths = lines.filter(|line| line.starts_with('/'));
    paths.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_the_system_is_kept() {
        assert!(is_kept(Path::new("/usr/share/x")));
        assert!(!is_kept(Path::new("/home/me")));
        assert!(!is_kept(Path::new("/")));
    }

    #[test]
    fn what_others_may_not_read_is_hidden() {
        let directory = tempfile::tempdir().unwrap();
        let judge = |name: &str, mode| {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            verdict(&path, &path.symlink_metadata().unwrap())
        };
        assert_eq!(judge("shadow", 0o640), Verdict::Hide);
        assert_eq!(judge("passwd", 0o644), Verdict::Keep);

        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let found = socket.symlink_metadata().unwrap();
        assert_eq!(verdict(&socket, &found), Verdict::Hide);

        let closed = directory.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let found = closed.metadata().unwrap();
        assert_eq!(verdict(&closed, &found), Verdict::Empty);
        let found = directory.path().metadata().unwrap();
        assert_eq!(
            verdict(Path::new("/var/lib/docker"), &found),
            Verdict::Empty
        );
    }

    #[test]
    fn mask_files_list_paths() {
        let text = "# remark\n/etc/pip.conf\n\n  /opt/secret dir \nrelative\n";
        let paths = [Path::new("/etc/pip.conf"), Path::new("/opt/secret dir")];
        assert_eq!(paths_in(text), paths);
    }
}
