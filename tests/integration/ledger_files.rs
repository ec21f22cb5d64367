//! Ledger files in the states in which copies, crashes and disks leave them. The
//! program either rejects a ledger with the reason or reads everything in it. It
//! never shows fewer runs without a message.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use autorun::error::Error;
use autorun::ledger::{About, Run, Store};
use autorun::report::Outcome;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::local_cloud::becomes_true;
use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, started};

/// The number of runs in a ledger of these tests, and of resources in each run.
const RUNS: usize = 24;
const RESOURCES: usize = 12;

/// The number of damaged ledgers of each kind, with damage at random places.
const TRIES: usize = 60;

const FILES: [&str; 4] = ["ledger.db", "ledger.db-wal", "ledger.db-shm", "owner"];

/// The contents of a ledger's directory, by file.
type Bytes = BTreeMap<&'static str, Vec<u8>>;

fn bytes_of(directory: &Path) -> Bytes {
    let files = FILES.iter().filter_map(|name| {
        let bytes = fs::read(directory.join(name)).ok()?;
        Some((*name, bytes))
    });
    files.collect()
}

fn written(bytes: &Bytes) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    for (name, bytes) in bytes {
        let path = home.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    home
}

/// Adds a run and its resources as a run of the program does.
fn add_run(store: &Store, number: usize) {
    let run = Run::new(
        Path::new("/srv/web.rhai"),
        &format!("n{number}"),
        About::default(),
    );
    drop(store.begin(&run).unwrap());
    store.end(&run.id, Outcome::Done, None).unwrap();
}

/// Adds rows that are large enough to fill several pages, and that only a run
/// writes.
fn add_resources(directory: &Path) {
    let db = rusqlite::Connection::open(directory.join("ledger.db")).unwrap();
    let ids = "SELECT id FROM run WHERE id NOT IN (SELECT run FROM resource)";
    let ids: Vec<String> = {
        let mut query = db.prepare(ids).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    for run in ids {
        for row in 0..RESOURCES {
            let name = format!("{run}-{row}-{}", "x".repeat(100));
            db.execute(
                "INSERT INTO resource (run, row, kind, name, id, state, step, intended, changed, \
                 removed_by_playbook) VALUES (?1, ?2, 'bucket', ?3, ?3, 'live', ?2, 0, 0, 0)",
                rusqlite::params![run, format!("autorun-{run}-{row:04}"), name],
            )
            .unwrap();
        }
    }
}

/// A ledger without a running process: its main file contains everything.
fn rested() -> Bytes {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    for number in 0..RUNS {
        add_run(&store, number);
    }
    drop(store);
    add_resources(home.path());
    let store = Store::open(home.path()).unwrap();
    store.end("none", Outcome::Done, None).unwrap();
    store.checkpoint().unwrap();
    bytes_of(home.path())
}

/// The same ledger after two more runs. The last one was killed, so only the
/// `-wal` contains it.
fn killed(rested: &Bytes) -> Bytes {
    let home = written(rested);
    let store = Store::open(home.path()).unwrap();
    add_run(&store, RUNS);
    store.checkpoint().unwrap();
    // The first commit goes into the main file as well, which then shows that there may
    // be more.
    store.end("none", Outcome::Done, None).unwrap();
    add_run(&store, RUNS + 1);
    // Copy the files while the process still has them open.
    bytes_of(home.path())
}

/// Returns the runs with their numbers of resources, or the error.
fn known(directory: &Path) -> Result<BTreeMap<String, usize>, Error> {
    let store = Store::open(directory)?;
    let runs = store.runs()?.into_iter();
    runs.map(|run| Ok((run.id.clone(), store.resources(&run.id)?.len())))
        .collect()
}

/// The outcomes of reading damaged ledgers.
#[derive(Default)]
struct Count {
    refused: usize,
    whole: usize,
}

impl Count {
    /// Checks that a ledger is either rejected with a reason and unchanged, or
    /// complete.
    #[track_caller]
    fn add(&mut self, what: &str, bytes: &Bytes, all: &BTreeMap<String, usize>) {
        let home = written(bytes);
        match known(home.path()) {
            Ok(known) => {
                assert_eq!(&known, all, "{what}: data is lost without a message");
                self.whole += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "{what}");
                assert!(error.hint.is_some(), "{what}: {error}");
                let after = bytes_of(home.path());
                for name in ["ledger.db", "ledger.db-wal"] {
                    assert!(
                        content(&after, name) == content(bytes, name),
                        "{what}: {name} was changed"
                    );
                }
                self.refused += 1;
            }
        }
    }
}

