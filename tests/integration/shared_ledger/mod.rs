//! A ledger that several machines share, in a bucket of a local cloud: each machine has
//! its own home, and reaches the cloud by its URL, as it would reach AWS.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cloud::LocalCloud;
use crate::support::{Autorun, Ended, Lab, signal, started};

mod commands;
mod own_keys;
mod waiting;

/// Milliseconds that count as a second in the periods of a lease: a client counts as
/// dead after 90 of these.
const SECOND: &str = "100";

const LEDGER: &str = "s3://team-ledger/autorun";

/// How long a test waits for an event.
const PATIENCE: Duration = Duration::from_secs(120);

struct Team {
    cloud: LocalCloud,
    env: Vec<(String, String)>,
}

impl Team {
    fn new() -> Self {
        let cloud = LocalCloud::start();
        let env = cloud.env();
        let team = Self { cloud, env };
        team.aws("s3 mb s3://team-ledger");
        team
    }

    /// Runs the AWS CLI and returns its output.
    fn aws(&self, arguments: &str) -> String {
        let aws = Path::new(&Lab::python()).with_file_name("aws");
        let output = self
            .cloud
            .client(aws.to_str().unwrap())
            .args(arguments.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "aws {arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A machine with its own home and ledger.
    fn machine(&self) -> Machine {
        let mut autorun = self.cloud.plain();
        for (name, value) in &self.env {
            autorun = autorun.env(name, value);
        }
        Machine {
            home: autorun.home.path().to_owned(),
            _first: autorun,
            env: self.env.clone(),
            ledger: LEDGER.to_owned(),
        }
    }

    fn buckets(&self) -> Vec<String> {
        let listed = self.aws("s3 ls");
        let names = listed.lines().filter_map(|line| line.split(' ').nth(2));
        let names = names.filter(|name| *name != "team-ledger");
        names.map(str::to_owned).collect()
    }
}

/// A store of another maker.
struct Moto {
    child: Child,
    _stdin: ChildStdin,
    url: String,
}

impl Moto {
    fn start() -> Self {
        let program = "import sys\nfrom moto.server import ThreadedMotoServer\n\
            server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\nserver.start()\n\
            print(server.get_host_and_port()[1], flush=True)\nsys.stdin.read()\n";
        let mut child = Command::new(Lab::python())
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut port = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut port).unwrap();
        let moto = Self {
            child,
            _stdin: stdin,
            url: format!("http://127.0.0.1:{}", port.trim()),
        };
        let bucket = Command::new(Path::new(&Lab::python()).with_file_name("aws"))
            .args(["s3", "mb", "s3://team-ledger"])
            .envs(Self::machine(&moto.url).env)
            .output()
            .unwrap();
        assert!(bucket.status.success(), "{bucket:?}");
        moto
    }

    fn machine(url: &str) -> Machine {
        let autorun = Autorun::new();
        let env = [
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Machine {
            home: autorun.home.path().to_owned(),
            _first: autorun,
            env: env.to_vec(),
            ledger: LEDGER.to_owned(),
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Machine {
    home: std::path::PathBuf,
    _first: Autorun,
    env: Vec<(String, String)>,
    ledger: String,
}

impl Machine {
    fn call(&self, arguments: &[&str]) -> Autorun {
        let mut autorun = Autorun::new()
            .env(
                "AUTORUN_HOME",
                &self.home.join("ledger").display().to_string(),
            )
            .env("AUTORUN_LEDGER", &self.ledger)
            .env("AUTORUN_LEDGER_SECOND", SECOND);
        for (name, value) in &self.env {
            autorun = autorun.env(name, value);
        }
        autorun.args(arguments)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.call(arguments).run()
    }

    /// Writes a playbook into the directory of this machine.
    fn write(&self, text: &str) -> String {
        fs::write(self.home.join("web.rhai"), text).unwrap();
        self.home.display().to_string()
    }

    /// The runs that this machine sees.
    fn runs(&self) -> Vec<Value> {
        let ended = self.run(&["runs", "--output", "json"]).exits(0);
        let lines = ended.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn only_run(&self) -> String {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0]["run"].as_str().unwrap().to_owned()
    }

    /// Starts a playbook and waits until it has written a line to stderr.
    fn start(&self, playbook: &str, sign: &str) -> Child {
        let directory = self.write(playbook);
        let call = self.call(&["run", "-C", &directory, "web.rhai"]);
        let (child, stderr) = started(&call, sign);
        // Read the rest, which must not block the program.
        thread::spawn(move || {
            let mut stderr = stderr;
            drop(stderr.read_to_end(&mut Vec::new()));
        });
        child
    }
}

/// Creates two buckets, with a pause between them that ends when a file exists.
fn two_buckets(go: &Path) -> String {
    format!(
        "create_bucket(\"one\");\nlog_warn(\"waiting\");\nwhile !is_file({:?}) {{ sleep(0.05); }}\n\
         create_bucket(\"two\");\nprint(\"done\");\n",
        go.display().to_string()
    )
}

/// Waits for a condition.
fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < end, "{what} does not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn another_machine_sees_resumes_and_destroys() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let playbook = "let password = var(\"password\", #{ type: \"string\", secret: true });\n\
        let bucket = create_bucket(\"shop\");\n\
        create_key_pair(\"shop\");\n\
        write_file(\"note.txt\", password);\n\
        upload_file(bucket, \"note.txt\");\n\
        local_exec([\"test\", \"-e\", \"fixed\"]);\n\
        print(bucket.name);\n";
    let here = one.write(playbook);
    let with_secret = |call: Autorun| call.env("AUTORUN_VAR_password", "correct-horse").run();
    let failed = with_secret(one.call(&["run", "-C", &here, "web.rhai"]));
    let failed = failed.exits(1);
    assert!(failed.stderr.contains("local_exec"), "{}", failed.stderr);
    let run = two.only_run();
    let seen = &two.runs()[0];
    assert_eq!(
        (&seen["status"], &seen["up"]),
        (&"failed".into(), &4.into()),
        "{seen}"
    );
    let shown = two.run(&["show", &run]).exits(0);
    assert!(shown.stdout.contains("upload_file"), "{}", shown.stdout);

    // Neither the key nor the secret is in the bucket.
    let copy = two.home.join("copy");
    team.aws(&format!(
        "s3 sync --only-show-errors {LEDGER} {}",
        copy.display()
    ));
    let objects = all_files(&copy);
    assert!(objects.len() > 5, "{objects:?}");
    for (file, text) in &objects {
        assert!(!text.contains("correct-horse"), "{file}");
        assert!(!text.contains("PRIVATE KEY"), "{file}");
    }

    // Another machine has another directory, and not the private key.
    let there = two.write(playbook);
    fs::write(two.home.join("fixed"), "").unwrap();
    let resume = ["resume", &run, "-C", &there];
    let refused = with_secret(two.call(&resume));
    let refused = refused.exits(1);
    let message = "is not on this machine, and a shared ledger has no private keys";
    assert!(refused.messages().contains(message), "{}", refused.stderr);
    fs::write(one.home.join("fixed"), "").unwrap();
    let resumed = with_secret(one.call(&["resume", &run])).exits(0);
    assert!(resumed.stdout.starts_with("shop-"), "{}", resumed.stdout);
    assert_eq!(two.runs()[0]["status"], "done");

    let destroyed = two.run(&["destroy", &run, "--yes"]).exits(0);
    assert!(
        destroyed.stderr.contains("deleted bucket"),
        "{}",
        destroyed.stderr
    );
    assert_eq!(team.buckets(), Vec::<String>::new());
    assert_eq!(one.runs()[0]["up"], 0);
    let again = one.run(&["destroy", &run, "--yes"]).exits(0);
    assert!(
        again.stderr.contains("nothing to remove"),
        "{}",
        again.stderr
    );
}

fn all_files(directory: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                all.push((
                    path.display().to_string(),
                    fs::read_to_string(&path).unwrap(),
                ));
            }
        }
    }
    all
}

#[test]
fn a_run_in_progress_is_refused_and_a_killed_one_taken_over() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let go = one.home.join("go");
    let playbook = two_buckets(&go);
    let mut child = one.start(&playbook, "waiting");
    let run = two.only_run();
    assert_eq!(two.runs()[0]["status"], "running");
    let there = two.write(&playbook);
    for call in [
        vec!["run", "-C", &there, "web.rhai"],
        vec!["resume", &run, "-C", &there],
        vec!["destroy", &run, "--yes"],
    ] {
        let refused = two.run(&call).exits(2);
        let text = &refused.stderr;
        assert!(
            text.contains(&run) && text.contains("in progress"),
            "{call:?}: {text}"
        );
    }
    let skipped = two.run(&["destroy", "--all", "--yes"]).exits(0);
    assert!(skipped.stderr.contains("skipped"), "{}", skipped.stderr);
    signal(&child, "KILL");
    child.wait().unwrap();
    fs::write(&go, "").unwrap();
    let resumed = two.run(&["resume", &run, "-C", &there]).exits(0);
    assert!(
        resumed.stderr.contains("sign of life"),
        "{}",
        resumed.stderr
    );
    assert_eq!(team.buckets().len(), 2);
    // The machine whose process was killed has an old record.
    let destroyed = one.run(&["destroy", &run, "--yes"]).exits(0);
    assert!(
        destroyed.stderr.contains("removed everything"),
        "{}",
        destroyed.stderr
    );
    assert_eq!(team.buckets().len(), 0);
}

#[test]
fn a_killed_run_is_pruned_once_it_is_destroyed() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let mut child = one.start(&two_buckets(&one.home.join("go")), "waiting");
    signal(&child, "KILL");
    child.wait().unwrap();
    let run = two.only_run();
    let prune = ["ledger", "prune", "--older-than", "1s", "--yes"];
    eventually("a second has passed", || {
        two.run(&prune).exits(0).stderr.contains("kept 1 run")
    });
    two.run(&["destroy", &run, "--yes"]).exits(0);
    let pruned = two.run(&prune).exits(0);
    assert!(
        pruned.stderr.contains("records of 1 run "),
        "{}",
        pruned.stderr
    );
    assert_eq!(two.runs().len(), 0);
}

