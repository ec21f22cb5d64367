//! Tests of the shared ledger, with two machines and a store in memory. The tests of
//! the program use real stores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::entry::Entry;
use super::holder::HolderLock;
use super::*;
use crate::error::ErrorKind;
use crate::ledger::{
    About, Call, Ledger, NewResource, Remover, ResourceKind, RunStatus, State, Step,
};
use crate::report::Outcome;

/// Long enough that a busy machine does not lose a lease that no other client wants.
const PERIODS: Periods = Periods {
    renew: Duration::from_millis(50),
    valid: Duration::from_millis(300),
    takeover: Duration::from_millis(600),
    look: Duration::from_millis(20),
    retry: Duration::from_millis(5),
    linger: Duration::from_millis(5),
    gather: Duration::from_millis(1),
    patience: Duration::from_secs(60),
};

/// For clients that are cut off.
const IMPATIENT: Periods = Periods {
    patience: Duration::from_millis(500),
    ..PERIODS
};

/// The store: contents and numbers of versions, by key.
type Contents = Arc<Mutex<BTreeMap<String, (Vec<u8>, usize)>>>;

/// A client's connection to the store.
#[derive(Debug, Default)]
struct Connection {
    contents: Contents,
    writes: AtomicUsize,
    reads: AtomicUsize,
    /// No request reaches the store.
    is_cut: AtomicBool,
    /// Every answer to a write is lost once.
    loses_answers: AtomicBool,
    ignores_conditions: bool,
}

impl Connection {
    fn to(contents: &Contents) -> Arc<Self> {
        Arc::new(Self {
            contents: Arc::clone(contents),
            ..Self::default()
        })
    }

    fn check(&self) -> Result<()> {
        if self.is_cut.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unreachable, "the network is down"));
        }
        Ok(())
    }

    fn put(&self, key: &str, body: &[u8], allowed: impl Fn(Option<usize>) -> bool) -> Result<Put> {
        static VERSIONS: AtomicUsize = AtomicUsize::new(1);
        self.check()?;
        let mut contents = self.contents.lock().unwrap();
        let current = contents.get(key).map(|(_, version)| *version);
        if !allowed(current) && !self.ignores_conditions {
            return Ok(Put::Refused);
        }
        let version = VERSIONS.fetch_add(1, Ordering::SeqCst);
        contents.insert(key.to_owned(), (body.to_vec(), version));
        let write = self.writes.fetch_add(1, Ordering::SeqCst);
        if self.loses_answers.load(Ordering::SeqCst) && write.is_multiple_of(2) {
            return Err(Error::new(ErrorKind::Timeout, "no answer"));
        }
        Ok(Put::Written(version.to_string()))
    }
}

impl Objects for Connection {
    fn read(&self, key: &str) -> Result<Option<Object>> {
        self.check()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        let contents = self.contents.lock().unwrap();
        Ok(contents.get(key).map(|(body, version)| Object {
            body: body.clone(),
            etag: version.to_string(),
        }))
    }

    fn read_all(&self, keys: &[String]) -> Result<Vec<Option<Object>>> {
        keys.iter().map(|key| self.read(key)).collect()
    }

    fn create(&self, key: &str, body: &[u8]) -> Result<Put> {
        self.put(key, body, |current| current.is_none())
    }

    fn replace(&self, key: &str, body: &[u8], etag: &str) -> Result<Put> {
        self.put(key, body, |current| {
            current.map(|v| v.to_string()).as_deref() == Some(etag)
        })
    }

    fn delete(&self, keys: &[String]) -> Result<()> {
        self.check()?;
        let mut contents = self.contents.lock().unwrap();
        for key in keys {
            contents.remove(key);
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.check()?;
        let contents = self.contents.lock().unwrap();
        let keys = contents.keys().filter(|key| key.starts_with(prefix));
        Ok(keys.cloned().collect())
    }

    fn place(&self) -> &'static str {
        "s3://team/ledger"
    }
}

/// A machine with its own cache and connection.
struct Machine {
    connection: Arc<Connection>,
    store: Store,
    _home: tempfile::TempDir,
}

