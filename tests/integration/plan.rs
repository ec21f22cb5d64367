//! `autorun plan`: it touches nothing, it lists what the run does, and it finds what
//! the account would refuse.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, root, signal, started};

/// The limit for what must happen within moments.
const SOON: Duration = Duration::from_secs(60);

/// Returns the plan that was printed as JSON.
pub(crate) fn plan_of(ended: &Ended) -> Value {
    let line = ended.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {}\n{}", ended.stdout, ended.stderr))
}

/// Returns the entries of a plan that were assumed, as `function: effect`.
fn assumed(plan: &Value) -> BTreeSet<String> {
    let steps = plan["steps"].as_array().unwrap();
    let effects = steps.iter().flat_map(|step| {
        let function = step["function"].as_str().unwrap().to_owned();
        let assumed = step["assumed"].as_array().unwrap().iter();
        assumed.map(move |one| format!("{function}: {}", one["effect"].as_str().unwrap()))
    });
    effects.collect()
}

/// An account: a local cloud with these settings, and the environment to reach it.
pub(crate) struct Account {
    cloud: LocalCloud,
}

impl Account {
    pub(crate) fn with(faults: &str) -> Self {
        let account = Self {
            cloud: LocalCloud::start(),
        };
        account.set(faults);
        account
    }

    /// Replaces the settings of the account.
    pub(crate) fn set(&self, faults: &str) {
        let file = self.cloud.home().join("account.toml");
        fs::write(&file, faults).unwrap();
        let set = self.cloud.plain().args(["cloud", "up", "--faults"]);
        let _ = set.arg(file.display().to_string()).run().exits(0);
    }

    /// Runs a command of autorun for this account.
    pub(crate) fn autorun(&self) -> Autorun {
        let cloud = self.cloud.home().display().to_string();
        let autorun = Autorun::new().env("AUTORUN_CLOUD_HOME", &cloud);
        let variables = self.cloud.env().into_iter();
        variables.fold(autorun, |autorun, (name, value)| autorun.env(&name, &value))
    }

    /// Plans a playbook, whose text is given.
    pub(crate) fn plan(&self, playbook: &str) -> Ended {
        self.plan_with(playbook, &[])
    }

    /// Plans a playbook with more arguments.
    pub(crate) fn plan_with(&self, playbook: &str, arguments: &[&str]) -> Ended {
        let autorun = self.autorun();
        let file = autorun.home.path().join("planned.rhai");
        fs::write(&file, playbook).unwrap();
        let file = file.display().to_string();
        let autorun = autorun.args(["plan", &file, "--output", "json"]);
        autorun.args(arguments).run()
    }

    /// Returns the messages of all faults that a plan finds.
    pub(crate) fn faults(&self, playbook: &str) -> Vec<String> {
        let ended = self.plan(playbook).exits(1);
        let plan = plan_of(&ended);
        let faults = plan["account"]["faults"].as_array().unwrap();
        for fault in faults {
            assert!(fault["hint"].is_string(), "a fault without a hint: {fault}");
        }
        let messages = faults
            .iter()
            .map(|fault| fault["message"].as_str().unwrap().to_owned());
        messages
            .chain(plan["error"].as_str().map(str::to_owned))
            .collect()
    }

    /// Returns how many requests have asked for a change.
    pub(crate) fn mutations(&self) -> u64 {
        let file = self.cloud.home().join("access/0.json");
        let access: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let token = format!("x-autorun-token: {}", access["token"].as_str().unwrap());
        let url = format!("{}/_autorun/status", access["endpoint"].as_str().unwrap());
        let answer = std::process::Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-H", &token, &url])
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&answer.stdout).unwrap();
        status["mutations"].as_u64().unwrap()
    }
}

#[test]
fn a_plan_without_faults_passes_and_the_run_follows() {
    let account = Account::with("");
    let autorun = account.autorun();
    let file = autorun.home.path().join("planned.rhai");
    let playbook = "let bucket = create_bucket(\"pictures\");\n\
        upload_file(bucket, \"assets/logo.png\", #{ key: \"a\" });\nprint(bucket.name);";
    fs::write(&file, playbook).unwrap();
    let file = file.display().to_string();
    let before = account.mutations();
    let autorun = autorun.args(["run", &file, "--plan"]);
    let asked = autorun.run().exits(2);
    assert!(asked.messages().contains("pass --yes"), "{}", asked.stderr);
    assert_eq!(account.mutations(), before);
    let run = account
        .autorun()
        .args(["run", &file, "--plan", "--yes"])
        .run()
        .exits(0);
    // The names in the plan are those of the run.
    let name = run.stdout.trim();
    assert!(
        run.stderr.contains(&format!("bucket {name}")),
        "{}",
        run.stderr
    );
    assert!(account.mutations() > before);
}