#[test]
fn a_killed_run_is_resumed_at_once_on_its_machine() {
    let team = Team::new();
    let one = team.machine();
    let go = one.home.join("go");
    let mut child = one.start(&two_buckets(&go), "waiting");
    let run = one.only_run();
    signal(&child, "KILL");
    child.wait().unwrap();
    assert_eq!(one.runs()[0]["status"], "killed");
    fs::write(&go, "").unwrap();
    let resumed = one.run(&["resume", &run]).exits(0);
    assert!(
        !resumed.stderr.contains("sign of life"),
        "{}",
        resumed.stderr
    );
    assert_eq!(team.buckets().len(), 2);
    one.run(&["destroy", &run, "--yes"]).exits(0);
    assert_eq!(team.buckets(), Vec::<String>::new());
}

#[test]
fn a_client_that_slept_stops_before_its_next_effect() {
    let team = Team::new();
    let (one, two) = (team.machine(), team.machine());
    let go = one.home.join("go");
    let mut child = one.start(&two_buckets(&go), "waiting");
    signal(&child, "STOP");
    let run = two.only_run();
    two.run(&["destroy", &run, "--yes"]).exits(0);
    assert_eq!(team.buckets(), Vec::<String>::new());
    fs::write(&go, "").unwrap();
    signal(&child, "CONT");
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(team.buckets(), Vec::<String>::new());
    assert_eq!(two.runs()[0]["up"], 0);
    // Its own machine has read what the other one has recorded.
    assert_eq!(one.runs()[0]["up"], 0);
}

