//! Runs: what was asked for, where its things are, how it ended, who holds it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::new_id;
use super::{Millis, ResourceKind, Store, known_word, now, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Outcome;

/// Length of a run's id.
const LETTERS: usize = 7;

/// How often a lock is looked at before it counts as held.
const LOOKS: usize = 3;

/// Where the things of a run are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// State directory of the local cloud, if it is there.
    pub local_cloud: Option<String>,
    /// URL of EC2, where it is not AWS's.
    pub ec2: Option<String>,
    /// URL of S3, where it is not AWS's.
    pub s3: Option<String>,
    /// URL of STS, where it is not AWS's.
    pub sts: Option<String>,
    /// AWS profile, if one was named.
    pub profile: Option<String>,
    /// Region, if one is configured.
    pub region: Option<String>,
    /// Number of the account; empty when nothing of AWS was used, or when STS
    /// did not tell.
    #[serde(default)]
    pub account: String,
}

impl Target {
    /// What the endpoints are, without the region and the account.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match (&self.local_cloud, &self.ec2, &self.s3) {
            (Some(_), ..) => "the local cloud".to_owned(),
            (None, None, None) => "AWS".to_owned(),
            (None, Some(ec2), Some(s3)) if ec2 == s3 => ec2.clone(),
            (None, ec2, s3) => {
                let url = |url: &Option<String>| url.clone().unwrap_or("AWS".to_owned());
                format!("EC2 at {} and S3 at {}", url(ec2), url(s3))
            }
        }
    }

    /// As a person reads it: `AWS, eu-central-1, account 111122223333`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = self.endpoint();
        if let Some(region) = &self.region {
            words = format!("{words}, {region}");
        }
        if !self.account.is_empty() {
            words = format!("{words}, account {}", self.account);
        }
        words
    }

    /// What tells two places apart where runs must not meet.
    fn place(&self) -> String {
        let place = [
            self.local_cloud.as_ref().or(self.ec2.as_ref()),
            self.region.as_ref(),
        ];
        let place: Vec<&str> = place.iter().map(|p| p.map_or("", |p| p)).collect();
        place.join(" ")
    }
}

/// Where a secret comes from, which is not in the ledger itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// A shell command that prints it.
    Command(String),
    /// A file that holds it.
    File(PathBuf),
    /// A file of variables that holds it.
    Variables(PathBuf),
}

impl SecretSource {
    /// The command, or the name of the file.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Command(command) => command,
            // A name that is not UTF-8 holds no secret, which is.
            Self::File(file) | Self::Variables(file) => file.to_str().unwrap_or_default(),
        }
    }
}

/// What a run was asked to do, as `resume` and `destroy` need it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// The playbook's path as it was given.
    pub playbook: String,
    /// The directory that relative paths start at.
    pub directory: PathBuf,
    /// Values of the variables, without the secret ones.
    pub variables: BTreeMap<String, Value>,
    /// Names of the secret ones.
    pub secrets: Vec<String>,
    /// Where those can be read again that came from somewhere.
    #[serde(default)]
    pub sources: BTreeMap<String, SecretSource>,
    /// Tags given by `--tag`.
    pub tags: BTreeMap<String, String>,
    /// Seconds after which instances end themselves.
    pub ttl: Option<u64>,
    /// Where it runs.
    pub target: Target,
}

/// A run as the ledger knows it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The playbook's absolute path.
    pub playbook: String,
    /// Value of its variable `name`, if it has one.
    pub name: String,
    /// What it was asked to do.
    pub about: About,
    /// The process that ran it last.
    pub pid: u32,
    /// When it began.
    pub started: Millis,
    /// When it ended last.
    pub ended: Option<Millis>,
    /// How; nothing while it runs or when its process was killed.
    pub outcome: Option<Outcome>,
    /// What it failed with, masked.
    pub error: Option<String>,
    /// How much of it may be up.
    pub up: usize,
}

/// What a run does, or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// A process works on it.
    Running,
    /// Its process is gone and did not write down how it ended.
    Killed,
    /// It ended.
    Ended(Outcome),
}

impl RunStatus {
    /// The name that `runs` and `show` use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }

    /// Whether `autorun resume` takes such a run up.
    #[must_use]
    pub fn can_go_on(self) -> bool {
        match self {
            Self::Killed | Self::Ended(Outcome::Failed | Outcome::Interrupted) => true,
            Self::Running | Self::Ended(Outcome::Done) => false,
        }
    }
}

