//! `autorun ledger`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use serde_json::Value;

use super::{LEDGER, Machine, Moto, Team, eventually, pour, two_buckets};

impl Machine {
    /// Runs a playbook that creates a bucket, and returns the run.
    fn make(&self, bucket: &str, arguments: &[&str]) -> String {
        let here = self.write(&format!("create_bucket({bucket:?});\n"));
        let call = self.call(&["run", "-C", &here, "web.rhai", "--output", "json"]);
        let made = call.args(arguments).run().exits(0);
        let first: Value = serde_json::from_str(made.stdout.lines().next().unwrap()).unwrap();
        first["run"].as_str().unwrap().to_owned()
    }
}

/// Checks that a text has these words, which a line break may separate.
fn assert_has(text: &str, words: &[&str]) {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        let found = text.contains(word) || joined.contains(word);
        assert!(found, "`{word}` is not in:\n{text}");
    }
}

#[test]
fn init_prepares_the_bucket_and_status_and_check_show_it() {
    let team = Team::new();
    let one = team.machine();
    let none = one.run(&["ledger", "status"]).exits(2);
    assert_has(&none.stderr, &["no ledger at", "autorun ledger init"]);
    let first = one.run(&["ledger", "init"]).exits(0);
    assert_has(
        &first.stdout,
        &[
            "versioning           yes, set now",
            "conditional writes   yes",
            "the endpoint has no TLS",
        ],
    );
    let versioning = team.aws("s3api get-bucket-versioning --bucket team-ledger");
    assert_has(&versioning, &["Enabled"]);
    let block = team.aws("s3api get-public-access-block --bucket team-ledger");
    assert_has(&block, &["\"BlockPublicPolicy\": true"]);
    let again = one.run(&["ledger", "init"]).exits(0);
    assert_has(&again.stdout, &["versioning           yes, as before"]);
    let id = |text: &str| text.split_whitespace().last().unwrap().to_owned();
    assert_eq!(id(&first.stdout), id(&again.stdout));

    let run = one.make("shop", &[]);
    let status = team.machine().run(&["ledger", "status"]).exits(0);
    assert_has(
        &status.stdout,
        &["1 run in", &id(&first.stdout), "encryption           yes"],
    );
    assert!(!status.stdout.contains("in progress"), "{}", status.stdout);
    let whole = one.run(&["ledger", "check"]).exits(0);
    assert_has(&whole.stdout, &["of 1 run: all are whole"]);
    one.run(&["destroy", &run, "--yes"]).exits(0);
}

#[test]
fn a_run_in_progress_is_in_the_status() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let go = one.home.join("go");
    let mut child = one.start(&two_buckets(&go), "waiting");
    let run = two.only_run();
    for machine in [&one, &two] {
        let status = machine.run(&["ledger", "status"]).exits(0);
        assert_has(
            &status.stdout,
            &[&format!("in progress          {run} ("), "process"],
        );
    }
    fs::write(&go, "").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn damaged_and_foreign_objects_are_all_named() {
    let team = Team::new();
    let one = team.machine();
    let (first, second) = (one.make("shop", &[]), one.make("blog", &[]));
    let note = one.home.join("note");
    fs::write(&note, "half").unwrap();
    let note = note.display();
    team.aws(&format!("s3 cp {note} {LEDGER}/todo.txt"));
    // Both runs had the same lease, so the second one has its second generation.
    let (torn, hole) = (
        format!("run/{first}/0000000001/0000000001.json"),
        format!("run/{second}/0000000002/0000000001.json"),
    );
    team.aws(&format!("s3 cp {note} {LEDGER}/{torn}"));
    team.aws(&format!("s3 rm {LEDGER}/{hole}"));
    let checked = one.run(&["ledger", "check"]).exits(2);
    assert_has(
        &checked.stderr,
        &["`todo.txt`", &torn, "is torn", &hole, "is missing"],
    );
    assert_has(&checked.stdout, &["3 faults"]);
    // Other commands stop at the first one, on a machine that has to read it.
    let other = team.machine().run(&["runs"]).exits(2);
    assert_has(&other.stderr, &["0000000001.json`", "hint:"]);
}

#[test]
fn mistakes_in_the_name_of_a_ledger_are_explained() {
    let team = Team::new();
    let one = team.machine();
    let with = |ledger: &str| one.run(&["ledger", "init", "--ledger", ledger]).exits(2);
    for (ledger, words) in [
        ("none", ["no shared ledger is configured", "--ledger"]),
        ("/srv/ledger", ["begins with s3://", "AUTORUN_HOME"]),
        (
            "s3://no-such-bucket-7/x",
            ["no-such-bucket-7", "does not exist"],
        ),
        (
            "s3://team-ledger/x?endpoint=http://127.0.0.1:9",
            ["127.0.0.1:9", "ledger"],
        ),
    ] {
        assert_has(&with(ledger).stderr, &words);
    }
    let untimed = one
        .run(&["ledger", "prune", "--older-than", "soon"])
        .exits(2);
    assert_has(&untimed.stderr, &["use a time"]);
    let unnamed = one.run(&["ledger", "import"]).exits(2);
    assert_has(&unnamed.stderr, &["<RUN>"]);
}