/// A playbook with effects outside of its cloud, each of which would be noticed.
fn effects(directory: &Path, port: u16) -> String {
    let at = directory.display();
    format!(
        r#"
        let url = "http://127.0.0.1:{port}/";
        local_exec(["touch", "{at}/touched"]);
        write_file("{at}/written", "text");
        assert(read_file("{at}/written") == "text");
        let db = host("root@192.0.2.77");
        wait_for_ssh(db);
        ssh_exec(db, "reboot");
        scp(db, "assets/logo.png", "/tmp/logo.png");
        scp_from(db, "/etc/hostname", "{at}/hostname");
        http_get(url);
        http_request("POST", url, #{{ json: 1 }});
        probe(url);
        wait_until_serving(url, #{{ contains: "x" }});
        wait_for_port("192.0.2.77", 22);
        host_metrics(db);
        let bucket = create_bucket("pictures");
        upload_file(bucket, "assets/logo.png", #{{ key: "a" }});
        download_file(bucket, "a", "{at}/downloaded");
        download_dir(bucket, "", "{at}/all");
        create_key_pair("web", #{{ path: "{at}/key" }});
        "#
    )
}

#[test]
fn nothing_outside_of_the_rehearsal_is_touched() {
    let cloud = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let playbook = effects(outside.path(), listener.local_addr().unwrap().port());
    let autorun = Autorun::new().env("AUTORUN_CLOUD_HOME", &cloud.path().display().to_string());
    let file = autorun.home.path().join("planned.rhai");
    fs::write(&file, playbook).unwrap();
    let file = file.display().to_string();
    let ended = autorun
        .args(["plan", &file, "--offline", "--output", "json"])
        .run();
    let plan = plan_of(&ended.exits(0));
    let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(listener.accept().is_err(), "something connected");
    let functions: BTreeSet<String> = assumed(&plan)
        .iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    let wanted = [
        "download_dir",
        "download_file",
        "host_metrics",
        "http_get",
        "http_request",
        "local_exec",
        "probe",
        "scp",
        "scp_from",
        "ssh_exec",
        "wait_for_port",
        "wait_for_ssh",
        "wait_until_serving",
        "write_file",
    ];
    assert_eq!(functions, wanted.map(str::to_owned).into());
    // No ledger was made for the plan, and the rehearsal's home is gone.
    let rehearsals = fs::read_dir(cloud.path().join("rehearsals"))
        .unwrap()
        .count();
    assert_eq!(rehearsals, 0);
}

#[test]
fn what_follows_from_an_assumed_answer_is_marked() {
    let cloud = tempfile::tempdir().unwrap();
    let autorun = Autorun::new().env("AUTORUN_CLOUD_HOME", &cloud.path().display().to_string());
    let file = autorun.home.path().join("planned.rhai");
    let playbook = "create_bucket(\"one\");\n\
        local_exec([\"true\"]);\ncreate_bucket(\"two\");\n\
        let size = local_exec([\"du\"]).stdout;\ncreate_bucket(\"three\");\nsleep(60);\n";
    fs::write(&file, playbook).unwrap();
    let file = file.display().to_string();
    let ended = autorun
        .args(["plan", &file, "--offline", "--output", "json"])
        .run()
        .exits(0);
    let plan = plan_of(&ended);
    let follows: Vec<bool> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["function"] == "create_bucket")
        .map(|step| step["follows"].is_string())
        .collect();
    assert_eq!(follows, [false, false, true]);
    assert_eq!(plan["skipped_seconds"], 60.0);
}

#[test]
fn without_root_commands_are_assumed_and_this_comes_first() {
    let autorun = Autorun::new();
    let file = autorun.home.path().join("planned.rhai");
    let playbook = "let server = launch_instance(#{ name: \"web\" });\n\
        server = wait_until_ready(server);\nssh_exec(server, \"uptime\");\n\
        stop_instance(server);\nterminate_instance(server);\n";
    fs::write(&file, playbook).unwrap();
    let data = autorun.home.path().join("data").display().to_string();
    let file = file.display().to_string();
    let autorun = autorun.env("AUTORUN_HOME", &data);
    let ended = autorun
        .args(["plan", &file, "--offline"])
        .by_other_user()
        .run()
        .exits(0);
    assert!(
        ended
            .stdout
            .starts_with("commands on instances were assumed"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("? on web: uptime"),
        "{}",
        ended.stdout
    );
}

/// Returns the number of homes of rehearsals, and of local clouds that run for them.
fn alive(cloud: &Path) -> (usize, usize) {
    let homes = fs::read_dir(cloud.join("rehearsals")).map_or(0, Iterator::count);
    let processes = fs::read_dir("/proc").unwrap().filter(|entry| {
        let line = fs::read(entry.as_ref().unwrap().path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&cloud.join("rehearsals").display().to_string())
    });
    (homes, processes.count())
}

#[test]
fn the_local_cloud_of_a_plan_ends_with_it() {
    for end in ["KILL", "INT", "TERM"] {
        let cloud = tempfile::tempdir().unwrap();
        let autorun = Autorun::new().env("AUTORUN_CLOUD_HOME", &cloud.path().display().to_string());
        let file = autorun.home.path().join("planned.rhai");
        fs::write(&file, "log_warn(\"here\"); sleep(600);").unwrap();
        let file = file.display().to_string();
        let autorun = autorun.args(["plan", &file, "--offline"]);
        let (mut child, _stderr) = started(&autorun, "here");
        assert_eq!(alive(cloud.path()).0, 1);
        signal(&child, end);
        child.wait().unwrap();
        let began = Instant::now();
        while alive(cloud.path()) != (0, 0) {
            assert!(began.elapsed() < SOON, "{end}: {:?}", alive(cloud.path()));
            std::thread::yield_now();
        }
    }
}

/// Playbooks with loops and branches.
const WRITTEN: [&str; 10] = [
    "for n in 0..3 { create_security_group(`group-${n}`); }",
    "let names = [\"a\", \"b\"]; for name in names { if name == \"a\" { create_bucket(\"only-a\"); } }",
    "let bucket = create_bucket(\"files\"); for key in [\"x\", \"y\"] { upload_file(bucket, \"assets/logo.png\", #{ key: key }); } delete_object(bucket, \"x\");",
    "let done = 0; while done < 2 { create_key_pair(`key-${done}`); done += 1; }",
    "fn made(name) { create_security_group(name) } let group = made(\"fn\"); open_port(group, #{ port: 8080 });",
    "try { delete_bucket(create_bucket(\"gone\")); throw \"x\"; } catch { create_bucket(\"after\"); }",
    "parallel([\"p\", \"q\"], |name| create_security_group(name));",
    "let volume = create_volume(#{ size: 1, zone: \"us-east-1a\", name: \"data\" }); delete_volume(volume);",
    "let found = find_instance(#{ name: \"none\" }); if found == () { create_bucket(\"new\"); } else { stop_instance(found); }",
    "let server = launch_instance(#{ name: \"loop\" }); for n in 0..2 { tag(server, #{ turn: `${n}` }); } terminate_instance(server);",
];

/// Returns the steps of a plan or of a run, without what differs between two runs.
fn steps(all: &Value, run: &str, only_steps: bool) -> Vec<String> {
    let steps = all["steps"].as_array().unwrap().iter();
    let steps = steps.filter(|step| !only_steps || !step["arguments"].is_null());
    let mut lines: Vec<String> = steps
        .map(|step| {
            let line = format!("{} {} {}", step["function"], step["place"], step["branch"]);
            line.replace(run, "RUN")
        })
        .collect();
    lines.sort();
    lines
}

/// Returns the resources that are left, without what differs between two runs.
fn left(resources: &Value, run: &str) -> Vec<String> {
    let all = resources.as_array().unwrap().iter();
    let up = all.filter(|one| {
        let state = one["state"].as_str();
        state.is_none_or(|state| ["intended", "live", "releasing"].contains(&state))
    });
    // Names with the time, as those of backups.
    let time = regex_lite::Regex::new("T[0-9.]+Z").unwrap();
    let mut lines: Vec<String> = up
        .map(|one| format!("{} {}", one["kind"], one["name"]).replace(run, "RUN"))
        .map(|line| time.replace(&line, "TIME").into_owned())
        .collect();
    lines.sort();
    lines
}

/// Checks that a plan lists the steps and the resources of the run after it.
fn plan_is_the_run(cloud: &LocalCloud, file: &str, arguments: &[&str]) {
    let autorun = cloud.autorun();
    let home = autorun.home.path().display().to_string();
    let same = |autorun: Autorun| autorun.env("HOME", &home);
    let planned = same(cloud.plain())
        .args([
            "plan",
            file,
            "--offline",
            "--output",
            "json",
            "--region",
            "us-east-1",
        ])
        .args(arguments)
        .run();
    let plan = plan_of(&planned.exits(0));
    let run = same(cloud.plain())
        .args([
            "run",
            file,
            "--local",
            "--region",
            "us-east-1",
            "--output",
            "json",
        ])
        .args(arguments)
        .run()
        .exits(0);
    let event: Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
    let id = event["run"].as_str().unwrap();
    let shown = same(cloud.plain())
        .args(["show", id, "--output", "json"])
        .run()
        .exits(0);
    let record: Value = serde_json::from_str(&shown.stdout).unwrap();
    let planned_run = plan["run"].as_str().unwrap();
    assert_eq!(
        steps(&plan, planned_run, true),
        steps(&record, id, false),
        "{file}"
    );
    assert_eq!(
        left(&plan["stays_up"], planned_run),
        left(&record["resources"], id),
        "{file}"
    );
    let _ = same(cloud.plain())
        .args(["destroy", id, "--yes"])
        .run()
        .exits(0);
}

#[test]
fn a_plan_of_loops_and_branches_lists_what_the_run_does() {
    let cloud = LocalCloud::start();
    let directory = tempfile::tempdir().unwrap();
    for (number, playbook) in WRITTEN.iter().enumerate() {
        let file = directory.path().join(format!("{number}.rhai"));
        fs::write(&file, playbook).unwrap();
        plan_is_the_run(&cloud, &file.display().to_string(), &[]);
    }
}

#[test]
fn a_plan_of_a_shipped_playbook_lists_what_the_run_does() {
    let cloud = LocalCloud::start();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("file"), "content").unwrap();
    let directory = format!("directory={}", files.path().display());
    plan_is_the_run(&cloud, "playbooks/run_newwebserver.rhai", &[]);
    plan_is_the_run(&cloud, "playbooks/blue_green.rhai", &["--set", "drain=0"]);
    let backup = ["--set", "bucket=backup-of-the-plan", "--set", &directory];
    plan_is_the_run(&cloud, "playbooks/backup_directory.rhai", &backup);
    plan_is_the_run(&cloud, "playbooks/cleanup_expired.rhai", &[]);
}

#[test]
fn a_plan_of_a_playbook_for_hosts_lists_what_the_run_does() {
    let lab = Lab::start(&json!({ "boot": false }));
    for (file, arguments) in [
        (
            "playbooks/hello_hosts.rhai",
            vec!["--set", "hosts=admin@192.0.2.10"],
        ),
        (
            "playbooks/rolling_update.rhai",
            vec![
                "--set",
                "hosts=admin@192.0.2.10",
                "--set",
                "command=true",
                "--set",
                "url=",
                "--set",
                "check=true",
                "--set",
                "sudo=false",
            ],
        ),
        (
            "playbooks/monitor_webserver.rhai",
            vec![
                "--set",
                "host=admin@192.0.2.10",
                "--set",
                "for=0.1",
                "--set",
                "every=0.1",
                "--set",
                "slo=0.0",
            ],
        ),
    ] {
        let cloud = tempfile::tempdir().unwrap();
        let planned = Autorun::new()
            .env("AUTORUN_CLOUD_HOME", &cloud.path().display().to_string())
            .args(["plan", file, "--offline", "--output", "json"])
            .args(&arguments)
            .run();
        let plan = plan_of(&planned.exits(0));
        let autorun = lab.autorun();
        let home = autorun.home.path().display().to_string();
        let autorun = autorun
            .args(["run", file, "--output", "json"])
            .args(&arguments);
        let run = autorun.run().exits(0);
        let event: Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
        let id = event["run"].as_str().unwrap();
        let shown = Autorun::new()
            .env("HOME", &home)
            .args(["show", id, "--output", "json"]);
        let record: Value = serde_json::from_str(&shown.run().exits(0).stdout).unwrap();
        let planned_run = plan["run"].as_str().unwrap();
        assert_eq!(
            steps(&plan, planned_run, true),
            steps(&record, id, false),
            "{file}"
        );
    }
    assert!(root().join("playbooks").is_dir());
}