/// Returns the random generator. The same seed leads to the same damage.
fn random_generator() -> StdRng {
    let given = std::env::var("AUTORUN_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("AUTORUN_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn page_size(bytes: &Bytes) -> usize {
    let size = &bytes["ledger.db"][16..18];
    usize::from(u16::from_be_bytes([size[0], size[1]]))
}

#[test]
fn a_damaged_ledger_is_refused_or_complete() {
    let mut random = random_generator();
    let rested = rested();
    let killed = killed(&rested);
    for (state, bytes) in [("rested", &rested), ("killed", &killed)] {
        let all = known(written(bytes).path()).unwrap();
        assert_eq!(all.len(), RUNS + 2 * usize::from(state == "killed"));
        let mut count = Count::default();
        for file in ["ledger.db", "ledger.db-wal"] {
            let length = bytes[file].len();
            if length == 0 {
                continue;
            }
            let mut ends: Vec<usize> = (0..length).step_by(page_size(bytes)).collect();
            ends.extend((0..TRIES).map(|_| random.random_range(0..length)));
            for end in ends {
                let mut damaged = bytes.clone();
                damaged.get_mut(file).unwrap().truncate(end);
                count.add(&format!("{state}: {file} ends at {end}"), &damaged, &all);
            }
            for at in (0..length).step_by(page_size(bytes)) {
                let mut damaged = bytes.clone();
                let end = length.min(at + page_size(bytes));
                damaged.get_mut(file).unwrap()[at..end].fill(0);
                count.add(
                    &format!("{state}: {file} has zeros from {at}"),
                    &damaged,
                    &all,
                );
            }
            for _ in 0..TRIES {
                let mut damaged = bytes.clone();
                // Half of the changes are at the beginning of a page, whose
                // header locates the rest.
                let at = if random.random_bool(0.5) {
                    random.random_range(0..length)
                } else {
                    let page = random.random_range(0..length.div_ceil(page_size(bytes)));
                    let at = page * page_size(bytes) + random.random_range(0..100);
                    at.min(length - 1)
                };
                let noise: u8 = random.random_range(1..=255);
                damaged.get_mut(file).unwrap()[at] ^= noise;
                count.add(
                    &format!("{state}: {file} is changed at {at}, {noise}"),
                    &damaged,
                    &all,
                );
            }
        }
        for at in 0..100 {
            let mut damaged = bytes.clone();
            damaged.get_mut("ledger.db").unwrap()[at] ^= 0xff;
            count.add(
                &format!("{state}: the header is changed at {at}"),
                &damaged,
                &all,
            );
        }
        println!(
            "{state}: {} damages, {} refused, {} read completely",
            count.refused + count.whole,
            count.refused,
            count.whole
        );
        assert!(count.refused > TRIES);
    }
}

/// Asserts that a ledger is rejected for this reason.
#[track_caller]
fn refused(bytes: &Bytes, why: &str) {
    let home = written(bytes);
    refused_at(home.path(), why);
    let after = bytes_of(home.path());
    for name in ["ledger.db", "ledger.db-wal"] {
        assert!(
            content(&after, name) == content(bytes, name),
            "{why}: {name} was changed"
        );
    }
}

/// Treats a missing file as an empty one: SQLite creates a missing `-wal` as an
/// empty file.
fn content<'a>(bytes: &'a Bytes, name: &str) -> &'a [u8] {
    bytes.get(name).map_or(&[], Vec::as_slice)
}

