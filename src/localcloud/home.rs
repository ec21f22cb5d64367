//! The directories of a local cloud: its state, and the access files of its
//! users.
//!
//! A cloud that runs as root serves every user with an access file. The file
//! holds the access key and lies in a directory that only root can write. A
//! cloud without root serves only its own user, from that user's data
//! directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use autorun_private as private;
use serde::{Deserialize, Serialize};

/// The state of root's cloud.
const ROOTS_STATE: &str = "/var/lib/autorun/cloud";
/// The access files of root's cloud.
const ROOTS_ACCESS: &str = "/run/autorun";

/// The directories of one local cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The state directory, with mode 0700.
    pub state: PathBuf,
    /// The directory of the access files, one for each user.
    access: PathBuf,
}

/// The endpoint and the credentials of a local cloud. Their holder is root in
/// the cloud's instances and can start instances until this machine is full.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The URL of EC2, S3 and STS.
    pub endpoint: String,
    /// The access key id, as in AWS.
    pub access_key_id: String,
    /// The secret access key, as in AWS.
    pub secret_access_key: String,
    /// The token for requests that are not part of AWS: faults, the list of
    /// instances, the end of the process.
    pub token: String,
    /// The region for clients that do not name one.
    pub region: String,
    /// The pid of the background process.
    pub pid: u32,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({}, ..)", self.endpoint)
    }
}

impl Home {
    /// Returns the home of root's cloud, which serves several users.
    #[must_use]
    pub fn of_root() -> Self {
        Self {
            state: ROOTS_STATE.into(),
            access: ROOTS_ACCESS.into(),
        }
    }

    /// Returns the home below a directory: of a cloud without root, or of an
    /// additional cloud.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        Self {
            state: directory.join("state"),
            access: directory.join("access"),
        }
    }

    /// Returns the home with this state directory, an argument of the
    /// background process.
    #[must_use]
    pub fn of_state(state: &Path) -> Self {
        if state == Path::new(ROOTS_STATE) {
            return Self::of_root();
        }
        Self::below(state.parent().unwrap_or(state))
    }

    /// Whether the state directory exists and belongs to root.
    #[must_use]
    pub fn is_of_root(&self) -> bool {
        fs::symlink_metadata(&self.state).is_ok_and(|state| state.uid() == 0)
    }

    /// Creates the directories, and removes other users' permissions on them
    /// and on the access key. Returns one sentence for each repair.
    ///
    /// # Errors
    /// Fails if a directory cannot be created or does not belong to this user.
    pub fn prepare(&self) -> io::Result<Vec<String>> {
        make_dir(&self.state, 0o700)?;
        make_dir(&self.access, 0o755)?;
        for directory in [&self.state, &self.access] {
            private::out_of_reach(directory)?;
        }
        let repaired = [
            private::own_directory(&self.state, false)?,
            private::own_directory(&self.access, true)?,
            private::file(&self.key_file())?,
        ];
        private::own_entries(&self.state)?;
        Ok(repaired.into_iter().flatten().collect())
    }

    /// Removes other users' permissions on this user's access file. Returns a
    /// sentence if it repaired them.
    ///
    /// # Errors
    /// Fails if another user could have created the file.
    pub fn check_access(&self, uid: u32) -> io::Result<Option<String>> {
        let file = self.access_file(uid);
        // A file of root that this user reads is root's to repair.
        match fs::symlink_metadata(&file) {
            Ok(found) if found.uid() == uid => {
                private::trusted_directory(&self.access)?;
                Ok(private::file(&file)?)
            }
            Ok(_) => Ok(private::trusted_directory(&self.access).map(|()| None)?),
            Err(_) => Ok(None),
        }
    }

    /// The file that keeps the access key while no process runs.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.state.join("keys.json")
    }

    /// The package files that instances have downloaded.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.state.join("packages")
    }

    /// The directory beside the state for the homes of rehearsals.
    #[must_use]
    pub fn rehearsals(&self) -> PathBuf {
        self.state
            .parent()
            .unwrap_or(&self.state)
            .join("rehearsals")
    }

    /// The log of the background process.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("cloud.log")
    }

    /// The access file of a user.
    #[must_use]
    pub fn access_file(&self, uid: u32) -> PathBuf {
        self.access.join(format!("{uid}.json"))
    }

    /// Whether a user has an access file. Its directory belongs to this user or
    /// to root.
    #[must_use]
    pub fn has_access(&self, uid: u32) -> bool {
        fs::symlink_metadata(self.access_file(uid)).is_ok()
    }

    /// Reads a user's access file.
    ///
    /// # Errors
    /// Fails with `NotFound` if it does not exist, with `InvalidData` if it is
    /// broken.
    pub fn access(&self, uid: u32) -> io::Result<Access> {
        let file = self.access_file(uid);
        let mut open = OpenOptions::new();
        let opened = open.read(true).custom_flags(nofollow()).open(&file)?;
        let owner = opened.metadata()?.uid();
        if owner != uid && owner != 0 {
            return Err(io::Error::other(format!(
                "{} belongs to user {owner}",
                file.display()
            )));
        }
        serde_json::from_reader(opened).map_err(io::Error::from)
    }

    /// Writes a user's access file, which only that user can read.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn grant(&self, uid: u32, gid: u32, access: &Access) -> io::Result<()> {
        let file = self.access_file(uid);
        let next = self.access.join(format!(".{uid}.{}", std::process::id()));
        drop(fs::remove_file(&next));
        let mut out = private_file(&next)?;
        out.write_all(&serde_json::to_vec_pretty(access)?)?;
        if out.metadata()?.uid() != uid {
            fchown(&out, Some(uid), Some(gid))?;
        }
        drop(out);
        fs::rename(next, file)
    }

    /// Removes all access files, but not the files beside them, which root's
    /// clouds share.
    ///
    /// # Errors
    /// Fails if the directory cannot be read.
    pub fn revoke_all(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.access)? {
            let file = entry?.path();
            if file.extension().is_some_and(|kind| kind == "json") {
                drop(fs::remove_file(file));
            }
        }
        Ok(())
    }
}

