//! Systems with a minimal set of packages and none of this machine's files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::root;

/// The root file system of a minimal system of this machine's release.
pub(crate) const MINIMAL: &str = "target/lab-root.tar";

/// The root file system of a minimal system whose cloud-init is 24.3 or newer.
pub(crate) const NEWER: &str = "target/newer-root.tar";

/// Starts a shell in another root file system. `chroot` would not do: in a
/// changed root the kernel creates no user namespaces, which instances need.
/// The claims of subnets and user ids hold for the whole machine.
const ENTER: &str = r#"
set -e
mount --bind "$0" "$0"
cd "$0"
mount --rbind /sys sys
mount --rbind /dev dev
mkdir -p run/autorun before
touch run/autorun/claims
mount --bind /run/autorun/claims run/autorun/claims
pivot_root . before
mount -t proc proc /proc
umount -l /before
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive \
    sh -ec "$1"
"#;

/// A clean system.
pub(crate) struct CleanSystem {
    root: TempDir,
}

impl CleanSystem {
    /// Unpacks one of the root file systems.
    pub(crate) fn unpacked(archive: &str) -> Self {
        let system = Self {
            root: tempfile::tempdir().unwrap(),
        };
        // Users of the system must be able to reach it.
        fs::set_permissions(system.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let unpacked = Command::new("tar")
            .args(["--extract", "--exclude=./dev/*", "--file", archive])
            .arg("--directory")
            .arg(system.root.path())
            .current_dir(root())
            .status()
            .unwrap();
        assert!(unpacked.success(), "{archive}: tests/run makes it");
        fs::copy("/etc/resolv.conf", system.path("etc/resolv.conf")).unwrap();
        fs::copy("/etc/hosts", system.path("etc/hosts")).unwrap();
        let claims = Path::new("/run/autorun/claims");
        if !claims.exists() {
            fs::create_dir_all(claims.parent().unwrap()).unwrap();
            fs::write(claims, "").unwrap();
            fs::set_permissions(claims, fs::Permissions::from_mode(0o600)).unwrap();
        }
        system
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Runs this line of a shell. When it ends, so do all its processes.
    fn run(&self, line: &str) -> Output {
        Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["--propagation", "private", "sh", "-c", ENTER])
            .arg(self.root.path())
            .arg(line)
            .output()
            .unwrap()
    }

    /// Runs this line of a shell, which must succeed. Returns its output.
    #[track_caller]
    pub(crate) fn succeeds(&self, line: &str) -> String {
        let output = self.run(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{line}\n{stdout}\n{stderr}");
        stdout
    }
}
