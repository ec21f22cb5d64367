//! The overlays of a machine: one for `/` and one for each file system that is
//! mounted below it, since an overlay does not cross mounts.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::masks::is_kept;
use super::seed::Seed;

/// One directory of the host that becomes one overlay of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Layer {
    /// Where it is in the machine.
    at: PathBuf,
    /// What is seen there, uppermost first.
    lower: Vec<PathBuf>,
    /// Directory for what the machine changes, below its disk.
    changes: String,
}

impl Layer {
    /// Of the host's `/` and everything mounted below what machines see.
    pub(in super::super) fn of_host(seed: &Seed) -> io::Result<Vec<Self>> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        let mut layers = vec![Self::over(seed, Path::new("/"))];
        for at in mount_points(&mountinfo) {
            if is_kept(&at) && at.is_dir() && !seed.hides(&at) {
                layers.push(Self::over(seed, &at));
            }
        }
        Ok(layers)
    }

    fn over(seed: &Seed, at: &Path) -> Self {
        let mut lower: Vec<_> = seed.over(at).into_iter().collect();
        lower.push(at.to_owned());
        Self::new(at, lower)
    }

    /// Shows a directory at another place.
    pub(in super::super) fn of_directory(directory: &Path, at: &Path) -> Self {
        Self::new(at, vec![directory.to_owned()])
    }

    fn new(at: &Path, lower: Vec<PathBuf>) -> Self {
        let name = at.to_string_lossy();
        let changes = match name.trim_matches('/') {
            "" => String::new(),
            name => format!("mounts/{}", name.replace('%', "%25").replace('/', "%2F")),
        };
        Self {
            at: at.to_owned(),
            lower,
            changes,
        }
    }

    /// Mounts it below `root`, with the changes kept on `disk`.
    pub(in super::super) fn mount(&self, disk: &Path, root: &Path) -> io::Result<()> {
        let changes = disk.join(&self.changes);
        let (upper, work) = (changes.join("upper"), changes.join("work"));
        if !upper.exists() {
            fs::create_dir_all(&upper)?;
            self.mirror(&upper)?;
        }
        fs::create_dir_all(&work)?;
        forget_volatile(&work)?;
        let target = root.join(self.at.strip_prefix("/").unwrap_or(&self.at));
        let options = self.options(&upper, &work)?;
        mount(
            "overlay",
            &target,
            "overlay",
            MountFlags::NODEV,
            options.as_c_str(),
        )
        .map_err(|error| {
            let at = self.at.display();
            let message = format!("cannot mount an overlay of the host's `{at}`: {error}");
            io::Error::new(io::Error::from(error).kind(), message)
        })
    }

    /// The uppermost directory is the one whose mode and owner are seen.
    fn mirror(&self, upper: &Path) -> io::Result<()> {
        let Some(model) = self.lower.last() else {
            return Ok(());
        };
        let model = model.metadata()?;
        std::os::unix::fs::chown(upper, Some(model.uid()), Some(model.gid()))?;
        fs::set_permissions(upper, fs::Permissions::from_mode(model.mode() & 0o7777))
    }

    fn options(&self, upper: &Path, work: &Path) -> io::Result<CString> {
        let lower: Vec<_> = self.lower.iter().map(|path| escaped(path)).collect();
        let mut options = b"volatile,lowerdir=".to_vec();
        options.extend(lower.join(&b':'));
        options.extend(b",upperdir=");
        options.extend(escaped(upper));
        options.extend(b",workdir=");
        options.extend(escaped(work));
        CString::new(options).map_err(io::Error::other)
    }
}

/// A volatile overlay marks its work directory, lest somebody trusts it after a
/// crash of the system. A crash of the daemon alone loses nothing, and after one
/// of the system a rehearsal's disk is worth no more than its last state.
fn forget_volatile(work: &Path) -> io::Result<()> {
    match fs::remove_dir_all(work.join("work/incompat")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the changes of an overlay of `/` can be kept below this directory.
pub(in super::super) fn probe(directory: &Path) -> io::Result<()> {
    let place = directory.join("probe");
    let root = place.join("root");
    fs::create_dir_all(&root)?;
    let layer = Layer::new(Path::new("/"), vec![PathBuf::from("/")]);
    let result = layer.mount(&place, &root);
    if result.is_ok() {
        rustix::mount::unmount(&root, rustix::mount::UnmountFlags::DETACH)?;
    }
    fs::remove_dir_all(&place)?;
    result
}

/// Colons and commas separate options, backslashes escape them.
fn escaped(path: &Path) -> Vec<u8> {
    let mut result = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            result.push(b'\\');
        }
        result.push(*byte);
    }
    result
}

/// The places of all mounts but `/`, parents before children, each once.
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let fields = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<_> = fields.map(unescaped).filter(|path| path != "/").collect();
    points.sort();
    points.dedup();
    points.into_iter().map(PathBuf::from).collect()
}

/// The kernel writes blanks, tabs, line ends and backslashes as `\040`.
fn unescaped(field: &str) -> String {
    let mut result = field.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")] {
        result = result.replace(code, character);
    }
    result.replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read() {
        let mountinfo = "\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:25 / /var/lib/my\\040data rw - tmpfs tmpfs rw
29 22 0:24 / /usr rw - ext4 /dev/vdb ro
31 29 0:26 / /usr rw - tmpfs tmpfs rw
";
        let points = [Path::new("/usr"), Path::new("/var/lib/my data")];
        assert_eq!(mount_points(mountinfo), points);
    }

    #[test]
    fn options_are_escaped() {
        let lower = vec![PathBuf::from("/seed"), PathBuf::from("/")];
        let layer = Layer::new(Path::new("/"), lower);
        let options = layer.options(Path::new("/a:b,c"), Path::new("/w")).unwrap();
        let expected = c"volatile,lowerdir=/seed:/,upperdir=/a\\:b\\,c,workdir=/w";
        assert_eq!(options.as_c_str(), expected);
    }

    #[test]
    fn each_mount_keeps_its_changes_apart() {
        let layer = Layer::of_directory(Path::new("/lists"), Path::new("/var/lib/apt/lists"));
        assert_eq!(layer.changes, "mounts/var%2Flib%2Fapt%2Flists");
    }
}