fn machine_with(name: &str, contents: &Contents, periods: Periods) -> Machine {
    let home = tempfile::tempdir().unwrap();
    let connection = Connection::to(contents);
    let objects: Arc<dyn Objects> = Arc::clone(&connection) as _;
    let shared = SharedLedger::create(objects, name.to_owned(), periods).unwrap();
    Machine {
        store: Store::open(home.path()).unwrap().sharing(shared),
        connection,
        _home: home,
    }
}

fn machine(name: &str, contents: &Contents) -> Machine {
    machine_with(name, contents, PERIODS)
}

impl Machine {
    fn begin(&self, run: &Run) -> Ledger {
        Ledger::begin(&self.store, run, Reporter::quiet()).unwrap()
    }

    fn resume(&self, run: &str) -> Result<Ledger> {
        let run = self.find(run);
        Ledger::resume(&self.store, &run, Reporter::quiet())
    }

    fn find(&self, run: &str) -> Run {
        self.store.refresh("").unwrap();
        self.store.find(run).unwrap()
    }

    /// The names of resources that may be up, with their states.
    fn up(&self, run: &str) -> Vec<(String, State)> {
        self.store.refresh("").unwrap();
        let rows = self.store.resources(run).unwrap();
        let up = rows.into_iter().filter(|row| row.state.may_be_up());
        up.map(|row| (row.name, row.state)).collect()
    }
}

fn new_run() -> Run {
    Run::new(Path::new("/srv/web.rhai"), "", About::default())
}

fn step(ledger: &Ledger, name: &str) -> Step {
    Step::new(
        ledger,
        Call {
            branch: "",
            function: "create_bucket",
            arguments: &json!([name]),
            place: String::new(),
        },
    )
}

fn bucket(name: &str) -> NewResource {
    NewResource::with_id(ResourceKind::Bucket, name, name)
}

fn make(ledger: &Ledger, name: &str) -> Result<()> {
    let mut step = step(ledger, name);
    step.intend_one(bucket(name))?.created(name);
    step.finish(&Ok(json!({ "name": name })))
}

fn journal(contents: &Contents, run: &str) -> Vec<String> {
    let prefix = format!("run/{run}/");
    let contents = contents.lock().unwrap();
    let keys = contents.keys().filter(|key| key.starts_with(&prefix));
    keys.map(|key| key[prefix.len()..].to_owned()).collect()
}

#[test]
fn another_machine_sees_resumes_and_removes() {
    let contents = Contents::default();
    let (a, b) = (machine("a", &contents), machine("b", &contents));
    assert_eq!(a.store.owner(), b.store.owner());
    let run = new_run();
    let ledger = a.begin(&run);
    make(&ledger, "one").unwrap();
    let mut cut = step(&ledger, "two");
    let token = cut.intend_one(bucket("two")).unwrap().token().to_owned();
    // What is intended is in the bucket before the request leaves.
    let up = [("one", State::Live), ("two", State::Intended)];
    let up = up.map(|(name, state)| (name.to_owned(), state));
    assert_eq!(b.up(&run.id), up);
    let seen = b.find(&run.id);
    assert_eq!(b.store.status(&seen).unwrap(), RunStatus::Running);
    let busy = b.resume(&run.id).unwrap_err();
    assert_eq!(busy.kind, ErrorKind::AlreadyExists);
    assert!(busy.to_string().contains("in progress (a)"), "{busy}");
    ledger.end(Outcome::Failed, None).unwrap();
    drop((cut, ledger));

    let resumed = b.resume(&run.id).unwrap();
    assert!(resumed.is_shared());
    let first = step(&resumed, "one");
    assert!(first.recorded::<serde_json::Value>().unwrap().is_some());
    let mut second = step(&resumed, "two");
    let intent = second.intend_one(bucket("two")).unwrap();
    assert!(intent.is_retried());
    assert_eq!(intent.token(), token);
    intent.created("two");
    second.finish(&Ok(json!({}))).unwrap();
    resumed.end(Outcome::Done, None).unwrap();
    drop((first, resumed));

    let seen = a.find(&run.id);
    assert_eq!(seen.outcome, Some(Outcome::Done));
    let ended = Ledger::ended(&a.store, &seen, Reporter::quiet()).unwrap();
    for name in ["one", "two"] {
        let release = ended.intend_release(ResourceKind::Bucket, name, Remover::User);
        release.unwrap().released();
    }
    ended.commit().unwrap();
    drop(ended);
    assert_eq!(b.up(&run.id), []);
    assert_eq!(a.find(&run.id).up, 0);
}

