//! What the ledger makes possible: `runs`, `show`, `ssh`, `destroy`,
//! `resume`. Also tests ledgers that cannot be used.

use std::fs;
use std::io::{BufRead as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, signal, started, words_of};

/// One local cloud for all tests. Each test has its own ledger.
static CLOUD: LazyLock<LocalCloud> = LazyLock::new(LocalCloud::start);

/// A home with a ledger, and commands that use it.
struct Home {
    dir: tempfile::TempDir,
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

    /// Calls `autorun` with this ledger.
    fn call(&self, args: &[&str]) -> Autorun {
        CLOUD
            .plain()
            .env("AUTORUN_HOME", &self.path().display().to_string())
            .args(args)
    }

    fn playbook(&self, text: &str) -> String {
        let path = self.dir.path().join("playbook.rhai");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs a playbook on the local cloud.
    fn run(&self, text: &str, args: &[&str]) -> Ended {
        let playbook = self.playbook(text);
        self.call(&["--local", "--region", "eu-central-1", &playbook])
            .args(args)
            .run()
    }

    /// Returns the newest run from the output of `runs --output json`.
    fn newest(&self) -> Value {
        let all = self.call(&["runs", "--output", "json"]).run().exits(0);
        serde_json::from_str(all.stdout.lines().next().unwrap()).unwrap()
    }

    fn id(&self) -> String {
        self.newest()["run"].as_str().unwrap().to_owned()
    }

    fn show(&self) -> Value {
        let shown = self.call(&["show", &self.id(), "--output", "json"]).run();
        serde_json::from_str(&shown.exits(0).stdout).unwrap()
    }

    fn destroy(&self) -> Ended {
        self.call(&["destroy", "--all", "--yes"]).run()
    }

    /// Returns one value of the ledger.
    fn column(&self, select: &str) -> String {
        let db = rusqlite::Connection::open(self.path().join("ledger.db")).unwrap();
        db.query_row(&format!("SELECT {select}"), [], |row| row.get(0))
            .unwrap()
    }

    /// Changes the ledger with SQL, without the program.
    fn sql(&self, sql: &str) {
        let db = rusqlite::Connection::open(self.path().join("ledger.db")).unwrap();
        db.execute_batch(sql).unwrap();
    }
}

/// Asserts that stderr contains each text.
#[track_caller]
fn reports(ended: &Ended, texts: &[&str]) {
    for text in texts {
        assert!(
            ended.messages().contains(text),
            "no `{text}` in\n{}",
            ended.stderr
        );
    }
}

/// The AWS CLI, whose only configuration is the output of `cloud env`.
fn aws() -> Command {
    let aws = Path::new(&Lab::python()).with_file_name("aws");
    CLOUD.client(aws.to_str().unwrap())
}

/// The number of buckets whose names begin like this.
fn buckets(beginning: &str) -> usize {
    let all = aws().args(["s3", "ls"]).output().unwrap();
    let all = String::from_utf8(all.stdout).unwrap();
    all.lines().filter(|line| line.contains(beginning)).count()
}

#[test]
fn runs_and_show_list_what_is_up_and_the_command_that_removes_it() {
    let home = Home::new();
    let playbook = r#"
        let name = var("name", "listed", "Name");
        let token = var("token", #{ type: "string", secret: true, default: "", help: "Secret" });
        let bucket = create_bucket(name);
        parallel(["x"], |which| upload_file(bucket, "assets/logo.png", #{ key: which }));
        upload_file(bucket, "assets/nosuch.png");
    "#;
    let nothing = home.call(&["runs"]).run().exits(0);
    assert_eq!(nothing.stdout, "no runs yet\n");
    let failed = home.run(playbook, &["--set", "token=hunter22", "--tag", "team=web"]);
    let id = home.id();
    reports(
        &failed.exits(1),
        &[
            "remaining resources of this run:",
            &format!("remove: autorun destroy {id}"),
            &format!("resume: autorun resume {id}"),
        ],
    );
    let runs = home.call(&["runs"]).run().exits(0).stdout;
    assert!(
        runs.lines().all(|line| line.chars().count() <= 80),
        "{runs}"
    );
    let line = runs.lines().nth(1).unwrap();
    assert!(
        line.starts_with(&id) && line.contains("  failed  ") && line.contains("  2  "),
        "{runs}"
    );

    let shown = home.call(&["show", &id[..4]]).run().exits(0).stdout;
    for text in [
        "status     failed: cannot read",
        "target     the local cloud, eu-central-1, account 123456789012",
        "variable   name = \"listed\"",
        "variable   token = **** (secret)",
        "tag        team = web",
        "create_bucket listed",
        "[x], playbook.rhai:5",
        "bucket          listed-",
        "remove:    autorun destroy",
    ] {
        assert!(shown.contains(text), "no `{text}` in\n{shown}");
    }
    assert!(!shown.contains("hunter22"));
    let ledger = fs::read(home.path().join("ledger.db")).unwrap();
    let wal = fs::read(home.path().join("ledger.db-wal")).unwrap_or_default();
    for file in [ledger, wal] {
        assert!(!file.windows(8).any(|window| window == b"hunter22"));
    }
    let listed = home.show();
    assert_eq!(listed["steps"][0]["result"]["made"], true);
    assert_eq!(listed["resources"][0]["state"], "live");

    reports(
        &home.destroy().exits(0),
        &["removed everything that it created"],
    );
    assert_eq!(buckets("listed-"), 0);
    reports(&home.destroy().exits(0), &["no run has anything to remove"]);
    let again = home.call(&["destroy", &id, "--yes"]).run().exits(0);
    reports(&again, &["nothing to remove"]);
}

#[test]
fn a_run_is_named_by_an_unambiguous_beginning_of_its_id() {
    let home = Home::new();
    home.run("print(1)", &[]).exits(0);
    home.run("print(1)", &[]).exits(0);
    home.sql(
        "UPDATE run SET id = 'abc0000' WHERE id = (SELECT min(id) FROM run); \
         UPDATE run SET id = 'abc1111' WHERE id <> 'abc0000'",
    );
    reports(
        &home.call(&["show", "ab"]).run().exits(2),
        &[
            "2 runs begin with `ab`",
            "use a longer prefix of one of abc",
        ],
    );
    for command in ["show", "resume", "destroy"] {
        reports(
            &home.call(&[command, "nosuch"]).run().exits(2),
            &[
                "the ledger has no run `nosuch`",
                "`autorun runs` lists the runs",
            ],
        );
    }
}

#[test]
fn nothing_is_removed_without_confirmation() {
    let home = Home::new();
    home.run(r#"create_bucket("unasked");"#, &[]).exits(0);
    let refused = home.call(&["destroy", &home.id()]).run().exits(2);
    reports(
        &refused,
        &[
            "cannot ask for confirmation without a terminal",
            "pass --yes",
        ],
    );
    assert_eq!(buckets("unasked-"), 1);
    // On a terminal it lists what it will remove, and asks.
    let at_terminal = |answer: &str| home.call(&["destroy", &home.id()]).at_terminal(answer);
    let (status, messages) = at_terminal("n\n");
    assert!(messages.contains("bucket          unasked-"), "{messages}");
    assert!(messages.contains("remove 1 resource? [y/N]"), "{messages}");
    assert_eq!((status, buckets("unasked-")), (Some(1), 1), "{messages}");
    let (status, messages) = at_terminal("yes\n");
    assert_eq!((status, buckets("unasked-")), (Some(0), 0), "{messages}");
}

#[test]
fn an_existing_bucket_stays_with_the_objects_that_were_overwritten() {
    let home = Home::new();
    let before = Home::new();
    before
        .run(
            r#"
                create_bucket("existed-before", #{ exact: true });
                upload_file("existed-before", "assets/logo.png", #{ key: "theirs" });
            "#,
            &[],
        )
        .exits(0);
    home.run(
        r#"
            let bucket = create_bucket("existed-before", #{ exact: true });
            assert(!bucket.made);
            upload_file(bucket, "assets/check_webserver.py", #{ key: "theirs" });
            upload_file(bucket, "assets/check_webserver.py", #{ key: "ours" });
            upload_image(bucket, "assets/logo.png", #{ key: "public.png", public: true });
        "#,
        &[],
    )
    .exits(0);
    let about = |what: &str| {
        let call = ["s3api", what, "--bucket", "existed-before"];
        aws().args(call).output().unwrap()
    };
    assert!(about("get-bucket-policy").status.success());
    home.destroy().exits(0);
    // Public access is removed, and the bucket's access block is as before.
    assert!(!about("get-bucket-policy").status.success());
    let blocks: Value = serde_json::from_slice(&about("get-public-access-block").stdout).unwrap();
    let blocks = &blocks["PublicAccessBlockConfiguration"];
    assert_eq!(blocks["RestrictPublicBuckets"], true);
    let list = ["s3", "ls", "s3://existed-before"];
    let list = aws().args(list).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("theirs") && !list.contains("ours"), "{list}");
    before.destroy().exits(0);
    assert_eq!(buckets("existed-before"), 0);
}

#[test]
fn a_resource_without_its_tag_is_kept_with_the_reason_and_removed_later() {
    let home = Home::new();
    home.run(r#"create_bucket("tagged"); create_bucket("other");"#, &[])
        .exits(0);
    let bucket = home.show()["resources"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let ask = |args: &[&str]| {
        let done = aws().args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let tags = ask(&["s3api", "get-bucket-tagging", "--bucket", &bucket]);
    ask(&["s3api", "delete-bucket-tagging", "--bucket", &bucket]);
    let left = home.destroy().exits(4);
    reports(
        &left,
        &[
            &format!("not removed: bucket {bucket}"),
            "no longer the one that this run created",
            "try again with: autorun destroy",
        ],
    );
    assert_eq!(home.newest()["up"], 1, "the other resource is removed");
    ask(&[
        "s3api",
        "put-bucket-tagging",
        "--bucket",
        &bucket,
        "--tagging",
        &tags,
    ]);
    home.destroy().exits(0);
    assert_eq!(home.newest()["up"], 0);
}

#[test]
fn resources_that_cannot_be_removed_can_be_forgotten() {
    let home = Home::new();
    home.run(r#"create_bucket("forgotten");"#, &[]).exits(0);
    let bucket = home.show()["resources"][0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let id = home.id();
    let shown = home.call(&["destroy", &id, "--dry-run"]).run().exits(0);
    reports(&shown, &[&bucket]);
    assert_eq!(buckets(&bucket), 1);
    let untag = ["s3api", "delete-bucket-tagging", "--bucket", &bucket];
    aws().args(untag).output().unwrap();
    reports(
        &home.destroy().exits(4),
        &["with --forget the ledger drops what cannot be removed"],
    );
    let forgotten = home
        .call(&["destroy", &id, "--yes", "--forget"])
        .run()
        .exits(0);
    reports(&forgotten, &["the ledger no longer has these resources"]);
    assert_eq!(
        (home.newest()["up"].clone(), buckets(&bucket)),
        (0.into(), 1)
    );
    assert_eq!(
        home.call(&["runs", "--up"]).run().exits(0).stdout,
        "no run has remaining resources\n"
    );
    aws()
        .args(["s3", "rb", &format!("s3://{bucket}")])
        .output()
        .unwrap();
}

#[test]
fn another_account_region_or_endpoint_is_refused() {
    let home = Home::new();
    home.run(r#"create_bucket("elsewhere");"#, &[]).exits(0);
    let id = home.id();
    for (flags, message) in [
        (&["--region", "us-west-2"][..], "not in region us-west-2"),
        (
            &["--endpoint-url", "http://127.0.0.1:9"],
            "not at http://127.0.0.1:9",
        ),
    ] {
        let refused = home.call(&["destroy", &id, "--yes"]).args(flags).run();
        reports(&refused.exits(2), &[message]);
    }
    let account = |number: &str| {
        home.sql(&format!(
            "UPDATE run SET about = json_set(about, '$.target.account', '{number}')"
        ));
    };
    account("999999999999");
    let refused = home.call(&["destroy", &id, "--yes"]).run().exits(4);
    reports(
        &refused,
        &["the credentials belong to account 123456789012, but run"],
    );
    let refused = home.call(&["resume", &id]).run().exits(2);
    reports(
        &refused,
        &["the credentials belong to account 123456789012, but run"],
    );
    assert_eq!(buckets("elsewhere-"), 1);
    account("123456789012");
    home.destroy().exits(0);
}

#[test]
fn a_corrected_playbook_continues_where_the_first_ended() {
    let home = Home::new();
    let broken = r#"
        let name = var("name", "resumed", "Name");
        let token = var("token", #{ type: "string", secret: true, help: "Secret" });
        let bucket = create_bucket(name);
        for key in ["a", "b", "a"] {
            upload_file(bucket, "assets/logo.png", #{ key: key });
        }
        create_bucket(name + "-dropped");
        print("token " + token.len());
        upload_file(bucket, "assets/nosuch.png");
    "#;
    home.run(broken, &["--set", "name=resume", "--set", "token=hunter22"])
        .exits(1);
    let id = home.id();
    home.playbook(
        &broken
            .replace(
                "create_bucket(name + \"-dropped\");",
                "create_bucket(name + \"-new\");",
            )
            .replace("nosuch.png", "check_webserver.py"),
    );
    // The ledger does not contain the secret, so it must be given again.
    // Other variables keep their values.
    let asked = home.call(&["resume", &id]).run().exits(2);
    reports(
        &asked,
        &[
            "the secret `token` is not in the ledger",
            "--set token=@FILE",
        ],
    );
    let changed = home
        .call(&["resume", &id, "--set", "name=x"])
        .run()
        .exits(2);
    reports(
        &changed,
        &["cannot change variable `name` of the run; its value is \"resume\""],
    );

    let resumed = home
        .call(&["resume", &id])
        .env("AUTORUN_VAR_token", "hunter22")
        .run()
        .exits(0);
    assert_eq!(resumed.stdout, "token 8\n");
    reports(
        &resumed,
        &[
            "replayed create_bucket resume",
            "the playbook no longer performs these recorded steps",
            "create_bucket resume-dropped (",
        ],
    );
    // Count only these lines: those about the whole run may name the step as
    // well.
    let steps = resumed.stderr.split("\ndone in ").next().unwrap();
    let uploads = steps.matches("upload_file").count();
    assert_eq!(uploads, 3, "{}", resumed.stderr);
    assert_eq!(buckets("resume-"), 3);
    assert_eq!(home.newest()["status"], "done");

    // The second time, nothing is left to do.
    let again = home
        .call(&["resume", &id])
        .env("AUTORUN_VAR_token", "hunter22")
        .run()
        .exits(0);
    assert!(
        !again.messages().contains("created bucket"),
        "{}",
        again.stderr
    );
    home.destroy().exits(0);
    assert_eq!(buckets("resume-"), 0);
}

#[test]
fn a_recorded_step_with_an_unreadable_result_is_not_repeated() {
    let home = Home::new();
    let ran = home.dir.path().join("ran");
    let playbook = format!(
        r#"
            let bucket = create_bucket("altered");
            local_exec(["sh", "-c", "echo ran >> {}"]);
            upload_file(bucket, "assets/logo.png");
            fail("stop here");
        "#,
        ran.display()
    );
    home.run(&playbook, &[]).exits(1);
    let id = home.id();
    let resume = || home.call(&["resume", &id]).run();
    for (number, function) in ["create_bucket altered", "local_exec", "upload_file"]
        .into_iter()
        .enumerate()
    {
        let whole = home.column(&format!("result FROM step WHERE number = {number}"));
        for (changed, why) in [
            ("'{\"bucket\": '", "EOF while parsing"),
            ("'[]'", "invalid length 0"),
            ("'\"altered\"'", "invalid type: string"),
            ("'{}'", "missing field"),
            ("NULL", "it is missing"),
        ] {
            home.sql(&format!(
                "UPDATE step SET result = {changed} WHERE number = {number}"
            ));
            let refused = resume().exits(1);
            let place = format!("playbook.rhai:{}", number + 2);
            reports(
                &refused,
                &[
                    &format!("cannot read the recorded result of {function}"),
                    "an earlier attempt completed the step",
                    why,
                    &place,
                    &format!("`autorun destroy {id}`"),
                ],
            );
            assert!(!refused.messages().contains("stop here"), "{changed}");
            assert_eq!(fs::read_to_string(&ran).unwrap(), "ran\n", "{changed}");
            assert_eq!(buckets("altered-"), 1, "{changed}");
        }
        let shown = home.call(&["show", &id]).run().exits(0).stdout;
        assert!(
            !shown.contains("cannot read the recorded result: "),
            "{shown}"
        );
        home.sql(&format!(
            "UPDATE step SET result = '{{' WHERE number = {number}"
        ));
        let shown = home.call(&["show", &id]).run().exits(0).stdout;
        assert!(
            shown.contains("cannot read the recorded result: "),
            "{shown}"
        );
        home.sql(&format!(
            "UPDATE step SET result = '{whole}' WHERE number = {number}"
        ));
    }
    reports(&resume().exits(1), &["stop here"]);
    // `destroy` removes the resources, even if the steps' results are
    // unreadable.
    home.sql("UPDATE step SET result = '{'");
    home.destroy().exits(0);
    assert_eq!(buckets("altered-"), 0);
}

#[test]
fn an_unreadable_row_of_an_intended_resource_stops_the_run() {
    let home = Home::new();
    home.run(r#"create_bucket("intended"); fail("stop here");"#, &[])
        .exits(1);
    let id = home.id();
    home.sql("UPDATE resource SET state = 'intended'; UPDATE step SET state = 'under_way'");
    for (change, back, why) in [
        (
            "state = 'up'",
            "state = 'intended'",
            "is `up`, not one of intended, live",
        ),
        (
            "kind = 'pail'",
            "kind = 'bucket'",
            "is `pail`, not one of instance",
        ),
        (
            "step = 'x' || step",
            "step = substr(step, 2)",
            "the ledger does not have the step that created bucket",
        ),
    ] {
        home.sql(&format!("UPDATE resource SET {change}"));
        let refused = home.call(&["resume", &id]).run().exits(2);
        reports(&refused, &[why, "from a backup"]);
        assert_eq!(home.column("outcome FROM run"), "failed", "{change}");
        assert_eq!(buckets("intended-"), 1, "{change}");
        home.sql(&format!("UPDATE resource SET {back}"));
    }
    home.sql("UPDATE step SET state = 'did'");
    reports(
        &home.call(&["resume", &id]).run().exits(2),
        &[
            "create_bucket (",
            "playbook.rhai:1)",
            "is `did`, not one of under_way",
        ],
    );
    home.sql("UPDATE step SET state = 'under_way'");
    reports(&home.call(&["resume", &id]).run().exits(1), &["stop here"]);
    assert_eq!(buckets("intended-"), 1, "the same bucket");
    home.destroy().exits(0);
    assert_eq!(buckets("intended-"), 0);
}

#[test]
fn a_run_that_the_ledger_cannot_describe_does_not_begin() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    let directory = home.dir.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::create_dir(&directory).unwrap();
    let playbook = home.playbook("print(1)");
    let output = home
        .call(&[&playbook])
        .command()
        .current_dir(&directory)
        .output()
        .unwrap();
    let refused = Ended::of(&output, home.dir.path()).exits(2);
    reports(&refused, &["cannot record the run", "names must be UTF-8"]);
    let runs = home.call(&["runs"]).run().exits(0);
    assert_eq!(runs.stdout, "no runs yet\n");
}

#[test]
fn a_resumed_run_recreates_what_is_gone() {
    let home = Home::new();
    let playbook = r#"
        let bucket = create_bucket("again");
        upload_file(bucket, "assets/logo.png", #{ key: "k" });
        let key = create_key_pair("again-" + run_id());
        let server = launch_instance(#{ name: "again-" + run_id(), key_pair: key });
        fail("stop here");
    "#;
    home.run(playbook, &[]).exits(1);
    let first = home.show();
    home.destroy().exits(0);
    let resumed = home.call(&["resume", &home.id()]).run().exits(1);
    reports(
        &resumed,
        &[
            "no longer exists; creating it again",
            "launched i-",
            "uploaded",
        ],
    );
    let second = home.show();
    let live = |run: &Value| {
        let all = run["resources"].as_array().unwrap().iter();
        all.filter(|row| row["state"] == "live").count()
    };
    assert_eq!(live(&second), live(&first), "{second:#}");
    home.destroy().exits(0);
    assert_eq!(live(&home.show()), 0);
}

#[test]
fn directories_and_ports_are_recreated_unless_the_playbook_removed_them() {
    let other = Home::new();
    let group = r#"print(create_security_group("kept-" + run_id()).id);"#;
    let group = other.run(group, &[]).exits(0).stdout;
    let home = Home::new();
    let playbook = format!(
        r#"
            let bucket = create_bucket("whole");
            upload_dir(bucket, "userdata", #{{ prefix: "in/" }});
            open_port("{group}", #{{ port: 443 }});
            let scratch = create_bucket("scratch");
            upload_file(scratch, "assets/logo.png", #{{ key: "one" }});
            upload_dir(scratch, "userdata");
            copy_object(scratch, "one", scratch, "two");
            empty_bucket(scratch);
            delete_bucket(scratch);
            assert(list_objects(bucket).len > 0, "the bucket is empty");
            fail("stop here");
        "#,
        group = group.trim()
    );
    home.run(&playbook, &[]).exits(1);
    let stopped = |ended: Ended| reports(&ended.exits(1), &["stop here"]);
    // What the playbook itself removed stays removed. Then `destroy` removes
    // the rest.
    stopped(home.call(&["resume", &home.id()]).run());
    assert_eq!((buckets("whole-"), buckets("scratch-")), (1, 0));
    home.destroy().exits(0);
    stopped(home.call(&["resume", &home.id()]).run());
    let up = home.show()["resources"].as_array().unwrap().clone();
    let live = |kind: &str| {
        let rows = up
            .iter()
            .filter(|row| row["kind"] == kind && row["state"] == "live");
        rows.count()
    };
    assert_eq!((live("ingress"), live("bucket")), (1, 1));
    home.destroy().exits(0);
    other.destroy().exits(0);
    assert_eq!(buckets("whole-"), 0);
}

#[test]
fn on_error_destroy_removes_what_a_failed_run_created() {
    let home = Home::new();
    let failed = home
        .run(
            r#"
                let bucket = create_bucket("undone");
                upload_file(bucket, "assets/logo.png");
                fail("expected failure");
            "#,
            &["--on-error", "destroy"],
        )
        .exits(1);
    reports(
        &failed,
        &[
            "removing what the run created",
            "removed everything that it created",
        ],
    );
    assert_eq!(buckets("undone-"), 0);
}

#[test]
fn a_signal_removes_with_progress_and_a_second_signal_lists() {
    let home = Home::new();
    let playbook = home.playbook(
        r#"
            launch_instance(#{ name: "signalled" });
            create_bucket("signalled");
            log_info("made");
            sleep(100);
        "#,
    );
    let call = |on_error: &str| {
        let args = ["--local", &playbook, "--on-error", on_error];
        home.call(&args)
    };
    // A closed terminal sends a signal, too.
    for name in ["INT", "HUP"] {
        let (mut child, mut stderr) = started(&call("destroy"), "made");
        signal(&child, name);
        let mut messages = String::new();
        stderr.read_to_string(&mut messages).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{messages}");
        for text in [
            "then removing what the",
            "deleted instance i-",
            "deleted bucket signalled-",
        ] {
            assert!(messages.contains(text), "no `{text}` in\n{messages}");
        }
        assert_eq!(home.newest()["up"], 0);
    }

    let (mut child, mut stderr) = started(&call("keep"), "made");
    signal(&child, "INT");
    let mut messages = String::new();
    stderr.read_line(&mut messages).unwrap();
    signal(&child, "INT");
    stderr.read_to_string(&mut messages).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{messages}");
    for text in [
        "remaining resources of this run:",
        "instance        i-",
        "autorun destroy",
    ] {
        assert!(messages.contains(text), "no `{text}` in\n{messages}");
    }
    assert_eq!(home.newest()["status"], "interrupted");
    home.destroy().exits(0);
}

#[test]
fn a_second_run_of_the_same_playbook_is_refused_while_the_first_runs() {
    let home = Home::new();
    let playbook =
        home.playbook(r#"let name = var("name", "one", "Name"); log_info("up"); sleep(100);"#);
    let first = home.call(&["--local", &playbook]);
    let (mut child, _stderr) = started(&first, "up");
    let pid = child.id().to_string();
    let refused = home.call(&["--local", &playbook]).run().exits(2);
    reports(&refused, &["is in progress, process", &pid]);
    let id = home.id();
    assert_eq!(home.newest()["status"], "running");
    for args in [&["resume", &id][..], &["destroy", &id, "--yes"]] {
        let refused = home.call(args).run().exits(2);
        reports(&refused, &["is in progress, process", &pid]);
    }
    reports(&home.destroy().exits(0), &["no run has anything to remove"]);
    // With a different name, it is a different run.
    let other = home.call(&["--local", &playbook, "--set", "name=two"]);
    let (mut second, _stderr2) = started(&other, "up");
    for child in [&mut child, &mut second] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(home.newest()["status"], "killed");
    let (mut third, _stderr3) = started(&first, "up");
    third.kill().unwrap();
    third.wait().unwrap();
}

#[test]
fn a_run_creates_a_name_only_once() {
    // In us-east-1, S3 lets the owner create the same bucket a second time.
    let home = Home::new();
    let playbook = home.playbook(
        r#"
            let all = parallel([1, 2, 3], |n| create_bucket("again").name);
            all.push(create_bucket("again").name);
            let made = all.len;
            all.dedup();
            print(made - all.len);
        "#,
    );
    let ran = home
        .call(&["--local", "--region", "us-east-1", &playbook])
        .run()
        .exits(0);
    assert_eq!(ran.stdout, "0\n", "{}", ran.stderr);
    assert_eq!(home.newest()["up"], 4);
    home.destroy().exits(0);
    assert_eq!(buckets("again-"), 0);
}

#[test]
fn a_secret_is_restored_in_recorded_results_and_names_contain_none() {
    let home = Home::new();
    let playbook = r#"
        let pw = var("pw", #{ type: "string", secret: true, help: "Secret" });
        let name = "secret-" + run_id();
        let key = create_key_pair(name);
        let group = create_security_group(name);
        let options = #{ name: name, key_pair: key, security_groups: [group], wait: false };
        let server = wait_until_ready(launch_instance(options));
        let done = ssh_exec(server, "read p; echo password=$p", #{ stdin: pw + "\n" });
        assert(done.stdout == "password=" + pw + "\n");
        try { create_bucket(pw); } catch (caught) { log_info(caught.message); }
        fail("once");
    "#;
    let failed = home.run(playbook, &["--set", "pw=hunter22x"]).exits(1);
    reports(&failed, &["the name of a bucket contains a secret"]);
    home.playbook(&playbook.replace("fail(\"once\");", ""));
    home.call(&["resume", &home.id(), "--set", "pw=hunter22x"])
        .run()
        .exits(0);
    let mut files = vec![home.path()];
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(fs::read_dir(&file).unwrap().map(|e| e.unwrap().path()));
        } else {
            let held = fs::read(&file).unwrap();
            let secret = held.windows(9).any(|window| window == b"hunter22x");
            assert!(!secret, "{}", file.display());
        }
    }
    home.destroy().exits(0);
}

#[test]
fn resources_of_a_lost_ledger_are_found_by_its_owner_file() {
    let home = Home::new();
    home.run(r#"create_bucket("lost");"#, &[]).exits(0);
    let id = home.id();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        drop(fs::remove_file(home.path().join(file)));
    }
    let args = [
        "destroy",
        "--orphans",
        "--local",
        "--region",
        "eu-central-1",
    ];
    let found = home.call(&args).run().exits(2);
    reports(
        &found,
        &[&format!("created by run {id}, which is not in this ledger")],
    );
    let bucket = format!("s3://lost-{id}");
    aws().args(["s3", "rb", &bucket]).output().unwrap();
}

#[test]
fn several_runs_share_a_ledger() {
    let home = Home::new();
    let playbook = home.playbook(
        r#"
            let name = var("name", "many", "Name");
            let bucket = create_bucket(name);
            parallel([1, 2, 3, 4], |n| upload_file(bucket, "assets/logo.png", #{ key: `${n}` }));
        "#,
    );
    let calls = (0..6).map(|n| {
        let name = format!("name=many-{n}");
        home.call(&[
            "--local",
            "--region",
            "eu-central-1",
            &playbook,
            "--set",
            &name,
        ])
    });
    let calls: Vec<Autorun> = calls.collect();
    std::thread::scope(|scope| {
        let runs: Vec<_> = calls
            .iter()
            .map(|call| scope.spawn(|| call.run()))
            .collect();
        for run in runs {
            run.join().unwrap().exits(0);
        }
    });
    let all = home.call(&["runs", "--output", "json"]).run().exits(0);
    let ups = all.stdout.lines().map(|line| {
        let run: Value = serde_json::from_str(line).unwrap();
        run["up"].as_u64().unwrap()
    });
    assert_eq!(ups.collect::<Vec<_>>(), [5; 6]);
    home.destroy().exits(0);
    assert_eq!(buckets("many-"), 0);
}

#[test]
fn instances_terminate_themselves_at_their_time() {
    let home = Home::new();
    let playbook = r##"
        let key = create_key_pair("ttl-" + run_id());
        let group = create_security_group("ttl-" + run_id());
        let server = launch_instance(#{
            name: "ttl-" + run_id(), key_pair: key, security_groups: [group],
            user_data: "#!/bin/bash -e\necho own > /own\n",
        });
        server = wait_until_ready(server);
        assert(ssh_exec(server, "cat /own").stdout == "own\n");
        print(server.id);
    "##;
    let ran = home.run(playbook, &["--ttl", "4s"]).exits(0);
    reports(
        &ran,
        &[
            "instances terminate themselves 4.0 s after",
            "key pairs stay until",
        ],
    );
    let id = ran.stdout.trim();
    crate::local_cloud::becomes_true("the instance has terminated itself", || {
        let query = ["ec2", "describe-instances", "--region", "eu-central-1"];
        let seen = aws()
            .args(query)
            .args(["--instance-ids", id])
            .output()
            .unwrap();
        let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
        seen["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated"
    });
    home.destroy().exits(0);
    let other = r##"launch_instance(#{ user_data: "#cloud-config\n" });"##;
    let refused = home.run(other, &["--ttl", "2h"]).exits(1);
    reports(
        &refused,
        &["--ttl needs user data that is a script for sh or bash"],
    );
}

#[test]
fn ssh_logs_in_with_the_pinned_key() {
    let home = Home::new();
    let playbook = r#"
        let name = "login-" + run_id();
        let key = create_key_pair(name);
        let group = create_security_group(name);
        let options = #{ name: name, key_pair: key, security_groups: [group], wait: false };
        let server = wait_until_ready(launch_instance(options));
        print(server.name);
    "#;
    let name = home.run(playbook, &[]).exits(0).stdout;
    for whom in [home.id().as_str(), name.trim()] {
        let ssh = home
            .call(&["ssh", whom, "--", "echo hello; exit 7"])
            .run()
            .exits(7);
        assert_eq!(ssh.stdout, "hello\n");
    }
    let nosuch = home.call(&["ssh", "nosuch"]).run().exits(2);
    reports(
        &nosuch,
        &["`nosuch` is neither a run nor an instance that is up"],
    );
    // A changed host key at that address is rejected before the login.
    let pin = fs::read_dir(home.path().join("hosts")).unwrap();
    let pin = pin.map(|entry| entry.unwrap().path());
    let pin = pin
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "json"));
    let other =
        r#"{"fingerprint":"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","verified":true}"#;
    fs::write(pin.unwrap(), other).unwrap();
    let refused = home.call(&["ssh", &home.id(), "--", "true"]).run().exits(2);
    assert!(
        refused.messages().contains("host key"),
        "{}",
        refused.stderr
    );
    home.destroy().exits(0);
    assert_eq!(fs::read_dir(home.path().join("hosts")).unwrap().count(), 0);
}

#[test]
fn orphans_are_found_by_their_owner_tag_and_confirmed_by_name() {
    let home = Home::new();
    let other = Home::new();
    other.run(r#"create_bucket("others");"#, &[]).exits(0);
    home.run(
        r#"
            create_bucket("orphan");
            launch_instance(#{ name: "orphan", iam_profile: instance_role("orphan").profile });
        "#,
        &[],
    )
    .exits(0);
    let id = home.id();
    home.sql("DELETE FROM request; DELETE FROM resource; DELETE FROM step; DELETE FROM run;");
    let args = [
        "destroy",
        "--orphans",
        "--local",
        "--region",
        "eu-central-1",
    ];
    let refused = home.call(&args).run().exits(2);
    reports(
        &refused,
        &[
            &format!("created by run {id}, which is not in this ledger"),
            "needs a terminal",
        ],
    );
    let no_yes = home.call(&["destroy", "--orphans", "--yes"]).run().exits(2);
    reports(&no_yes, &["--orphans", "cannot be used with"]);
    let typed = |answer: &str| home.call(&args).at_terminal(answer).1;
    let messages = typed("yes\n");
    assert!(
        messages.contains("skipped what run") && buckets("orphan-") == 1,
        "{messages}"
    );
    let messages = typed(&format!("{id}\n"));
    for text in [
        "of other ledgers",
        "deleted instance i-",
        "deleted bucket orphan-",
        "deleted instance profile orphan-",
        "deleted IAM role orphan-",
    ] {
        assert!(messages.contains(text), "no `{text}` in\n{messages}");
    }
    assert_eq!((buckets("orphan-"), buckets("others-")), (0, 1));
    other.destroy().exits(0);
}

/// A run with a ledger in `directory`, in its own mount namespace, in which
/// the shell command `before` runs first.
fn with_mount(home: &Home, before: &str) -> Ended {
    let run = home.call(&[&home.playbook("print(\"ran\");")]);
    let command = run.command();
    let line = format!("{before} && exec {}", words_of(&command));
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", &line])
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("DIR", home.path())
        .output()
        .unwrap();
    Ended::of(&output, Path::new("/nowhere"))
}

#[test]
fn a_ledger_that_cannot_be_used_stops_a_run_before_it_begins() {
    let unusable = |home: &Home, ended: Ended, message: &str| {
        let ended = ended.exits(2);
        reports(&ended, &["ledger", message, "hint:"]);
        assert!(!ended.stdout.contains("ran"), "{}", home.path().display());
        assert_eq!(
            ended.stderr.matches("error:").count(),
            1,
            "{}",
            ended.stderr
        );
    };
    let run = |home: &Home| home.call(&[&home.playbook("print(\"ran\");")]).run();

    let locked = Home::new();
    run(&locked).exits(0);
    let db = rusqlite::Connection::open(locked.path().join("ledger.db")).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    unusable(&locked, run(&locked), "another process has locked it");
    drop(db);

    let newer = Home::new();
    run(&newer).exits(0);
    newer.sql("PRAGMA user_version = 99");
    unusable(&newer, run(&newer), "a newer autorun");

    let damaged = Home::new();
    run(&damaged).exits(0);
    damaged.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let file = damaged.path().join("ledger.db");
    let length = fs::metadata(&file).unwrap().len();
    let header = fs::read(&file).unwrap()[..100].to_vec();
    let rest = vec![0x5a; usize::try_from(length).unwrap() - 100];
    fs::write(&file, [header, rest].concat()).unwrap();
    unusable(&damaged, run(&damaged), "it is damaged");
    fs::write(&file, "no database at all").unwrap();
    unusable(&damaged, run(&damaged), "it is damaged");

    let read_only = Home::new();
    run(&read_only).exits(0);
    let mount = "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,bind,ro \"$DIR\"";
    unusable(&read_only, with_mount(&read_only, mount), "read-only");

    let full = Home::new();
    fs::create_dir(full.path()).unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$DIR\" && \
                 { head -c 1m /dev/zero > \"$DIR/big\" 2>/dev/null || true; }";
    unusable(&full, with_mount(&full, mount), "full");

    let a_file = Home::new();
    fs::write(a_file.path(), "not a directory").unwrap();
    unusable(&a_file, run(&a_file), "cannot");
}

#[test]
fn a_resource_that_another_run_removed_is_up_in_no_run() {
    let cloud = LocalCloud::start();
    let home = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| {
        let autorun = cloud.plain();
        let home = home.path().display().to_string();
        autorun
            .env("AUTORUN_HOME", &home)
            .args(args)
            .run()
            .exits(0)
            .stdout
    };
    let play = |text: &str| {
        let file = home.path().join("playbook.rhai");
        fs::write(&file, text).unwrap();
        call(&["--local", &file.display().to_string()])
    };
    let up = || {
        let runs = call(&["runs", "--output", "json"]);
        let first = runs.lines().last().unwrap();
        serde_json::from_str::<Value>(first).unwrap()["up"].clone()
    };
    let id = play(
        "let group = create_security_group(\"shared\");\n\
         print(launch_instance(#{ name: \"shared\", security_groups: [group] }).id);",
    );
    assert_eq!(up(), 2);
    play(&format!("terminate_instance(\"{}\");", id.trim()));
    assert_eq!(up(), 1, "only its group");
}

#[test]
fn keys_with_characters_that_xml_forbids_are_listed_and_removed() {
    let home = Home::new();
    let fill = r#"
        let odd = "a\u0001 b\u001f/\r+\uffff";
        let bucket = create_bucket("odd");
        for key in [odd, "even"] { upload_file(bucket, "assets/logo.png", #{ key: key }); }
        assert(list_objects(bucket).map(|object| object.key) == [odd, "even"]);
        assert(empty_bucket(bucket) == 2 && list_objects(bucket) == []);
        upload_file(bucket, "assets/logo.png", #{ key: odd });
    "#;
    home.run(fill, &[]).exits(0);
    home.destroy().exits(0);
    assert_eq!(home.newest()["up"], 0);
}

#[test]
fn a_rule_that_names_a_group_does_not_prevent_its_removal() {
    let home = Home::new();
    let rules = r#"
        let web = create_security_group("web");
        let clients = create_security_group("clients", #{ ingress: [#{ port: 22, from: web }] });
        // Now each group has a rule that names the other group.
        open_port(web, #{ port: 5432, from: clients });
    "#;
    home.run(rules, &[]).exits(0);
    home.destroy().exits(0);
    assert_eq!(home.newest()["up"], 0);
    // A rule is removed with its group, also when the playbook deletes the
    // group.
    let away = r#"
        let web = create_security_group("web");
        let clients = create_security_group("clients");
        open_port(web, #{ port: 5432, from: clients });
        delete_security_group(web);
        delete_security_group(clients);
        if !is_file("PROCEED") { fail("not yet"); }
    "#;
    let file = home.dir.path().join("proceed");
    let away = away.replace("PROCEED", &file.display().to_string());
    home.run(&away, &[]).exits(1);
    assert_eq!(home.newest()["up"], 0);
    fs::write(file, "").unwrap();
    home.call(&["resume", &home.id()]).run().exits(0);
    assert_eq!(home.newest()["up"], 0);
}