#[test]
fn prune_removes_only_old_runs_that_have_left_nothing() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let (gone, up) = (one.make("shop", &[]), one.make("blog", &[]));
    one.run(&["destroy", &gone, "--yes"]).exits(0);
    assert_eq!(two.runs().len(), 2);
    let young = one.run(&["ledger", "prune", "--older-than", "1d", "--yes"]);
    assert_has(&young.exits(0).stderr, &["records of 0 runs"]);
    eventually("a second has passed", || {
        let pruned = one.run(&["ledger", "prune", "--older-than", "1s", "--yes"]);
        pruned.exits(0).stderr.contains("records of 1 run ")
    });
    eventually("the other run is as old", || {
        let pruned = one.run(&["ledger", "prune", "--older-than", "1s", "--yes"]);
        pruned.exits(0).stderr.contains("kept 1 run")
    });
    // Both machines have forgotten it, and nothing of it is left.
    for machine in [&one, &two] {
        assert_eq!(machine.only_run(), up);
    }
    let listed = team.aws("s3 ls s3://team-ledger --recursive");
    assert!(!listed.contains(&gone), "{listed}");
    one.run(&["ledger", "check"]).exits(0);
    two.run(&["destroy", &up, "--yes"]).exits(0);
}

#[test]
fn a_run_of_another_ledger_does_not_keep_the_others() {
    let team = Team::new();
    let one = team.machine();
    let shared = one.make("shop", &[]);
    one.make("blog", &["--ledger", "none"]);
    assert_eq!(team.buckets().len(), 2);
    let ended = one.run(&["destroy", "--all", "--yes", "--ledger", "none"]);
    let ended = ended.exits(4);
    assert!(ended.stderr.contains(&shared), "{}", ended.stderr);
    assert!(ended.stderr.contains("AUTORUN_LEDGER"), "{}", ended.stderr);
    let left = team.buckets();
    assert!(left.len() == 1 && left[0].starts_with("shop-"), "{left:?}");
    one.run(&["destroy", &shared, "--yes"]).exits(0);
}

#[test]
fn runs_move_into_the_ledger_and_back() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let run = one.make("shop", &["--ledger", "none"]);
    one.run(&["ledger", "init"]).exits(0);
    assert_eq!(two.runs().len(), 0);
    let status = one.run(&["ledger", "status"]).exits(0);
    assert_has(&status.stdout, &["only on this machine 1 run"]);
    let imported = one.run(&["ledger", "import", "--all"]).exits(0);
    assert_has(&imported.stderr, &["moved 1 run into the ledger"]);
    assert_eq!(two.only_run(), run);
    assert_eq!(two.runs()[0]["up"], 1);
    let twice = one.run(&["ledger", "import", &run]).exits(2);
    assert_has(&twice.stderr, &["already"]);

    let exported = one.run(&["ledger", "export", &run]).exits(0);
    assert_has(&exported.stderr, &["moved 1 run to this machine"]);
    let refused = two.run(&["destroy", &run, "--yes"]).exits(2);
    assert_has(&refused.stderr, &["was exported by", "hint:"]);
    let skipped = two.run(&["destroy", "--all", "--yes"]).exits(0);
    assert_has(&skipped.stderr, &["skipped"]);
    assert_eq!(team.buckets().len(), 1);
    // Without the bucket, this machine has the run.
    let shown = one.run(&["show", &run, "--ledger", "none"]).exits(0);
    assert_has(&shown.stdout, &["create_bucket"]);
    // With it, too: what is in the bucket does not replace it.
    assert_eq!(one.only_run(), run);

    let stranger = two.run(&["ledger", "import", &run]).exits(2);
    assert_has(&stranger.stderr, &["already"]);
    one.run(&["ledger", "import", &run]).exits(0);
    one.run(&["ledger", "check"]).exits(0);
    // The tags of the bucket name the ledger in which the run began.
    let destroyed = two.run(&["destroy", &run, "--yes"]).exits(0);
    assert_has(&destroyed.stderr, &["deleted bucket"]);
    assert_eq!(team.buckets(), Vec::<String>::new());
    assert_eq!(one.runs()[0]["up"], 0);
}

/// A way to a store that hides the conditions of writes from it, as a store does that
/// does not know them.
fn without_conditions(url: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let target = url.trim_start_matches("http://").to_owned();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(&target).unwrap();
            let (back, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pour(back, to));
            thread::spawn(move || pour_without_conditions(client, server));
        }
    });
    address
}

fn pour_without_conditions(mut from: TcpStream, mut to: TcpStream) {
    let mut some = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut some) {
        for name in ["if-none-match", "if-match"].map(str::as_bytes) {
            for at in 0..length.saturating_sub(name.len()) {
                if some[at..at + name.len()].eq_ignore_ascii_case(name) {
                    some[at..at + 2].copy_from_slice(b"x-");
                }
            }
        }
        if length == 0 || to.write_all(&some[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn a_store_without_conditional_writes_is_refused() {
    let moto = Moto::start();
    let good = Moto::machine(&moto.url);
    let bad = Moto::machine(&without_conditions(&moto.url));
    let here = bad.write("create_bucket(\"shop\");\n");
    for call in [&["ledger", "init"][..], &["run", "-C", &here, "web.rhai"]] {
        let refused = bad.run(call).exits(2);
        assert_has(&refused.stderr, &["ignores the conditions If-None-Match"]);
    }
    good.run(&["ledger", "init"]).exits(0);
}