#[test]
fn a_client_that_is_cut_off_stops_and_another_takes_over() {
    let contents = Contents::default();
    let a = machine_with("a", &contents, IMPATIENT);
    let b = machine("b", &contents);
    let run = new_run();
    let ledger = a.begin(&run);
    make(&ledger, "one").unwrap();
    ledger.commit().unwrap();
    a.connection.is_cut.store(true, Ordering::SeqCst);
    let stopped = step(&ledger, "two").intend_one(bucket("two")).unwrap_err();
    assert!(
        stopped.to_string().contains("the network is down"),
        "{stopped}"
    );
    assert!(!stopped.kind.retryable(), "{stopped}");
    assert!(ledger.failure().is_some());
    // It waits until it has not seen a sign of life for long enough.
    let taken = b.resume(&run.id).unwrap();
    make(&taken, "three").unwrap();
    taken.commit().unwrap();
    // The first client wakes up.
    a.connection.is_cut.store(false, Ordering::SeqCst);
    assert!(make(&ledger, "four").is_err());
    drop(ledger);
    taken.end(Outcome::Done, None).unwrap();
    drop(taken);
    let live = [("one", State::Live), ("three", State::Live)];
    let live = live.map(|(name, state)| (name.to_owned(), state));
    assert_eq!(b.up(&run.id), live);
    // What the first machine had recorded alone is dropped.
    let again = a.resume(&run.id).unwrap();
    assert_eq!(a.store.resources(&run.id).unwrap().len(), 2);
    drop(again);
}

#[test]
fn a_process_that_has_ended_is_not_waited_for_on_its_machine() {
    let contents = Contents::default();
    let patient = Periods {
        takeover: Duration::from_secs(3600),
        ..PERIODS
    };
    let a = machine_with("a", &contents, patient);
    let run = new_run();
    let ledger = a.begin(&run);
    ledger.commit().unwrap();
    let lease = lease_key(&run);
    let killed = contents.lock().unwrap()[&lease].clone();
    drop(ledger);
    // As if the process had been killed: without a release.
    contents.lock().unwrap().insert(lease.clone(), killed);
    let again = a.resume(&run.id).unwrap();
    drop(again);
    // A living process of the same machine has the lock.
    let other = a.begin(&Run::new(
        Path::new("/srv/other.rhai"),
        "",
        About::default(),
    ));
    other.commit().unwrap();
    let key = lease_key(&a.find(other.run()));
    let alive = read_record("", &key, &contents.lock().unwrap()[&key].0).unwrap();
    assert!(alive.locks.is_some());
    let lock = HolderLock::take(&a.store, "another").unwrap();
    assert!(!lock.has_ended(&alive).unwrap());
    // The lock of a process on another machine cannot be checked.
    let b = machine("b", &contents);
    let elsewhere = HolderLock::take(&b.store, "another").unwrap();
    assert!(!elsewhere.has_ended(&alive).unwrap());
    drop(other);
    assert!(lock.has_ended(&alive).unwrap());
    assert!(!elsewhere.has_ended(&alive).unwrap());
}

#[test]
fn a_journal_that_has_lost_its_last_entry_is_noticed_by_a_machine_that_has_read_it() {
    let contents = Contents::default();
    let run = unfinished(&contents);
    let b = machine("b", &contents);
    b.store.refresh("").unwrap();
    let last = {
        let mut contents = contents.lock().unwrap();
        let last = contents.keys().rfind(|key| key.starts_with("run/"));
        let last = last.unwrap().clone();
        contents.remove(&last);
        last
    };
    let error = b.store.refresh("").unwrap_err().to_string();
    assert!(error.contains(&last), "{error}");
    // The local rows stay as they were.
    assert_eq!(b.store.resources(&run).unwrap().len(), 3);
}