/// Returns the effective uid and gid of this process.
#[must_use]
pub fn user() -> (u32, u32) {
    (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    )
}

/// Whether a process with this pid exists and has not ended.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let Ok(number) = i32::try_from(pid) else {
        return false;
    };
    let found = nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), None);
    if found == Err(nix::errno::Errno::ESRCH) {
        return false;
    }
    // A zombie still accepts signals, although it has ended.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Creates a file that only this user can access. Fails if it already exists.
///
/// # Errors
/// Fails if the file cannot be created.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(nofollow())
        .open(path)
}

fn nofollow() -> i32 {
    nix::fcntl::OFlag::O_NOFOLLOW.bits()
}

/// Creates a directory unless an entry of this name exists.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        // As root, do not create directories where another user could redirect
        // the path.
        let existing = parent.ancestors().find(|above| above.exists());
        private::out_of_reach(&existing.unwrap_or(parent).join("inside"))?;
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            endpoint: "http://10.77.0.1:4577".to_owned(),
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "secret".to_owned(),
            token: "token".to_owned(),
            region: "us-east-1".to_owned(),
            pid: 1,
        }
    }

    #[test]
    fn only_its_user_can_read_an_access_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::below(dir.path());
        home.prepare().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        home.grant(uid, uid, &access()).unwrap();
        let mode = fs::metadata(home.access_file(uid)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(home.access(uid).unwrap(), access());
        assert!(!format!("{:?}", access()).contains("secret"));
        let shared = dir.path().join("access/claims");
        fs::write(&shared, "").unwrap();
        home.revoke_all().unwrap();
        assert!(home.access(uid).is_err());
        assert!(shared.exists());
    }

    #[test]
    fn permissions_of_other_users_are_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::below(dir.path());
        assert!(home.prepare().unwrap().is_empty());
        fs::write(home.key_file(), "{}").unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        home.grant(uid, uid, &access()).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        set(&home.state, 0o755);
        set(&home.access, 0o777);
        set(&home.key_file(), 0o644);
        set(&home.access_file(uid), 0o666);
        assert!(
            home.check_access(uid).is_err(),
            "others can write to the directory"
        );
        assert_eq!(home.prepare().unwrap().len(), 3);
        assert_eq!(mode(&home.state), 0o700);
        assert_eq!(mode(&home.access), 0o755);
        assert_eq!(mode(&home.key_file()), 0o600);
        assert!(home.check_access(uid).unwrap().is_some());
        assert_eq!(mode(&home.access_file(uid)), 0o600);
        assert!(home.check_access(uid).unwrap().is_none());
        assert!(home.check_access(uid + 1).unwrap().is_none());
    }

    #[test]
    fn a_link_instead_of_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::below(dir.path());
        std::os::unix::fs::symlink("/tmp", &home.state).unwrap();
        assert!(home.prepare().is_err());
    }
}