#[track_caller]
fn refused_at(directory: &Path, why: &str) {
    let error = known(directory).map(|runs| runs.len()).unwrap_err();
    assert!(error.to_string().contains(why), "no `{why}` in: {error}");
    assert!(error.hint.is_some(), "{error}");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let rested = rested();
    let killed = killed(&rested);
    let all = known(written(&killed).path()).unwrap();
    let with = |changes: &[(&'static str, Option<&Vec<u8>>)]| {
        let mut bytes = killed.clone();
        for (name, content) in changes {
            match content {
                Some(content) => drop(bytes.insert(name, (*content).clone())),
                None => drop(bytes.remove(name)),
            }
        }
        bytes
    };
    let whole = |bytes: &Bytes| {
        assert_eq!(known(written(bytes).path()).unwrap(), all);
    };
    // SQLite recreates the index of the `-wal`.
    whole(&with(&[("ledger.db-shm", None)]));
    whole(&with(&[("ledger.db-shm", Some(&vec![0x5a; 32768]))]));
    whole(&with(&[("owner", None)]));
    let empty = Vec::new();
    refused(
        &with(&[("ledger.db-wal", None)]),
        "its `-wal` is missing: it has",
    );
    refused(
        &with(&[("ledger.db-wal", Some(&empty))]),
        "its `-wal` is missing: it has",
    );
    // A copy that was made during a run, and a copy of only one file.
    refused(
        &with(&[
            ("ledger.db-wal", None),
            ("ledger.db-shm", None),
            ("owner", None),
        ]),
        "a copy without its `-wal`",
    );
    refused(
        &with(&[("ledger.db", Some(&rested["ledger.db"]))]),
        "older than the `-wal`",
    );
    refused(
        &with(&[
            ("ledger.db", Some(&rested["ledger.db"])),
            ("ledger.db-wal", None),
        ]),
        "older than the last commit",
    );
    let other = another();
    let not_its_own = [
        "belongs to another ledger",
        "the `-wal` beside it belongs to another file",
    ];
    let home = written(&with(&[("ledger.db-wal", Some(&other["ledger.db-wal"]))]));
    let error = known(home.path()).map(|runs| runs.len()).unwrap_err();
    assert!(
        not_its_own
            .iter()
            .any(|why| error.to_string().contains(why)),
        "{error}"
    );
    refused(
        &with(&[("ledger.db", Some(&other["ledger.db"]))]),
        "belongs to another ledger",
    );
    refused(
        &with(&[("owner", Some(&other["owner"]))]),
        "belongs to another ledger",
    );
    refused(&with(&[("ledger.db", Some(&empty))]), "it is an empty file");
    refused(
        &with(&[
            ("ledger.db", Some(&empty)),
            ("ledger.db-wal", None),
            ("owner", None),
        ]),
        "it is an empty file",
    );
    refused(
        &with(&[("ledger.db", None), ("owner", None)]),
        "ledger.db-wal` exists",
    );
    refused(
        &with(&[("ledger.db", None), ("ledger.db-wal", None)]),
        "it is missing, but the file `owner` beside it records",
    );
    let old_owner = b"23456789bcdfghjk\n".to_vec();
    refused(
        &with(&[
            ("ledger.db", None),
            ("ledger.db-wal", None),
            ("owner", Some(&old_owner)),
        ]),
        "it is missing, but the file `owner` beside it records that it existed",
    );
    refused(&with(&[("owner", Some(&empty))]), "is damaged");
    // A copy of a ledger at rest needs only the main file.
    let alone = Bytes::from([("ledger.db", rested["ledger.db"].clone())]);
    assert_eq!(known(written(&alone).path()).unwrap().len(), RUNS);
}

/// Another ledger in the state in which a killed run leaves it.
fn another() -> Bytes {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    add_run(&store, 0);
    bytes_of(home.path())
}

#[test]
fn the_user_can_decide_to_continue_with_an_older_ledger() {
    let rested = rested();
    let home = written(&killed(&rested));
    fs::remove_file(home.path().join("ledger.db-wal")).unwrap();
    refused_at(home.path(), "it has");
    fs::remove_file(home.path().join("ledger.db-shm")).unwrap();
    fs::write(home.path().join("ledger.db"), &rested["ledger.db"]).unwrap();
    fs::remove_file(home.path().join("owner")).unwrap();
    assert_eq!(known(home.path()).unwrap().len(), RUNS);
    assert_eq!(known(home.path()).unwrap().len(), RUNS);
}

#[test]
fn an_older_schema_is_upgraded_without_loss() {
    let rested = rested();
    let owner = rested["owner"][..17].to_vec();
    let home = written(&rested);
    let db = rusqlite::Connection::open(home.path().join("ledger.db")).unwrap();
    db.execute_batch("DROP TABLE written; DROP TABLE stopped; PRAGMA user_version = 2;")
        .unwrap();
    drop(db);
    // The `owner` file of the newer version shows that the ledger is older than
    // its last write.
    refused_at(home.path(), "older than the last commit");
    fs::write(home.path().join("owner"), owner).unwrap();
    let all = known(home.path()).unwrap();
    assert_eq!(all.len(), RUNS);
    assert!(all.values().all(|resources| *resources == RESOURCES));
    assert!(fs::read(home.path().join("owner")).unwrap().len() > 17);
    assert_eq!(known(home.path()).unwrap(), all);
}

/// A change to a ledger's directory, and the expected reason.
type Change = (&'static str, fn(&Path), &'static str);

#[test]
fn a_file_that_is_not_a_ledger_of_this_user_is_refused_and_unchanged() {
    let rested = rested();
    let changes: [Change; 10] = [
        ("link", move_and_link, "is a symbolic link"),
        (
            "directory",
            |db| replace(db, |db| fs::create_dir(db).unwrap()),
            "is a directory",
        ),
        ("pipe", |db| replace(db, make_pipe), "is a named pipe"),
        ("another user's", chown, "belongs to user 1234"),
        (
            "the directory is another user's",
            |db| chown(db.parent().unwrap()),
            "belongs to user 1234",
        ),
        (
            "owner is a link",
            |db| move_and_link(&db.with_file_name("owner")),
            "is a symbolic link",
        ),
        (
            "another program's",
            |db| {
                replace(db, |db| {
                    let other = rusqlite::Connection::open(db).unwrap();
                    other.execute_batch("CREATE TABLE t (x)").unwrap();
                });
            },
            "is a database, but not a ledger of autorun",
        ),
        (
            "a database with nothing in it",
            |db| {
                replace(db, |db| {
                    let other = rusqlite::Connection::open(db).unwrap();
                    other
                        .execute_batch("CREATE TABLE t (x); DROP TABLE t")
                        .unwrap();
                });
            },
            "a database without tables",
        ),
        (
            "newer",
            |db| {
                let db = rusqlite::Connection::open(db).unwrap();
                db.execute_batch("PRAGMA user_version = 99").unwrap();
            },
            "was written by a newer autorun",
        ),
        (
            "a journal",
            |db| fs::write(db.with_file_name("ledger.db-journal"), "x".repeat(600)).unwrap(),
            "ledger.db-journal` is beside it",
        ),
    ];
    for (what, change, message) in changes {
        let home = written(&rested);
        let db = home.path().join("ledger.db");
        change(&db);
        if db.is_file() {
            fs::set_permissions(&db, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let before = fs::symlink_metadata(&db).unwrap();
        refused_at(home.path(), message);
        let after = fs::symlink_metadata(&db).unwrap();
        assert_eq!(before.mode(), after.mode(), "{what}");
        assert_eq!(before.uid(), after.uid(), "{what}");
    }
}

#[test]
fn the_directory_of_another_program_is_not_changed() {
    let theirs = tempfile::tempdir().unwrap();
    let path = theirs.path().join("ledger.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(db);
    for (path, mode) in [(theirs.path(), 0o755), (&path, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    refused_at(theirs.path(), "not a ledger of autorun");
    assert_eq!(fs::metadata(theirs.path()).unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(theirs.path()).unwrap().count(), 1);
}

fn replace(path: &Path, make: impl Fn(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

fn move_and_link(path: &Path) {
    let elsewhere = path.with_extension("elsewhere");
    fs::rename(path, &elsewhere).unwrap();
    symlink(elsewhere, path).unwrap();
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn chown(path: &Path) {
    std::os::unix::fs::chown(path, Some(1234), Some(1234)).unwrap();
}

#[test]
fn access_of_other_users_is_removed_and_logged() {
    let home = Home::new();
    home.run("print(1)").exits(0);
    let path = home.path();
    fs::create_dir_all(path.join("keys")).unwrap();
    fs::write(path.join("keys/web"), "key").unwrap();
    let open = ["", "ledger.db", "owner", "runs", "keys", "keys/web"];
    let set = |name: &str, mode| {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o777;
    for wide in [0o777, 0o755, 0o770] {
        for name in open {
            set(name, wide);
        }
        let runs = home.call(&["runs"]).run().exits(0);
        assert_eq!(runs.stdout.lines().count(), 2, "{}", runs.stdout);
        let messages = runs.messages();
        assert_eq!(
            messages.matches("other users had access to").count(),
            open.len(),
            "{messages}"
        );
        for name in open {
            assert_eq!(mode(name), 0o700, "{name}");
        }
    }
    let silent = home.call(&["runs"]).run().exits(0);
    assert_eq!(silent.stderr, "");
    // A directory that does not belong to autorun keeps its mode.
    let shared = tempfile::tempdir().unwrap();
    fs::write(shared.path().join("theirs"), "").unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let shown = shared.path().display().to_string();
    let refused = home
        .call(&["runs"])
        .env("AUTORUN_HOME", &shown)
        .run()
        .exits(2);
    assert!(
        refused.messages().contains("other users can write to"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::metadata(shared.path()).unwrap().mode() & 0o777, 0o777);
    assert_eq!(fs::read_dir(shared.path()).unwrap().count(), 1);
}

/// A home with a ledger, and commands that use it.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("autorun")
    }

    fn with(&self, autorun: Autorun, args: &[&str]) -> Autorun {
        let home = self.path().display().to_string();
        autorun.env("AUTORUN_HOME", &home).args(args)
    }

    /// Calls `autorun` with this ledger, with an AWS endpoint where nothing
    /// listens.
    fn call(&self, args: &[&str]) -> Autorun {
        let autorun = Autorun::new()
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env(
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
            )
            .env("AWS_REGION", "eu-central-1");
        self.with(autorun, args)
    }

    fn playbook(&self, text: &str) -> String {
        let path = self.dir.path().join("playbook.rhai");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self, text: &str) -> Ended {
        self.call(&[&self.playbook(text)]).run()
    }

    fn ids(&self) -> Vec<String> {
        let runs = self.call(&["runs"]).run().exits(0).stdout;
        let ids = runs.lines().skip(1);
        ids.map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn every_command_refuses_a_missing_ledger_and_a_search_by_tags_begins_a_new_one() {
    let home = Home::new();
    home.run("print(1)").exits(0);
    let id = home.ids().remove(0);
    let playbook = home.playbook("print(1)");
    for file in FILES {
        if file != "owner" {
            fs::remove_file(home.path().join(file)).unwrap();
        }
    }
    let calls: [&[&str]; 6] = [
        &["runs"],
        &["show", &id],
        &["resume", &id],
        &["destroy", "--all", "--yes"],
        &["ssh", &id],
        &[&playbook],
    ];
    for call in calls {
        let refused = home.call(call).run().exits(2);
        assert_eq!(refused.stdout, "");
        assert_eq!(
            refused.stderr.matches("error:").count(),
            1,
            "{}",
            refused.stderr
        );
        for text in [
            "it is missing, but the file `owner`",
            "hint:",
            "destroy --orphans",
        ] {
            assert!(
                refused.messages().contains(text),
                "no `{text}` in {}",
                refused.stderr
            );
        }
    }
    assert!(!home.path().join("ledger.db").exists());
    let search = [
        "destroy",
        "--orphans",
        "--endpoint-url",
        "http://127.0.0.1:1",
    ];
    let searched = home.call(&search).run().exits(2);
    assert!(
        searched
            .messages()
            .contains("was lost; created an empty one"),
        "{}",
        searched.stderr
    );
    assert_eq!(home.call(&["runs"]).run().exits(0).stdout, "no runs yet\n");
}

#[test]
fn runs_that_are_killed_during_others_lose_nothing() {
    let home = Home::new();
    let quick = home.playbook("print(run_id());");
    let path = home.dir.path().join("slow.rhai");
    fs::write(&path, "print(run_id()); log_info(\"begun\"); sleep(60);").unwrap();
    let slow = path.display().to_string();
    let mut expected = Vec::new();
    for round in 0..4 {
        let name = format!("name=n{round}");
        let slow = home.call(&[&slow, "--tag", &name]);
        let (mut victim, _stderr) = started(&slow, "begun");
        std::thread::scope(|scope| {
            let quick: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| home.call(&[&quick]).run()))
                .collect();
            let listing = scope.spawn(|| home.call(&["runs"]).run());
            victim.kill().unwrap();
            for run in quick {
                let ended = run.join().unwrap();
                // The same playbook cannot run twice at once: the error says so.
                match ended.status {
                    Some(0) => expected.push(ended.stdout.trim().to_owned()),
                    _ => assert!(ended.messages().contains("in progress"), "{}", ended.stderr),
                }
            }
            listing.join().unwrap().exits(0);
        });
        let stdout = victim.wait_with_output().unwrap().stdout;
        expected.push(String::from_utf8(stdout).unwrap().trim().to_owned());
        let ids = home.ids();
        for id in &expected {
            assert!(ids.contains(id), "run {id} is not in {ids:?}");
        }
        // The next process has removed the lock of the killed run.
        assert_eq!(fs::read_dir(home.path().join("runs")).unwrap().count(), 0);
    }
    assert!(expected.len() >= 8, "{expected:?}");
    // A process that has ended leaves nothing beside the main file.
    home.run("print(1)").exits(0);
    assert_eq!(
        fs::metadata(home.path().join("ledger.db-wal"))
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn an_endpoint_that_does_not_answer_is_reported_at_once_and_nothing_was_created() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::Write as _;
        for answer in plain.incoming() {
            drop(answer.map(|mut answer| answer.write_all(b"HTTP/1.1 400 Bad\r\n\r\n")));
        }
    });
    let creates = [
        r#"create_bucket("none")"#,
        r#"create_key_pair("none")"#,
        r#"create_security_group("none", #{ ingress: [] })"#,
        r#"launch_instance(#{ image: #{ id: "ami-0", name: "a", architecture: "x86_64",
           root_device: "/dev/xvda" }, type: "t3.micro" })"#,
    ];
    for url in [
        "http://127.0.0.1:1",
        "http://localhost:1",
        "http://nosuch.invalid",
        &tls,
    ] {
        for create in creates {
            let home = Home::new();
            let playbook = home.playbook(create);
            let began = Instant::now();
            let failed = home
                .call(&[&playbook, "--endpoint-url", url])
                .run()
                .exits(1);
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "{url}, {create}: {took:?}");
            let messages = failed.messages();
            assert!(
                messages.contains(&format!("no response from {url}")),
                "{messages}"
            );
            assert!(
                !messages.contains("possibly created") && !messages.contains("remaining resources"),
                "{messages}"
            );
            let runs = home
                .call(&["runs", "--output", "json"])
                .run()
                .exits(0)
                .stdout;
            let run: serde_json::Value = serde_json::from_str(&runs).unwrap();
            assert_eq!(run["up"], 0, "{url}, {create}: {run}");
        }
    }
}

#[test]
fn a_request_that_may_have_arrived_is_listed() {
    // The endpoint accepts one request and closes: the second attempt is refused.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        use std::io::Read as _;
        let (mut connection, _) = listener.accept().unwrap();
        drop(listener);
        connection.read(&mut [0; 4096]).unwrap()
    });
    let home = Home::new();
    let playbook = home.playbook(r#"create_bucket("perhaps");"#);
    let failed = home
        .call(&[&playbook, "--endpoint-url", &url])
        .run()
        .exits(1);
    assert!(taken.join().unwrap() > 0);
    assert!(
        failed
            .messages()
            .contains("possibly created (the requests had no answer): bucket"),
        "{}",
        failed.stderr
    );
    // With an endpoint that does not answer, the search ends at once and the
    // ledger keeps the resource.
    let id = home.ids().remove(0);
    for (command, status) in [(&["destroy", &id, "--yes"][..], 4), (&["resume", &id], 1)] {
        let began = Instant::now();
        home.call(command).run().exits(status);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{command:?}: {took:?}");
    }
    let destroyed = home.call(&["destroy", &id, "--yes"]).run().exits(4);
    assert!(
        destroyed.messages().contains("bucket perhaps-"),
        "{}",
        destroyed.stderr
    );
}

/// Kills the local cloud, as a power failure would.
fn kill(cloud: &LocalCloud) {
    let pid = cloud.pid().to_string();
    let killed = Command::new("kill").args(["-s", "KILL", &pid]).status();
    assert!(killed.unwrap().success());
    let process = Path::new("/proc").join(&pid);
    becomes_true("the local cloud is gone", || !process.join("exe").exists());
}

#[test]
fn resume_starts_the_runs_instances_after_the_local_cloud_was_killed() {
    let cloud = LocalCloud::start();
    let home = Home::new();
    let proceed = home.dir.path().join("proceed");
    let playbook = home.playbook(
        &r#"
        let name = "own-" + run_id();
        let group = create_security_group(name, #{ ingress: [#{ port: 22, from: "0.0.0.0/0" }] });
        let options = #{
            name: name, key_pair: create_key_pair(name), security_groups: [group], wait: false,
        };
        let server = wait_until_ready(launch_instance(options));
        ssh_exec(server, "echo kept > kept");
        options.name = name + "-off";
        options.wait = true;
        let off = wait_until_ready(launch_instance(options));
        options.name = name + "-two";
        options.count = 2;
        let two = launch_instance(options);
        off = stop_instance(off);
        off = start_instance(off);
        wait_until_running(off);
        stop_instance([off]);
        two[0] = stop_instance(two[0]);
        two[0] = start_instance(two[0]);
        if !is_file("PROCEED") { fail("not yet"); }
        server = wait_until_ready(server);
        print(ssh_exec(server, "cat kept").stdout);
        print(`${describe_instance(off).state} ${describe_instance(two[0]).state} ` +
            describe_instance(two[1]).state);
        start_instance(off);
        print(wait_until_ready(off).state);
        "#
        .replace("PROCEED", &proceed.display().to_string()),
    );
    let call = |args: &[&str]| home.with(cloud.plain(), args).run();
    call(&["--local", &playbook]).exits(1);
    let id = home.ids().remove(0);
    fs::write(proceed, "").unwrap();
    kill(&cloud);
    let down = call(&["cloud", "status"]).exits(1);
    assert!(
        down.messages().contains("no local cloud is up"),
        "{}",
        down.stderr
    );
    let resumed = call(&["resume", &id]).exits(0);
    let lines: Vec<&str> = resumed
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines.last(), Some(&"running"), "{lines:?}");
    assert!(lines.contains(&"stopped running running"), "{lines:?}");
    let again = resumed.stderr.matches("starting it again").count();
    assert_eq!(again, 3, "{}", resumed.stderr);
    let left = resumed
        .stderr
        .matches("because a later step of the playbook stopped it")
        .count();
    assert!(left > 0, "{}", resumed.stderr);
    call(&["destroy", &id, "--yes"]).exits(0);
}

#[test]
fn a_local_cloud_that_is_killed_during_a_run_is_reported_at_once() {
    let cloud = LocalCloud::start();
    let home = Home::new();
    let proceed = home.dir.path().join("proceed");
    let playbook = home.playbook(
        &r#"
        create_bucket("before");
        log_info("begun");
        while !is_file("PROCEED") { sleep(0.02); }
        create_bucket("after");
        "#
        .replace("PROCEED", &proceed.display().to_string()),
    );
    let run = home.with(cloud.plain(), &["--local", &playbook]);
    let (child, mut stderr) = started(&run, "begun");
    kill(&cloud);
    let began = Instant::now();
    fs::write(proceed, "").unwrap();
    let mut messages = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut messages).unwrap();
    let took = began.elapsed();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
    assert!(took < Duration::from_secs(1), "{took:?}: {messages}");
    let messages = messages.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in ["the local cloud no longer runs at", "autorun cloud up"] {
        assert!(messages.contains(text), "no `{text}` in {messages}");
    }
    assert!(
        messages.contains("bucket before-") && !messages.contains("possibly created"),
        "{messages}"
    );
    let id = home.ids().remove(0);
    home.with(cloud.plain(), &["resume", &id]).run().exits(0);
    home.with(cloud.plain(), &["destroy", &id, "--yes"])
        .run()
        .exits(0);
}

#[test]
fn a_full_disk_and_a_read_only_file_system_are_reported() {
    for (mount, message) in [
        (
            "mount -t tmpfs -o size=64k none \"$DIR\" && chmod 700 \"$DIR\"",
            "full",
        ),
        (
            "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,bind,ro \"$DIR\"",
            "read-only",
        ),
    ] {
        let home = Home::new();
        home.run("print(1)").exits(0);
        let fill = "head -c 1m /dev/zero > \"$DIR/big\" 2>/dev/null || true";
        let program = home.call(&["runs"]);
        let line = format!("{mount} && {{ {fill}; }} && exec {}", program.words());
        let ended = Command::new("unshare")
            .args(["--mount", "sh", "-ec", &line])
            .envs(
                program
                    .command()
                    .get_envs()
                    .filter_map(|(k, v)| Some((k, v?))),
            )
            .env("DIR", home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains(message) && stderr.contains("hint:"),
            "{stderr}"
        );
    }
}
