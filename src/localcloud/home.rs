//! Where a local cloud keeps its state, and how its users find it.
//!
//! Root's cloud serves everybody who was given its access key: the key lies in
//! a file of that user in a directory that only root can write. A cloud without
//! root serves its own user, from that user's data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use autorun_private as private;
use serde::{Deserialize, Serialize};

/// State of root's cloud.
const ROOTS_STATE: &str = "/var/lib/autorun/cloud";
/// Access files of root's cloud.
const ROOTS_ACCESS: &str = "/run/autorun";

/// The places of one local cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Everything it keeps: 0700.
    pub state: PathBuf,
    /// Access files, one per user.
    access: PathBuf,
}

/// What a user needs to use a local cloud. Who has it is root in its instances,
/// and can fill this machine with them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// URL of EC2, S3 and STS.
    pub endpoint: String,
    /// AWS's two halves of a key.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// Allows what AWS's protocols have no words for: faults, the end.
    pub token: String,
    /// The region used when none is given.
    pub region: String,
    /// The background process.
    pub pid: u32,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access({}, ..)", self.endpoint)
    }
}

impl Home {
    /// Root's cloud, which serves everybody.
    #[must_use]
    pub fn of_root() -> Self {
        Self {
            state: ROOTS_STATE.into(),
            access: ROOTS_ACCESS.into(),
        }
    }

    /// A cloud below one directory: one without root, or one of several.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        Self {
            state: directory.join("state"),
            access: directory.join("access"),
        }
    }

    /// The cloud whose state is here, as its background process was told.
    #[must_use]
    pub fn of_state(state: &Path) -> Self {
        if state == Path::new(ROOTS_STATE) {
            return Self::of_root();
        }
        Self::below(state.parent().unwrap_or(state))
    }

    /// Whether its state is there and belongs to root.
    #[must_use]
    pub fn is_of_root(&self) -> bool {
        fs::symlink_metadata(&self.state).is_ok_and(|state| state.uid() == 0)
    }

    /// Makes the directories, and takes from others what they could do to them
    /// and to the access key. Gives what was repaired, in words.
    ///
    /// # Errors
    /// When one cannot be made or is not this user's.
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

    /// Takes from others what they could do with this user's access. Gives what
    /// was repaired, in words.
    ///
    /// # Errors
    /// When another user could have put it there.
    pub fn check_access(&self, uid: u32) -> io::Result<Option<String>> {
        let file = self.access_file(uid);
        // Root's own file may be what this user reads; it is root's to repair.
        match fs::symlink_metadata(&file) {
            Ok(found) if found.uid() == uid => {
                private::trusted_directory(&self.access)?;
                Ok(private::file(&file)?)
            }
            Ok(_) => Ok(private::trusted_directory(&self.access).map(|()| None)?),
            Err(_) => Ok(None),
        }
    }

    /// Where the access key is kept between two processes.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.state.join("keys.json")
    }

    /// Where the background process writes its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("cloud.log")
    }

    /// The access file of a user.
    #[must_use]
    pub fn access_file(&self, uid: u32) -> PathBuf {
        self.access.join(format!("{uid}.json"))
    }

    /// Whether a user was given access; the directory is this user's or root's.
    #[must_use]
    pub fn has_access(&self, uid: u32) -> bool {
        fs::symlink_metadata(self.access_file(uid)).is_ok()
    }

    /// Reads a user's access.
    ///
    /// # Errors
    /// `NotFound` when there is none, `InvalidData` when it is broken.
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

    /// Gives a user access: a file that is theirs alone.
    ///
    /// # Errors
    /// When the file cannot be written.
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

    /// Takes every access file away, and nothing else: what several clouds of
    /// root share lies beside them.
    ///
    /// # Errors
    /// When the directory cannot be read.
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

/// This process's user and group.
#[must_use]
pub fn user() -> (u32, u32) {
    (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    )
}

/// Whether a process of this number is there and has not ended.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let Ok(number) = i32::try_from(pid) else {
        return false;
    };
    let found = nix::sys::signal::kill(nix::unistd::Pid::from_raw(number), None);
    if found == Err(nix::errno::Errno::ESRCH) {
        return false;
    }
    // One that has ended and that nobody has asked about yet is there, too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// A new file of this user alone; one that is there is refused.
///
/// # Errors
/// When it cannot be made.
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

/// Makes a directory unless there is something of this name.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        // Root makes nothing where another user could redirect it.
        let there = parent.ancestors().find(|above| above.exists());
        private::out_of_reach(&there.unwrap_or(parent).join("inside"))?;
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
    fn an_access_file_is_its_users_alone() {
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
    fn what_others_could_do_is_taken_from_them() {
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
        assert!(home.check_access(uid).is_err(), "others can write there");
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
    fn a_link_in_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::below(dir.path());
        std::os::unix::fs::symlink("/tmp", &home.state).unwrap();
        assert!(home.prepare().is_err());
    }
}