#[test]
fn what_was_not_sent_is_sent_by_the_next_attempt() {
    let contents = Contents::default();
    let a = machine_with("a", &contents, IMPATIENT);
    let run = new_run();
    let ledger = a.begin(&run);
    let mut made = step(&ledger, "one");
    let intent = made.intend_one(bucket("one")).unwrap();
    a.connection.is_cut.store(true, Ordering::SeqCst);
    intent.created("one");
    made.finish(&Ok(json!({}))).unwrap();
    assert!(ledger.commit().is_err());
    assert!(ledger.end(Outcome::Failed, None).is_err());
    drop(ledger);
    a.connection.is_cut.store(false, Ordering::SeqCst);
    drop(a.resume(&run.id).unwrap());
    let b = machine("b", &contents);
    assert_eq!(b.up(&run.id), [("one".to_owned(), State::Live)]);
}

#[test]
fn a_lost_answer_is_looked_up() {
    let contents = Contents::default();
    let a = machine("a", &contents);
    a.connection.loses_answers.store(true, Ordering::SeqCst);
    let run = new_run();
    let ledger = a.begin(&run);
    for name in ["one", "two", "three"] {
        make(&ledger, name).unwrap();
    }
    ledger.end(Outcome::Done, None).unwrap();
    drop(ledger);
    let b = machine("b", &contents);
    assert_eq!(b.up(&run.id).len(), 3);
    let steps = b.store.steps(&run.id).unwrap();
    assert_eq!(steps.len(), 3, "each entry counts once");
}

/// A run with several entries that has not ended in order, so that it has no summary.
fn unfinished(contents: &Contents) -> String {
    let a = machine("a", contents);
    let run = new_run();
    let ledger = a.begin(&run);
    for name in ["one", "two", "three"] {
        make(&ledger, name).unwrap();
        ledger.commit().unwrap();
    }
    run.id
}

#[test]
fn an_entry_of_a_client_that_lost_the_lease_is_ignored() {
    let contents = Contents::default();
    let run = unfinished(&contents);
    let b = machine("b", &contents);
    drop(b.resume(&run).unwrap());
    let late = {
        let mut contents = contents.lock().unwrap();
        let first = format!("run/{run}/0000000001/");
        let last = contents
            .keys()
            .filter(|key| key.starts_with(&first))
            .count();
        let last = Position {
            generation: 1,
            sequence: u64::try_from(last).unwrap(),
        };
        let (body, version) = contents[&last.key(&run)].clone();
        let entry = Entry::read("", &last.key(&run), &run, &body).unwrap();
        let mut late = Entry::new(&run, last.next(), None);
        late.changes = entry.changes;
        let body = serde_json::to_vec(&late).unwrap();
        contents.insert(last.next().key(&run), (body, version));
        last.next()
    };
    let keys = b.connection.list("run/").unwrap();
    assert!(keys.contains(&late.key(&run)));
    let keys = entry::by_run("", keys).unwrap();
    let c = machine("c", &contents);
    let fetched = fetch::fetch(&c.store, &*c.connection, &run, &keys[&run]).unwrap();
    assert_eq!((fetched.ignored, fetched.end.unwrap().generation), (1, 2));
    // The machine that has the journal does not read it again.
    assert_eq!(b.up(&run).len(), 3);
}