/// A way to a store that can be closed.
struct Gate {
    address: String,
    is_open: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let target = url.trim_start_matches("http://").to_owned();
        let gate = Self {
            address,
            is_open: Arc::new(AtomicBool::new(true)),
            connections: Arc::default(),
        };
        let (is_open, connections) = (Arc::clone(&gate.is_open), Arc::clone(&gate.connections));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if !is_open.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&target).unwrap();
                let mut all = connections.lock().unwrap();
                all.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                let ways = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (from, to) in ways {
                    thread::spawn(move || pour(from, to));
                }
            }
        });
        gate
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap().drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    let mut some = [0; 16 << 10];
    while let Ok(length) = from.read(&mut some) {
        if length == 0 || to.write_all(&some[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn an_unreachable_bucket_stops_the_run_which_is_resumed_later() {
    let team = Team::new();
    let store = Moto::start();
    let gate = Gate::to(&store.url);
    let one = Machine {
        ledger: format!("{LEDGER}?endpoint={}", gate.address),
        ..team.machine()
    };
    let go = one.home.join("go");
    let directory = one.write(&two_buckets(&go));
    let call = one.call(&["run", "-C", &directory, "web.rhai"]);
    let mut child = call.command();
    let child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the first bucket", || team.buckets().len() == 1);
    gate.close();
    fs::write(&go, "").unwrap();
    let ended = Ended::of(&child.wait_with_output().unwrap(), &one.home).exits(2);
    assert!(
        ended
            .messages()
            .contains("cannot use the ledger s3://team-ledger/autorun"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stdout, "");
    assert_eq!(team.buckets().len(), 1);
    let refused = one.run(&["runs"]).exits(2);
    assert!(refused.stderr.contains("127.0.0.1"), "{}", refused.stderr);
    gate.open();
    let run = one.only_run();
    let resumed = one.run(&["resume", &run]).exits(0);
    assert_eq!(resumed.stdout, "done\n");
    assert_eq!(team.buckets().len(), 2);
    one.run(&["destroy", &run, "--yes"]).exits(0);
}

#[test]
fn a_rehearsal_is_shared_only_on_demand() {
    let team = Team::new();
    let one = team.machine();
    let here = one.write("create_bucket(\"shop\");\n");
    let local = |arguments: &[&str]| {
        let home = team.cloud.home().display().to_string();
        let call = one.call(&["run", "--local", "-C", &here, "web.rhai"]);
        call.env("AUTORUN_CLOUD_HOME", &home).args(arguments).run()
    };
    let _ = local(&[]).exits(0);
    assert_eq!(team.aws("s3 ls s3://team-ledger --recursive"), "");
    let _ = local(&["--ledger", LEDGER]).exits(0);
    assert!(
        team.aws("s3 ls s3://team-ledger --recursive")
            .contains("/run/")
    );
    let two = team.machine();
    assert_eq!(two.runs().len(), 1);
    let run = two.only_run();
    // Without the ledger, the run is not touched.
    let refused = one
        .run(&["destroy", &run, "--yes", "--ledger", "none"])
        .exits(2);
    assert!(refused.stderr.contains("--ledger"), "{}", refused.stderr);
    let other = one
        .run(&["runs", "--ledger", "s3://team-ledger/typo"])
        .exits(0);
    assert!(other.stderr.contains("no ledger at"), "{}", other.stderr);
    let none = one
        .run(&["runs", "--ledger", "s3://no-such-bucket-7/x"])
        .exits(2);
    assert!(none.stderr.contains("no-such-bucket-7"), "{}", none.stderr);
}