impl Run {
    /// A run that begins now.
    #[must_use]
    pub fn new(playbook: &Path, name: &str, about: About) -> Self {
        Self {
            id: new_id(LETTERS),
            playbook: playbook.display().to_string(),
            name: name.to_owned(),
            about,
            pid: std::process::id(),
            started: now(),
            ended: None,
            outcome: None,
            error: None,
            up: 0,
        }
    }
}

/// Says that this process works on a run. The kernel gives it up when the
/// process ends in any way.
#[derive(Debug)]
pub struct Hold {
    path: PathBuf,
    _file: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

const COLUMNS: &str = "id, playbook, name, about, pid, started, ended, outcome, error, \
    (SELECT count(*) FROM resource WHERE resource.run = run.id \
     AND state IN ('intended', 'live', 'releasing'))";

impl Store {
    /// Writes a new run down and holds it.
    ///
    /// Throws `already_exists` while another process runs the same playbook
    /// under the same name in the same place.
    pub fn begin(&self, run: &Run) -> Result<Hold> {
        let hold = self.hold_or_refuse(run)?;
        let about = serde_json::to_string(&run.about).map_err(|e| {
            Error::invalid(format!("the run cannot be written down: {e}")).hint(
                "the current directory and the files that variables are read from need names in \
                 UTF-8",
            )
        })?;
        let rival = self.write(|tx| {
            let rival = self.rival(tx, run)?;
            if matches!(rival, Ok(None)) {
                tx.execute(
                    "INSERT INTO run (id, playbook, name, target, account, about, pid, started) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![
                        run.id,
                        run.playbook,
                        run.name,
                        run.about.target.place(),
                        run.about.target.account,
                        about,
                        run.pid,
                        run.started,
                    ],
                )?;
            }
            Ok(rival)
        })?;
        match rival? {
            Some(rival) => Err(in_progress(&rival)),
            None => Ok(hold),
        }
    }

    /// Takes up a run that has ended, to work on it again.
    ///
    /// Throws `already_exists` while a process works on it, or on another run
    /// that must not go on at the same time.
    pub fn take_up(&self, run: &Run) -> Result<Hold> {
        let hold = self.hold_or_refuse(run)?;
        let rival = self.write(|tx| {
            let rival = self.rival(tx, run)?;
            if matches!(rival, Ok(None)) {
                tx.execute(
                    "UPDATE run SET pid = ?2, ended = NULL, outcome = NULL, error = NULL \
                     WHERE id = ?1",
                    params![run.id, std::process::id()],
                )?;
            }
            Ok(rival)
        })?;
        match rival? {
            Some(rival) => Err(in_progress(&rival)),
            None => Ok(hold),
        }
    }

    /// Holds a run without taking it up, to remove what it made.
    ///
    /// Throws `already_exists` while a process works on it.
    pub fn hold_ended(&self, run: &Run) -> Result<Hold> {
        self.hold_or_refuse(run)
    }

