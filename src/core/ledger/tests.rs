//! Tests of the ledger, from the first request to a resumed run.

use std::path::Path;

use serde_json::{Value, json};

use std::collections::HashMap;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Reporter;

struct Home {
    store: Store,
    run: Run,
    _dir: tempfile::TempDir,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    Home {
        store: Store::open(dir.path()).unwrap(),
        run: Run::new(Path::new("/srv/a.rhai"), "", About::default()),
        _dir: dir,
    }
}

fn report_with(secret: &str) -> Reporter {
    let report = Reporter::quiet();
    report.mask().add(secret);
    report
}

fn step(ledger: &Ledger, function: &str, arguments: &Value) -> Step {
    Step::new(
        ledger,
        Call {
            branch: "",
            function,
            arguments,
            place: String::new(),
        },
    )
}

fn bucket(name: &str) -> NewResource {
    NewResource::with_id(ResourceKind::Bucket, name, name)
}

/// Records a bucket, as `create_bucket` does.
fn make(ledger: &Ledger, name: &str) {
    let mut step = step(ledger, "create_bucket", &json!([name]));
    step.intend_one(bucket(name)).unwrap().created(name);
    step.finish(&Ok(json!({ "name": name }))).unwrap();
}

#[test]
fn an_intended_resource_survives_the_process() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    make(&ledger, "a");
    let mut cut = step(&ledger, "create_bucket", &json!(["b"]));
    let intent = cut.intend_one(bucket("b")).unwrap();
    let token = intent.token().to_owned();
    intent.created("b"); // only in memory
    drop((cut, ledger));

    let ledger = Ledger::resume(&home.store, &home.run, Reporter::quiet()).unwrap();
    assert_eq!(ledger.live().len(), 1);
    assert_eq!(ledger.possibly_made()[0].name, "b");
    let mut again = step(&ledger, "create_bucket", &json!(["b"]));
    assert!(again.recorded::<Value>().unwrap().is_none());
    let intent = again.intend_one(bucket("b")).unwrap();
    assert!(intent.is_retried());
    assert_eq!(
        intent.token(),
        token,
        "the same token requests the same resource"
    );
}

#[test]
fn a_recorded_step_is_replayed_once() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    make(&ledger, "a");
    drop(ledger);
    let ledger = Ledger::resume(&home.store, &home.run, Reporter::quiet()).unwrap();
    assert_eq!(ledger.unused_steps().len(), 1);
    let first = step(&ledger, "create_bucket", &json!(["a"]));
    let recorded: Value = first.recorded().unwrap().unwrap();
    assert_eq!(recorded["name"], "a");
    first.replay();
    first.finish(&Ok(recorded)).unwrap();
    assert!(ledger.unused_steps().is_empty());
    let second = step(&ledger, "create_bucket", &json!(["a"]));
    assert!(
        second.recorded::<Value>().unwrap().is_none(),
        "only one such step is recorded"
    );
    let other = step(&ledger, "create_bucket", &json!(["b"]));
    assert!(other.recorded::<Value>().unwrap().is_none());
}

#[test]
fn a_retry_in_the_same_run_keeps_the_token() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let mut step = step(&ledger, "launch_instance", &json!([{ "name": "web" }]));
        let wanted = NewResource::new(ResourceKind::Instance, "web");
        let intent = step.intend_one(wanted).unwrap();
        tokens.push(intent.token().to_owned());
        let lost = Error::new(ErrorKind::Timeout, "no answer");
        intent.abandoned(&lost);
        step.finish::<()>(&Err(lost)).unwrap();
    }
    assert_eq!(tokens[0], tokens[1]);
    assert_eq!(ledger.possibly_made().len(), 1);
}

#[test]
fn only_an_error_that_proves_no_effect_abandons_a_resource() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    let lost = Error::new(ErrorKind::Timeout, "no answer");
    let denied = Error::new(ErrorKind::Denied, "not allowed");
    for (name, error) in [("a", lost), ("b", denied)] {
        let mut step = step(&ledger, "create_bucket", &json!([name]));
        step.intend_one(bucket(name)).unwrap().abandoned(&error);
    }
    let names: Vec<_> = ledger.possibly_made().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn a_step_takes_two_commits_and_a_call_without_effect_none() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    let commits = || {
        let db = home.store.connection();
        db.query_row("SELECT total_changes()", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let before = commits();
    let refused = step(&ledger, "ssh_exec", &json!(["", "true"]));
    refused
        .finish::<()>(&Err(Error::invalid("no host")))
        .unwrap();
    assert_eq!(commits(), before);
    // The rows of the step, the resource and the count, each written twice.
    make(&ledger, "a");
    assert_eq!(commits(), before + 6);
}

#[test]
fn a_wait_is_written_by_the_next_commit_and_masked() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, report_with("hunter22")).unwrap();
    let wait = Wait {
        branch: "/hunter22#1".to_owned(),
        function: "wait_until_ready".to_owned(),
        place: "a.rhai:3".to_owned(),
        error: Some("hunter22 did not come".to_owned()),
        started: 5,
        ended: 9,
    };
    ledger.waited(wait);
    let noted = || home.store.waits(&home.run.id).unwrap();
    assert!(noted().is_empty(), "a wait causes no commit");
    make(&ledger, "a");
    let noted = noted();
    assert_eq!(noted.len(), 1, "it is written once");
    assert_eq!(noted[0].branch, "/****#1");
    assert_eq!(noted[0].error.as_deref(), Some("**** did not come"));
    assert_eq!((noted[0].started, noted[0].ended), (5, 9));
}