#[test]
fn a_damaged_journal_is_named() {
    for (damage, what, why) in [
        ("hole", "0000000002.json", "is missing"),
        ("torn", "0000000002.json", "is torn"),
        ("copy", "0000000002.json", "was copied or renamed"),
        ("foreign", "notes.txt", "does not belong to a ledger"),
        ("newer", "0000000001.json", "newer autorun"),
    ] {
        let contents = Contents::default();
        let run = unfinished(&contents);
        {
            let mut contents = contents.lock().unwrap();
            let key = format!("run/{run}/0000000001/{what}");
            let first = contents[&format!("run/{run}/0000000001/0000000001.json")].clone();
            match damage {
                "hole" => drop(contents.remove(&key)),
                "torn" => {
                    let object = contents.get_mut(&key).unwrap();
                    object.0.truncate(object.0.len() / 2);
                }
                "newer" => drop(contents.insert(key, (br#"{"format":2}"#.to_vec(), 0))),
                _ => drop(contents.insert(key, first)),
            }
        }
        let b = machine("b", &contents);
        let error = b.store.refresh("").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(what) && text.contains(why),
            "{damage}: {text}"
        );
        assert!(text.contains("s3://team/ledger"), "{damage}: {text}");
        assert!(error.hint.is_some(), "{damage}: {text}");
    }
}

#[test]
fn a_summary_saves_the_reading_of_entries() {
    let contents = Contents::default();
    let a = machine("a", &contents);
    let run = new_run();
    let ledger = a.begin(&run);
    for n in 0..20 {
        make(&ledger, &format!("bucket-{n}")).unwrap();
        ledger.commit().unwrap();
    }
    ledger.end(Outcome::Done, None).unwrap();
    let objects = journal(&contents, &run.id);
    assert!(objects.len() > 20);
    // The last entry is the summary.
    let last = objects.last().unwrap();
    assert!(last.ends_with(".summary.json"), "{last}");
    let entry = last.replace(".summary", "");
    assert!(!objects.contains(&entry), "{objects:?}");
    // A machine that has read the journal before its end reads only this.
    let b = machine("b", &contents);
    let before = b.connection.reads.load(Ordering::SeqCst);
    assert_eq!(b.up(&run.id).len(), 20);
    let reads = b.connection.reads.load(Ordering::SeqCst) - before;
    assert!(reads < 6, "{reads} objects were read");
    assert_eq!(b.find(&run.id).outcome, Some(Outcome::Done));
    assert_eq!(b.store.steps(&run.id).unwrap().len(), 20);
}

#[test]
fn commits_of_many_branches_share_entries() {
    let contents = Contents::default();
    let a = machine("a", &contents);
    let run = new_run();
    let ledger = a.begin(&run);
    ledger.commit().unwrap();
    // While this lock is held, no request ends.
    let held = contents.lock().unwrap();
    thread::scope(|scope| {
        let branches: Vec<_> = (0..30)
            .map(|n| {
                scope.spawn({
                    let ledger = &ledger;
                    move || make(ledger, &format!("b-{n}"))
                })
            })
            .collect();
        let committed = || a.store.steps(&run.id).unwrap().len();
        while committed() < 30 {
            thread::sleep(Duration::from_millis(5));
        }
        drop(held);
        for branch in branches {
            branch.join().unwrap().unwrap();
        }
    });
    ledger.commit().unwrap();
    let entries = journal(&contents, &run.id).len();
    assert!(entries < 20, "{entries} entries of 60 commits");
}

#[test]
fn a_store_without_conditional_writes_is_refused() {
    let objects = Arc::new(Connection {
        ignores_conditions: true,
        ..Connection::default()
    });
    for _ in 0..2 {
        let objects: Arc<dyn Objects> = Arc::clone(&objects) as _;
        let refused = SharedLedger::create(Arc::clone(&objects), String::new(), PERIODS);
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains("If-None-Match"), "{refused}");
        // Another machine does not trust it either.
        let opened = SharedLedger::open(objects, String::new(), PERIODS);
        assert!(opened.unwrap().is_none());
    }
}

#[test]
fn a_run_of_another_ledger_is_not_touched() {
    let contents = Contents::default();
    let run = unfinished(&contents);
    let b = machine("b", &contents);
    let seen = b.find(&run);
    // As after a start without AUTORUN_LEDGER.
    let plain = Store::open(b.store.directory()).unwrap();
    let refused = Ledger::ended(&plain, &seen, Reporter::quiet()).unwrap_err();
    assert!(
        refused.to_string().contains("s3://team/ledger"),
        "{refused}"
    );
    assert!(refused.hint.as_ref().unwrap().contains("AUTORUN_LEDGER"));
    // A run of this machine alone stays so.
    let own = new_run();
    drop(Ledger::begin(&plain, &own, Reporter::quiet()).unwrap());
    let ledger = Ledger::ended(&b.store, &own, Reporter::quiet()).unwrap();
    assert!(!ledger.is_shared());
    assert_eq!(ledger.owner(), plain.owner());
}