    /// Writes down how a run ended.
    pub fn end(&self, run: &str, outcome: Outcome, error: Option<&str>) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE run SET ended = ?2, outcome = ?3, error = ?4 WHERE id = ?1",
                params![run, now(), outcome.as_str(), error],
            )
        })?;
        Ok(())
    }

    /// What a run does, or what became of it.
    pub fn status(&self, run: &Run) -> Result<RunStatus> {
        Ok(match run.outcome {
            Some(outcome) => RunStatus::Ended(outcome),
            // Only a run without an end may have a process.
            None if self.holder(run)?.is_some() => RunStatus::Running,
            None => RunStatus::Killed,
        })
    }

    /// Marks as released what other runs on the same target made.
    pub(super) fn release_of_others(&self, run: &str, kind: ResourceKind, id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "UPDATE resource SET state = ?4, changed = ?5 \
                 WHERE kind = ?2 AND id = ?3 AND state IN ('intended', 'live', 'releasing') \
                 AND run IN (SELECT other.id FROM run other JOIN run mine ON mine.id = ?1 \
                 WHERE other.id <> mine.id AND other.target = mine.target \
                 AND other.account = mine.account)",
                params![
                    run,
                    kind.as_str(),
                    id,
                    super::State::Released.as_str(),
                    now()
                ],
            )
        })?;
        Ok(())
    }

    /// Every run, newest first.
    pub fn runs(&self) -> Result<Vec<Run>> {
        self.read(|db| {
            let sql = format!("SELECT {COLUMNS} FROM run ORDER BY started DESC, id");
            let mut query = db.prepare(&sql)?;
            let runs = query.query_map([], read)?;
            runs.collect()
        })
    }

    /// The run whose id begins so, as git finds a commit.
    ///
    /// Throws `not_found`; `invalid_option` when several begin so.
    pub fn find(&self, prefix: &str) -> Result<Run> {
        let runs = self.read(|db| {
            let sql = format!(
                "SELECT {COLUMNS} FROM run WHERE substr(id, 1, ?2) = ?1 ORDER BY started DESC"
            );
            let mut query = db.prepare(&sql)?;
            let length = i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX);
            let runs = query.query_map(params![prefix, length], read)?;
            runs.collect::<rusqlite::Result<Vec<Run>>>()
        })?;
        match <[Run; 1]>::try_from(runs) {
            Ok([run]) if !prefix.is_empty() => Ok(run),
            Err(runs) if runs.len() > 1 && !prefix.is_empty() => {
                let ids: Vec<&str> = runs.iter().take(8).map(|run| run.id.as_str()).collect();
                Err(
                    Error::invalid(format!("{} runs begin with `{prefix}`", runs.len()))
                        .hint(format!("write more of the id: {}", ids.join(", "))),
                )
            }
            _ => Err(Error::new(
                ErrorKind::NotFound,
                format!("the ledger has no run `{prefix}`"),
            )
            .hint("`autorun runs` lists them")),
        }
    }

    /// The process that works on a run right now.
    pub fn holder(&self, run: &Run) -> Result<Option<u32>> {
        if !self.is_held(&run.id)? {
            return Ok(None);
        }
        let written = std::fs::read_to_string(self.hold_path(&run.id)).ok();
        Ok(written.and_then(|pid| pid.parse().ok()).or(Some(run.pid)))
    }

    /// A run in progress that must not meet this one.
    fn rival(&self, db: &rusqlite::Connection, run: &Run) -> rusqlite::Result<Result<Option<Run>>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM run WHERE playbook = ?1 AND name = ?2 AND target = ?3 \
             AND account = ?4 AND outcome IS NULL AND id <> ?5"
        );
        let target = &run.about.target;
        let mut query = db.prepare(&sql)?;
        let rivals = query.query_map(
            params![
                run.playbook,
                run.name,
                target.place(),
                target.account,
                run.id
            ],
            read,
        )?;
        for rival in rivals {
            let rival = rival?;
            match self.is_held(&rival.id) {
                Ok(false) => {}
                Ok(true) => return Ok(Ok(Some(rival))),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(None))
    }

    fn hold_or_refuse(&self, run: &Run) -> Result<Hold> {
        if let Some(hold) = self.hold(&run.id)? {
            return Ok(hold);
        }
        let pid = self.holder(run)?.unwrap_or(run.pid);
        Err(in_progress(&Run { pid, ..run.clone() }))
    }

    /// Holds a run; nothing when another process does.
    fn hold(&self, run: &str) -> Result<Option<Hold>> {
        let path = self.hold_path(run);
        let failed = |e: &std::io::Error| Error::io("hold the run in", &path, e);
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|e| failed(&e))?;
        }
        // Looking at a run takes it for a moment, so one refusal means little.
        for _ in 0..10 {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false) // it may be another holder's
                .mode(0o600)
                .open(&path)
                .map_err(|e| failed(&e))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let mut file = file;
                    // A killed process may have left a longer number.
                    file.set_len(0).map_err(|e| failed(&e))?;
                    write!(file, "{}", std::process::id()).map_err(|e| failed(&e))?;
                    return Ok(Some(Hold { path, _file: file }));
                }
                // The last holder removed it meanwhile.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(e)) => return Err(failed(&e)),
            }
        }
        Ok(None)
    }

    /// Removes the lock files of processes that were killed.
    pub(super) fn clear_locks(&self) {
        let locks = std::fs::read_dir(self.directory().join("runs"));
        for lock in locks.into_iter().flatten().flatten() {
            let name = lock.file_name();
            if let Some(run) = name.to_str().and_then(|name| name.strip_suffix(".lock")) {
                // What is wrong with it is reported when it is needed.
                drop(self.seems_held(run));
            }
        }
    }

    fn is_held(&self, run: &str) -> Result<bool> {
        // Whoever looks at a lock holds it for a moment.
        for _ in 0..LOOKS {
            if !self.seems_held(run)? {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.seems_held(run)
    }

    /// Whether a process has the lock of a run at this moment. A lock file that a
    /// killed process left is removed.
    fn seems_held(&self, run: &str) -> Result<bool> {
        let path = self.hold_path(run);
        match File::open(&path) {
            Ok(file) => match file.try_lock() {
                Ok(()) => {
                    // Held while it is removed, so that it cannot be a new
                    // holder's; see `hold`.
                    if is_at(&file, &path) {
                        drop(std::fs::remove_file(&path));
                    }
                    Ok(false)
                }
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(e)) => Err(Error::io("look at", &path, &e)),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("look at", &path, &e)),
        }
    }

    fn hold_path(&self, run: &str) -> PathBuf {
        self.directory().join("runs").join(format!("{run}.lock"))
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let number = |about: std::fs::Metadata| (about.dev(), about.ino());
    let (file, path) = (
        file.metadata().map(number),
        std::fs::metadata(path).map(number),
    );
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}

fn in_progress(run: &Run) -> Error {
    let named = match run.name.as_str() {
        "" => String::new(),
        name => format!(" (name {name})"),
    };
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "run {} of `{}`{named} is in progress, process {}",
            run.id, run.about.playbook, run.pid
        ),
    )
    .hint("wait for its end, or stop it with Ctrl-C")
}