#[test]
fn a_released_resource_is_no_longer_live() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    make(&ledger, "b");
    assert!(ledger.made(ResourceKind::Bucket, "b"));
    let release = |by| ledger.intend_release(ResourceKind::Bucket, "b", by);
    release(Remover::Playbook).unwrap().released();
    assert!(ledger.live().is_empty());
    assert!(release(Remover::User).is_none());
    ledger.commit().unwrap();
    drop(ledger);
    let ledger = Ledger::resume(&home.store, &home.run, Reporter::quiet()).unwrap();
    let mut made = step(&ledger, "create_bucket", &json!(["b"]));
    assert!(made.was_undone());
    // Created again, and not yet removed again.
    made.intend_one(bucket("b")).unwrap().created("b");
    assert!(!made.was_undone());
    let release = ledger.intend_release(ResourceKind::Bucket, "b", Remover::User);
    release.unwrap().released();
    assert!(made.was_undone());
}

#[test]
fn the_ledger_has_no_secrets() {
    let home = home();
    let report = report_with("hunter22");
    let ledger = Ledger::begin(&home.store, &home.run, report).unwrap();
    let mut step = step(&ledger, "ssh_exec", &json!(["web", "echo hunter22"]));
    step.begin().unwrap();
    step.finish(&Ok(json!({ "stdout": "hunter22\n" }))).unwrap();
    drop(ledger);
    let row = &home.store.steps(&home.run.id).unwrap()[0];
    assert_eq!(row.summary, "web echo ****");
    assert_eq!(
        row.result.as_ref().unwrap().value().unwrap()["stdout"],
        "****\n"
    );
    assert!(row.altered);
    let ledger = Ledger::resume(&home.store, &home.run, report_with("hunter22")).unwrap();
    let mut named = self::step(&ledger, "create_bucket", &json!(["hunter22"]));
    let refused = named.intend_one(bucket("a-hunter22")).unwrap_err();
    assert!(
        refused.to_string().contains("contains a secret"),
        "{refused}"
    );
}

/// Returns the recorded result after a change of the ledger by another program.
fn recorded_as(sql: &str) -> Result<Option<Named>> {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    make(&ledger, "a");
    drop(ledger);
    let changed = home.store.write(|tx| tx.execute(sql, []));
    assert_eq!(changed.unwrap(), 1);
    let ledger = Ledger::resume(&home.store, &home.run, Reporter::quiet())?;
    step(&ledger, "create_bucket", &json!(["a"])).recorded()
}

#[derive(Debug, serde::Deserialize)]
struct Named {
    name: String,
}

#[test]
fn a_result_that_cannot_be_read_is_an_error() {
    let whole = recorded_as("UPDATE step SET summary = summary").unwrap();
    assert_eq!(whole.unwrap().name, "a");
    for (sql, why) in [
        ("UPDATE step SET result = '{\"name\":'", "EOF while parsing"),
        ("UPDATE step SET result = '[1]'", "invalid type"),
        ("UPDATE step SET result = '{}'", "missing field `name`"),
        ("UPDATE step SET result = 'null'", "invalid type: null"),
        ("UPDATE step SET result = NULL", "it is missing"),
        (
            "UPDATE step SET state = 'did'",
            "is `did`, not one of under_way",
        ),
        (
            "UPDATE resource SET state = 'up'",
            "is `up`, not one of intended",
        ),
        (
            "UPDATE resource SET kind = 'pail'",
            "is `pail`, not one of instance",
        ),
        (
            "UPDATE resource SET step = 'other'",
            "the step that created bucket `a`",
        ),
    ] {
        let error = recorded_as(sql).unwrap_err();
        assert!(error.to_string().contains(why), "{sql}: {error}");
        assert_eq!(error.kind, ErrorKind::Internal, "{sql}");
        assert!(error.hint.is_some(), "{sql}");
    }
}

#[test]
fn the_error_about_an_unreadable_run_names_it() {
    let home = home();
    drop(Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap());
    for (sql, why) in [
        (
            "UPDATE run SET outcome = 'well'",
            "is `well`, not one of done",
        ),
        ("UPDATE run SET about = ''", "column `about`"),
    ] {
        home.store.write(|tx| tx.execute(sql, [])).unwrap();
        let error = home.store.runs().unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains(&home.run.id),
            "{error}"
        );
        let whole = "UPDATE run SET outcome = NULL";
        home.store.write(|tx| tx.execute(whole, [])).unwrap();
    }
}

#[test]
fn a_step_whose_result_cannot_be_recorded_is_not_repeated() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    let mut made = step(&ledger, "local_exec", &json!(["true"]));
    made.begin().unwrap();
    let no_key = HashMap::from([(vec![1], 2)]);
    let error = made.finish(&Ok(no_key)).unwrap_err();
    assert!(error.to_string().contains("local_exec"), "{error}");
    drop(ledger);
    let ledger = Ledger::resume(&home.store, &home.run, Reporter::quiet()).unwrap();
    let again = step(&ledger, "local_exec", &json!(["true"]));
    assert!(again.recorded::<Value>().is_err());
}

#[test]
fn tokens_fit_ec2() {
    let home = home();
    let ledger = Ledger::begin(&home.store, &home.run, Reporter::quiet()).unwrap();
    let mut step = step(&ledger, "launch_instance", &json!([]));
    let wanted = NewResource::new(ResourceKind::Instance, "web");
    let intent = step.intend_one(wanted).unwrap();
    assert!(intent.token().len() <= 64 && intent.token().is_ascii());
}
