//! The state on disk: a snapshot, and a journal of the changes since then.
//!
//! A change is one line of JSON at the end of the journal, written before its
//! request is answered. A journal that is larger than its snapshot is folded into
//! a new snapshot. The cost of a change is therefore constant on average.
//!
//! The daemon may be killed at any point. A last line without its end belongs to
//! a change whose request was not answered, and is dropped. A journal that has just been
//! folded is applied once more, which changes nothing: its lines contain the
//! values after each change.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::journaled::Journaled as _;
use super::state::State;

/// A journal of this size in bytes is not folded, however small the snapshot is.
const SMALL: u64 = 1 << 18;

/// The files of the state.
#[derive(Debug)]
pub(super) struct Journal {
    snapshot: PathBuf,
    file: PathBuf,
    out: File,
    /// The sizes of the snapshot and of the journal.
    snapshot_size: u64,
    size: u64,
    /// Whether the journal lacks a change, or has a part of one.
    is_incomplete: bool,
}

impl Journal {
    /// Opens the files and returns the state in them. The journal is beside the
    /// snapshot.
    pub(super) fn open(snapshot: PathBuf) -> io::Result<(Self, State)> {
        let file = snapshot.with_extension("journal");
        let mut state = read_snapshot(&snapshot)?;
        let out = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&file)?;
        replay(&mut state, &file)?;
        let journal = Self {
            snapshot,
            file,
            out,
            snapshot_size: 0,
            size: 0,
            is_incomplete: true,
        };
        Ok((journal, state))
    }

    /// Writes the current change of the state.
    pub(super) fn write(&mut self, state: &State) -> io::Result<()> {
        let Some(changes) = state.changes()? else {
            return Ok(());
        };
        if self.is_incomplete {
            return self.fold(state);
        }
        let mut line = serde_json::to_vec(&changes)?;
        line.push(b'\n');
        if let Err(e) = self.out.write_all(&line) {
            self.is_incomplete = self.out.set_len(self.size).is_err();
            return Err(e);
        }
        self.size += line.len() as u64;
        if self.size > self.snapshot_size.max(SMALL)
            && let Err(e) = self.fold(state)
        {
            // The change is in the journal. The next one tries again.
            log::error!("cannot write {}: {e}", self.snapshot.display());
        }
        Ok(())
    }

    /// Replaces the snapshot with the state, then empties the journal. The new
    /// snapshot is renamed, so that the file is complete whenever the daemon is
    /// killed.
    pub(super) fn fold(&mut self, state: &State) -> io::Result<()> {
        let next = self.snapshot.with_extension("new");
        let text = serde_json::to_vec(state)?;
        let mut out = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&next)?;
        out.write_all(&text)?;
        drop(out);
        fs::rename(next, &self.snapshot)?;
        self.snapshot_size = text.len() as u64;
        self.out.set_len(0)?;
        self.size = 0;
        self.is_incomplete = false;
        Ok(())
    }

    /// Notes that the journal lacks a change, so that the next one writes a
    /// snapshot.
    #[cfg(any(test, target_os = "linux"))]
    pub(super) fn lacks_a_change(&mut self) {
        self.is_incomplete = true;
    }

    pub(super) fn path(&self) -> &Path {
        &self.file
    }
}

fn read_snapshot(file: &Path) -> io::Result<State> {
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| unreadable(file, 1, &e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(e) => Err(e),
    }
}

/// Applies the changes in a journal.
fn replay(state: &mut State, file: &Path) -> io::Result<()> {
    let text = fs::read(file)?;
    let complete = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let lines = text[..complete].split(|byte| *byte == b'\n');
    for (index, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        let changes: serde_json::Result<Value> = serde_json::from_slice(line);
        let applied = changes.and_then(|changes| state.apply(changes));
        applied.map_err(|e| unreadable(file, index + 1, &e))?;
        state.commit();
    }
    Ok(())
}