fn read(row: &Row) -> rusqlite::Result<Run> {
    let id: String = row.get(0)?;
    let about: String = row.get(3)?;
    let outcome: Option<String> = row.get(7)?;
    let fault = |column, why: String| unreadable(column, format!("run {id}: {why}"));
    let about = serde_json::from_str(&about).map_err(|e| {
        fault(
            3,
            format!("its column `about` is not what autorun writes: {e}"),
        )
    })?;
    let outcome = outcome
        .map(|word| known_word(&word, &Outcome::ALL, Outcome::as_str))
        .transpose()
        .map_err(|why| fault(7, format!("its outcome {why}")))?;
    Ok(Run {
        id,
        playbook: row.get(1)?,
        name: row.get(2)?,
        about,
        pid: row.get(4)?,
        started: row.get(5)?,
        ended: row.get(6)?,
        outcome,
        error: row.get(8)?,
        up: row.get(9)?,
    })
}

impl Store {
    /// Whether a thing that may be up is in the ledger, by its id or its row.
    pub fn knows(&self, kind: ResourceKind, id: &str, row: &str) -> Result<bool> {
        self.read(|db| {
            db.query_row(
                "SELECT EXISTS (SELECT 1 FROM resource WHERE (row = ?3 OR (kind = ?1 AND id = ?2)) \
                 AND state IN ('intended', 'live', 'releasing'))",
                [kind.as_str(), id, row],
                |found| found.get(0),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> Run {
        Run::new(Path::new("/srv/web.rhai"), name, About::default())
    }

    #[test]
    fn the_second_run_of_the_same_is_refused_while_the_first_holds_on() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let first = run("shop");
        let hold = store.begin(&first).unwrap();
        let refused = store.begin(&run("shop")).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AlreadyExists);
        assert!(refused.message.contains(&first.pid.to_string()));
        let other = store.begin(&run("blog")).unwrap();
        drop(hold);
        // Its holder died: nobody wrote an outcome, and nobody holds it.
        let again = store.begin(&run("shop")).unwrap();
        drop((other, again));
        assert_eq!(store.runs().unwrap().len(), 3);
    }

    #[test]
    fn lock_files_of_killed_runs_disappear_and_those_of_others_stay() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let (killed, works) = (run("shop"), run("blog"));
        drop(store.begin(&killed).unwrap());
        let hold = store.begin(&works).unwrap();
        let lock = |run: &Run| store.hold_path(&run.id);
        std::fs::write(lock(&killed), "1").unwrap();
        assert!(store.holder(&works).unwrap().is_some());
        assert!(store.holder(&killed).unwrap().is_none());
        assert!(!lock(&killed).exists());
        std::fs::write(lock(&killed), "1").unwrap();
        drop(Store::open(home.path()).unwrap());
        assert!(!lock(&killed).exists());
        assert!(lock(&works).exists());
        drop(hold);
        assert!(!lock(&works).exists());
    }

    #[test]
    fn runs_are_found_by_what_their_ids_begin_with() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        for id in ["abcdefg", "abzzzzz", "b"] {
            let run = Run {
                id: id.to_owned(),
                name: id.to_owned(),
                ..run("")
            };
            drop(store.begin(&run).unwrap());
        }
        assert_eq!(store.find("abc").unwrap().id, "abcdefg");
        assert!(store.find("ab").unwrap_err().message.contains("2 runs"));
        for nothing in ["", "x", "abcdefgh", "%"] {
            assert!(store.find(nothing).is_err(), "{nothing}");
        }
    }
}