/// Returns the error about a file that is damaged or of another version.
fn unreadable(file: &Path, line: usize, error: &serde_json::Error) -> io::Error {
    let directory = file.parent().unwrap_or(file).display();
    io::Error::other(format!(
        "cannot read line {line} of {}: {error}; the file is damaged, or another version of \
         autorun wrote it; to begin with an empty local cloud, remove the directory {directory}, \
         which has its instances, buckets and keys",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rand::seq::IndexedRandom as _;
    use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

    use super::super::state::{ElasticIp, Region, Token};
    use super::*;

    fn open(directory: &Path) -> io::Result<(Journal, State)> {
        Journal::open(directory.join("ec2.json"))
    }

    /// Opens the files as the daemon does, which begins with a snapshot.
    fn begin(directory: &Path) -> (Journal, State) {
        let (mut journal, state) = open(directory).unwrap();
        journal.fold(&state).unwrap();
        (journal, state)
    }

    fn text(state: &State) -> String {
        serde_json::to_string(state).unwrap()
    }

    /// What is on disk, in another directory, with a part of the journal only.
    fn killed(directory: &Path, kept: usize) -> io::Result<String> {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(directory.join("ec2.json"), copy.path().join("ec2.json")).unwrap();
        let journal = fs::read(directory.join("ec2.journal")).unwrap();
        fs::write(copy.path().join("ec2.journal"), &journal[..kept]).unwrap();
        open(copy.path()).map(|(_, state)| text(&state))
    }

    fn put(state: &mut State, key: &str, size: usize) {
        let token = Token {
            request: "x".repeat(size),
            reservation: "r-1".to_owned(),
        };
        let region = state.regions.entry("us-east-1".to_owned()).or_default();
        region.tokens.insert(key.to_owned(), token);
    }

    fn done(journal: &mut Journal, state: &mut State) {
        journal.write(state).unwrap();
        state.commit();
    }

    #[test]
    fn a_daemon_killed_at_any_byte_loses_at_most_the_last_change() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, mut state) = begin(directory.path());
        put(&mut state, "one", 3);
        done(&mut journal, &mut state);
        let (before, size) = (text(&state), journal.size);
        put(&mut state, "two", 3);
        state
            .regions
            .get_mut("us-east-1")
            .unwrap()
            .tokens
            .remove("one");
        done(&mut journal, &mut state);
        let whole = usize::try_from(journal.size).unwrap();
        for kept in usize::try_from(size).unwrap()..whole {
            assert_eq!(killed(directory.path(), kept).unwrap(), before, "{kept}");
        }
        assert_eq!(killed(directory.path(), whole).unwrap(), text(&state));
        // The rest of a torn line is not there for the next change.
        let cut = directory.path().join("ec2.journal");
        fs::write(&cut, &fs::read(&cut).unwrap()[..whole - 1]).unwrap();
        let (mut journal, mut state) = begin(directory.path());
        put(&mut state, "three", 1);
        done(&mut journal, &mut state);
        assert_eq!(text(&open(directory.path()).unwrap().1), text(&state));
    }

    #[test]
    fn a_journal_that_was_just_folded_is_applied_once_more() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, mut state) = begin(directory.path());
        for key in ["one", "two"] {
            put(&mut state, key, 1);
            done(&mut journal, &mut state);
        }
        state
            .regions
            .get_mut("us-east-1")
            .unwrap()
            .tokens
            .remove("one");
        done(&mut journal, &mut state);
        let kept = fs::read(directory.path().join("ec2.journal")).unwrap();
        journal.fold(&state).unwrap();
        fs::write(directory.path().join("ec2.journal"), kept).unwrap();
        assert_eq!(text(&open(directory.path()).unwrap().1), text(&state));
    }

    #[test]
    fn other_damage_is_one_error() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, mut state) = begin(directory.path());
        for key in ["one", "two"] {
            put(&mut state, key, 1);
            done(&mut journal, &mut state);
        }
        let file = directory.path().join("ec2.journal");
        let good = fs::read_to_string(&file).unwrap();
        for (from, to) in [
            ("\"request\"", "\"other\""),
            ("regions", "places"),
            ("{", "["),
        ] {
            fs::write(&file, good.replacen(from, to, 1)).unwrap();
            let error = open(directory.path()).unwrap_err().to_string();
            assert!(error.starts_with("cannot read line 1 of "), "{error}");
            assert!(error.contains("remove the directory"), "{error}");
        }
        fs::write(&file, "").unwrap();
        let earlier = r#"{"regions":{"us-east-1":{}},"iam":{}}"#;
        fs::write(directory.path().join("ec2.json"), earlier).unwrap();
        let error = open(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains("another version of autorun wrote it"),
            "{error}"
        );
    }

    #[test]
    fn the_journal_stays_as_small_as_the_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, mut state) = begin(directory.path());
        for number in 0..400 {
            put(&mut state, &format!("{number}"), 4096);
            done(&mut journal, &mut state);
            assert!(journal.size <= journal.snapshot_size.max(SMALL));
        }
        assert!(journal.snapshot_size > 3 * SMALL, "{journal:?}");
        assert_eq!(text(&open(directory.path()).unwrap().1), text(&state));
        for name in ["ec2.json", "ec2.journal"] {
            let mode = fs::metadata(directory.path().join(name)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn after_a_change_that_could_not_be_written_the_next_one_writes_everything() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, mut state) = begin(directory.path());
        put(&mut state, "lost", 1);
        state.commit();
        journal.lacks_a_change();
        put(&mut state, "next", 1);
        done(&mut journal, &mut state);
        assert_eq!(text(&open(directory.path()).unwrap().1), text(&state));
    }

    /// One random step of a change.
    fn step(region: &mut Region, random: &mut SmallRng) {
        let keys = ["a", "b", "c", "d"];
        let key = (*keys.choose(random).unwrap()).to_owned();
        match random.random_range(0..7) {
            0 => drop(region.tokens.remove(&key)),
            1 => drop(region.elastic_ips.remove(&key)),
            2 => region.deregistered.retain(|known, _| *known != key),
            3 => {
                region.default_vpcs.get_mut().insert(key);
            }
            4 => {
                if let Some(token) = region.tokens.get_mut(&key) {
                    token.request.push('+');
                }
            }
            5 => {
                let token = Token {
                    request: random.random_range(0..1000).to_string(),
                    reservation: key.clone(),
                };
                region.tokens.insert(key, token);
            }
            _ => {
                let own = ElasticIp {
                    id: key.clone(),
                    address: random.random::<u32>().into(),
                    tags: [(key.clone(), "Grüße\n".to_owned())].into(),
                    created: random.random(),
                    is_lent: false,
                };
                region.elastic_ips.insert(key, own);
            }
        }
    }

    #[test]
    fn the_state_is_the_same_after_any_changes() {
        for seed in 0..60 {
            let mut random = SmallRng::seed_from_u64(seed);
            let directory = tempfile::tempdir().unwrap();
            let (mut journal, mut state) = begin(directory.path());
            for _ in 0..40 {
                let before = text(&state);
                for _ in 0..random.random_range(0..6) {
                    let name = if random.random() {
                        "us-east-1"
                    } else {
                        "eu-west-1"
                    };
                    let region = state.regions.entry(name.to_owned()).or_default();
                    step(region, &mut random);
                }
                match random.random_range(0..10) {
                    0 => {
                        state.roll_back();
                        // A region that a change added stays, empty.
                        state
                            .regions
                            .retain(|name, _| before.contains(name.as_str()));
                        assert_eq!(text(&state), before, "{seed}");
                    }
                    1 => {
                        done(&mut journal, &mut state);
                        journal.fold(&state).unwrap();
                    }
                    _ => done(&mut journal, &mut state),
                }
                if random.random_range(0..8) == 0 {
                    let reopened = open(directory.path()).unwrap().1;
                    let mut expected: serde_json::Value = serde_json::to_value(&state).unwrap();
                    let mut found = serde_json::to_value(&reopened).unwrap();
                    let empty = serde_json::to_value(Region::default()).unwrap();
                    for all in [&mut expected, &mut found] {
                        let regions = all["regions"].as_object_mut().unwrap();
                        regions.retain(|_, region| *region != empty);
                    }
                    assert_eq!(found, expected, "{seed}");
                }
            }
        }
    }
}
